"""From a request's body to the result of its job, and out again when the client hangs up."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from cachetools import TTLCache
from starlette.requests import Request

from model.errors import CaptionError, JobCancelled
from model.serving.client import Client
from model.serving.jobs import Job, Outcome
from model.serving.limits import ByteBudget
from model.serving.queue import JobLost, JobProducer
from model.serving.tasks.base import Task
from web.errors import ApiError, ClientGone
from web.limits import Open, client_of, user_of
from web.metrics import WebMetrics
from web.settings import WebSettings
from web.uploads import Upload, UploadLimits, read_upload

log = logging.getLogger(__name__)

T = TypeVar("T")

ROOM_SECONDS: Final = 20.0  # for which a request waits for room in memory, before its body is read
ADMIT_SECONDS: Final = 5.0  # a queue that does not answer within is away
KEPT_SECONDS: Final = 3600.0  # pictures that were drawn
LAST_WORDS: Final = 3.0  # seconds for what the queue is told when this process ends


@dataclass(frozen=True)
class Drawn:
    """A picture that was drawn, and lies at an address for an hour."""

    data: bytes
    media_type: str


class Pictures:
    """Those that were drawn: for an hour, the oldest dropped first when there are too many."""

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._kept: TTLCache[str, Drawn] = TTLCache(
            most_bytes, KEPT_SECONDS, clock, getsizeof=lambda drawn: len(drawn.data)
        )

    def keep(self, data: bytes | None, media_type: str = "image/jpeg") -> str | None:
        """Its address; None where there is no picture, or one too large to keep."""
        if data is None or len(data) > self._kept.maxsize:
            return None
        name = secrets.token_urlsafe(16)
        self._kept[name] = Drawn(data, media_type)
        return f"/v1/pictures/{name}"

    def get(self, name: str) -> Drawn:
        """Raises ApiError."""
        if (drawn := self._kept.get(name)) is None:
            raise ApiError("not_found")
        return drawn


class Work:
    """Runs jobs for requests. `reachable`: whether the queue can be used now, as far as is known."""

    def __init__(
        self,
        settings: WebSettings,
        queue: JobProducer,
        metrics: WebMetrics,
        reachable: Callable[[], bool] = lambda: True,
    ) -> None:
        self.settings = settings
        self.queue = queue
        self.metrics = metrics
        self.reachable = reachable
        self.pictures = Pictures(settings.kept_bytes)
        self._client = Client(queue)
        self._budget = ByteBudget(settings.memory)
        self._open = Open(settings.limits)
        self._telling: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def upload(self, request: Request, *, files: int = 1, clip: bool = False) -> AsyncIterator[Upload]:
        """What a request's body holds, with room in memory for it while the block runs.

        Raises ApiError, and ClientGone.
        """
        settings = self.settings
        file_bytes = settings.clip_bytes if clip else settings.photo_bytes
        limits = UploadLimits(
            file_bytes=file_bytes,
            files=files,
            total_bytes=min(files * file_bytes, max(file_bytes, settings.memory // 4)),
            chunk_seconds=settings.chunk_seconds,
            body_seconds=settings.body_seconds,
        )
        async with AsyncExitStack() as held:
            held.enter_context(self.one(request))
            try:
                async with asyncio.timeout(ROOM_SECONDS):
                    await held.enter_async_context(self._budget.hold(limits.most(request)))
            except TimeoutError:
                raise ApiError("busy") from None
            upload = await read_upload(request, limits)
            self.metrics.received(upload.size)
            yield upload

    @contextmanager
    def one(self, request: Request) -> Iterator[None]:
        """Count a request that a worker is needed for, while the block runs. Raises ApiError."""
        if not self.reachable():
            raise ApiError("unavailable")
        with self._open.one(client(request)):
            yield

    async def admit(
        self, request: Request, task: Task, seconds: float, *, group: str = "", place: str = "", before: bool = False
    ) -> Job:
        """A place in the queue for a new job, for which a client waits so long. Raises ApiError, and Busy.

        before: it goes on with what was admitted before, and no limit refuses it.
        """
        job = Job(f"web-{secrets.token_hex(16)}", user_of(client(request)), task, group, place, seconds)
        admitting = asyncio.ensure_future(self.queue.admit(job, before=before))
        try:
            async with asyncio.timeout(ADMIT_SECONDS):
                await asyncio.shield(admitting)
        except (TimeoutError, asyncio.CancelledError) as error:
            self._tell(self._give_back(admitting, job))
            if isinstance(error, TimeoutError):
                raise ApiError("unavailable") from None
            raise
        return job

    async def _give_back(self, admitting: asyncio.Future[None], job: Job) -> None:
        """Forget a job that may still be on its way into the queue."""
        await asyncio.gather(admitting, return_exceptions=True)
        await self.queue.forget(job.id)

    async def run(self, job: Job, media: bytes | None, progress: Callable[[float], None] | None = None) -> Outcome:
        """The result of an admitted job. Cancelled, it cancels the job. `media`: None where workers must know them.

        Raises ApiError, CaptionError, and JobLost.
        """

        async def fetch(_: AsyncExitStack) -> bytes:
            if media is None:
                raise ApiError("picture_gone")
            return media

        over = False
        try:
            async with asyncio.timeout(job.lasts):
                outcome = await self._client.run(job, fetch, admitted=True, progress=progress)
            over = True
            return outcome
        except (CaptionError, JobLost, ApiError):
            over = True
            raise
        except TimeoutError:
            self.metrics.cancelled("timeout")
            raise ApiError("timeout" if self.reachable() else "unavailable") from None
        finally:
            self._tell(self.queue.forget(job.id) if over else self.queue.cancel(job.id))

    async def answer(
        self,
        request: Request,
        task: Task,
        media: bytes | None,
        *,
        group: str = "",
        place: str = "",
        before: bool = False,
    ) -> Outcome:
        """Admit and run a job. Raises what both do."""
        seconds = self.settings.answer_seconds
        job = await self.admit(request, task, seconds, group=group, place=place, before=before)
        return await self.run(job, media)

    async def unless_gone(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns; cancelled when the client hangs up. The body must have been read.

        Raises ClientGone, and what `work` does.
        """
        working = asyncio.ensure_future(work)
        gone = asyncio.ensure_future(_hung_up(request))
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            self.metrics.cancelled("gone")
            raise ClientGone
        finally:
            for task in (working, gone):
                task.cancel()
            await asyncio.gather(working, gone, return_exceptions=True)

    async def close(self) -> None:
        """Let the queue hear what it is still to be told."""
        if self._telling:
            await asyncio.wait(self._telling, timeout=LAST_WORDS)
        for task in self._telling:
            task.cancel()

    def _tell(self, telling: Coroutine[Any, Any, None]) -> None:
        """Tell the queue something that no answer waits for."""
        task = asyncio.ensure_future(telling)
        self._telling.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: asyncio.Task[None]) -> None:
        self._telling.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the queue could not be told that a job is over", exc_info=error)


def client(request: Request) -> str:
    return client_of(request.client.host if request.client else None)


def was_cancelled(error: BaseException) -> bool:
    return isinstance(error, JobCancelled | asyncio.CancelledError)


async def _hung_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
