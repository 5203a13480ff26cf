"""/caption, and words in answer to somebody's picture or clip."""

from aiogram import F, Router
from aiogram.filters import Command

from bot.answers.answer import Answering
from bot.answers.ask import Ask
from bot.telegram.media import Medium
from handlers.filters import Addressed, RepliesToMedium, Where


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(caption, Command("caption", ignore_case=True))
    router.message.register(answer_replied, Where(F.text & ~F.text.startswith("/")), RepliesToMedium(), Addressed())
    return router


async def caption(_: object, ask: Ask, answering: Answering) -> None:
    await answering.caption(ask)


async def answer_replied(_: object, ask: Ask, medium: Medium, answering: Answering) -> None:
    await answering.answer(ask, medium)
