"""/caption, and words in answer to somebody's picture or clip."""

from aiogram import Router

from bot.answers.answer import Answering
from bot.answers.ask import Ask
from bot.answers.asked import CAPTION
from bot.telegram.media import Medium
from handlers.filters import Asks, RepliesToMedium


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(caption, CAPTION)
    router.message.register(answer_replied, RepliesToMedium(), Asks())
    return router


async def caption(_: object, ask: Ask, answering: Answering) -> None:
    await answering.caption(ask)


async def answer_replied(_: object, ask: Ask, medium: Medium, answering: Answering) -> None:
    await answering.answer(ask, medium)
