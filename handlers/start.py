"""/start and /help."""

from __future__ import annotations

from aiogram import F, Router
from aiogram.filters import Command, CommandStart
from aiogram.types import Message

from bot import replies
from bot.answers.ask import Ask
from handlers.filters import Where


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(start, Where(F.text), CommandStart(ignore_case=True))
    router.message.register(about, Where(F.text), Command("help", ignore_case=True))
    return router


async def start(message: Message) -> None:
    await message.answer(replies.start())


async def about(message: Message, ask: Ask) -> None:
    await message.answer(replies.about(sheets=ask.model == "attention" and ask.settings.heatmap))
