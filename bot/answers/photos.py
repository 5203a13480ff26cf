"""Captions for a picture in a message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, InlineKeyboardMarkup, Message
from aiogram.utils.i18n import get_i18n

from bot import replies
from bot.answers.ask import Ask
from bot.answers.history import remember, shown_by
from bot.answers.notes import Answer, Answers, Page, Rated, Subject, new_key, thread_of
from bot.answers.send_once import Parts
from bot.answers.subjects import picture_meant
from bot.answers.vectors import consents, findable, keep_findable
from bot.answers.voice import seconds
from bot.logs import impersonal
from bot.sample_options import SampleRequest
from bot.service.jobs import photo_job, sample_job
from bot.service.requests import Requests
from bot.storage.chats import Picture, Storage, remember_last
from bot.telegram.media import clip_of_live
from bot.telegram.session import is_passing
from model.serving.jobs import Outcome
from model.serving.tasks.photo import PhotoResult

log = logging.getLogger(__name__)


class Speaker(Protocol):
    """Reads texts aloud."""

    async def available(self) -> bool:
        """Whether that can be done at all."""

    async def speak(self, text: str, language: str = "en") -> bytes | None:
        """An OGG/Opus file; None where it cannot be had."""


class Captioning:
    """What handlers ask for captions of pictures."""

    def __init__(self, requests: Requests, storage: Storage, answers: Answers, voice: Speaker | None = None) -> None:
        self._requests = requests
        self._storage = storage
        self._answers = answers
        self._voice = voice

    async def describe(self, ask: Ask, picture: Picture) -> None:
        """Answer a picture with its captions. Raises what `Requests.serve` raises."""
        vector = _own(ask, picture) is not None and await consents(self._storage, ask.chat, ask.user, ask.settings)
        job = photo_job(ask.origin, picture, ask.model, ask.settings, vector=vector)
        async with _beside(remember_last(self._storage, ask.chat, picture)) as remembered:

            async def send(result: Outcome) -> None:
                await remembered
                await self.send(ask, picture, result)

            await self._requests.serve(ask.request(picture, job, "photo"), send)

    async def sample(self, ask: Ask, wanted: SampleRequest) -> None:
        """Answer /sample with captions drawn at random, others each time unless a seed is given.

        Raises what `picture_meant` and `describe` raise.
        """
        picture = await picture_meant(ask.bot, ask.message, self._answers, self._storage)
        known = await self._answers.is_known(ask.chat, picture, ask.accepted)
        job = sample_job(ask.origin, picture, ask.model, ask.settings, wanted, seed=ask.accepted.id, known=known)

        async def send(result: Outcome) -> None:
            assert isinstance(result, PhotoResult)
            words = replies.sample_answer(result)

            async def answer() -> str:
                main = words.captions[0] if words.captions else ""
                looked_at = job.task.needs_media
                async with self._noted(ask, picture, result, main, words, looked_at=looked_at) as (key, buttons, _):
                    sent = await ask.message.reply(words.markup, reply_markup=buttons)
                decoding = wanted.strategy(ask.settings.strategy)
                await self._answers.rate(ask.chat, [sent.message_id], Rated(ask.user, ask.model, decoding))
                return key

            parts = Parts(self._storage, ask.chat, ask.accepted, several=ask.settings.voice)
            key = await parts.once("answer", answer)
            if ask.settings.voice:
                said = replies.spoken(each.text for each in replies.sampled(result) if each.english in words.captions)
                await parts.once("voice", partial(self._send_voice, ask, picture, key, said))

        await self._requests.serve(ask.request(picture, job, "sample"), send)

    async def send(self, ask: Ask, picture: Picture, result: Outcome) -> None:
        """The captions of a picture: perhaps the main one alone, then all with their sheet, then perhaps a voice.

        What is out is not sent again when the bot was killed after it.
        """
        assert isinstance(result, PhotoResult)
        voice = ask.settings.voice
        short_first = ask.settings.short_first and not ask.settings.alt_text
        parts = Parts(self._storage, ask.chat, ask.accepted, several=short_first or voice)
        beside: tuple[int, ...] = ()
        if short_first:
            beside = (await parts.once("short", partial(send_short, ask.message, replies.main_caption(result))),)
            await self._answers.keep_about(ask.chat, beside, Subject(picture, ask.user))
        key = await parts.once("answer", partial(self._send_captions, ask, picture, result, beside))
        if voice:
            said = replies.spoken_caption(result, ask.language)
            await parts.once("voice", partial(self._send_voice, ask, picture, key, said))

    async def _send_captions(self, ask: Ask, picture: Picture, result: PhotoResult, beside: tuple[int, ...]) -> str:
        """The key of the answer."""
        words = (replies.alt_text_answer if ask.settings.alt_text else replies.photo_answer)(result)
        main, others = result.main.text, [result.greedy.text]
        if result.not_photo is not None:  # none was shown
            main, others = "", []
        noted = self._noted(ask, picture, result, main, words, others, beside, looked_at=True)
        async with noted as (key, buttons, done):
            if result.vector is not None and (source := _own(ask, picture)) is not None:
                if done is not None:
                    await done
                when = source.date.timestamp()
                photo = findable(ask.user, picture, result.vector, sent=when, message=source.message_id, answer=key)
                await keep_findable(self._storage, ask.chat, picture, photo)
            sent = await reply_picture(ask.message, result.sheet, "captions.jpg", words.markup, buttons, of=picture)
        await self._answers.rate(ask.chat, [sent], Rated(ask.user, ask.model, ask.settings.decoding))
        if ask.settings.history:
            said = replies.main_caption(result, noted=False)
            await remember(self._storage, ask.message, picture, said, ask.accepted.received)
        return key

    async def _send_voice(self, ask: Ask, picture: Picture, key: str, text: str) -> None:
        """Captions read aloud, where that can be done; the voice message is deleted with its answer."""
        sent = await self.read_aloud(ask.message, text, unless=partial(self._answers.is_deleted, ask.chat, key))
        if sent is not None:
            await self._answers.add_about(ask.bot, ask.chat, key, sent, Subject(picture, ask.user))

    async def read_aloud(
        self, message: Message, text: str, *, unless: Callable[[], Awaitable[bool]] | None = None
    ) -> int | None:
        """Reply with a voice message, where that can be done, unless nobody wants it by then; its id."""
        spoken = await self._voice.speak(text, replies.language_of(text)) if self._voice is not None else None
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

    @asynccontextmanager
    async def _noted(
        self,
        ask: Ask,
        picture: Picture,
        result: PhotoResult,
        main: str,
        words: replies.Words,
        others: Sequence[str] = (),
        beside: tuple[int, ...] = (),
        *,
        looked_at: bool,
    ) -> AsyncIterator[tuple[str, InlineKeyboardMarkup, asyncio.Task[None] | None]]:
        """Note an answer while the block sends it, perhaps also that a worker knows its picture: the answer's key and
        buttons, and a task that is over once it is noted; None where that takes no time, and is over before the block.
        """
        key, clip = new_key(), clip_of_live(ask.message, picture)
        answer = Answer(
            picture=picture,
            user=ask.user,
            model=ask.model,
            main=main,
            captions=words.captions,
            pages=(Page(words.markup, (1, 1 + len(words.captions))),),
            others=tuple(others),
            beside=beside,
            thread=thread_of(ask.message),
            live=clip is not None,
            language=ask.language,
            interface=get_i18n().current_locale,
        ).with_captions(result)
        moves = None
        if clip is not None:
            moves = Subject(clip, ask.user, answer.thread, clip=True, language=ask.language)
        noting = self._answers.keep_sent(ask.chat, key, answer, moves, looked_at=looked_at)
        if not self._storage.notes_take_long:
            await noting
            yield key, answer.buttons(key), None
            return
        async with _beside(noting) as noted:
            yield key, answer.buttons(key), noted


@asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """A task that does this while the block runs, and is over when the block is. Raises what `work` raises.

    The block is to await it before it does what cannot be done again. Who is cancelled does not wait for it.
    """
    task = asyncio.create_task(work)
    try:
        yield task
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    except BaseException:
        await task
        raise
    await task


def _own(ask: Ask, picture: Picture) -> Message | None:
    """The message that shows this as a photo, where who asks sent it."""
    source = shown_by(ask.message, picture)
    return source if source is not None and source.from_user is not None and source.from_user.id == ask.user else None


async def send_short(message: Message, text: str) -> int:
    """The captions alone, for screen readers; the message's id."""
    return (await message.reply(text, parse_mode=None)).message_id


async def reply_picture(
    message: Message,
    data: bytes | None,
    name: str,
    words: str,
    buttons: InlineKeyboardMarkup | None = None,
    *,
    of: Picture,
    alone: str | None = None,
) -> int:
    """A picture with words under it; its id. Where there is none, or Telegram does not take it, the words go alone.

    `of`: what it shows; as that is covered or protected, so is this. `alone`: words to say then in place of words and
    buttons.
    """
    if data is not None:
        how: dict[str, Any] = {"has_spoiler": of.spoiler or None, "protect_content": of.protected or None}
        try:
            sent = await message.reply_photo(BufferedInputFile(data, name), caption=words, reply_markup=buttons, **how)
        except (TelegramBadRequest, TelegramEntityTooLarge) as error:  # such as where bots may not send photos
            log.warning("a picture was refused (%s), the words go alone", impersonal(error.message))
        else:
            return sent.message_id
    if alone is not None:
        return (await message.reply(alone)).message_id
    return (await message.reply(words, reply_markup=buttons)).message_id
