"""One request, from its admission to the delivery of its answer: what photos, samples and clips have in common."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from bot.config import Settings
from bot.errors import PictureError
from bot.metrics import BotMetrics
from bot.service.in_progress import Group, InWork, Work, interruptible
from bot.service.limits import Pace, Slots, Throttle
from bot.service.turns import Turns
from bot.storage.inbox import Accepted
from model.errors import AnimatedPicture, CaptionError, JobCancelled
from model.serving.client import Client
from model.serving.job_context import working_for
from model.serving.jobs import Job, Outcome
from model.serving.limits import ByteBudget
from model.serving.queue import Busy, JobProducer

T = TypeVar("T")
Send = Callable[[Outcome], Awaitable[None]]
Fetch = Callable[[Callable[[], None]], Awaitable[bytes]]  # the media; called with what to call at each sign of life

log = logging.getLogger(__name__)

DOWNLOADS: Final = 32  # at once, of which something arrives
OPEN_DOWNLOADS: Final = 256  # with those that stall
QUIET: Final = 8  # jobs of this process; up to so many, a file is looked for while its job is being admitted
UNHEARD: Final = 0.5  # seconds of waiting after which it is asked whether an answer is still wanted
IN_TURN: Final = ("photo", "album")  # kinds of requests whose answers keep the order of one person's messages
ROOM: Final = 0.1  # the share of a full queue that must be done before newcomers are likely to get in


@dataclass(eq=False, kw_only=True)
class Request(Work):
    """What a person wants of a file."""

    kind: str  # as the metrics name it
    size: int  # bytes of the media, for which room in memory is kept
    fetch: Fetch
    update: int  # that brought it
    downloaded: bool = True  # the media are fetched from Telegram
    begin: Callable[[], None] = lambda: None  # prepares `fetch`, if it is called


class Delivery(Protocol):
    """How the service reaches people. One for the whole bot."""

    def busy_shown(self, group: Group) -> AbstractAsyncContextManager[None]:
        """While the block runs, the person sees that the bot works for them, and until the group is over, how far."""

    def hooked(self, hook: FirstSend) -> AbstractContextManager[None]:
        """Messages that are sent within the block go through the hook."""


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
        delivery: Delivery,
        throttle: Throttle,
        turns: Turns | None = None,
        *,
        metrics: BotMetrics | None = None,
    ) -> None:
        self._most = settings.max_queue
        self._queue = queue
        self._client = Client(queue)
        self._in_work = in_work
        self._delivery = delivery
        self._throttle = throttle
        self._turns = turns or Turns()
        self._pace = Pace()
        self._metrics = metrics or BotMetrics()
        self._budget = ByteBudget(settings.max_media_bytes)
        self._downloads = Slots(DOWNLOADS, OPEN_DOWNLOADS)
        self._admitted: set[str] = set()  # jobs that this process must forget when they are settled
        self._being_admitted = 0
        self.sending: set[asyncio.Task[Any]] = set()  # whose answers are on their way

    async def settle(self, job: str, *, again: bool) -> None:
        """The update is answered, or never will be: what it had in the queue is forgotten.

        `again`: it may have been put there by an earlier process.
        """
        if job in self._admitted or again:
            await self.forget(job)

    async def forget(self, job: str) -> None:
        """Drop a job and its result; it may be asked for anew."""
        await self._queue.forget(job)
        self._admitted.discard(job)

    async def serve(self, request: Request, send: Send) -> None:
        """Admit, download, put in line, wait, answer by `send`.

        A request that was accepted before is not refused now. Raises CaptionError (JobCancelled when the person wants
        the answer no more), PictureError, TooFast, Busy, or JobLost when the queue lost the job time and again.
        """

        async def send_one(results: list[Outcome]) -> None:
            await send(results[0])

        await self._serve([request], self._result, send_one)

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
        do: Callable[[Request], Awaitable[T]],
        send: Callable[[list[T]], Awaitable[None]],
    ) -> None:
        first = requests[0]
        with working_for(first.job.id), ExitStack() as entered:
            if first.kind not in IN_TURN:
                self.let_pass(first.accepted)
            groups = [entered.enter_context(self._in_work.enter(request)) for request in requests]
            if not (first.accepted.again or first.accepted.waited):
                self._throttle.check(first.job.user, first.job.request or first.job.id)
            await self._admit_all(requests)
            async with self._delivery.busy_shown(groups[0]):
                try:
                    results = await _all_of(map(do, requests))
                except (JobCancelled, AnimatedPicture):  # nothing is said of it, or only later, as of a clip
                    raise
                except (CaptionError, PictureError):
                    await self._turn(requests)
                    raise
                self._pace.completed()
                await self._turn(requests)
            with self._delivery.hooked(FirstSend(requests, self.sending, self._queue)):
                await send(results)
            log.info("answered")
        self._metrics.answered(first.kind, None if first.accepted.again else time.time() - first.accepted.received)

    def let_pass(self, accepted: Accepted) -> None:
        """The answer to this update may come out of turn: nothing waits for it."""
        self._turns.leave(accepted.id)

    async def _turn(self, requests: Sequence[Request]) -> None:
        """Wait until what the person asked before is answered. Raises JobCancelled."""
        async with interruptible(*requests):
            await self._turns.wait([request.update for request in requests])

    async def _outcome(self, request: Request) -> Outcome | Exception:
        """The result, or why there is none. Raises JobCancelled and what is no fault of this one request."""
        with working_for(request.job.id):
            try:
                return await self._result(request)
            except JobCancelled:
                raise
            except (CaptionError, PictureError) as error:
                return error

    async def _admit_all(self, requests: Sequence[Request]) -> None:
        quiet = len(self._admitted) + self._being_admitted + len(requests) <= QUIET
        self._being_admitted += len(requests)
        try:
            for request in requests:
                if quiet and request.job.task.needs_media and not request.accepted.again:
                    request.begin()
            for request in requests:
                await self._admit(request.job, request.accepted.again)
                self._admitted.add(request.job.id)
        finally:
            self._being_admitted -= len(requests)

    async def _admit(self, job: Job, again: bool) -> None:
        try:
            await self._queue.admit(job, before=again)
        except Busy as busy:
            if busy.seconds is None:
                requests = max(1, round(ROOM * self._most)) if busy.of_person is None else busy.of_person
                raise Busy(busy.of_person, self._pace.seconds(requests)) from None
            raise

    async def _result(self, request: Request) -> Outcome:
        """Raises what `serve` raises."""
        return await self._client.run(
            request.job,
            partial(self._fetch, request),
            admitted=True,
            again=request.accepted.again,
            progress=request.tell,
            interruptible=partial(interruptible, request),
            check=request.check,
        )

    async def _fetch(self, request: Request, held: AsyncExitStack) -> bytes:
        """The media, downloaded; room for them in memory is kept as long as `held` is open."""
        async with interruptible(request):
            await held.enter_async_context(self._budget.hold(request.size))
            if not request.downloaded:
                return await request.fetch(lambda: None)
            async with self._downloads.one() as heard:
                began = time.monotonic()
                media = await request.fetch(heard)
        self._metrics.downloaded(len(media), time.monotonic() - began)
        return media


class FirstSend:
    """Hook before an answer's first send: until then the answer can be cancelled.

    After the first send starts, neither /cancel nor shutdown aborts the answer: the person may have it already, and
    the inbox not know it.
    """

    def __init__(self, works: Sequence[Work], sending: set[asyncio.Task[Any]], queue: JobProducer) -> None:
        """`sending`: the tasks whose answers are on their way."""
        self._works = works
        self._sending = sending
        self._queue = queue
        self._out = False

    async def turn(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Wait for the turn of a message. Raises JobCancelled, RedisRefused."""
        if self._works[0].sending:
            return await wait()
        began = time.monotonic()
        async with interruptible(*self._works):
            await wait()
        if time.monotonic() - began > UNHEARD:
            for work in self._works:
                if await self._queue.is_cancelled(work.job.id):
                    raise JobCancelled("cancelled at another process")
        for work in self._works:
            work.now_sending()
        task = asyncio.current_task()
        assert task is not None
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)

    def taken_back(self) -> None:
        """Nothing was taken of the message that has just had its turn; it will have another."""
        if not self._out:
            for work in self._works:
                work.sending = False
            if (task := asyncio.current_task()) is not None:
                self._sending.discard(task)

    def out(self) -> None:
        """A message is out."""
        self._out = True


async def _all_of(works: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them come to, done at the same time; when one fails, the others are ended."""
    first, *others = works
    if not others:
        return [await first]
    tasks = [asyncio.ensure_future(work) for work in (first, *others)]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
