"""The worker: takes whatever waits and runs each job's task, all tasks in one way.

    take → task: pixels (threads) → network (one thread) → pixels (threads) → hand in

Pictures of several jobs go through the network in one batch. While it runs one batch, the next is being decoded and the
last one's sheets are being drawn. There is no timed window: a lone picture goes through at once. Each line of the queue
has an intake and room of its own, so that what fills one lane does not keep the other's pictures from the next batch.
What a task asks of the network for itself, such as a clip's frames, takes turns with these batches. Edits have a
network and a thread of their own: no batch waits for them.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import os
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeVar

from model.errors import CaptionError, JobCancelled, JobFailed, OutOfMemory
from model.media.clips import ClipLimits
from model.media.memory import DECODING
from model.serving.health import Deadline
from model.serving.job_context import working_for
from model.serving.jobs import JobFailure
from model.serving.metrics import WorkerMetrics
from model.serving.queue import JobConsumer, Lease, settle
from model.serving.tasks import LINES, LINES_WITHOUT_EDITOR, TASKS
from model.serving.tasks.base import Findings, Network, PhotoEditor, Picture, Task
from model.serving.tasks.cache import Cache

log = logging.getLogger(__name__)

T = TypeVar("T")

THREAD_SECONDS: Final = Task.SECONDS  # a thread that is at one file for longer hangs; so does the network
PIXEL_THREADS: Final = min(32, max(4, os.cpu_count() or 1))  # 4 at least: some wait for room in memory
LONG_THREADS: Final = 4  # as many as there are lines of jobs that come one at a time
HEARTBEAT: Final = 2.0  # seconds; also how soon a cancelled job is dropped, and a chat's media are forgotten


class WorkerHung(Exception):
    """The network, or a thread with one file, takes longer than any of them does. It cannot be stopped: exit."""


@dataclass(eq=False)
class _Held:
    """A job in this worker's hands, from its delivery to its end."""

    lease: Lease
    line: str
    seconds: float  # that it may take
    overdue: float  # when it is left to other workers
    working: asyncio.Task[None] | None = None
    picture: tuple[Picture, asyncio.Future[Findings]] | None = None  # waits for the next batch
    waits: bool = True  # nothing has been done for it yet
    begun: bool = False  # the network has had its picture
    uses_network: bool = False  # by itself, beside the batches
    at_pixels: dict[object, int | None] = field(default_factory=dict)  # calls → the thread, once begun

    def is_held_up(self) -> bool:
        """Whether it waits for other jobs: for a thread, or for room in memory."""
        return any(thread is None or DECODING.let_in(thread) == math.inf for thread in self.at_pixels.copy().values())


@dataclass(eq=False)
class _Run:
    """What a task asks of the network for itself."""

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
        threads: int = PIXEL_THREADS,
        seconds: Mapping[str, float] | None = None,
        thread_seconds: float = THREAD_SECONDS,
        clip_limits: ClipLimits | None = None,
        editor: PhotoEditor | None = None,
        metrics: WorkerMetrics | None = None,
        forward: Deadline | None = None,
        heard: Callable[[], None] = lambda: None,
    ) -> None:
        """A job held for longer than `seconds` (by the task's name, else its own `SECONDS`) is left to others.

        `forward` runs while the network does; `heard` is called whenever the queue has answered.
        """
        self.consumer = consumer
        self.models = network
        self.editor = editor
        self.max_batch = max_batch
        self.thread_seconds = thread_seconds
        self.clip_limits = clip_limits or ClipLimits()
        self.metrics = metrics or WorkerMetrics()
        for line in LINES:
            self.metrics.wait.labels(line)
        for name in TASKS:
            self.metrics.jobs.labels(name, "done")  # 0 rather than absent, so that a rate has a beginning
        self.forward = forward or Deadline("in one run of the network", thread_seconds)
        self.cache = Cache()
        self._seconds = {name: task.SECONDS for name, task in TASKS.items()} | dict(seconds or {})
        self._heard = heard
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pixels")
        # A clip keeps its room in memory between its frames: it must not wait for threads that wait for that room.
        self._long = ThreadPoolExecutor(LONG_THREADS, thread_name_prefix="long")
        self._edits = ThreadPoolExecutor(1, thread_name_prefix="edits")
        self._began: dict[int, float] = {}  # thread for pixels → when it began what it is doing
        self._device = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._held: dict[str, _Held] = {}
        self._leaving: dict[_Held, asyncio.Task[None]] = {}  # held no more, but perhaps still in a thread
        self._finishing: set[asyncio.Task[None]] = set()  # tasks of which the network has had the picture
        self._changed = asyncio.Condition()
        self._runs: deque[_Run] = deque()

    @property
    def lines(self) -> tuple[str, ...]:
        """Those that it takes from."""
        return LINES if self.editor is not None else LINES_WITHOUT_EDITOR

    async def run(self, stop: asyncio.Event) -> None:
        """Raises WorkerHung, and whatever the queue raises."""
        tasks: set[asyncio.Task[Any]] = {
            *(asyncio.create_task(self._intake(line)) for line in self.lines),
            *map(asyncio.create_task, (self._run_network(), self._keep_leases(), self._watch_threads())),
            asyncio.create_task(stop.wait()),
        }
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:  # also when it is cancelled itself, or will not wait for a thread that hangs
            for task in tasks:
                task.cancel()
        errors = [error for task in done if (error := task.exception()) is not None]
        ended_by = errors[0] if errors else None
        if isinstance(ended_by, WorkerHung):
            for working in (*(held.working for held in self._held.values()), *self._finishing):
                if working is not None:
                    working.cancel()
            raise ended_by
        await asyncio.gather(*tasks, return_exceptions=True)  # the network finishes its batch
        unanswered = (held for held in self._held.values() if not held.begun or held.picture is not None)
        unfinished = [held.working for held in unanswered if held.working is not None]
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, *self._leaving.values(), *self._finishing, return_exceptions=True)
        if ended_by is not None:  # perhaps by one of these: handed back, it would not count as tried
            self._held = {job: held for job, held in self._held.items() if not (held.begun or held.uses_network)}
        await self.consumer.give_back(list(self._held))
        self._device.shutdown()
        self._pool.shutdown()
        self._long.shutdown()
        self._edits.shutdown()
        if ended_by is not None:
            raise ended_by

    # -- from the queue to the tasks

    async def _intake(self, line: str) -> None:
        """Keep at most one batch of a line's jobs being prepared, or one job where the line's tasks say so."""
        alone = any(task.ONE_AT_A_TIME for task in TASKS.values() if line in (task.LINE, f"{task.LINE}-bulk"))
        most = 1 if alone else self.max_batch

        def room() -> int:
            unfinished = (*self._held.values(), *self._leaving)
            return most - sum(held.line == line and not held.begun for held in unfinished)

        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: room() > 0)
            for lease in await self.consumer.take(line, room()):
                self._begin(lease, line)

    def _begin(self, lease: Lease, line: str) -> None:
        job = lease.job
        self.metrics.job_taken(line, lease.waited, lease.attempt)
        if line not in (job.line, f"{job.line}-bulk"):  # delivered again, to whoever asked first
            line = job.line
        seconds = self._seconds[job.task.NAME]
        held = self._held[job.id] = _Held(lease, line, seconds, time.monotonic() + seconds)
        with working_for(job.id):  # the task keeps it
            held.working = asyncio.create_task(self._work(held))

    async def _work(self, held: _Held) -> None:
        """One job, from its media to its outcome. Cancelled when nobody wants it any more, or the worker stops."""
        job = held.lease.job
        try:
            result = await job.task.work(held.lease.media, _Tools(self, held))
        except Exception as error:
            await self._fail(held, error)
        else:
            await self.consumer.finish(job.id, result)
            self.metrics.jobs.labels(job.task.NAME, "done").inc()
            log.info("handed in")
        if held.working is not None:
            self._finishing.discard(held.working)
        await self._let_go(held)

    async def _fail(self, held: _Held, error: Exception) -> None:
        job = held.lease.job
        if isinstance(error, MemoryError):
            error = OutOfMemory(f"no memory: {error}")
        if not isinstance(error, CaptionError):
            log.error("failed", exc_info=error)
            error = JobFailed(f"{type(error).__name__}: {error}")
        else:
            log.info("failed: %s", error.kind)
        await self.consumer.fail(job.id, JobFailure(error.kind, str(error)))
        self.metrics.jobs.labels(job.task.NAME, error.kind).inc()

    async def _let_go(self, held: _Held) -> None:
        async with self._changed:
            self._held.pop(held.lease.job.id, None)
            self._changed.notify_all()

    # -- the network

    async def _run_network(self) -> None:
        """Batches of pictures and what tasks ask for themselves, in turn where both wait."""
        pictures_next = True
        for turn in itertools.count():
            async with self._changed:
                await self._changed.wait_for(lambda: self._runs or self._pictures_wait())
                pictures_next = self._pictures_wait() and (pictures_next or not self._runs)
                batch = self._next_pictures(turn) if pictures_next else []
                run = None if pictures_next else self._runs.popleft()
                self._changed.notify_all()
            if run is None:
                await self._run_batch(batch)
            elif not run.done.done():
                await self._run_alone(run)
            pictures_next = not pictures_next

    async def _run_batch(self, batch: Sequence[_Held]) -> None:
        waiting = [held.picture for held in batch if held.picture is not None]
        work = partial(self.models.caption, [picture for picture, _ in waiting])
        forward = self._forward(work, len(waiting))
        try:
            await asyncio.shield(forward)
        finally:  # also when the worker stops: what the network holds is finished
            results = await forward
            for held, (_, done), found in zip(batch, waiting, results, strict=True):
                held.picture = None
                settle(done, found)

    async def _run_alone(self, run: _Run) -> None:
        try:
            settle(run.done, await self._forward(run.work, run.size))
        except Exception as error:
            settle(run.done, error)

    def _forward(self, work: Callable[[], T], size: int) -> asyncio.Future[T]:
        """Begin at once: before the tasks go on that were waiting for the batch before."""
        self.forward.set()
        began = time.monotonic()
        running = asyncio.get_running_loop().run_in_executor(self._device, work)

        def over(_: object) -> None:
            self.forward.clear()
            self.metrics.batch_size.observe(size)
            self.metrics.forward.observe(time.monotonic() - began)

        running.add_done_callback(over)
        return running

    def _pictures_wait(self) -> bool:
        """Sheets may be drawn more slowly than captions come: then the network waits."""
        return bool(self._ready()) and len(self._finishing) <= self.max_batch

    def _next_pictures(self, turn: int) -> list[_Held]:
        ready = self._ready()
        quick, bulk = ([each for each in ready if each.line.endswith("-bulk") is lane] for lane in (False, True))
        batch = choose(quick, bulk, self.max_batch, turn)
        for held in batch:
            held.begun = True
            assert held.working is not None
            self._finishing.add(held.working)
        return batch

    def _ready(self) -> list[_Held]:
        return [held for held in self._held.values() if held.picture is not None and not held.begun]

    # -- beside them

    async def _keep_leases(self) -> None:
        """Extend the leases of all that is held, but not for ever, and drop what is this worker's no more."""
        while True:
            await asyncio.sleep(min(HEARTBEAT, self.consumer.lease_seconds / 3))
            self.cache.expire()
            now = time.monotonic()
            await self._give_back_waiting(now)
            held = dict(self._held)
            waiting = [job_id for job_id, each in held.items() if each.is_held_up() and not each.waits]
            for job_id in waiting:
                held[job_id].overdue = now + held[job_id].seconds
            fresh = [job_id for job_id, each in held.items() if each.overdue > now]
            if len(fresh) < len(held):
                log.error("%d jobs took too long and are left to other workers", len(held) - len(fresh))
            extended = await self.consumer.extend(fresh, waiting)
            self.cache.forget(await self.consumer.forgotten())
            self._heard()
            for job_id in held.keys() - extended:
                if not held[job_id].begun:
                    self._leaving[held[job_id]] = asyncio.create_task(self._leave(held[job_id]))
                await self._let_go(held[job_id])

    async def _leave(self, held: _Held) -> None:
        """Stop work on a job. It keeps its room until then: a clip's thread may wait for that of another clip."""
        if held.working is not None:
            held.working.cancel()
            await asyncio.wait([held.working])
        async with self._changed:
            del self._leaving[held]
            self._changed.notify_all()

    async def _give_back_waiting(self, now: float) -> None:
        """Jobs that are still waiting for a thread after half of their time: their time begins anew, here or elsewhere.

        Large files may be decoded one after the other, and nothing is wrong with those behind them.
        """
        late = [job for job, each in self._held.items() if each.waits and now > each.overdue - each.seconds / 2]
        for job in late:
            if (working := self._held[job].working) is not None:
                working.cancel()
            await self._let_go(self._held[job])
        if late:
            log.info("%d jobs wait for a thread and are given back", len(late))
            await self.consumer.give_back(late)

    async def _watch_threads(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            if (problem := self.forward.missed()) is not None:
                raise WorkerHung(problem)
            now = time.monotonic()
            # Waiting for room in memory does not count.
            begun = [max(began, DECODING.let_in(thread)) for thread, began in self._began.copy().items()]
            seconds = now - min(begun, default=now)
            if seconds > self.thread_seconds:  # a few of those, and no thread is left
                raise WorkerHung(
                    f"a thread has been at one file for {seconds:.0f} s (at most {self.thread_seconds:.0f})"
                )

    def _timed(self, work: Callable[[], T]) -> T:
        """Run `work` on this thread, watched by `_watch_threads`."""
        thread = threading.get_ident()
        self._began[thread] = time.monotonic()
        try:
            return work()
        finally:
            del self._began[thread]


class _Tools:
    """What the worker offers to the task of one job; see `model.serving.tasks.base.Tools`."""

    def __init__(self, worker: Worker, held: _Held) -> None:
        self._worker = worker
        self._held = held
        self.job_id, self.place = held.lease.job.id, held.lease.job.place
        self.put = time.monotonic() - held.lease.waited
        self.models = worker.models
        self.editor = worker.editor
        self.cache = worker.cache
        self.metrics = worker.metrics
        self.clip_limits = worker.clip_limits
        self.max_batch = worker.max_batch

    def pixels(self, work: Callable[[], T]) -> Awaitable[T]:
        return self._on(self._worker._long if self._held.lease.job.task.ONE_AT_A_TIME else self._worker._pool, work)

    def _on(self, pool: ThreadPoolExecutor, work: Callable[[], T]) -> Awaitable[T]:
        call = object()
        self._held.at_pixels[call] = None
        return asyncio.get_running_loop().run_in_executor(pool, self._run, work, call)

    def _run(self, work: Callable[[], T], call: object) -> T:
        self._held.waits = False
        self._held.at_pixels[call] = threading.get_ident()
        try:
            return self._worker._timed(work)
        finally:
            del self._held.at_pixels[call]

    async def caption(self, picture: Picture) -> Findings:
        self._held.waits = False
        done: asyncio.Future[Findings] = asyncio.get_running_loop().create_future()
        async with self._worker._changed:
            self._held.picture = picture, done
            self._worker._changed.notify_all()
        return await done

    async def network(self, work: Callable[[], T], size: int) -> T:
        self._held.waits, self._held.uses_network = False, True
        run = _Run(work, size, asyncio.get_running_loop().create_future())
        async with self._worker._changed:
            self._worker._runs.append(run)
            self._worker._changed.notify_all()
        found: T = await run.done
        return found

    async def edit(self, work: Callable[[Callable[[float], None]], T]) -> T:
        self._held.uses_network = True
        loop, unwanted = asyncio.get_running_loop(), threading.Event()

        def step(share: float) -> None:
            if unwanted.is_set():
                raise JobCancelled("nobody wants it any more")
            self._worker._began[threading.get_ident()] = time.monotonic()  # its time is that of a step
            asyncio.run_coroutine_threadsafe(self.progress(share), loop)

        try:
            return await self._on(self._worker._edits, partial(work, step))
        finally:  # the thread ends with its step, whoever waits
            unwanted.set()

    async def progress(self, share: float) -> None:
        await self._worker.consumer.progress(self.job_id, share)
