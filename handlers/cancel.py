"""/cancel, and the button under a status."""

from __future__ import annotations

from typing import Final

from aiogram import Bot, F, Router
from aiogram.filters import Command
from aiogram.types import CallbackQuery, Message

from bot import replies
from bot.answers.cancelling import Cancelling
from bot.answers.keyboards import Cancel
from bot.service.in_progress import Place
from bot.service.requests import asker
from bot.storage.inbox import Accepted
from bot.telegram.access import may_decide
from handlers.filters import Where
from handlers.presses import acknowledge

ANONYMOUS: Final = 1087968824  # Telegram's name for all administrators of groups who write in the group's name


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(cancel, Where(F.text), Command("cancel", ignore_case=True))
    router.callback_query.register(press, Cancel.filter())
    return router


async def cancel(message: Message, bot: Bot, cancelling: Cancelling, accepted: Accepted) -> None:
    stopped = await cancelling.cancel(bot, Place.of(message, asker(message)), accepted)
    await message.reply(replies.cancelled(stopped["photo"], stopped["clip"]))


async def press(
    query: CallbackQuery, bot: Bot, callback_data: Cancel, cancelling: Cancelling, accepted: Accepted
) -> None:
    """Whatever a client sends, it stops only what the presser asked for."""
    own = callback_data.user == query.from_user.id
    own = own or (callback_data.user == ANONYMOUS and await may_decide(bot, query))  # who presses has a name
    if not own or not isinstance(query.message, Message):
        await acknowledge(query, replies.not_yours())
        return
    stopped = await cancelling.cancel(bot, Place.of(query.message, callback_data.user), accepted)
    await acknowledge(query, replies.cancelled(stopped["photo"], stopped["clip"]))
