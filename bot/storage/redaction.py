"""What is kept of an update that becomes a dead letter: enough to try it again, and no more of a person."""

import re
from dataclasses import replace
from pathlib import PurePath
from typing import Any, Final

from bot.errors import WrongArguments
from bot.sample_options import parse_sample
from bot.storage.inbox import Recorded

MEDIA: Final = ("photo", "video", "animation", "video_note", "sticker", "live_photo", "document", "paid_media")
FILE: Final = (
    *("file_id", "file_unique_id", "file_size", "mime_type", "width", "height", "length", "duration"),
    *("type", "is_animated", "is_video"),
)
SHOWN: Final = ("has_media_spoiler", "has_protected_content")  # how the picture may be shown
NEED_WORDS: Final = ("choose", "edit", "find", "tags")  # commands for which the words after them say what is asked
COMMAND: Final = re.compile(r"/(?P<name>\w{1,32})(?:@\w+)?(?:\s+(?P<rest>.*))?", re.ASCII | re.DOTALL)


def letter_of(entry: Recorded, bot_id: int) -> Recorded:
    """What is kept of an entry that is given up."""
    body = reduced(entry.body, bot_id)
    return replace(entry, body=body, asked=entry.asked if "message" in body else None)


def reduced(update: dict[str, Any], bot_id: int) -> dict[str, Any]:
    """What it takes to try an update again: ids, file ids, dates, language. No names, and no words but a command.

    Only its number where that is not enough: of a press, and of a command that asks for nothing without its words.
    """
    message = update.get("message")
    if not isinstance(message, dict) or _needs_words(_words(message)):
        return {"update_id": update.get("update_id")}
    kept = _reduced_message(message)
    if isinstance(name := message.get("sender_chat"), dict):  # in which it was written
        kept["sender_chat"] = {field: name[field] for field in ("id", "type") if field in name}
    replied = message.get("reply_to_message")
    if isinstance(replied, dict):
        kept["reply_to_message"] = _reduced_message(replied)
    other = message.get("external_reply")
    if isinstance(other, dict) and other.get("origin", {}).get("sender_user", {}).get("id") != bot_id:
        kept["external_reply"] = {"origin": {"type": "hidden_user", "date": 0, "sender_user_name": ""}} | _media(other)
    command = _command(_words(message))
    field = "text" if "text" in message else "caption"
    if command:
        kept[field] = command
    elif kept["chat"].get("type") != "private":  # it was meant for the bot, as the words said that are not kept
        kept[field] = "."
        mention = {"type": "text_mention", "offset": 0, "length": 1, "user": _reduced_user({"id": bot_id})}
        kept["entities" if field == "text" else "caption_entities"] = [mention]
    elif field == "text":
        kept[field] = "."
    return {"update_id": update["update_id"], "message": kept}


def _reduced_message(message: dict[str, Any]) -> dict[str, Any]:
    plain = ("message_id", "date", "message_thread_id", "is_topic_message", "media_group_id")
    kept = {name: message[name] for name in plain if name in message}
    kept["chat"] = {name: message["chat"][name] for name in ("id", "type") if name in message.get("chat", {})}
    if "from" in message:
        kept["from"] = _reduced_user(message["from"])
    return kept | _media(message)


def _media(source: dict[str, Any]) -> dict[str, Any]:
    """The pictures and clips that a message, or one item of paid media, shows: their files, without their names."""
    kept: dict[str, Any] = {name: source[name] for name in SHOWN if name in source}
    if source.get("photo"):
        kept["photo"] = [_file(source["photo"][-1])]
    for kind in MEDIA[1:-1]:
        if isinstance(shown := source.get(kind), dict):
            kept[kind] = _file(shown)
            if shown.get("photo"):
                kept[kind]["photo"] = [_file(shown["photo"][-1])]
    if isinstance(paid := source.get("paid_media"), dict):
        items = [{"type": item.get("type")} | _media(item) for item in paid.get("paid_media", ())]
        kept["paid_media"] = {"star_count": paid.get("star_count"), "paid_media": items}
    return kept


def _file(shown: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {name: shown[name] for name in FILE if name in shown}
    if suffix := PurePath(str(shown.get("file_name", ""))).suffix:
        kept["file_name"] = f"file{suffix[:8]}"
    return kept


def _reduced_user(user: dict[str, Any]) -> dict[str, Any]:
    kept = {"id": user.get("id"), "is_bot": user.get("is_bot", False), "first_name": ""}
    return kept | ({"language_code": user["language_code"]} if "language_code" in user else {})


def _words(message: dict[str, Any]) -> str:
    return str(message.get("text") or message.get("caption") or "").strip()


def _needs_words(text: str) -> bool:
    found = COMMAND.fullmatch(text)
    return found is not None and found["name"].lower() in NEED_WORDS and bool(found["rest"])


def _command(text: str) -> str:
    """The command that a text is, with what /sample understands after it; nothing for other texts."""
    found = COMMAND.fullmatch(text)
    if found is None:
        return ""
    try:
        parse_sample(found["rest"])
    except WrongArguments:
        return f"/{found['name']}"
    return f"/{found['name']} {found['rest'] or ''}".rstrip()
