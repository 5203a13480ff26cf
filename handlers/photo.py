"""A photo, a sticker, or a picture sent as a file."""

from aiogram import Router

from bot.answers.answer import Answering
from bot.answers.ask import Ask
from bot.storage.chats import Picture
from handlers.filters import Asks, HasPicture


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(describe, HasPicture(), Asks())
    return router


async def describe(_: object, ask: Ask, picture: Picture, answering: Answering) -> None:
    await answering.answer(ask, picture)
