"""/settings and /language: what a chat can choose, by buttons."""

from __future__ import annotations

from aiogram import Bot, F, Router
from aiogram.filters import Command
from aiogram.types import CallbackQuery, Message

from bot import replies
from bot.answers.keyboards import OpenSettings
from bot.answers.settings_menu import MenuPress, SettingsMenu
from bot.chat_settings import ChatSettings
from bot.telegram.access import may_decide
from handlers.filters import Where
from handlers.presses import acknowledge


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(settings, Where(F.text), Command("settings", ignore_case=True))
    router.message.register(language, Where(F.text), Command("language", ignore_case=True))
    router.callback_query.register(open_settings, OpenSettings.filter())
    router.callback_query.register(change, MenuPress.filter())
    return router


async def settings(
    message: Message, bot: Bot, settings_menu: SettingsMenu, chat_settings: ChatSettings, page: str = ""
) -> None:
    if await may_decide(bot, message):
        await settings_menu.open(message, chat_settings, page)
    else:
        await message.reply(replies.administrators_only())


async def language(message: Message, bot: Bot, settings_menu: SettingsMenu, chat_settings: ChatSettings) -> None:
    await settings(message, bot, settings_menu, chat_settings, "language")


async def open_settings(
    query: CallbackQuery, bot: Bot, settings_menu: SettingsMenu, chat_settings: ChatSettings
) -> None:
    allowed = await may_decide(bot, query)
    message = query.message if isinstance(query.message, Message) else None
    await acknowledge(query, None if allowed and message else _why_not(allowed))
    if allowed and message:
        await settings_menu.open(message, chat_settings)


async def change(query: CallbackQuery, bot: Bot, callback_data: MenuPress, settings_menu: SettingsMenu) -> None:
    allowed = await may_decide(bot, query)
    if not allowed or not isinstance(query.message, Message):
        return await acknowledge(query, _why_not(allowed))
    step = await settings_menu.press(query.message.chat.id, query.from_user, callback_data)
    await acknowledge(query, step.said)
    await settings_menu.show(query, step)


def _why_not(allowed: bool) -> str:
    return replies.too_old_to_press() if allowed else replies.administrators_only()
