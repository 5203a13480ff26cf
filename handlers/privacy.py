"""/privacy and /forget: what is kept of people, and its deletion, which takes two presses."""

from __future__ import annotations

from aiogram import Router
from aiogram.types import CallbackQuery, Message
from aiogram.utils.callback_answer import CallbackAnswer

from bot import replies
from bot.answers.ask import Ask
from bot.answers.forgetting import Forgetting
from bot.answers.keyboards import Forget, forget_buttons, stands_under
from bot.answers.picture_edits import PictureEdits
from bot.telegram.access import may_decide
from bot.telegram.acknowledge import WITH_TEXT
from bot.telegram.editing import Edits
from handlers.command_table import register


def create_router() -> Router:
    router = Router(name=__name__)
    register(router, "privacy", privacy)
    register(router, "forget", forget)
    router.callback_query.register(press, Forget.filter(), flags=WITH_TEXT)
    return router


async def privacy(message: Message, picture_edits: PictureEdits) -> None:
    await message.reply(replies.privacy(edits=picture_edits.offered))


async def forget(message: Message, ask: Ask) -> None:
    whole = await may_decide(ask.bot, message)
    await message.reply(replies.forget_offer(whole=whole), reply_markup=forget_buttons(None if whole else ask.user))


async def press(
    query: CallbackQuery,
    ask: Ask,
    callback_data: Forget,
    forgetting: Forgetting,
    edits: Edits,
    callback_answer: CallbackAnswer,
) -> None:
    user = callback_data.user
    if (refusal := await _refusal(ask, query, callback_data)) is not None:
        callback_answer.text = refusal
        return
    match callback_data.do:
        case "ask":
            await edits.edit(ask.message, replies.forget_sure(), forget_buttons(user, sure=True))
        case "no":
            await edits.edit(ask.message, replies.not_forgotten())
        case "yes":
            if user is None:
                done = await forgetting.chat(ask.bot.id, ask.chat, ask.user)
            else:
                done = await forgetting.person(ask.chat, ask.user)
            words = replies.forgotten(done.letters, notes=done.notes, settings=done.settings, whole=done.whole)
            await edits.edit(ask.message, words)


async def _refusal(ask: Ask, query: CallbackQuery, pressed: Forget) -> str | None:
    if not ask.can_edit or not stands_under(pressed, ask.message):
        return replies.too_old_to_press()
    if pressed.user is not None:
        return None if pressed.user == ask.user else replies.not_your_question()
    return None if await may_decide(ask.bot, query) else replies.administrators_only()
