"""The items of an album, one message each, and the buttons under its answer."""

from functools import partial

from aiogram import Router

from bot.answers.album_heatmaps import AlbumSheets
from bot.answers.albums import Albums
from bot.answers.answer import Answering
from bot.answers.ask import Ask
from bot.answers.keyboards import AlbumSheet
from bot.storage.chats import Picture
from bot.storage.inbox import GiveUp
from bot.telegram.media import SentClip
from handlers.filters import AlbumItem


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(clip, AlbumItem(clips=True))
    router.message.register(photo, AlbumItem(clips=False))
    router.callback_query.register(sheet, AlbumSheet.filter())
    return router


async def photo(
    _: object, ask: Ask, picture: Picture, addressed: bool, albums: Albums, answering: Answering
) -> GiveUp | None:
    alone = partial(answering.answer, ask, picture)
    return await albums.take(ask, picture, is_clip=False, addressed=addressed, alone=alone)


async def clip(
    _: object, ask: Ask, clip: SentClip, addressed: bool, albums: Albums, answering: Answering
) -> GiveUp | None:
    alone = partial(answering.answer, ask, clip)
    return await albums.take(ask, clip.file, is_clip=True, addressed=addressed, alone=alone)


async def sheet(_: object, ask: Ask, callback_data: AlbumSheet, album_sheets: AlbumSheets) -> None:
    await album_sheets.draw(ask, callback_data)
