"""A video, a GIF or a video note, and the buttons under its answer."""

from __future__ import annotations

from aiogram import Bot, Router
from aiogram.types import CallbackQuery, Message

from bot.answers.clips import Clips
from bot.answers.keyboards import AllCaptions, OtherMoments
from bot.storage.inbox import Accepted
from bot.telegram.media import SentClip
from handlers.filters import Addressed, HasClip
from handlers.presses import acknowledge


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(watch, HasClip(), Addressed())
    router.callback_query.register(other_moments, OtherMoments.filter())
    router.callback_query.register(all_captions, AllCaptions.filter())
    return router


async def watch(message: Message, bot: Bot, clip: SentClip, clips: Clips, accepted: Accepted) -> None:
    await clips.watch(bot, message, clip, accepted)


async def other_moments(
    query: CallbackQuery, bot: Bot, callback_data: OtherMoments, clips: Clips, accepted: Accepted
) -> None:
    await acknowledge(query)
    await clips.other_moments(bot, query, callback_data.key, callback_data.count, accepted)


async def all_captions(
    query: CallbackQuery, bot: Bot, callback_data: AllCaptions, clips: Clips, accepted: Accepted
) -> None:
    await acknowledge(query)
    await clips.captions_of_frames(bot, query, callback_data.key, accepted)
