"""What a message is and whether the bot is meant."""

from __future__ import annotations

from typing import Any

from aiogram import Bot
from aiogram.filters import Command, Filter
from aiogram.types import Message, TelegramObject
from aiogram.utils.magic_filter import MagicFilter

from bot.answers.subjects import has_link, replied_medium
from bot.config import Settings
from bot.telegram.media import medium_of
from bot.telegram.updates import entity_text


class Where(Filter):
    """Passes what a magic filter (`F`) passes. A bare one is asked in a thread by aiogram, for each update."""

    def __init__(self, magic: MagicFilter) -> None:
        self._magic = magic

    async def __call__(self, event: TelegramObject) -> bool:
        return bool(self._magic.resolve(event))


class HasMedium(Filter):
    """Passes a message with a picture or a clip, and hands that on as `medium`."""

    async def __call__(self, message: Message) -> bool | dict[str, Any]:
        medium = medium_of(message)
        return medium is not None and {"medium": medium}


class RepliesToMedium(Filter):
    """Passes an answer to somebody's picture or clip, and hands that on as `medium`."""

    async def __call__(self, message: Message, bot: Bot) -> bool | dict[str, Any]:
        medium = replied_medium(bot, message)
        return medium is not None and {"medium": medium}


class HasLink(Filter):
    """Passes a text with an address in it."""

    async def __call__(self, message: Message) -> bool:
        return has_link(message)


class Named(Filter):
    """Passes a message that mentions the bot, or gives it a command by its full name."""

    async def __call__(self, message: Message, bot: Bot) -> bool:
        name = f"@{(await bot.me()).username}".casefold()
        text = message.text or message.caption or ""
        for entity in message.entities or message.caption_entities or ():
            match entity.type:
                case "text_mention" if entity.user is not None and entity.user.id == bot.id:
                    return True
                case "mention" if entity_text(entity, text).casefold() == name:
                    return True
                case "bot_command" if entity_text(entity, text).casefold().endswith(name):
                    return True
        return False


class FromAdmin(Filter):
    """Passes what those who run the bot (ADMIN_IDS) say."""

    async def __call__(self, message: Message, settings: Settings) -> bool:
        return message.from_user is not None and message.from_user.id in settings.admin_ids


class AlbumItem(Filter):
    """Passes an item of an album, hands it on as `medium`, and says whether it is `addressed` to the bot.

    In a group one item's caption speaks for the whole album: it names the bot, or is /caption.
    """

    async def __call__(self, message: Message, bot: Bot) -> bool | dict[str, Any]:
        medium = medium_of(message)
        if message.media_group_id is None or medium is None:
            return False
        addressed = await Addressed()(message, bot) or bool(await Command("caption", ignore_case=True)(message, bot))
        return {"medium": medium, "addressed": addressed}


class Addressed(Filter):
    """Passes what is said to the bot: all in a private chat; in a group, what names it and replies to it."""

    async def __call__(self, message: Message, bot: Bot) -> bool:
        if message.chat.type == "private":
            return True
        replied = message.reply_to_message
        if replied is not None and replied.from_user is not None and replied.from_user.id == bot.id:
            return True
        return await Named()(message, bot)
