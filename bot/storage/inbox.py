"""The inbox of updates: accept → process → acknowledge, or dead-letter. The types; engines are in other modules."""

from __future__ import annotations

import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Final, Protocol

from bot.errors import WrongArguments
from bot.sample_options import parse_sample

REMEMBERED: Final = 48 * 3600.0  # Telegram keeps unconfirmed updates for 24 h
DEAD_KEPT: Final = 7 * 24 * 3600.0
MEDIA: Final = ("photo", "video", "animation", "video_note", "sticker", "live_photo", "document", "paid_media")
FILE: Final = (
    *("file_id", "file_unique_id", "file_size", "mime_type", "width", "height", "length", "duration"),
    *("type", "is_animated", "is_video"),
)
COMMAND: Final = re.compile(r"/(?P<name>\w{1,32})(?:@\w+)?(?:\s+(?P<rest>.*))?", re.ASCII | re.DOTALL)


@dataclass(frozen=True)
class Recorded:
    """An update that was accepted and is not yet answered."""

    id: int
    body: dict[str, Any]
    received: float  # seconds since the epoch
    attempts: int = 0  # crashes of the bot it was there for


@dataclass(frozen=True)
class Accepted:
    """An update in work, as handlers see it."""

    id: int
    received: float  # seconds since the epoch
    again: bool = False  # it was accepted at an earlier time, perhaps by an earlier process


@dataclass(frozen=True)
class DeadLetter:
    """An update that was given up. `body` is `reduced`."""

    id: int
    reason: str
    attempts: int
    died: float  # seconds since the epoch
    body: dict[str, Any]


@dataclass(frozen=True)
class Notice:
    """A message of the bot that is to be deleted when it is no longer true."""

    chat: int
    message: int


@dataclass(frozen=True)
class GiveUp:
    """What a handler returns for an update that is not to be acknowledged but kept for another try by hand."""

    reason: str


class Inbox(Protocol):
    """The updates of one bot. An id stays known for two days after it was acknowledged.

    So an update is answered once even if the bot was killed after the answer and before the next getUpdates
    confirmed it to Telegram. Each call is on the disk when it returns. All raise `bot.storage.chats.StorageError`.
    """

    async def record(self, updates: Sequence[dict[str, Any]]) -> list[Recorded]:
        """Write updates down, all or none; those seen for the first time."""

    async def acknowledge(self, update_id: int) -> None:
        """The update is answered: forget all but its id."""

    async def dead_letter(self, update_id: int, reason: str, attempts: int) -> None:
        """The update cannot be done: keep what another try needs for a week, and forget the rest."""

    async def waiting(self) -> list[Recorded]:
        """What is not acknowledged, in the order in which it came."""

    async def recover(self, max_attempts: int) -> list[Recorded]:
        """Call once at start, when no other process serves this bot: what is left from before, its crashes counted.

        A crash counts for all that was waiting, but only up to `max_attempts`: many are there, one is to blame. Those
        that reach it are to be processed alone (`begin_alone`), and then each crash counts for the one in work.
        """

    async def reclaim(self, max_attempts: int) -> list[Recorded]:
        """Call every few seconds: says that this process lives, and takes what no living process has in work."""

    async def begin_alone(self, update_id: int) -> None:
        """Note that, should the bot crash now, it is this update's doing and no other's."""

    async def stopped(self) -> None:
        """Note that the bot ends as it should, so that what still waits is not suspected of anything."""

    async def notice_shown(self, notice: Notice) -> None:
        """Remember a notice, so that it is removed even if this process is killed."""

    async def notice_removed(self, notice: Notice) -> None: ...

    async def notices_left(self) -> list[Notice]:
        """Notices of processes that are gone."""

    async def dead(self) -> list[DeadLetter]:
        """The dead letters of the last week, oldest first."""

    async def retry(self, update_ids: Collection[int] | None) -> int:
        """Put dead letters (None: all) back; the running bot, or the next one, takes them up. How many."""

    async def drop(self, update_ids: Collection[int] | None) -> int:
        """Delete dead letters (None: all). How many."""


def process_name() -> str:
    """A name that no other process has had."""
    return secrets.token_hex(8)


def reduced(update: dict[str, Any], bot_id: int) -> dict[str, Any]:
    """What it takes to try an update again: ids, file ids, dates, language. No names, and no words but a command."""
    message = update.get("message")
    if not isinstance(message, dict):
        return {"update_id": update.get("update_id")}
    kept = _reduced_message(message)
    replied = message.get("reply_to_message")
    if isinstance(replied, dict):
        kept["reply_to_message"] = _reduced_message(replied)
    other = message.get("external_reply")
    if isinstance(other, dict) and other.get("origin", {}).get("sender_user", {}).get("id") != bot_id:
        kept["external_reply"] = {"origin": {"type": "hidden_user", "date": 0, "sender_user_name": ""}} | _media(other)
    command = _command(str(message.get("text") or message.get("caption") or ""))
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
    kept: dict[str, Any] = {}
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


def _command(text: str) -> str:
    """The command that a text is, with what /sample understands after it; nothing for other texts."""
    found = COMMAND.fullmatch(text.strip())
    if found is None:
        return ""
    try:
        parse_sample(found["rest"])
    except WrongArguments:
        return f"/{found['name']}"
    return f"/{found['name']} {found['rest'] or ''}".rstrip()
