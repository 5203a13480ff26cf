"""Messages in chats that the bot is no member of, in which somebody mentioned it."""

from __future__ import annotations

from aiogram import Bot, Router
from aiogram.types import Message

from bot.answers.guests import Guests
from bot.storage.inbox import Accepted


def create_router() -> Router:
    router = Router(name=__name__)
    router.guest_message.register(answer)
    return router


async def answer(message: Message, bot: Bot, accepted: Accepted, guests: Guests) -> None:
    await guests.answer(bot, message, accepted)
