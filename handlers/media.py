"""Pictures and clips: what shows one, items of albums, and what is said in reply to one."""

from __future__ import annotations

from functools import partial

from aiogram import Router

from bot.answers.albums import Albums
from bot.answers.answer import Answering
from bot.answers.ask import Ask
from bot.answers.guests import Guests
from bot.storage.inbox import GiveUp
from bot.telegram.media import Medium, SentClip
from handlers import filters
from handlers.command_table import register


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(album_item, filters.album_item)
    router.message.register(answer, filters.has_medium, filters.asks)
    register(router, "caption", caption)
    router.message.register(answer, filters.replies_to_medium, filters.asks)
    return router


async def album_item(
    _: object, ask: Ask, medium: Medium, addressed: bool, albums: Albums, answering: Answering, guests: Guests
) -> GiveUp | None:
    if not await guests.take_named(ask.bot, ask.message, ask.accepted):
        return None
    is_clip = isinstance(medium, SentClip)
    file = medium.file if isinstance(medium, SentClip) else medium
    alone = partial(answering.answer, ask, medium)
    return await albums.take(ask, file, is_clip=is_clip, addressed=addressed, alone=alone)


async def answer(_: object, ask: Ask, medium: Medium, answering: Answering, guests: Guests) -> None:
    if await guests.take_named(ask.bot, ask.message, ask.accepted):
        await answering.answer(ask, medium)


async def caption(_: object, ask: Ask, answering: Answering, guests: Guests) -> None:
    if await guests.take_named(ask.bot, ask.message, ask.accepted):
        await answering.caption(ask)
