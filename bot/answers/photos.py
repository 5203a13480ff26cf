"""Captions for a picture in a message."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, InlineKeyboardMarkup, Message

from bot import replies
from bot.answers.notes import Answer, Answers, Page, Subject, new_key, thread_of
from bot.answers.origin import origin
from bot.answers.send_once import Parts
from bot.answers.subjects import picture_meant
from bot.answers.voice import seconds
from bot.chat_settings import ChatSettings
from bot.config import Settings
from bot.logs import impersonal
from bot.sample_options import SampleRequest
from bot.service.jobs import photo_job, sample_job
from bot.service.requests import Request, Requests, asker
from bot.storage.chats import Picture, Storage
from bot.storage.inbox import Accepted
from bot.telegram.session import is_passing
from model.serving.jobs import Outcome
from model.serving.tasks.photo import PhotoResult

log = logging.getLogger(__name__)


class Speaker(Protocol):
    """Reads texts aloud."""

    async def speak(self, text: str, language: str = "en") -> bytes | None:
        """An OGG/Opus file; None where it cannot be had."""


class Captioning:
    """What handlers ask for captions of pictures."""

    def __init__(
        self,
        settings: Settings,
        requests: Requests,
        storage: Storage,
        answers: Answers,
        voice: Speaker | None = None,
    ) -> None:
        self._model = settings.model
        self._requests = requests
        self._storage = storage
        self._answers = answers
        self._voice = voice

    async def describe(
        self, bot: Bot, message: Message, picture: Picture, accepted: Accepted, chat_settings: ChatSettings
    ) -> None:
        """Answer a picture with its captions. Raises what `Requests.serve` raises."""
        await self._storage.remember_picture(message.chat.id, picture)
        model = chat_settings.model or self._model
        job = photo_job(origin(bot, message, accepted.id), picture, model, chat_settings)
        send = partial(self.send, message, picture, accepted, chat_settings)
        await self._requests.serve(Request(bot, message, picture, job, accepted, "photo", send))

    async def sample(
        self, bot: Bot, message: Message, request: SampleRequest, accepted: Accepted, chat_settings: ChatSettings
    ) -> None:
        """Answer /sample with captions drawn at random, others each time unless a seed is given.

        Raises what `picture_meant` and `describe` raise.
        """
        picture = await picture_meant(bot, message, self._answers, self._storage)
        chat_id = message.chat.id
        model = chat_settings.model or self._model
        known = await self._answers.is_known(chat_id, picture, accepted)
        who = origin(bot, message, accepted.id)
        job = sample_job(who, picture, model, chat_settings, request, seed=accepted.id, known=known)

        async def send(result: Outcome) -> None:
            assert isinstance(result, PhotoResult)
            words = replies.sample_answer(result)

            async def answer() -> str:
                main = words.captions[0] if words.captions else ""
                key, buttons = await self._note(message, picture, model, main, words, looked_at=job.task.needs_media)
                await message.reply(words.markup, reply_markup=buttons)
                return key

            parts = Parts(self._storage, chat_id, accepted, several=chat_settings.voice)
            key = await parts.once("answer", answer)
            if chat_settings.voice:
                await parts.once("voice", partial(self._send_voice, message, key, replies.spoken(words.captions)))

        await self._requests.serve(Request(bot, message, picture, job, accepted, "sample", send))

    async def send(
        self, message: Message, picture: Picture, accepted: Accepted, chat_settings: ChatSettings, result: Outcome
    ) -> None:
        """The captions of a picture: perhaps the main one alone, then all with their sheet, then perhaps a voice.

        What is out is not sent again when the bot was killed after it.
        """
        assert isinstance(result, PhotoResult)
        short_first, voice = chat_settings.short_first, chat_settings.voice
        parts = Parts(self._storage, message.chat.id, accepted, several=short_first or voice)
        beside: tuple[int, ...] = ()
        if short_first:
            beside = (await parts.once("short", partial(send_short, message, replies.main_caption(result))),)
            await self._answers.keep_about(message.chat.id, beside, Subject(picture, asker(message)))
        send_captions = partial(self._send_captions, message, picture, chat_settings, result, beside)
        key = await parts.once("answer", send_captions)
        if voice:
            await parts.once("voice", partial(self._send_voice, message, key, result.main.text))

    async def _send_captions(
        self,
        message: Message,
        picture: Picture,
        chat_settings: ChatSettings,
        result: PhotoResult,
        beside: tuple[int, ...],
    ) -> str:
        """The key of the answer."""
        words = replies.photo_answer(result)
        model = chat_settings.model or self._model
        others = (result.greedy.text,)
        key, buttons = await self._note(
            message, picture, model, result.main.text, words, others, beside, looked_at=True
        )
        await reply_picture(message, result.sheet, "captions.jpg", words.markup, buttons)
        return key

    async def _send_voice(self, message: Message, key: str, text: str) -> None:
        """Captions read aloud, where that can be done; the voice message is deleted with its answer."""
        chat_id = message.chat.id
        sent = await self.read_aloud(message, text, unless=partial(self._answers.is_deleted, chat_id, key))
        if sent is None:
            return
        async with self._answers.alone(chat_id, key):
            if (answer := await self._answers.find(chat_id, key)) is not None:
                await self._answers.keep_about(chat_id, [sent], Subject(answer.picture, answer.user))
                await self._answers.keep(chat_id, key, dataclasses.replace(answer, beside=(*answer.beside, sent)))

    async def read_aloud(
        self, message: Message, text: str, *, unless: Callable[[], Awaitable[bool]] | None = None
    ) -> int | None:
        """Reply with a voice message, where that can be done, unless nobody wants it by then; its id."""
        spoken = await self._voice.speak(text) if self._voice is not None else None
        if spoken is None or (unless is not None and await unless()):
            return None
        try:
            sent = await message.reply_voice(BufferedInputFile(spoken, "caption.ogg"), duration=seconds(spoken) or None)
        except AiogramError as error:  # such as from people who take no voice messages
            if is_passing(error):
                raise
            log.warning("a voice message was refused (%s)", type(error).__name__)
            return None
        return sent.message_id

    async def _note(
        self,
        message: Message,
        picture: Picture,
        model: str,
        main: str,
        words: replies.Words,
        others: tuple[str, ...] = (),
        beside: tuple[int, ...] = (),
        *,
        looked_at: bool,
    ) -> tuple[str, InlineKeyboardMarkup]:
        """Note an answer that is about to be sent, perhaps also that a worker knows its picture; key and buttons."""
        key = new_key()
        answer = Answer(
            picture=picture,
            user=asker(message),
            model=model,
            main=main,
            captions=words.captions,
            pages=(Page(words.markup, (1, 1 + len(words.captions))),),
            others=others,
            beside=beside,
            thread=thread_of(message),
        )
        await self._answers.keep(message.chat.id, key, answer, looked_at=looked_at)
        return key, answer.buttons(key)


async def send_short(message: Message, text: str) -> int:
    """The captions alone, for screen readers; the message's id."""
    return (await message.reply(text, parse_mode=None)).message_id


async def reply_picture(
    message: Message, data: bytes | None, name: str, words: str, buttons: InlineKeyboardMarkup | None = None
) -> int:
    """A picture with words under it; the words alone where there is none, or Telegram does not take it. Its id."""
    if data is not None:
        try:
            sent = await message.reply_photo(BufferedInputFile(data, name), caption=words, reply_markup=buttons)
        except (TelegramBadRequest, TelegramEntityTooLarge) as error:  # such as where bots may not send photos
            log.warning("a picture was refused (%s), the words go alone", impersonal(error.message))
        else:
            return sent.message_id
    return (await message.reply(words, reply_markup=buttons)).message_id
