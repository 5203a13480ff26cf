"""What Telegram shows of the bot before anybody has written to it: menus of commands and descriptions."""

from __future__ import annotations

import logging
from collections.abc import Collection

from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramBadRequest
from aiogram.types import (
    BotCommand,
    BotCommandScopeAllGroupChats,
    BotCommandScopeChat,
    BotCommandScopeDefault,
    BotCommandScopeUnion,
)
from aiogram.utils.i18n import I18n

from bot import replies
from bot.i18n import DEFAULT
from bot.logs import impersonal

log = logging.getLogger(__name__)


async def set_profile(bot: Bot, i18n: I18n, admins: Collection[int], *, edits: bool = False) -> None:
    """Set what is not as it should be, in each language; a failure is logged and harms nothing.

    It is asked for first: Telegram counts each change, and restarts come often. `edits`: /edit is in the menus.
    """
    try:
        for locale in i18n.available_locales:
            language = None if locale == DEFAULT else locale
            with i18n.context(), i18n.use_locale(locale):
                description, short = replies.description(), replies.short_description()
                menu, group = replies.commands(edits=edits), replies.commands(groups=True, edits=edits)
                for_admins = replies.commands(admins=True, edits=edits)
            await _set_description(bot, description, language)
            await _set_short_description(bot, short, language)
            await _set_commands(bot, menu, BotCommandScopeDefault(), language)
            await _set_commands(bot, group, BotCommandScopeAllGroupChats(), language)
            for admin in sorted(admins):
                await _set_commands(bot, for_admins, BotCommandScopeChat(chat_id=admin), language)
    except AiogramError as error:
        log.warning("what Telegram shows of the bot could not be set (%s)", type(error).__name__)


async def _set_description(bot: Bot, text: str, language: str | None) -> None:
    if (await bot.get_my_description(language_code=language)).description != text:
        await bot.set_my_description(text, language_code=language)


async def _set_short_description(bot: Bot, text: str, language: str | None) -> None:
    if (await bot.get_my_short_description(language_code=language)).short_description != text:
        await bot.set_my_short_description(text, language_code=language)


async def _set_commands(
    bot: Bot, commands: list[BotCommand], scope: BotCommandScopeUnion, language: str | None
) -> None:
    try:
        shown = await bot.get_my_commands(scope=scope, language_code=language)
        # As plain data: objects that came from Telegram differ from others in the bot they belong to.
        if [each.model_dump() for each in shown] != [each.model_dump() for each in commands]:
            await bot.set_my_commands(commands, scope=scope, language_code=language)
    except TelegramBadRequest as error:  # of an administrator who never wrote to the bot there is no chat
        log.warning("a menu of commands could not be set (%s)", impersonal(error.message))
