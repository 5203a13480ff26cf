"""A photo, a sticker, or a picture sent as a file."""

from __future__ import annotations

from aiogram import Bot, Router
from aiogram.types import Message

from bot.answering import Answering
from bot.chat_settings import ChatSettings
from bot.inbox import Accepted
from bot.storage import Picture
from handlers.filters import Addressed, HasPicture


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(describe, HasPicture(), Addressed())
    return router


async def describe(
    message: Message,
    bot: Bot,
    picture: Picture,
    answering: Answering,
    accepted: Accepted,
    chat_settings: ChatSettings,
) -> None:
    await answering.answer(bot, message, picture, accepted, chat_settings)
