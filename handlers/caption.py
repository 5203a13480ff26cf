"""/caption, and words in answer to somebody's picture or clip."""

from __future__ import annotations

from aiogram import Bot, F, Router
from aiogram.filters import Command
from aiogram.types import Message

from bot.answers.answer import Answering
from bot.chat_settings import ChatSettings
from bot.storage.inbox import Accepted
from bot.telegram.media import Medium
from handlers.filters import Addressed, RepliesToMedium, Where


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(caption, Command("caption", ignore_case=True))
    router.message.register(answer_replied, Where(F.text & ~F.text.startswith("/")), RepliesToMedium(), Addressed())
    return router


async def caption(
    message: Message, bot: Bot, answering: Answering, accepted: Accepted, chat_settings: ChatSettings
) -> None:
    await answering.caption(bot, message, accepted, chat_settings)


async def answer_replied(
    message: Message, bot: Bot, medium: Medium, answering: Answering, accepted: Accepted, chat_settings: ChatSettings
) -> None:
    await answering.answer(bot, message, medium, accepted, chat_settings)
