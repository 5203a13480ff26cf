"""What a message is and whether the bot is meant."""

from __future__ import annotations

from typing import Any

from aiogram import Bot
from aiogram.filters import Filter
from aiogram.types import Message, TelegramObject
from aiogram.utils.magic_filter import MagicFilter

from bot.answers.ask import Ask
from bot.answers.asked import CAPTION, work_of
from bot.answers.picture_edits import PictureEdits
from bot.answers.subjects import has_link, replied_medium
from bot.config import Settings
from bot.telegram.media import medium_of
from bot.telegram.updates import is_addressed, is_named


class Where(Filter):
    """Passes what a magic filter (`F`) passes. A bare one is asked in a thread by aiogram, for each update."""

    def __init__(self, magic: MagicFilter) -> None:
        self._magic = magic

    async def __call__(self, event: TelegramObject) -> bool:
        return bool(self._magic.resolve(event))


async def has_medium(message: Message) -> bool | dict[str, Any]:
    """Passes a message with a picture or a clip, and hands that on as `medium`."""
    medium = medium_of(message)
    return medium is not None and {"medium": medium}


async def replies_to_medium(message: Message, bot: Bot) -> bool | dict[str, Any]:
    """Passes an answer to somebody's picture or clip, and hands that on as `medium`."""
    medium = replied_medium(bot, message)
    return medium is not None and {"medium": medium}


async def shows_link(message: Message) -> bool:
    """Passes a text with an address in it."""
    return has_link(message)


async def named(message: Message, bot: Bot) -> bool:
    """Passes a message that mentions the bot, or gives it a command by its full name."""
    return is_named(message, await bot.me())


async def asks(message: Message, bot: Bot, ask: Ask) -> bool:
    """Passes what gives workers something to do, as was decided when it was accepted.

    An /edit that comes here is no command, as there is no network that edits: then its words are like any other.
    """
    return (await work_of(bot, message) if ask.work == "edit" else ask.work) is not None


async def edits_offered(_: Message, picture_edits: PictureEdits) -> bool:
    """Passes all where photos can be edited; else /edit is a command like any unknown one."""
    return picture_edits.offered


async def from_admin(message: Message, settings: Settings) -> bool:
    """Passes what those who run the bot (ADMIN_IDS) say."""
    return message.from_user is not None and message.from_user.id in settings.admin_ids


async def album_item(message: Message, bot: Bot) -> bool | dict[str, Any]:
    """Passes an item of an album, hands it on as `medium`, and says whether it is `addressed` to the bot.

    In a group one item's caption speaks for the whole album: it names the bot, or is /caption.
    """
    medium = medium_of(message)
    if message.media_group_id is None or medium is None:
        return False
    addressed = is_addressed(message, await bot.me()) or bool(await CAPTION(message, bot))
    return {"medium": medium, "addressed": addressed}
