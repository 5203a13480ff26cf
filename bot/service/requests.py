"""One request, from its admission to the delivery of its answer: what photos, samples and clips have in common."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from aiogram import Bot
from aiogram.exceptions import AiogramError
from aiogram.types import Message

from bot.answers.status import Waiting
from bot.config import Settings
from bot.errors import PictureError
from bot.metrics import BotMetrics
from bot.service.in_progress import InWork, Work, interruptible
from bot.service.limits import Pace, Throttle
from bot.service.throttle import waited
from bot.storage.chats import Picture
from bot.storage.inbox import Accepted
from bot.telegram.media import HOSTED_LIMIT, check_size, download
from bot.telegram.turns import Turn, turns_told_to
from model.errors import CaptionError, JobCancelled
from model.serving.client import Client
from model.serving.job_context import working_for
from model.serving.jobs import Job, Outcome
from model.serving.limits import ByteBudget
from model.serving.queue import Busy, JobProducer

T = TypeVar("T")

log = logging.getLogger(__name__)

ACTION_INTERVAL: Final = 4.5  # Telegram shows a chat action for 5 s
DOWNLOADS: Final = 32  # at once
UNHEARD: Final = 0.5  # seconds of waiting after which it is asked whether an answer is still wanted
ROOM: Final = 0.1  # the share of a full queue that must be done before newcomers are likely to get in


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
        in_work: InWork,
        waiting: Waiting,
        throttle: Throttle,
        *,
        pace: Pace | None = None,
        metrics: BotMetrics | None = None,
    ) -> None:
        self._most = settings.max_queue
        self._queue = queue
        self._client = Client(queue)
        self._in_work = in_work
        self._waiting = waiting
        self._throttle = throttle
        self._pace = pace or Pace()
        self._metrics = metrics or BotMetrics()
        self._budget = ByteBudget(settings.max_media_bytes)
        self._downloads = asyncio.Semaphore(DOWNLOADS)
        self._admitted: set[str] = set()  # jobs that this process must forget when they are settled
        self._typing: dict[tuple[int, int | None], _Typing] = {}  # by chat and topic
        self._began = time.time()
        self.sending: set[asyncio.Task[Any]] = set()  # whose answers are on their way to Telegram

    async def settle(self, bot: Bot, update_id: int, *, again: bool) -> None:
        """The update is answered, or never will be: what it had in the queue is forgotten.

        `again`: it may have been put there by an earlier process.
        """
        job = job_id(bot, update_id)
        if job in self._admitted or again:
            await self.forget(job)

    async def forget(self, job: str) -> None:
        """Drop a job and its result; it may be asked for anew."""
        await self._queue.forget(job)
        self._admitted.discard(job)

    async def serve(self, request: Request) -> None:
        """Admit, download, put in line, wait, answer.

        A request that was accepted before is not refused now. Raises CaptionError (JobCancelled when the person wants
        the answer no more), PictureError, TooFast, Busy, or JobLost when the queue lost the job time and again.
        """

        async def send(results: list[Outcome]) -> None:
            await request.send(results[0])

        if request.fetch is None:
            check_size(request.bot, request.file.file_size)
        await self._serve([request], self._work, send)

    async def serve_together(
        self, requests: Sequence[Request], send: Callable[[list[Outcome | Exception]], Awaitable[None]]
    ) -> None:
        """Serve several requests of one person as one: admitted together, in work together, answered by one `send`.

        Their jobs have the same `Job.request`, and the first speaks for all. `send` is given the result of each, or
        why it has none: a CaptionError or a PictureError of one does not spoil the others. Raises what else `serve`
        raises, and JobCancelled when they were cancelled.
        """
        await self._serve(requests, self._outcome, send)

    async def _serve(
        self,
        requests: Sequence[Request],
        do: Callable[[Request, Work], Awaitable[T]],
        send: Callable[[list[T]], Awaitable[None]],
    ) -> None:
        first = requests[0]
        works = [Work(request.job, request.message, request.accepted) for request in requests]
        with working_for(first.job.id), ExitStack() as entered:
            groups = [entered.enter_context(self._in_work.enter(work)) for work in works]
            if not waited(first.accepted, first.message, first.job.user, self._began):
                self._throttle.check(first.job.user, first.job.request or first.job.id)
            for request in requests:
                await self._admit(request.job, request.accepted.again)
                self._admitted.add(request.job.id)
            self._waiting.watch(first.bot, groups[0])
            async with self._typing_shown(first.bot, first.message):
                results = await _all_of(do(request, work) for request, work in zip(requests, works, strict=True))
            self._pace.completed()
            with turns_told_to(_Sending(works, self.sending, self._queue)):
                await send(results)
            log.info("answered")
        self._metrics.answered(first.kind, None if first.accepted.again else time.time() - first.accepted.received)

    async def _outcome(self, request: Request, work: Work) -> Outcome | Exception:
        """The result, or why there is none. Raises JobCancelled and what is no fault of this one request."""
        with working_for(request.job.id):
            try:
                return await self._work(request, work)
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

    async def _work(self, request: Request, work: Work) -> Outcome:
        """The result. Raises what `serve` raises."""
        return await self._client.run(
            request.job,
            partial(self._fetch, request, work),
            admitted=True,
            again=request.accepted.again,
            progress=work.tell,
            interruptible=partial(interruptible, work),
            check=work.check,
        )

    async def _fetch(self, request: Request, work: Work, held: AsyncExitStack) -> bytes:
        """The file, downloaded; room for it in memory is kept as long as `held` is open."""
        file = request.file
        if request.fetch is None:
            check_size(request.bot, file.file_size)
        async with interruptible(work):
            await held.enter_async_context(self._budget.hold(file.file_size or HOSTED_LIMIT))
            async with self._downloads:
                began = time.monotonic()
                media = await (download(request.bot, file) if request.fetch is None else request.fetch())
        self._metrics.downloaded(len(media), time.monotonic() - began)
        return media

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


class _Sending:
    """The messages of one answer; the first one waits for its turn only as long as the answer is wanted.

    Once it is on its way neither the person nor a stop of the bot calls the answer off: Telegram may have it and the
    inbox not know it.
    """

    def __init__(self, works: Sequence[Work], sending: set[asyncio.Task[Any]], queue: JobProducer) -> None:
        """`sending`: the tasks whose answers are on their way."""
        self._works = works
        self._sending = sending
        self._queue = queue
        self._out = False

    async def take(self, turn: Turn) -> None:
        """Raises JobCancelled, RedisRefused."""
        if self._works[0].sending:
            return await turn()
        began = time.monotonic()
        async with interruptible(*self._works):
            await turn()
        if time.monotonic() - began > UNHEARD:
            await self._check_elsewhere()
        for work in self._works:
            work.now_sending()
        task = asyncio.current_task()
        assert task is not None
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    async def _check_elsewhere(self) -> None:
        """Another process of this bot may have been told to cancel it."""
        for work in self._works:
            if await self._queue.is_cancelled(work.job.id):
                raise JobCancelled("cancelled at another process")

    def refused(self) -> None:
        if not self._out:
            for work in self._works:
                work.sending = False
            if (task := asyncio.current_task()) is not None:
                self._sending.discard(task)

    def went(self) -> None:
        self._out = True


async def _all_of(works: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them come to, done at the same time; when one fails, the others are ended."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def job_id(bot: Bot, update_id: int) -> str:
    """The same whenever and wherever the update is processed; workers may serve several bots."""
    return f"{bot.id}-{update_id}"


def place(bot: Bot, chat_id: int) -> str:
    """As `Job.place` names a chat."""
    return f"{bot.id}:{chat_id}"


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
