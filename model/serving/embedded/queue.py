"""The embedded queue: jobs in the bot's memory.

What must survive the bot's own death is in its inbox (`bot/storage/inbox.py`), from which jobs are put again; this
queue survives the worker's death: whatever a dead worker held is delivered again, ahead of the line.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

from cachetools import TTLCache

from model.errors import JobCancelled, JobCrashed, error_of
from model.serving.jobs import Job, JobFailure, Outcome
from model.serving.queue import (
    CANCELLED_SECONDS,
    LINES,
    SERVED_SECONDS,
    Busy,
    JobLost,
    Lease,
    Limits,
    Status,
    kind_of,
    lane_of,
    settle,
)

LEASE_SECONDS: Final = 60.0  # a dead worker is known by the end of its pipe at once; this is for one that forgets


@dataclass
class _Entry:
    job: Job
    line: str
    done: asyncio.Future[Outcome]
    put: bool = False
    media: bytes = b""
    lined_up: float = 0.0  # when, on the queue's clock
    attempt: int = 0
    worker: int | None = None  # who holds it
    taken: float = 0.0
    expires: float = 0.0  # when the lease ends
    listeners: list[Callable[[float], None]] = field(default_factory=list)


@dataclass
class LocalQueue:
    """Both sides of the contract in one process; the worker's side takes the id of the worker that asks."""

    max_attempts: int = 3
    limits: Limits = field(default_factory=Limits)
    lease_seconds: float = LEASE_SECONDS
    clock: Callable[[], float] = time.monotonic
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _taken: dict[str, _Entry] = field(default_factory=dict)  # those that workers hold: few, however many wait
    _lines: dict[str, deque[str]] = field(default_factory=lambda: {line: deque() for line in LINES})
    _open: dict[int, Counter[str]] = field(default_factory=dict)  # person → request → its open jobs
    _workers: set[int] = field(default_factory=set)
    _takers: dict[str, set[int]] = field(default_factory=dict)  # line → workers that take from it
    _left: dict[str, float] = field(default_factory=dict)  # line → when the last of them was gone
    _heard: dict[int, float] = field(default_factory=dict)  # worker → when it joined or last extended its leases
    _forgotten: dict[int, dict[str, None]] = field(default_factory=dict)  # worker → places it is to be told of
    _cancelled: TTLCache[str, bool] = field(default_factory=lambda: TTLCache(10_000, CANCELLED_SECONDS))
    _arrival: asyncio.Condition = field(default_factory=asyncio.Condition)

    # -- the bot's side

    async def admit(self, job: Job, *, before: bool = False) -> None:
        if job.id in self._entries:
            return
        mine = self._open.get(job.user, Counter())
        if not before and job.request_id not in mine:
            if len(mine) >= self.limits.requests_per_person:
                raise Busy(len(mine))
            if self._open_requests() >= self.limits.requests:
                raise Busy
        line = lane_of(job.line, mine.total())
        self._open[job.user] = mine + Counter([job.request_id])
        self._entries[job.id] = _Entry(job, line, asyncio.get_running_loop().create_future())

    async def has(self, job_id: str) -> bool:
        entry = self._entries.get(job_id)
        return entry is not None and entry.put

    async def put(self, job: Job, media: bytes) -> None:
        if await self.is_cancelled(job.id):
            raise JobCancelled("cancelled before it was put")
        await self.admit(job, before=True)
        entry = self._entries[job.id]
        if entry.put:
            return
        entry.put, entry.media, entry.lined_up = True, media, self.clock()
        self._lines[entry.line].append(job.id)
        await self._announce()

    async def wait(self, job_id: str, progress: Callable[[float], None] | None = None) -> Outcome:
        entry = self._entries.get(job_id)
        if entry is None:
            raise JobLost(job_id)
        if progress is not None:
            entry.listeners.append(progress)
        try:
            return await asyncio.shield(entry.done)
        finally:
            if progress is not None:
                entry.listeners.remove(progress)

    async def forget(self, job_id: str) -> None:
        entry = self._entries.pop(job_id, None)
        if entry is None:
            return
        self._leave_line(entry)
        user = entry.job.user
        self._open[user] -= Counter([entry.job.request_id])  # none of zero is left
        if not self._open[user]:
            del self._open[user]
        self._settle(entry, JobCancelled("forgotten"))
        await self._announce()

    async def cancel(self, job_id: str) -> None:
        self._cancelled[job_id] = True
        await self.forget(job_id)

    async def is_cancelled(self, job_id: str) -> bool:
        return job_id in self._cancelled

    async def forget_place(self, place: str) -> None:
        for worker in self._workers:
            self._forgotten.setdefault(worker, {})[place] = None

    async def position(self, job_id: str) -> int:
        entry = self._entries.get(job_id)
        line = self._lines[entry.line] if entry is not None else ()
        return line.index(job_id) if job_id in line else 0

    async def status(self) -> Status:
        return Status(
            waiting={name: len(line) for name, line in self._lines.items()},
            in_work=len(self._taken),
            open_requests=self._open_requests(),
            workers=len(self._workers),
            served={line: seconds for line in LINES if (seconds := self.served(line)) is not None},
        )

    def workers_alive(self) -> int:
        return len(self._workers)

    def served(self, line: str) -> float | None:
        if self._takers.get(line):
            return 0.0
        left = self._left.get(line)
        return None if left is None or self.clock() - left > SERVED_SECONDS else self.clock() - left

    # -- the workers' side

    def join(self, worker: int, *lines: str) -> None:
        """This worker is there and takes jobs from these lines; from now on its silence is counted."""
        self._workers.add(worker)
        for line in lines:
            self._takers.setdefault(line, set()).add(worker)
        self._heard.setdefault(worker, self.clock())

    async def leave(self, worker: int) -> None:
        """This worker is gone; what it held is delivered again, or fails when it has been tried often enough."""
        self._workers.discard(worker)
        for line, takers in self._takers.items():
            if worker in takers:
                takers.discard(worker)
                self._left[line] = self.clock()
        self._heard.pop(worker, None)
        self._forgotten.pop(worker, None)
        self._take_back(self._held_by(worker))
        await self._announce()

    async def take(self, worker: int, line: str, most: int) -> list[Lease]:
        """As `JobConsumer.take`."""
        self.join(worker, line)
        leases: list[Lease] = []
        async with self._arrival:
            while (entry := self._next_for(worker, line)) is None:
                await self._wait_for_change()
            while entry is not None and len(leases) < most:
                self._lines[entry.line].popleft()
                entry.attempt += 1
                entry.worker = worker
                self._taken[entry.job.id] = entry
                entry.taken = self.clock()
                entry.expires = entry.taken + self.lease_seconds
                leases.append(Lease(entry.job, entry.media, entry.attempt, entry.taken - entry.lined_up))
                entry = self._next_for(worker, line) if entry.attempt == 1 else None
        return leases

    async def _wait_for_change(self) -> None:
        """Until something was announced, or the next lease ends."""
        ends = [entry.expires for entry in self._taken.values()]
        pause = max(0.0, min(ends) - self.clock()) if ends else None
        try:
            async with asyncio.timeout(pause):
                await self._arrival.wait()
        except TimeoutError:
            expired = [entry for entry in self._taken.values() if entry.expires <= self.clock()]
            if expired:
                self._take_back(expired)
                self._arrival.notify_all()

    def _next_for(self, worker: int, line: str) -> _Entry | None:
        """The head of the line, if this worker may have it now; ahead of it what some worker failed to finish."""
        held = self._held_by(worker)
        suspects = [entry for entry in held if entry.attempt > 1]
        if any(entry.attempt >= self.max_attempts for entry in suspects):
            return None
        kind = kind_of(line)
        heads = [self._entries[ids[0]] for ids in self._lines.values() if ids]
        for entry in heads:
            if entry.attempt == 0:
                continue
            last = entry.attempt + 1 >= self.max_attempts
            if not any(last or kind_of(each.line) == kind_of(entry.line) for each in held):
                return entry
            if last or kind_of(entry.line) == kind:
                return None
        if any(kind_of(entry.line) == kind for entry in suspects):
            return None
        return next((entry for entry in heads if entry.line == line), None)

    async def extend(self, worker: int, job_ids: Sequence[str], waiting: Collection[str] = ()) -> list[str]:
        """As `JobConsumer.extend`."""
        self._heard[worker] = self.clock()
        held = [entry for job_id in job_ids if (entry := self._held(worker, job_id)) is not None]
        for entry in held:
            entry.expires = self.clock() + self.lease_seconds
            if entry.job.id in waiting:
                entry.taken = self.clock()
        return [entry.job.id for entry in held]

    async def forgotten(self, worker: int) -> list[str]:
        """As `JobConsumer.forgotten`; a worker that has taken nothing yet keeps nothing."""
        return list(self._forgotten.pop(worker, ()))

    async def progress(self, worker: int, job_id: str, share: float) -> None:
        entry = self._held(worker, job_id)
        for listener in list(entry.listeners) if entry is not None else ():
            listener(share)

    async def finish(self, worker: int, job_id: str, result: Outcome) -> None:
        await self._end(job_id, result)

    async def fail(self, worker: int, job_id: str, failure: JobFailure) -> None:
        await self._end(job_id, error_of(failure.kind, failure.message))

    async def give_back(self, worker: int, job_ids: Sequence[str]) -> None:
        for job_id in reversed(job_ids):
            entry = self._held(worker, job_id)
            if entry is not None:
                entry.attempt -= 1
                self._release(entry)
                self._lines[entry.line].appendleft(job_id)
        await self._announce()

    def longest_held(self, worker: int, kind: str) -> float:
        """Seconds for which this worker has held its oldest job of a kind of task; 0 when it holds none.

        They count from when a job last waited for others in the worker.
        """
        taken = [entry.taken for entry in self._held_by(worker) if kind == entry.job.task.NAME]
        return self.clock() - min(taken) if taken else 0.0

    def silent(self, worker: int) -> float:
        """Seconds since this worker joined or last extended its leases; 0 before it joined (it may be loading)."""
        heard = self._heard.get(worker)
        return 0.0 if heard is None else self.clock() - heard

    # -- inside

    def _open_requests(self) -> int:
        return sum(map(len, self._open.values()))

    def _held(self, worker: int, job_id: str) -> _Entry | None:
        entry = self._entries.get(job_id)
        return entry if entry is not None and entry.worker == worker else None

    def _held_by(self, worker: int) -> list[_Entry]:
        return [entry for entry in self._taken.values() if entry.worker == worker]

    def _release(self, entry: _Entry) -> None:
        entry.worker = None
        self._taken.pop(entry.job.id, None)

    def _leave_line(self, entry: _Entry) -> None:
        """Wherever it waits. What was never taken, or whose lease has ended, does."""
        if entry.put and entry.worker is None and not entry.done.done():
            self._lines[entry.line].remove(entry.job.id)

    def _take_back(self, entries: Sequence[_Entry]) -> None:
        for entry in reversed(entries):
            self._release(entry)
            if entry.attempt >= self.max_attempts:
                self._settle(entry, JobCrashed(f"brought down a worker {entry.attempt} times"))
            else:
                self._lines[entry.line].appendleft(entry.job.id)

    async def _end(self, job_id: str, outcome: Outcome | Exception) -> None:
        entry = self._entries.get(job_id)
        if entry is not None and not entry.done.done():
            self._leave_line(entry)  # its lease had ended, yet here is the work
            self._settle(entry, outcome)
            await self._announce()

    def _settle(self, entry: _Entry, outcome: Outcome | Exception) -> None:
        self._release(entry)
        entry.media = b""
        settle(entry.done, outcome)

    async def _announce(self) -> None:
        async with self._arrival:
            self._arrival.notify_all()
