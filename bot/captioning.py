"""Captions for a picture in a message."""

from __future__ import annotations

import logging
from functools import partial

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, Message

from bot import replies
from bot.arguments import SampleRequest
from bot.chat_settings import ChatSettings
from bot.config import Settings
from bot.inbox import Accepted
from bot.media import NoPicture, picture_of
from bot.requests import Request, Requests, asker, job_id
from bot.storage import Picture, Storage
from model.serving.jobs import Job, JobResult, Outcome

log = logging.getLogger(__name__)


class Captioning:
    """What handlers ask for captions of pictures."""

    def __init__(self, settings: Settings, requests: Requests, storage: Storage) -> None:
        self._model = settings.model
        self._requests = requests
        self._storage = storage

    async def describe(self, bot: Bot, message: Message, picture: Picture, accepted: Accepted) -> None:
        """Answer a picture with its captions. Raises what `Requests.serve` raises."""
        await self._storage.remember_picture(message.chat.id, picture)
        user = asker(message)
        job = Job(
            id=job_id(bot, accepted.id),
            user=user,
            request=f"{user}:{message.media_group_id}" if message.media_group_id else "",
            model=self._model,
            samples=5,
            beam=ChatSettings().beam_width,
            sheet=self._model == "attention",
        )
        send = partial(self.send, message)
        await self._requests.serve(Request(bot, message, picture, job, accepted, "photo", send))

    async def sample(self, bot: Bot, message: Message, request: SampleRequest, accepted: Accepted) -> None:
        """Answer /sample with captions drawn at random, others each time.

        Raises NoPicture when there is none to describe, and what `describe` raises.
        """
        picture = await self._picture_meant(bot, message)
        job = Job(
            id=job_id(bot, accepted.id),
            user=asker(message),
            model=self._model,
            samples=request.count,
            sampling=request.sampling,
            seed=accepted.id,
            sheet=False,
        )
        send = partial(_send_samples, message)
        await self._requests.serve(Request(bot, message, picture, job, accepted, "sample", send))

    async def send(self, message: Message, result: Outcome) -> None:
        """The captions of a picture, with their sheet where Telegram takes it."""
        assert isinstance(result, JobResult)
        if result.sheet is not None:
            try:
                sheet = BufferedInputFile(result.sheet, "captions.jpg")
                await message.reply_photo(sheet, caption=replies.photo_answer(result))
            except (TelegramBadRequest, TelegramEntityTooLarge) as error:  # such as where bots may not send photos
                log.warning("a sheet was refused (%s), the words go alone", error.message)
            else:
                return
        await message.reply(replies.photo_answer(result))

    async def _picture_meant(self, bot: Bot, message: Message) -> Picture:
        """The picture the command came with, else the one it replies to, else the chat's last one."""
        if (own := picture_of(message)) is not None:
            await self._storage.remember_picture(message.chat.id, own)
            return own
        replied = message.reply_to_message
        if replied is not None and (shown := picture_of(replied)) is not None and not _is_by(replied, bot):
            return shown
        last = await self._storage.last_picture(message.chat.id)
        if last is None:
            raise NoPicture
        return last


def _is_by(message: Message, bot: Bot) -> bool:
    """Such a picture is a sheet, and what is wanted are captions of the photo."""
    return message.from_user is not None and message.from_user.id == bot.id


async def _send_samples(message: Message, result: Outcome) -> None:
    assert isinstance(result, JobResult)
    await message.reply(replies.sample_answer(result))
