"""/privacy and /forget: what is kept of people, and its deletion, which takes two presses."""

from __future__ import annotations

from aiogram import Bot, F, Router
from aiogram.filters import Command
from aiogram.types import CallbackQuery, Message

from bot import replies
from bot.answers.forgetting import Forgetting
from bot.answers.keyboards import Forget, forget_buttons, forget_sure_buttons
from bot.service.requests import asker
from bot.telegram.access import may_decide
from bot.telegram.editing import Edits
from handlers.filters import Where
from handlers.presses import acknowledge


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(privacy, Where(F.text), Command("privacy", ignore_case=True))
    router.message.register(forget, Where(F.text), Command("forget", ignore_case=True))
    router.callback_query.register(press, Forget.filter())
    return router


async def privacy(message: Message) -> None:
    await message.reply(replies.privacy())


async def forget(message: Message, bot: Bot) -> None:
    whole = await may_decide(bot, message)
    buttons = forget_buttons(None if whole else asker(message))
    await message.reply(replies.forget_offer(whole=whole), reply_markup=buttons)


async def press(query: CallbackQuery, bot: Bot, callback_data: Forget, forgetting: Forgetting, edits: Edits) -> None:
    refusal = await _refusal(bot, query, callback_data.user)
    await acknowledge(query, refusal)
    message, user = query.message, callback_data.user
    if refusal is not None or not isinstance(message, Message):
        return
    match callback_data.do:
        case "ask":
            await edits.edit(message, replies.forget_sure(), forget_sure_buttons(user))
        case "no":
            await edits.edit(message, replies.not_forgotten())
        case "yes":
            chat, asks = message.chat.id, query.from_user.id
            done = await (forgetting.chat(bot.id, chat, asks) if user is None else forgetting.person(chat, asks))
            await edits.edit(
                message, replies.forgotten(done.letters, notes=done.notes, settings=done.settings, whole=done.whole)
            )


async def _refusal(bot: Bot, query: CallbackQuery, user: int | None) -> str | None:
    if not isinstance(query.message, Message):
        return replies.too_old_to_press()
    if user is not None:
        return None if user == query.from_user.id else replies.not_your_question()
    return None if await may_decide(bot, query) else replies.administrators_only()
