"""A photo, a sticker, or a picture sent as a file."""

from __future__ import annotations

from aiogram import Bot, Router
from aiogram.types import Message

from bot.answers.answer import Answering
from bot.chat_settings import ChatSettings
from bot.storage.chats import Picture
from bot.storage.inbox import Accepted
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
