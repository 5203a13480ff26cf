"""The items of an album, one message each, and the buttons under its answer."""

from __future__ import annotations

from functools import partial

from aiogram import Bot, Router
from aiogram.types import CallbackQuery, Message

from bot.answers.album_heatmaps import AlbumSheets
from bot.answers.albums import Albums
from bot.answers.answer import Answering
from bot.answers.keyboards import AlbumSheet
from bot.chat_settings import ChatSettings
from bot.storage.chats import Picture
from bot.storage.inbox import Accepted, GiveUp
from bot.telegram.media import SentClip
from handlers.filters import AlbumItem
from handlers.presses import acknowledge


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(clip, AlbumItem(clips=True))
    router.message.register(photo, AlbumItem(clips=False))
    router.callback_query.register(sheet, AlbumSheet.filter())
    return router


async def photo(
    message: Message,
    bot: Bot,
    picture: Picture,
    addressed: bool,
    albums: Albums,
    answering: Answering,
    accepted: Accepted,
    chat_settings: ChatSettings,
) -> GiveUp | None:
    alone = partial(answering.answer, bot, message, picture, accepted, chat_settings)
    return await albums.take(
        bot, message, picture, accepted, chat_settings, is_clip=False, addressed=addressed, alone=alone
    )


async def clip(
    message: Message,
    bot: Bot,
    clip: SentClip,
    addressed: bool,
    albums: Albums,
    answering: Answering,
    accepted: Accepted,
    chat_settings: ChatSettings,
) -> GiveUp | None:
    alone = partial(answering.answer, bot, message, clip, accepted, chat_settings)
    return await albums.take(
        bot, message, clip.file, accepted, chat_settings, is_clip=True, addressed=addressed, alone=alone
    )


async def sheet(
    query: CallbackQuery, bot: Bot, callback_data: AlbumSheet, album_sheets: AlbumSheets, accepted: Accepted
) -> None:
    await acknowledge(query)
    await album_sheets.draw(bot, query, callback_data, accepted)
