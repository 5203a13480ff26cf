"""A video, a GIF or a video note, and the buttons under its answer."""

from aiogram import Router

from bot.answers.answer import Answering
from bot.answers.ask import Ask
from bot.answers.clips import Clips
from bot.answers.keyboards import AllCaptions, OtherMoments
from bot.telegram.media import SentClip
from handlers.filters import Asks, HasClip


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(watch, HasClip(), Asks())
    router.callback_query.register(other_moments, OtherMoments.filter())
    router.callback_query.register(all_captions, AllCaptions.filter())
    return router


async def watch(_: object, ask: Ask, clip: SentClip, answering: Answering) -> None:
    await answering.answer(ask, clip)


async def other_moments(_: object, ask: Ask, callback_data: OtherMoments, clips: Clips) -> None:
    await clips.other_moments(ask, callback_data.key, callback_data.count)


async def all_captions(_: object, ask: Ask, callback_data: AllCaptions, clips: Clips) -> None:
    await clips.captions_of_frames(ask, callback_data.key)
