"""The moments of a clip: what a video, a GIF or a video note is answered with."""

from __future__ import annotations

import dataclasses
import logging
from functools import partial

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, InputMediaPhoto, Message, ReplyParameters

from bot import replies
from bot.answers.ask import Ask
from bot.answers.keyboards import AllCaptions, AsClip, OtherMoments, clip_buttons
from bot.answers.notes import Answers, Rated, Subject, new_key, thread_of
from bot.answers.photos import Captioning, reply_picture, send_short
from bot.answers.send_once import Parts
from bot.config import Settings
from bot.errors import ClipTooLongHere, NoClip
from bot.logs import impersonal
from bot.service.jobs import clip_job
from bot.service.requests import Requests
from bot.storage.chats import Picture, Storage
from bot.telegram.media import SentClip
from model.errors import JobCancelled
from model.serving.jobs import Outcome
from model.serving.tasks.clip import ClipResult
from model.serving.tasks.photo import PhotoResult

log = logging.getLogger(__name__)


class Clips:
    """What handlers ask of clips."""

    def __init__(
        self, settings: Settings, requests: Requests, captioning: Captioning, storage: Storage, answers: Answers
    ) -> None:
        self._max_seconds = settings.max_video_seconds
        self._requests = requests
        self._captioning = captioning
        self._storage = storage
        self._answers = answers

    async def watch(self, ask: Ask, clip: SentClip) -> None:
        """Answer a clip with its moments. Raises ClipTooLongHere and what `Requests.serve` raises."""
        if clip.seconds is not None and clip.seconds > self._max_seconds:
            raise ClipTooLongHere(self._max_seconds)
        await self._serve(ask, clip.file, None)

    async def of_live_photo(self, ask: Ask, pressed: AsClip) -> None:
        """Answer a button: a live photo as the clip that it is. Raises as `other_moments` does."""
        ask, file = await self._noted(ask, pressed.key)
        await self._serve(ask, file, None)

    async def other_moments(self, ask: Ask, pressed: OtherMoments) -> None:
        """Answer a button: the same clip with another number of moments. Raises NoClip and what `watch` raises."""
        ask, file = await self._noted(ask, pressed.key)
        await self._serve(ask, file, pressed.count)

    async def captions_of_frames(self, ask: Ask, pressed: AllCaptions) -> None:
        """Answer a button: the captions of all frames in a file. Raises as `other_moments` does."""
        ask, file = await self._noted(ask, pressed.key)

        async def send(result: Outcome) -> None:
            if await self._answers.is_deleted(ask.chat, pressed.key):  # meanwhile
                return
            sent = await _send_captions(ask.message, result)
            await self._answers.add_beside(ask.bot, ask.chat, pressed.key, [sent])

        await self._requests.serve(ask.request(file, clip_job(ask.origin, file, ask.model, None), "clip"), send)

    async def _serve(self, ask: Ask, file: Picture, count: int | None) -> None:
        clip = Subject(file, ask.user, thread_of(ask.message), clip=True, language=ask.language)
        job = clip_job(ask.origin, file, ask.model, count)
        await self._requests.serve(ask.request(file, job, "clip"), partial(self._send, ask, clip, count))

    async def _noted(self, ask: Ask, key: str) -> tuple[Ask, Picture]:
        """The same in the topic and language of the answer to the clip that was noted for its buttons, and the clip.

        Raises NoClip, and JobCancelled if its answer is deleted.
        """
        if await self._answers.is_deleted(ask.chat, key):
            raise JobCancelled("its answer was deleted")
        found = await self._answers.clip(ask.chat, key)
        if found is None:
            raise NoClip
        return dataclasses.replace(ask.in_topic(found.thread), captions=found.language), found.picture

    async def _send(self, ask: Ask, clip: Subject, count: int | None, result: Outcome) -> None:
        """Perhaps the captions alone, then the album and the timeline, then perhaps a voice."""
        if isinstance(result, PhotoResult):  # of the still picture it turned out to be, before it was interrupted
            return await self._captioning.send(ask, clip.picture, result)
        assert isinstance(result, ClipResult)
        message = ask.message
        captions = replies.moment_captions(result)
        parts = Parts(self._storage, ask.chat, ask.accepted)
        beside: list[int] = []
        if ask.settings.short_first:
            beside.append(await parts.once("short", partial(send_short, message, "\n".join(captions))))
        beside += await parts.once("album", partial(_send_album, ask.bot, message, result, clip.picture))
        key = await parts.once("timeline", partial(self._send_timeline, ask, clip, count, result, beside))
        if ask.settings.voice:
            unless = partial(self._answers.is_deleted, ask.chat, key)
            said = replies.spoken(replies.moment_captions(result, noted=False))
            speak = partial(self._captioning.read_aloud, message, said, unless=unless)
            if (voice := await parts.once("voice", speak)) is not None:
                await self._answers.add_about(ask.bot, ask.chat, key, voice, clip)

    async def _send_timeline(
        self, ask: Ask, clip: Subject, count: int | None, result: ClipResult, beside: list[int]
    ) -> str:
        """The key of the answer."""
        message, key = ask.message, new_key()
        noted = dataclasses.replace(clip, english=replies.moments_in_english(result))
        await self._answers.keep_clip(message.chat.id, key, noted)
        await self._answers.add_beside(ask.bot, ask.chat, key, beside)
        await self._answers.keep_about(message.chat.id, beside, clip)
        found = len(result.moments)
        most = found if count is not None and found < count else len(result.frames)  # dark or blurred ones do not count
        buttons = clip_buttons(key, found, most, translated=bool(noted.english))
        words = replies.clip_summary(result)
        sent = await reply_picture(message, result.timeline, "timeline.jpg", words, buttons, of=clip.picture)
        await self._answers.rate(ask.chat, [*beside, sent], Rated(ask.user, ask.model, "greedy"))
        return key


async def _send_album(bot: Bot, message: Message, result: ClipResult, of: Picture) -> list[int]:
    """The moments, each with its time and caption; the words alone where pictures are refused, or the clip is
    protected. The messages' ids.
    """
    captions = [replies.moment(frame) for frame in result.moments]
    if of.protected:
        return [(await message.reply("\n".join(captions))).message_id]
    pictures = [BufferedInputFile(jpeg, f"moment-{n}.jpg") for n, jpeg in enumerate(result.pictures, 1)]
    if len(pictures) == 1:
        return [await reply_picture(message, result.pictures[0], "moment-1.jpg", captions[0], of=of)]
    try:
        sent = await bot.send_media_group(
            message.chat.id,
            [
                InputMediaPhoto(media=picture, caption=caption, has_spoiler=of.spoiler or None)
                for picture, caption in zip(pictures, captions, strict=True)
            ],
            message_thread_id=thread_of(message),
            reply_parameters=ReplyParameters(message_id=message.message_id, allow_sending_without_reply=True),
        )
        return [each.message_id for each in sent]
    except (TelegramBadRequest, TelegramEntityTooLarge) as error:
        log.warning("moments were refused as pictures (%s), the words go alone", impersonal(error.message))
        return [(await message.reply("\n".join(captions))).message_id]


async def _send_captions(message: Message, result: Outcome) -> int:
    """The message's id."""
    assert isinstance(result, ClipResult)
    text = "".join(f"{line}\n" for line in replies.frame_lines(result))
    try:
        sent = await message.reply_document(
            BufferedInputFile(text.encode(), "captions.txt"), caption=replies.of_the_frames()
        )
    except (TelegramBadRequest, TelegramEntityTooLarge) as error:
        log.warning("a file was refused (%s), the words go alone", impersonal(error.message))
        sent = await message.reply(replies.shortened(text, replies.MAX_TEXT), parse_mode=None)
    return sent.message_id
