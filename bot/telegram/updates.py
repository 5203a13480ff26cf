"""Updates as types, as far as they are understood: what is new or odd about a message must not hide its picture."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterable
from typing import Any, Final

from aiogram import Bot
from aiogram.types import Message, MessageEntity, Update, User
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from bot.logs import whereabouts

log = logging.getLogger(__name__)

MAX_NUMBER: Final = 2**63 - 1  # as storages can hold
LONGEST_NUMBER: Final = 20  # digits and a sign
# Without these a message would mean something else.
ESSENTIAL: Final = frozenset(
    [
        *("message_id", "date", "chat", "message_thread_id", "is_topic_message", "media_group_id", "reply_to_message"),
        *("text", "entities", "caption", "caption_entities"),
        *("photo", "document", "video", "animation", "video_note", "sticker", "paid_media"),
    ]
)


def loads(text: str | bytes) -> Any:
    """JSON, with null for each number that takes more than 64 bits: no storage could hold it. Raises ValueError."""
    return _DECODER.decode(text if isinstance(text, str) else text.decode(json.detect_encoding(text), "surrogatepass"))


def _number(text: str) -> int | None:
    number = int(text) if len(text) <= LONGEST_NUMBER else MAX_NUMBER + 1
    return number if -MAX_NUMBER <= number <= MAX_NUMBER else None


_DECODER: Final = json.JSONDecoder(parse_int=_number)


def is_numbered(update: Any) -> bool:
    """Whether this is an update that can be told from others, and kept."""
    number = update.get("update_id") if isinstance(update, dict) else None
    return type(number) is int and 0 <= number <= MAX_NUMBER


def understood(body: dict[str, Any], bot: Bot, *, quietly: bool = False) -> Update | None:
    """As `read_update`; None for one that cannot be read, such as of another version of Telegram."""
    try:
        return read_update(body, bot, quietly=quietly)
    except ValidationError:  # it is answered with an apology
        return None
    except Exception as error:
        log.error("an update cannot be read:\n%s", whereabouts(error))
        return None


def read_update(body: dict[str, Any], bot: Bot, *, quietly: bool = False) -> Update:
    """An update, without those parts of its messages that are not understood where the rest makes sense.

    Telegram extends its types every few months: a photo forwarded from a new kind of chat is still a photo.
    Halves of UTF-16 pairs become question marks, as no text with one can be encoded. Raises ValidationError.
    """
    try:
        to_json(body)
    except PydanticSerializationError:  # it has halves
        body = json.loads(json.dumps(body, ensure_ascii=False).encode(errors="replace"))
    try:
        return Update.model_validate(body, context={"bot": bot})
    except ValidationError as error:
        reduced = _without(body, [detail["loc"] for detail in error.errors(include_input=False, include_url=False)])
        if reduced is None:
            raise
        update = Update.model_validate(reduced, context={"bot": bot})
        if not quietly:
            log.warning("update %d is understood only without: %s", update.update_id, places(error))
        return update


def places(error: ValidationError) -> str:
    """Where it is wrong; what stands there is a person's."""
    return ", ".join(sorted({".".join(map(str, detail["loc"])) for detail in error.errors(include_input=False)}))


def entity_text(entity: MessageEntity, text: str) -> str:
    """The words an entity covers. Unlike aiogram's `extract_from`, also where it begins or ends within a character."""
    units = text.encode("utf-16-le")
    return units[2 * entity.offset : 2 * (entity.offset + entity.length)].decode("utf-16-le", errors="replace")


def asker(message: Message) -> int:
    """Who sent it: a person, or the chat in whose name it was sent. Telegram gives all of those the same user."""
    if message.sender_chat is not None and message.chat.type != "private":
        return message.sender_chat.id
    return message.from_user.id if message.from_user else message.chat.id


def is_named(message: Message, me: User) -> bool:
    """Whether it mentions the bot, or gives it a command by its full name."""
    name = f"@{me.username}".casefold()
    text = message.text or message.caption or ""
    for entity in message.entities or message.caption_entities or ():
        match entity.type:
            case "text_mention" if entity.user is not None and entity.user.id == me.id:
                return True
            case "mention" if entity_text(entity, text).casefold() == name:
                return True
            case "bot_command" if entity_text(entity, text).casefold().endswith(name):
                return True
    return False


def is_addressed(message: Message, me: User) -> bool:
    """Whether it is said to the bot: all in a private chat; in a group, what names it and replies to it."""
    if message.chat.type == "private":
        return True
    replied = message.reply_to_message
    if replied is not None and replied.from_user is not None and replied.from_user.id == me.id:
        return True
    return is_named(message, me)


def is_spoken_to(me: User, message: dict[str, Any]) -> bool:
    """Whether a message in a group, understood or not, is a command for the bot, mentions it or replies to it."""
    if message.get("is_automatic_forward"):  # of a channel's post into its group
        return False
    text = str(message.get("text") or message.get("caption") or "")
    if text.startswith("/") and "@" not in text.split(maxsplit=1)[0]:
        return True
    if f"@{me.username}".casefold() in text.casefold():
        return True
    entities = message.get("entities") or message.get("caption_entities")
    mentioned = [_part(entity, "user") for entity in entities] if isinstance(entities, list) else []
    replied = _part(message, "reply_to_message")
    return any(_part(user, "id") == me.id for user in (_part(replied, "from"), *mentioned))


def _part(whole: Any, name: str) -> Any:
    return whole.get(name) if isinstance(whole, dict) else None


def _without(body: dict[str, Any], wrong: Iterable[tuple[str | int, ...]]) -> dict[str, Any] | None:
    """A copy without the innermost field of a message that holds each wrong place; None where one is essential."""
    reduced = copy.deepcopy(body)
    for path in wrong:
        held: tuple[dict[str, Any], str] | None = None
        inside: Any = reduced
        for key in path:  # names of types stand between those of fields, and are passed over
            if isinstance(inside, dict) and isinstance(key, str) and key in inside:
                if "message_id" in inside and key not in ESSENTIAL:
                    held = inside, key
                inside = inside[key]
            elif isinstance(inside, list) and isinstance(key, int) and key < len(inside):
                inside = inside[key]
        if held is None:
            return None
        held[0].pop(held[1], None)
    return reduced
