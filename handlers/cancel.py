"""/cancel, and the button under a status."""

from __future__ import annotations

from dataclasses import replace

from aiogram import Router
from aiogram.types import CallbackQuery, Message
from aiogram.utils.callback_answer import CallbackAnswer

from bot import replies
from bot.answers.ask import Ask
from bot.answers.cancelling import Cancelling
from bot.answers.keyboards import Cancel
from bot.telegram.access import may_decide
from bot.telegram.acknowledge import WITH_TEXT
from handlers.command_table import register


def create_router() -> Router:
    router = Router(name=__name__)
    register(router, "cancel", cancel)
    router.callback_query.register(press, Cancel.filter(), flags=WITH_TEXT)
    return router


async def cancel(message: Message, ask: Ask, cancelling: Cancelling) -> None:
    stopped = await cancelling.cancel(ask.bot, ask.place, ask.accepted)
    await message.reply(replies.cancelled(stopped["photo"] + stopped["edit"], stopped["clip"]))


async def press(
    query: CallbackQuery, ask: Ask, callback_data: Cancel, cancelling: Cancelling, callback_answer: CallbackAnswer
) -> None:
    """Whatever a client sends, it stops only what the presser asked for."""
    own = callback_data.user == ask.user
    # Administrators who write in the name of the group press under their own.
    own = own or (callback_data.user == ask.chat and await may_decide(ask.bot, query))
    if not own or not ask.can_edit:
        callback_answer.text = replies.not_yours()
        return
    stopped = await cancelling.cancel(ask.bot, replace(ask.place, user=callback_data.user), ask.accepted)
    callback_answer.text = replies.cancelled(stopped["photo"] + stopped["edit"], stopped["clip"])
