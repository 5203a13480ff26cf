"""Captions for a picture in a message: admit, download, put in line, wait, answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, Message

from bot import replies
from bot.admission import ByteBudget, Pace
from bot.arguments import SampleRequest
from bot.config import Settings
from bot.inbox import Accepted
from bot.media import HOSTED_LIMIT, NoPicture, check_size, download, picture_of
from bot.metrics import BotMetrics
from bot.notices import Notices
from bot.storage import Picture, Storage
from model.serving.job_context import working_for
from model.serving.jobs import Job, JobResult, Outcome
from model.serving.queue import Busy, JobLost, JobProducer

log = logging.getLogger(__name__)

ACTION_INTERVAL: Final = 4.5  # Telegram shows a chat action for 5 s
DOWNLOADS: Final = 32  # at once
MOST_PUTS: Final = 3  # of one job, each after it was lost; then it is tried again later
ROOM: Final = 0.1  # the share of a full queue that must be done before newcomers are likely to get in


class Captioning:
    """What handlers ask for captions. One for the whole bot.

    A job stays in the queue, its result too, until `settle` says that its update is done with: an answer that could
    not be delivered is fetched again, not computed again.
    """

    def __init__(
        self,
        settings: Settings,
        queue: JobProducer,
        storage: Storage,
        notices: Notices,
        *,
        pace: Pace | None = None,
        metrics: BotMetrics | None = None,
    ) -> None:
        self._model = settings.model
        self._most = settings.max_queue
        self._queue = queue
        self._storage = storage
        self._notices = notices
        self._pace = pace or Pace()
        self._metrics = metrics or BotMetrics()
        self._budget = ByteBudget(settings.max_media_bytes)
        self._downloads = asyncio.Semaphore(DOWNLOADS)
        self._admitted: set[str] = set()  # jobs that this process must forget when they are settled
        self._typing: dict[tuple[int, int | None], _Typing] = {}  # by chat and topic
        self.sending: set[asyncio.Task[Any]] = set()  # whose answers are on their way to Telegram

    async def describe(self, bot: Bot, message: Message, picture: Picture, accepted: Accepted) -> None:
        """Answer a picture with its captions.

        A request that was accepted before is not refused now. Raises CaptionError, PictureError, Busy, or JobLost
        when the queue lost the job time and again.
        """
        await self._storage.remember_picture(message.chat.id, picture)
        user = _asker(message)
        job = Job(
            id=job_id(bot, accepted.id),
            user=user,
            request=f"{user}:{message.media_group_id}" if message.media_group_id else "",
            model=self._model,
            samples=5,
            sheet=self._model == "attention",
        )
        await self._serve(bot, message, picture, job, accepted, _Answer("photo", _send_answer))

    async def sample(self, bot: Bot, message: Message, request: SampleRequest, accepted: Accepted) -> None:
        """Answer /sample with captions drawn at random, others each time.

        Raises NoPicture when there is none to describe, and what `describe` raises.
        """
        picture = await self._picture_meant(bot, message)
        job = Job(
            id=job_id(bot, accepted.id),
            user=_asker(message),
            model=self._model,
            samples=request.count,
            sampling=request.sampling,
            seed=accepted.id,
            sheet=False,
        )
        await self._serve(bot, message, picture, job, accepted, _Answer("sample", _send_samples))

    async def settle(self, bot: Bot, update_id: int, *, again: bool) -> None:
        """The update is answered, or never will be: what it had in the queue is forgotten.

        `again`: it may have been put there by an earlier process.
        """
        job = job_id(bot, update_id)
        if job in self._admitted or again:
            await self._queue.forget(job)
            self._admitted.discard(job)

    async def _serve(
        self, bot: Bot, message: Message, picture: Picture, job: Job, accepted: Accepted, answer: _Answer
    ) -> None:
        with working_for(job.id):
            await self._admit(job, accepted.again)
            self._admitted.add(job.id)
            async with self._notices.while_waiting(message):
                async with self._typing_shown(bot, message):
                    result = await self._work(bot, picture, job)
                self._pace.completed()
                self._now_sending()
                await answer.send(message, result)
                log.info("answered")
        self._metrics.answered(answer.kind, None if accepted.again else time.time() - accepted.received)

    async def _admit(self, job: Job, again: bool) -> None:
        try:
            await self._queue.admit(job, before=again)
        except Busy as busy:
            if busy.seconds is None:
                requests = max(1, round(ROOM * self._most)) if busy.of_person is None else busy.of_person
                raise Busy(busy.of_person, self._pace.seconds(requests)) from None
            raise

    def _now_sending(self) -> None:
        """From here on the task is not to be cancelled: Telegram may have the answer and the inbox not know it."""
        task = asyncio.current_task()
        assert task is not None
        self.sending.add(task)
        task.add_done_callback(self.sending.discard)

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

    async def _work(self, bot: Bot, picture: Picture, job: Job) -> Outcome:
        """The result; the picture is downloaded unless the queue has it. Raises what `describe` raises."""
        for put in range(1, MOST_PUTS + 1):
            with suppress(JobLost):
                if put == 1 and await self._queue.has(job.id):  # from before, perhaps with its result
                    return await self._queue.wait(job.id)
                check_size(bot, picture.file_size)
                async with self._budget.hold(picture.file_size or HOSTED_LIMIT):
                    async with self._downloads:
                        began = time.monotonic()
                        media = await download(bot, picture)
                    self._metrics.downloaded(len(media), time.monotonic() - began)
                    await self._queue.put(job, media)
                    del media
                    return await self._queue.wait(job.id)
            log.warning("the queue lost the job or its picture")
            if put < MOST_PUTS:
                await self._queue.admit(job, before=True)
        raise JobLost(job.id)

    @asynccontextmanager
    async def _typing_shown(self, bot: Bot, message: Message) -> AsyncIterator[None]:
        """Show "typing" in the chat while the block runs, once for all that is in work there."""
        thread = message.message_thread_id if message.is_topic_message else None
        key = (message.chat.id, thread)
        if key not in self._typing:
            self._typing[key] = _Typing(asyncio.create_task(_show_typing(bot, *key)))
        typing = self._typing[key]
        typing.users += 1
        try:
            yield
        finally:
            typing.users -= 1
            if not typing.users:
                del self._typing[key]
                typing.task.cancel()


@dataclass(frozen=True)
class _Answer:
    """How a result reaches the person; `kind` as the metrics name it."""

    kind: str
    send: Callable[[Message, Outcome], Awaitable[None]]


def job_id(bot: Bot, update_id: int) -> str:
    """The same whenever and wherever the update is processed; workers may serve several bots."""
    return f"{bot.id}-{update_id}"


def _asker(message: Message) -> int:
    return message.from_user.id if message.from_user else message.chat.id


def _is_by(message: Message, bot: Bot) -> bool:
    """Such a picture is a sheet, and what is wanted are captions of the photo."""
    return message.from_user is not None and message.from_user.id == bot.id


async def _send_answer(message: Message, result: Outcome) -> None:
    assert isinstance(result, JobResult)
    if result.sheet is not None:
        try:
            sheet = BufferedInputFile(result.sheet, "captions.jpg")
            await message.reply_photo(sheet, caption=replies.photo_answer(result))
        except (TelegramBadRequest, TelegramEntityTooLarge) as error:  # such as a group where bots may not send photos
            log.warning("a sheet was refused (%s), the words go alone", error.message)
        else:
            return
    await message.reply(replies.photo_answer(result))


async def _send_samples(message: Message, result: Outcome) -> None:
    assert isinstance(result, JobResult)
    await message.reply(replies.sample_answer(result))


@dataclass
class _Typing:
    """The chat action of one chat, shown while anything of it is in work."""

    task: asyncio.Task[None]
    users: int = 0


async def _show_typing(bot: Bot, chat_id: int, thread: int | None) -> None:
    """Unlike aiogram's ChatActionSender this neither fails nor delays the answer."""
    while True:
        with suppress(AiogramError):
            await bot.send_chat_action(chat_id, "typing", message_thread_id=thread)
        await asyncio.sleep(ACTION_INTERVAL)
