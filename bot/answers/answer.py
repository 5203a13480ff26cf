"""A picture or a clip, answered as what it turns out to be."""

from __future__ import annotations

from aiogram import Bot
from aiogram.types import Message

from bot.answers.clips import Clips
from bot.answers.notes import Answers
from bot.answers.photos import Captioning
from bot.answers.subjects import medium_meant
from bot.chat_settings import ChatSettings
from bot.service.requests import Requests, job_id
from bot.storage.chats import Picture, Storage
from bot.storage.inbox import Accepted
from bot.storage.notes import MOVES
from bot.telegram.media import Medium, SentClip
from model.errors import AnimatedPicture


class Answering:
    """What handlers ask of whatever a message shows."""

    def __init__(
        self, requests: Requests, captioning: Captioning, clips: Clips, answers: Answers, storage: Storage
    ) -> None:
        self._requests = requests
        self._captioning = captioning
        self._clips = clips
        self._answers = answers
        self._storage = storage

    async def caption(self, bot: Bot, message: Message, accepted: Accepted, chat_settings: ChatSettings) -> None:
        """Answer /caption. Raises what `medium_meant` and `answer` raise."""
        medium = await medium_meant(bot, message, self._answers, self._storage)
        await self.answer(bot, message, medium, accepted, chat_settings)

    async def answer(
        self, bot: Bot, message: Message, medium: Medium, accepted: Accepted, chat_settings: ChatSettings
    ) -> None:
        """A picture with its captions, a clip with its moments. Raises what `Clips.watch` raises."""
        if isinstance(medium, SentClip):
            await self._clips.watch(bot, message, medium, accepted)
        else:
            await self._picture_or_clip(bot, message, medium, accepted, chat_settings)

    async def _picture_or_clip(
        self, bot: Bot, message: Message, picture: Picture, accepted: Accepted, chat_settings: ChatSettings
    ) -> None:
        """Animated pictures are told from still ones by who reads them; then they are asked for again, as clips.

        It is noted first, so that after a restart nobody takes the outcome of the one for that of the other.
        """
        chat = message.chat.id
        moves = accepted.again and await MOVES.exists(self._storage, chat, accepted.id)
        try:
            if not moves:
                return await self._captioning.describe(bot, message, picture, accepted, chat_settings)
            return await self._clips.watch(bot, message, SentClip(picture), accepted)
        except AnimatedPicture:  # after a restart, perhaps what is left of the first time
            await MOVES.keep(self._storage, chat, accepted.id)
            await self._requests.forget(job_id(bot, accepted.id))
        await self._clips.watch(bot, message, SentClip(picture), accepted)
