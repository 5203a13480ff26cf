"""The worker: takes whatever waits, captions it in one batch, draws the sheets beside the next batch.

    take → decode pictures (threads) → ready → network (one thread) → draw and hand in (threads)

While the network runs one batch, the next is being decoded and the last one's sheets are being drawn. There is no
timed window: a lone picture goes through at once. Each line of the queue has an intake and room of its own, so that
what fills one lane does not keep the other's pictures from the next batch. A clip's frames take turns with pictures.
"""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from model.clip_moments import DescribedFrame, PreparedFrame
from model.errors import AnimatedPicture, CaptionError, FeaturesGone, JobFailed
from model.media.clips import ClipLimits
from model.media.formats import is_clip
from model.media.images import open_image, to_square
from model.serving.health import Deadline
from model.serving.job_context import working_for
from model.serving.jobs import JobFailure, Outcome
from model.serving.metrics import WorkerMetrics
from model.serving.queue import JobConsumer, Lease
from model.serving.tasks.album import compose_album, prepare_album
from model.serving.tasks.clip import describe_clip, frame_batches
from model.serving.tasks.photo import compose, compose_clip
from model.serving.worker.cache import Kept
from model.serving.worker.network import Findings, Network, Picture
from model.serving.worker.threads import WatchedThreads

log = logging.getLogger(__name__)

T = TypeVar("T")

PHOTO_LINES: Final = ("photo", "photo-bulk")
CLIP_LINES: Final = ("clip", "clip-bulk")
JOB_SECONDS: Final = 120.0  # a picture that takes longer hangs
CLIP_SECONDS: Final = 900.0  # so does a clip
HEARTBEAT: Final = 2.0  # seconds; also how soon a cancelled job is dropped, and a chat's media are forgotten


class WorkerHung(Exception):
    """The network, or a thread with one file, takes longer than any of them does. It cannot be stopped: exit."""


@dataclass(eq=False)
class _Held:
    """A job in this worker's hands, from its delivery to its end."""

    lease: Lease
    line: str
    put: float  # when it was put in line
    overdue: float  # when it is left to other workers
    picture: Picture | None = None  # once it is ready for the network
    begun: bool = False  # the network has had it
    watching: asyncio.Task[None] | None = None  # of a clip, or of an album


@dataclass(eq=False)
class _Waiting:
    """Frames of a clip, or pictures of an album, that wait for the network."""

    work: Callable[[], Any]
    size: int
    done: asyncio.Future[Any]


def choose(quick: Sequence[T], bulk: Sequence[T], most: int, turn: int) -> list[T]:
    """The next batch, of at most `most`. The quick lane goes first, but a quarter is the bulk lane's.

    `turn`: the number of the batch; where batches are too small to be shared, every fourth is the bulk lane's.
    """
    quarter = most // 4 if most >= 4 else most * (turn % 4 == 3)
    chosen = bulk[: max(quarter, most - len(quick))]
    return [*quick[: most - len(chosen)], *chosen]


class Worker:
    """Serves one queue until `stop` is set; then finishes what the network holds and hands back the rest."""

    def __init__(
        self,
        consumer: JobConsumer,
        network: Network,
        *,
        max_batch: int = 16,
        threads: int = 4,
        job_seconds: float = JOB_SECONDS,
        clip_seconds: float = CLIP_SECONDS,
        clip_limits: ClipLimits | None = None,
        metrics: WorkerMetrics | None = None,
        forward: Deadline | None = None,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        """A picture held for longer than `job_seconds`, or a clip for longer than `clip_seconds`, is left to others.

        `forward` runs while the network does; `heard` is called whenever the queue has answered.
        """
        self.consumer = consumer
        self.network = network
        self.max_batch = max_batch
        self.job_seconds = job_seconds
        self.clip_seconds = clip_seconds
        self.clip_limits = clip_limits or ClipLimits()
        self.metrics = metrics or WorkerMetrics()
        self.forward = forward or Deadline("in one run of the network", job_seconds)
        self._heard = heard
        self._pool = WatchedThreads(threads, "pixels")
        self._device = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._held: dict[str, _Held] = {}
        self._changed = asyncio.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._kept = Kept()
        self._tasks: set[asyncio.Task[None]] = set()  # decoding, and drawing and handing in
        self._answering = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Raises WorkerHung, and whatever the queue raises."""
        tasks: set[asyncio.Task[Any]] = {
            *(asyncio.create_task(self._intake_pictures(line)) for line in PHOTO_LINES),
            *(asyncio.create_task(self._intake_clips(line)) for line in CLIP_LINES),
            *map(asyncio.create_task, (self._run_network(), self._keep_leases(), self._watch_threads())),
            asyncio.create_task(stop.wait()),
        }
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended_by = next((error for task in done if (error := task.exception()) is not None), None)
        if isinstance(ended_by, WorkerHung):
            raise ended_by
        watching = [held.watching for held in self._held.values() if held.watching is not None]
        for task in [*tasks, *watching]:
            task.cancel()
        await asyncio.gather(*tasks, *watching, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks)
        begun = [each for each in self._held.values() if each.begun or each.watching is not None]
        if ended_by is not None:  # perhaps by one of these: handed back, it would not count as tried
            self._held = {job: held for job, held in self._held.items() if held not in begun}
        await self.consumer.give_back(list(self._held))
        self._device.shutdown()
        self._pool.shutdown()
        if ended_by is not None:
            raise ended_by

    # -- from the queue to the network

    async def _intake_pictures(self, line: str) -> None:
        """Keep at most one batch of a line's pictures decoded or being decoded, each ready as soon as it is."""

        def room() -> int:
            return self.max_batch - sum(held.line == line and not held.begun for held in self._held.values())

        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: room() > 0)
            for lease in await self.consumer.take(line, room()):
                self._begin(lease, line)

    async def _intake_clips(self, line: str) -> None:
        """Watch one clip of a line at a time."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: not any(held.line == line for held in self._held.values()))
            for lease in await self.consumer.take(line, 1):
                self._begin(lease, line)

    def _begin(self, lease: Lease, line: str) -> None:
        job = lease.job
        is_clip = job.kind == "clip"
        self.metrics.job_taken(line, lease.waited, lease.attempt)
        if line not in (CLIP_LINES if is_clip else PHOTO_LINES):  # delivered again, to whoever asked first
            line = job.kind
        now = time.monotonic()
        overdue = now + (self.clip_seconds if is_clip else self.job_seconds)
        held = self._held[job.id] = _Held(lease, line, now - lease.waited, overdue)
        with working_for(job.id):  # tasks keep it
            if is_clip:
                held.watching = asyncio.create_task(self._watch_clip(held))
            elif job.album:
                held.watching = asyncio.create_task(self._draw_album(held))
            else:
                self._spawn(self._prepare(held))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _prepare(self, held: _Held) -> None:
        """Decode one picture where that is needed, or hand in why it cannot be decoded."""
        lease, size = held.lease, self.network.image_size
        job = lease.job
        features = self._kept.features(job)
        if job.picture:
            self.metrics.features(kept=features is not None)

        def decode() -> Picture:
            if is_clip(lease.media):
                raise AnimatedPicture("it moves, and is to be asked for as a clip")
            photo = open_image(lease.media)
            return Picture(lease, photo, to_square(photo, size) if features is None else None, features)

        try:
            if features is None and job.known and not lease.media:
                raise FeaturesGone("no features of this picture are kept here")
            if features is not None and not (job.sheet and lease.media):
                held.picture = Picture(lease, None, None, features)
            else:
                began = time.monotonic()
                held.picture = await self._in_thread(self._pool, decode)
                self.metrics.decoded("photo", time.monotonic() - began)
        except Exception as error:
            await self._fail(held, error)
        async with self._changed:
            self._changed.notify_all()

    async def _run_network(self) -> None:
        """Batches of pictures and of frames, in turn where both wait."""
        pictures_next = True
        for turn in itertools.count():
            async with self._changed:
                await self._changed.wait_for(lambda: self._waiting or self._pictures_wait())
                pictures_next = self._pictures_wait() and (pictures_next or not self._waiting)
                batch = self._next_pictures(turn) if pictures_next else []
                waiting = None if pictures_next else self._waiting.popleft()
                self._changed.notify_all()
            if waiting is None:
                pictures = [held.picture for held in batch if held.picture is not None]
                forward = asyncio.ensure_future(self._forward(partial(self.network.caption, pictures), len(pictures)))
                try:
                    self._answer(batch, await asyncio.shield(forward))
                except asyncio.CancelledError:
                    self._answer(batch, await forward)
                    raise
            elif not waiting.done.done():
                await self._settle(waiting)
            pictures_next = not pictures_next

    async def _forward(self, work: Callable[[], T], size: int) -> T:
        self.forward.set()
        began = time.monotonic()
        try:
            return await self._in_thread(self._device, work)
        finally:
            self.forward.clear()
            self.metrics.batch(size, time.monotonic() - began)

    async def _settle(self, waiting: _Waiting) -> None:
        try:
            found = await self._forward(waiting.work, waiting.size)
        except Exception as error:
            if not waiting.done.done():
                waiting.done.set_exception(error)
        else:
            if not waiting.done.done():
                waiting.done.set_result(found)

    def _pictures_wait(self) -> bool:
        """Sheets may be drawn more slowly than captions come: then the network waits."""
        return bool(self._ready()) and self._answering <= self.max_batch

    def _next_pictures(self, turn: int) -> list[_Held]:
        quick, bulk = ([held for held in self._ready() if held.line == line] for line in PHOTO_LINES)
        batch = choose(quick, bulk, self.max_batch, turn)
        for held in batch:
            held.begun = True
        return batch

    def _ready(self) -> list[_Held]:
        return [held for held in self._held.values() if held.picture is not None and not held.begun]

    # -- clips

    async def _watch_clip(self, held: _Held) -> None:
        """From its bytes to its moments. Cancelled when nobody wants it any more, or the worker stops."""
        job = held.lease.job

        async def describe(frames: list[PreparedFrame]) -> list[DescribedFrame]:
            return await self._through_network(partial(self.network.describe, job.model, frames), len(frames))

        try:
            digest = await self._in_thread(self._pool, lambda: hashlib.sha256(held.lease.media).digest())
            frames, duration = await describe_clip(
                frame_batches(held.lease.media, self.network.image_size, self.clip_limits, self._pool),
                self._kept.frames(job, digest),
                describe,
                partial(self.consumer.progress, job.id),
            )
            self._kept.keep_frames(job, digest, [frame.found for frame in frames], held.put)
            result = await self._in_thread(self._pool, partial(compose_clip, job, frames, duration))
        except Exception as error:
            await self._fail(held, error)
        else:
            await self._finish(held, result)

    async def _through_network(self, work: Callable[[], T], size: int) -> T:
        waiting = _Waiting(work, size, asyncio.get_running_loop().create_future())
        async with self._changed:
            self._waiting.append(waiting)
            self._changed.notify_all()
        found: T = await waiting.done
        return found

    # -- albums

    async def _draw_album(self, held: _Held) -> None:
        """From the pictures of an album to its sheet; cancelled as `_watch_clip` is."""
        try:
            prepare = partial(prepare_album, held.lease, self.network.image_size)
            pictures = await self._in_thread(self._pool, prepare)
            captions: list[Findings | Exception] = []
            for start in range(0, len(pictures), self.max_batch):
                some = [each.picture for each in pictures[start : start + self.max_batch]]
                captions += await self._through_network(partial(self.network.caption, some), len(some))
            result = await self._in_thread(self._pool, partial(compose_album, held.lease.job, pictures, captions))
        except Exception as error:
            await self._fail(held, error)
        else:
            await self._finish(held, result)

    # -- from the network to the queue

    def _answer(self, batch: Sequence[_Held], results: Sequence[Findings | Exception]) -> None:
        self._answering += len(batch)
        for held, found in zip(batch, results, strict=True):
            if isinstance(found, Findings) and found.features is not None:
                self._kept.keep_features(held.lease.job, found.features, held.put)
            with working_for(held.lease.job.id):
                self._spawn(self._hand_in(held, found))

    async def _hand_in(self, held: _Held, found: Findings | Exception) -> None:
        assert held.picture is not None
        picture = held.picture
        try:
            if isinstance(found, Exception):
                raise found
            began = time.monotonic()
            result = await self._in_thread(self._pool, lambda: compose(picture, found))
            if result.sheet is not None:
                self.metrics.drawn(time.monotonic() - began)
        except Exception as error:
            await self._fail(held, error)
        else:
            await self._finish(held, result)
        async with self._changed:
            self._answering -= 1
            self._changed.notify_all()

    async def _finish(self, held: _Held, result: Outcome) -> None:
        await self.consumer.finish(held.lease.job.id, result)
        self.metrics.job_done(held.lease.job.kind)
        log.info("handed in")
        await self._let_go(held)

    async def _let_go(self, held: _Held) -> None:
        async with self._changed:
            self._held.pop(held.lease.job.id, None)
            self._changed.notify_all()

    async def _fail(self, held: _Held, error: Exception) -> None:
        job = held.lease.job
        if not isinstance(error, CaptionError):
            log.error("failed", exc_info=error)
            error = JobFailed(f"{type(error).__name__}: {error}")
        else:
            log.info("failed: %s", error.kind)
        await self.consumer.fail(job.id, JobFailure(error.kind, str(error)))
        self.metrics.job_done(job.kind, error.kind)
        await self._let_go(held)

    # -- beside them

    async def _keep_leases(self) -> None:
        """Extend the leases of all that is held, but not for ever, and drop what is this worker's no more."""
        while True:
            await asyncio.sleep(min(HEARTBEAT, self.consumer.lease_seconds / 3))
            self._kept.expire()
            now = time.monotonic()
            held = dict(self._held)
            fresh = [job_id for job_id, each in held.items() if each.overdue > now]
            if len(fresh) < len(held):
                log.error("%d jobs took too long and are left to other workers", len(held) - len(fresh))
            kept = await self.consumer.extend(fresh)
            self._kept.forget(await self.consumer.forgotten())
            self._heard()
            for job_id in held.keys() - kept:
                if (watching := held[job_id].watching) is not None:
                    watching.cancel()
                await self._let_go(held[job_id])

    async def _watch_threads(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            if (problem := self.forward.missed()) is not None:
                raise WorkerHung(problem)
            if (seconds := self._pool.longest()) > self.job_seconds:  # a few of those, and no thread is left
                raise WorkerHung(f"a thread has been at one file for {seconds:.0f} s (at most {self.job_seconds:.0f})")

    @staticmethod
    def _in_thread(pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(pool, work)
