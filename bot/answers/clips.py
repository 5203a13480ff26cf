"""The moments of a clip: what a video, a GIF or a video note is answered with."""

from __future__ import annotations

import logging
from functools import partial

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, CallbackQuery, InputMediaPhoto, Message, ReplyParameters

from bot import replies
from bot.answers.keyboards import clip_buttons
from bot.answers.notes import Answers, Subject, answerable, new_key, thread_of
from bot.answers.origin import origin
from bot.answers.photos import Captioning, reply_picture, send_short
from bot.answers.send_once import Parts
from bot.config import Settings
from bot.errors import ClipTooLongHere, NoClip
from bot.logs import impersonal
from bot.service.jobs import clip_job
from bot.service.requests import Request, Requests, asker, job_id
from bot.storage.chats import Picture, Storage
from bot.storage.inbox import Accepted
from bot.telegram.media import SentClip
from model.errors import NotAClip
from model.serving.jobs import Job, Outcome
from model.serving.tasks.clip import ClipResult
from model.serving.tasks.photo import PhotoResult

log = logging.getLogger(__name__)


class Clips:
    """What handlers ask of clips."""

    def __init__(
        self, settings: Settings, requests: Requests, captioning: Captioning, storage: Storage, answers: Answers
    ) -> None:
        self._model = settings.model
        self._max_seconds = settings.max_video_seconds
        self._requests = requests
        self._captioning = captioning
        self._storage = storage
        self._answers = answers

    async def watch(self, bot: Bot, message: Message, clip: SentClip, accepted: Accepted) -> None:
        """Answer a clip with its moments. Raises ClipTooLongHere and what `Requests.serve` raises."""
        if clip.seconds is not None and clip.seconds > self._max_seconds:
            raise ClipTooLongHere(self._max_seconds)
        try:
            await self._serve(bot, message, asker(message), clip.file, accepted, None)
        except NotAClip:
            if not clip.maybe_still:
                raise
            await self._requests.forget(job_id(bot, accepted.id))
            chat_settings = await self._storage.settings(message.chat.id)
            await self._captioning.describe(bot, message, clip.file, accepted, chat_settings)

    async def other_moments(self, bot: Bot, query: CallbackQuery, key: str, count: int, accepted: Accepted) -> None:
        """Answer a button: the same clip with another number of moments. Raises NoClip and what `watch` raises."""
        message, file = await self._noted(bot, query, key)
        await self._serve(bot, message, query.from_user.id, file, accepted, count)

    async def captions_of_frames(self, bot: Bot, query: CallbackQuery, key: str, accepted: Accepted) -> None:
        """Answer a button: the captions of all frames in a file. Raises as `other_moments` does."""
        message, file = await self._noted(bot, query, key)
        job = await self._job(bot, message, query.from_user.id, file, accepted, None)

        async def send(result: Outcome) -> None:
            await self._answers.add_beside(message.chat.id, key, [await _send_captions(message, result)])

        await self._requests.serve(Request(bot, message, file, job, accepted, "clip", send))

    async def _job(
        self, bot: Bot, message: Message, user: int, file: Picture, accepted: Accepted, count: int | None
    ) -> Job:
        chat_settings = await self._storage.settings(message.chat.id)
        model = chat_settings.model or self._model
        return clip_job(origin(bot, message, accepted.id, user), file, model, count)

    async def _serve(
        self, bot: Bot, message: Message, user: int, file: Picture, accepted: Accepted, count: int | None
    ) -> None:
        clip = Subject(file, user, thread_of(message), clip=True)
        await self._requests.serve(
            Request(
                bot,
                message,
                file,
                await self._job(bot, message, user, file, accepted, count),
                accepted,
                "clip",
                partial(self._send, bot, message, clip, accepted, count),
            )
        )

    async def _noted(self, bot: Bot, query: CallbackQuery, key: str) -> tuple[Message, Picture]:
        """The message to answer, and the clip that was noted for its buttons."""
        found = await self._answers.clip(query.message.chat.id, key) if query.message else None
        if found is None or query.message is None:
            raise NoClip
        return answerable(bot, query.message, found.thread), found.picture

    async def _send(
        self, bot: Bot, message: Message, clip: Subject, accepted: Accepted, count: int | None, result: Outcome
    ) -> None:
        """Perhaps the captions alone, then the album and the timeline, then perhaps a voice."""
        if isinstance(result, PhotoResult):  # of the still picture it turned out to be, before it was interrupted
            chat_settings = await self._storage.settings(message.chat.id)
            return await self._captioning.send(message, clip.picture, accepted, chat_settings, result)
        assert isinstance(result, ClipResult)
        chat_id = message.chat.id
        chat_settings = await self._storage.settings(chat_id)
        captions = replies.moment_captions(result)
        parts = Parts(self._storage, chat_id, accepted)
        beside: list[int] = []
        if chat_settings.short_first:
            beside.append(await parts.once("short", partial(send_short, message, "\n".join(captions))))
        beside += await parts.once("album", partial(_send_album, bot, message, result))
        key = await parts.once("timeline", partial(self._send_timeline, message, clip, count, result, beside))
        if chat_settings.voice:
            unless = partial(self._answers.is_deleted, chat_id, key)
            speak = partial(self._captioning.read_aloud, message, replies.spoken(captions), unless=unless)
            if (voice := await parts.once("voice", speak)) is not None:
                await self._answers.add_beside(chat_id, key, [voice])
                await self._answers.keep_about(chat_id, [voice], clip)

    async def _send_timeline(
        self, message: Message, clip: Subject, count: int | None, result: ClipResult, beside: list[int]
    ) -> str:
        """The key of the answer."""
        key = new_key()
        await self._answers.keep_clip(message.chat.id, key, clip)
        await self._answers.add_beside(message.chat.id, key, beside)
        await self._answers.keep_about(message.chat.id, beside, clip)
        found = len(result.moments)
        most = found if count is not None and found < count else len(result.frames)  # dark or blurred ones do not count
        buttons = clip_buttons(key, clip.user or 0, found, most)
        await reply_picture(message, result.timeline, "timeline.jpg", replies.clip_summary(result), buttons)
        return key


async def _send_album(bot: Bot, message: Message, result: ClipResult) -> list[int]:
    """The moments, each with its time and caption; the words alone where pictures are refused. The messages' ids."""
    captions = [replies.moment(frame) for frame in result.moments]
    pictures = [BufferedInputFile(jpeg, f"moment-{n}.jpg") for n, jpeg in enumerate(result.pictures, 1)]
    if len(pictures) == 1:
        return [await reply_picture(message, result.pictures[0], "moment-1.jpg", captions[0])]
    try:
        sent = await bot.send_media_group(
            message.chat.id,
            [InputMediaPhoto(media=p, caption=c) for p, c in zip(pictures, captions, strict=True)],
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
        sent = await message.reply_document(BufferedInputFile(text.encode(), "captions.txt"))
    except (TelegramBadRequest, TelegramEntityTooLarge) as error:
        log.warning("a file was refused (%s), the words go alone", impersonal(error.message))
        sent = await message.reply(replies.shortened(text, replies.MAX_TEXT), parse_mode=None)
    return sent.message_id
