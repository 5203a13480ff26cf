"""Captions for a picture in a message: accept, download, put in line, wait, answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, Message

from bot import replies
from bot.admission import Admission, ByteBudget
from bot.arguments import SampleRequest
from bot.config import Settings
from bot.media import HOSTED_LIMIT, NoPicture, Picture, check_size, download, picture_of
from bot.storage import Storage
from model.serving.jobs import Job, JobResult
from model.serving.queue import JobProducer

log = logging.getLogger(__name__)

ACTION_INTERVAL: Final = 4.5  # Telegram shows a chat action for 5 s
CLEANUP: Final = 5.0
NOTICE_AFTER: Final = 10.0  # longer than a worker takes to start
DOWNLOADS: Final = 32  # at once


class Captioning:
    """What handlers ask for captions. One for the whole bot: it counts what is in work."""

    def __init__(
        self,
        settings: Settings,
        queue: JobProducer,
        storage: Storage,
        *,
        notice_after: float = NOTICE_AFTER,
    ) -> None:
        """With no worker alive for `notice_after` seconds, a person is told that the picture waits."""
        self._model = settings.model
        self._queue = queue
        self._storage = storage
        self._admission = Admission(settings.max_queue, settings.max_per_user)
        self._budget = ByteBudget(settings.max_media_bytes)
        self._downloads = asyncio.Semaphore(DOWNLOADS)
        self._notice_after = notice_after
        self._noticed: set[int] = set()  # chats with a notice on display
        self._typing: dict[tuple[int, int | None], _Typing] = {}  # by chat and topic
        self._notices: set[asyncio.Task[None]] = set()
        self.sending: set[asyncio.Task[Any]] = set()  # whose answers are on their way to Telegram

    async def describe(self, bot: Bot, message: Message, picture: Picture, update_id: int, *, again: bool) -> None:
        """Answer a picture with its captions.

        `again`: the request was accepted before, and is not refused now. Raises CaptionError, PictureError or Busy.
        """
        await self._storage.remember_picture(message.chat.id, picture)
        job = Job(
            id=str(update_id),
            user=_asker(message),
            model=self._model,
            samples=5,
            sheet=self._model == "attention",
        )
        with self._admission.admit(job.user, message.media_group_id or job.id, before=again):
            async with self._notice(message):
                result = await self._work(bot, message, picture, job)
                self._now_sending()
                await _send_answer(message, result)

    async def sample(self, bot: Bot, message: Message, request: SampleRequest, update_id: int, *, again: bool) -> None:
        """Answer /sample with captions drawn at random, others each time.

        Raises NoPicture when there is none to describe, and what `describe` raises.
        """
        picture = await self._picture_meant(bot, message)
        job = Job(
            id=str(update_id),
            user=_asker(message),
            model=self._model,
            samples=request.count,
            sampling=request.sampling,
            seed=update_id,
            sheet=False,
        )
        with self._admission.admit(job.user, job.id, before=again):
            async with self._notice(message):
                result = await self._work(bot, message, picture, job)
                self._now_sending()
                await message.reply(replies.sample_answer(result))

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

    async def _work(self, bot: Bot, message: Message, picture: Picture, job: Job) -> JobResult:
        check_size(bot, picture.file_size)
        async with self._typing_shown(bot, message), self._budget.hold(picture.file_size or HOSTED_LIMIT):
            async with self._downloads:
                media = await download(bot, picture)
            await self._queue.put(job, media)
            del media
            return await self._queue.wait(job.id)

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

    @asynccontextmanager
    async def _notice(self, message: Message) -> AsyncIterator[None]:
        """While the block runs and no worker is alive, a message says so; it is gone when the block ends."""
        over = asyncio.Event()
        watch = asyncio.create_task(self._watch(message, over))
        self._notices.add(watch)  # it goes on beside: the answer is out, and must be struck off without delay
        watch.add_done_callback(self._notices.discard)
        try:
            yield
        finally:
            over.set()

    async def _watch(self, message: Message, over: asyncio.Event) -> None:
        try:
            await self._show_notice(message, over)
        except AiogramError as error:
            log.warning("a notice could not be shown or removed (%s)", type(error).__name__)

    async def close(self) -> None:
        """Wait a little for notices to be removed."""
        if self._notices:
            await asyncio.wait(self._notices, timeout=CLEANUP)
        for task in self._notices:
            task.cancel()

    async def _show_notice(self, message: Message, over: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        alive = loop.time()
        while not over.is_set():
            if self._queue.workers_alive() or message.chat.id in self._noticed:
                alive = loop.time()
            elif loop.time() - alive > self._notice_after:
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self._notice_after / 5)
        if over.is_set():
            return
        self._noticed.add(message.chat.id)
        try:
            notice = await message.reply(replies.waiting(), disable_notification=True)
            await over.wait()
            await notice.delete()
        finally:
            self._noticed.discard(message.chat.id)


def _asker(message: Message) -> int:
    return message.from_user.id if message.from_user else message.chat.id


def _is_by(message: Message, bot: Bot) -> bool:
    """Such a picture is a sheet, and what is wanted are captions of the photo."""
    return message.from_user is not None and message.from_user.id == bot.id


async def _send_answer(message: Message, result: JobResult) -> None:
    if result.sheet is not None:
        try:
            sheet = BufferedInputFile(result.sheet, "captions.jpg")
            await message.reply_photo(sheet, caption=replies.photo_answer(result))
        except (TelegramBadRequest, TelegramEntityTooLarge) as error:  # such as a group where bots may not send photos
            log.warning("a sheet was refused (%s), the words go alone", error.message)
        else:
            return
    await message.reply(replies.photo_answer(result))


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
