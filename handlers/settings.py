"""/settings and /language: what a chat can choose, by buttons."""

from __future__ import annotations

from aiogram import F, Router
from aiogram.filters import Command
from aiogram.types import CallbackQuery, Message
from aiogram.utils.callback_answer import CallbackAnswer

from bot import replies
from bot.answers.ask import Ask
from bot.answers.keyboards import OpenSettings
from bot.answers.settings_menu import MenuPress, SettingsMenu
from bot.telegram.access import may_decide
from bot.telegram.acknowledge import WITH_TEXT
from handlers.filters import Where


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(settings, Where(F.text), Command("settings", ignore_case=True))
    router.message.register(language, Where(F.text), Command("language", ignore_case=True))
    router.callback_query.register(open_settings, OpenSettings.filter(), flags=WITH_TEXT)
    router.callback_query.register(change, MenuPress.filter(), flags=WITH_TEXT)
    return router


async def settings(message: Message, ask: Ask, settings_menu: SettingsMenu, page: str = "") -> None:
    if await may_decide(ask.bot, message):
        await settings_menu.open(message, ask.settings, page)
    else:
        await message.reply(replies.administrators_only())


async def language(message: Message, ask: Ask, settings_menu: SettingsMenu) -> None:
    await settings(message, ask, settings_menu, "language")


async def open_settings(
    query: CallbackQuery, ask: Ask, settings_menu: SettingsMenu, callback_answer: CallbackAnswer
) -> None:
    if (refusal := await _refusal(query, ask)) is not None:
        callback_answer.text = refusal
    else:
        await settings_menu.open(ask.message, ask.settings)


async def change(
    query: CallbackQuery,
    ask: Ask,
    callback_data: MenuPress,
    settings_menu: SettingsMenu,
    callback_answer: CallbackAnswer,
) -> None:
    if (refusal := await _refusal(query, ask)) is not None:
        callback_answer.text = refusal
        return
    step = await settings_menu.press(ask.chat, query.from_user, callback_data)
    callback_answer.text = step.said
    await settings_menu.show(query, step)


async def _refusal(query: CallbackQuery, ask: Ask) -> str | None:
    if not await may_decide(ask.bot, query):
        return replies.administrators_only()
    return None if ask.can_edit else replies.too_old_to_press()
