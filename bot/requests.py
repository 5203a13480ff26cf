"""One request, from its admission to the delivery of its answer: what photos, samples and clips have in common."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any, Final

from aiogram import Bot
from aiogram.exceptions import AiogramError
from aiogram.types import Message

from bot.admission import ByteBudget, Pace
from bot.config import Settings
from bot.inbox import Accepted
from bot.media import HOSTED_LIMIT, PictureError, check_size, download
from bot.metrics import BotMetrics
from bot.notices import Notices
from bot.storage import Picture
from model.errors import CaptionError, JobCancelled
from model.serving.job_context import working_for
from model.serving.jobs import Job, Outcome
from model.serving.queue import Busy, JobLost, JobProducer

log = logging.getLogger(__name__)

ACTION_INTERVAL: Final = 4.5  # Telegram shows a chat action for 5 s
DOWNLOADS: Final = 32  # at once
MOST_PUTS: Final = 3  # of one job, each after it was lost; then it is tried again later
ROOM: Final = 0.1  # the share of a full queue that must be done before newcomers are likely to get in

Tell = Callable[[float], None]  # how much of the work is done, in [0, 1]


@dataclass(frozen=True)
class Request:
    """What a person wants of a file, and how the result is to reach them."""

    bot: Bot
    message: Message  # that is answered
    file: Picture
    job: Job
    accepted: Accepted
    kind: str  # as the metrics name it
    send: Callable[[Outcome], Awaitable[None]]
    progress: Callable[[], AbstractAsyncContextManager[Tell | None]] = nullcontext  # shown while it is in work
    fetch: Callable[[], Awaitable[bytes]] | None = None  # the media, where they are not those of `file` alone


class Requests:
    """Serves requests. One for the whole bot: it counts what is in work.

    A job stays in the queue, its result too, until `settle` says that its update is done with: an answer that could
    not be delivered is fetched again, not computed again.
    """

    def __init__(
        self,
        settings: Settings,
        queue: JobProducer,
        notices: Notices,
        *,
        pace: Pace | None = None,
        metrics: BotMetrics | None = None,
    ) -> None:
        self._most = settings.max_queue
        self._queue = queue
        self._notices = notices
        self._pace = pace or Pace()
        self._metrics = metrics or BotMetrics()
        self._budget = ByteBudget(settings.max_media_bytes)
        self._downloads = asyncio.Semaphore(DOWNLOADS)
        self._admitted: set[str] = set()  # jobs that this process must forget when they are settled
        self._cancelled: set[str] = set()  # jobs of these that nobody wants any more
        self._typing: dict[tuple[int, int | None], _Typing] = {}  # by chat and topic
        self.sending: set[asyncio.Task[Any]] = set()  # whose answers are on their way to Telegram

    async def settle(self, bot: Bot, update_id: int, *, again: bool) -> None:
        """The update is answered, or never will be: what it had in the queue is forgotten.

        `again`: it may have been put there by an earlier process.
        """
        job = job_id(bot, update_id)
        if job in self._admitted or again:
            await self.forget(job)
            self._cancelled.discard(job)

    async def forget(self, job: str) -> None:
        """Drop a job and its result; it may be asked for anew."""
        await self._queue.forget(job)
        self._admitted.discard(job)

    async def cancel(self, bot: Bot, update_id: int) -> None:
        """Nobody wants the answer to this update any more: `serve` raises JobCancelled, wherever it is."""
        job = job_id(bot, update_id)
        if job in self._admitted:
            self._cancelled.add(job)
        await self._queue.forget(job)

    async def serve(self, request: Request) -> None:
        """Admit, download, put in line, wait, answer.

        A request that was accepted before is not refused now. Raises CaptionError, PictureError, Busy, or JobLost
        when the queue lost the job time and again.
        """
        job, message, accepted = request.job, request.message, request.accepted
        with working_for(job.id):
            await self._admit(job, accepted.again)
            self._admitted.add(job.id)
            async with self._notices.while_waiting(message):
                async with self._typing_shown(request.bot, message), request.progress() as tell:
                    result = await self._work(request, tell)
                self._pace.completed()
                self._now_sending()
                await request.send(result)
                log.info("answered")
        self._metrics.answered(request.kind, None if accepted.again else time.time() - accepted.received)

    async def serve_together(
        self, requests: Sequence[Request], send: Callable[[list[Outcome | Exception]], Awaitable[None]]
    ) -> None:
        """Serve several requests as one: admitted together, in work together, answered by one `send`.

        Their jobs have the same `Job.request`, and the first speaks for all. `send` is given the result of each, or
        why it has none: a CaptionError or a PictureError of one does not spoil the others. Raises what else `serve`
        raises, and JobCancelled when any of them was cancelled.
        """
        first = requests[0]
        with working_for(first.job.id):
            for request in requests:
                await self._admit(request.job, request.accepted.again)
                self._admitted.add(request.job.id)
            async with self._notices.while_waiting(first.message):
                async with self._typing_shown(first.bot, first.message), first.progress() as tell:
                    working = [asyncio.create_task(self._outcome(request, tell)) for request in requests]
                    try:
                        outcomes = await asyncio.gather(*working)
                    finally:
                        for task in working:
                            task.cancel()
                        await asyncio.gather(*working, return_exceptions=True)
                self._pace.completed()
                self._now_sending()
                await send(outcomes)
                log.info("answered")
        self._metrics.answered(first.kind, None if first.accepted.again else time.time() - first.accepted.received)

    async def _outcome(self, request: Request, tell: Tell | None) -> Outcome | Exception:
        with working_for(request.job.id):
            try:
                return await self._work(request, tell)
            except JobCancelled:
                raise
            except (CaptionError, PictureError) as error:
                return error

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

    async def _work(self, request: Request, tell: Tell | None) -> Outcome:
        """The result; the file is downloaded unless the queue has it. Raises what `serve` raises."""
        job, file = request.job, request.file
        for put in range(1, MOST_PUTS + 1):
            with suppress(JobLost):
                if put == 1 and await self._queue.has(job.id):  # from before, perhaps with its result
                    return await self._queue.wait(job.id, tell)
                if request.fetch is None:
                    check_size(request.bot, file.file_size)
                async with self._budget.hold(file.file_size or HOSTED_LIMIT):
                    async with self._downloads:
                        began = time.monotonic()
                        media = await (request.fetch() if request.fetch is not None else download(request.bot, file))
                    self._metrics.downloaded(len(media), time.monotonic() - began)
                    if job.id in self._cancelled:
                        raise JobCancelled("cancelled before it was put in line")
                    await self._queue.put(job, media)
                    del media
                    if job.id in self._cancelled:  # meanwhile, and perhaps before the queue had it
                        raise JobCancelled("cancelled while it was put in line")
                    return await self._queue.wait(job.id, tell)
            if job.id in self._cancelled:
                raise JobCancelled("cancelled")
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


def job_id(bot: Bot, update_id: int) -> str:
    """The same whenever and wherever the update is processed; workers may serve several bots."""
    return f"{bot.id}-{update_id}"


def asker(message: Message) -> int:
    """Who sent it."""
    return message.from_user.id if message.from_user else message.chat.id


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
