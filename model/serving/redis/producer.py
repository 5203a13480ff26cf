"""The bot's side of the queue in Redis: Streams with a consumer group, one stream for each line. Redis 6.2 or later.

It may be a cluster. All changes are made by one script (`queue.lua`), so each is atomic, and each may run twice when an
answer is lost on its way. While Redis is away, calls wait for it; what was under way goes on when it is back. Free of
torch.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias, cast

from model.errors import JobCancelled
from model.serving.codec import WireError
from model.serving.jobs import Job, Outcome, encode_job
from model.serving.queue import (
    CANCELLED_SECONDS,
    LINES,
    QUICK_JOBS,
    SERVED_SECONDS,
    Busy,
    JobLost,
    Limits,
    Status,
    settle,
)
from model.serving.redis.script import BLOCK_SECONDS, PREFIX, Script, unpack_outcome

if TYPE_CHECKING:
    from redis.asyncio import Redis

log = logging.getLogger(__name__)

SWEEP_SECONDS: Final = 5.0  # how often a bot looks whether it missed anything
AT_ONCE: Final = 16  # results that are fetched in one answer
NEVER: Final = -1_000_000_000  # ms, as the script tells of a line that no worker ever took from
KEEP_SECONDS: Final = 7 * 86_400.0  # for jobs that no bot ever asked about again
LATE_SECONDS: Final = 60.0  # after a job's `lasts`: whoever asked, if it still runs, has forgotten the job by then

_Found: TypeAlias = tuple[bytes, bytes]  # a job's state, and its outcome when it is done


class _Wait:
    """Those in this process who wait for one job."""

    def __init__(self) -> None:
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.waiters = 0
        self.heard = False  # since it was put: its outcome cannot have been missed
        self.listeners: list[Callable[[float], None]] = []


class RedisQueue:
    """The bot's side; a `JobProducer`. `name`: of this process, unlike that of any other."""

    def __init__(self, url: str, name: str, *, limits: Limits | None = None, prefix: str = PREFIX) -> None:
        self._script = Script(url, prefix)
        self._name = name
        self._limits = limits or Limits()
        self._waits: dict[str, _Wait] = {}
        self._workers = 0
        self._served: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def connection(self) -> Redis:
        """For what is small: calls of others through it go together with those of the queue. Closed by `close`."""
        return cast("Redis", self._script.client)

    async def open(self) -> None:
        """Begin to listen for outcomes. Waits for Redis. Raises RedisRefused."""
        await self._script.connect()
        await self._look()
        self._tasks = [asyncio.create_task(self._listen()), asyncio.create_task(self._sweep())]

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._script.close()

    # -- the contract

    async def admit(self, job: Job, *, before: bool = False) -> None:
        header = json.dumps(encode_job(job), ensure_ascii=False)
        answer = await self._script.call(
            *("admit", job.id, header, job.user, job.request_id, job.line, int(before), self._name),
            *(self._limits.requests, self._limits.requests_per_person, QUICK_JOBS),
            0 if job.lasts is None else int((job.lasts + LATE_SECONDS) * 1000),
        )
        if answer[0] == b"person":
            raise Busy(int(answer[1]))
        if answer[0] == b"full":
            raise Busy

    async def has(self, job_id: str) -> bool:
        return bool(await self._script.call("has", job_id))

    async def put(self, job: Job, media: bytes) -> None:
        wait = self._waits.setdefault(job.id, _Wait())  # to hear of an outcome that comes before anybody waits for it
        while (state := await self._script.carry("put", job.id, media)) == b"unknown":
            await self.admit(job, before=True)  # it was never admitted, or Redis has forgotten it
        if state == b"cancelled":
            if not wait.waiters:
                self._waits.pop(job.id, None)
            raise JobCancelled("cancelled before it was put")
        wait.heard = state == b"new"

    async def wait(self, job_id: str, progress: Callable[[float], None] | None = None) -> Outcome:
        wait = self._waits.get(job_id)
        if wait is None:
            wait = self._waits[job_id] = _Wait()
        wait.waiters += 1
        if progress is not None:
            wait.listeners.append(progress)
        try:
            if not wait.heard:
                await self._collect([job_id])  # it may be done already, since before this process began
            return await asyncio.shield(wait.done)
        finally:
            if progress is not None:
                wait.listeners.remove(progress)
            wait.waiters -= 1
            if not wait.waiters and self._waits.get(job_id) is wait:
                del self._waits[job_id]

    async def forget(self, job_id: str) -> None:
        wait = self._waits.get(job_id)
        if wait is not None:
            settle(wait.done, JobCancelled("forgotten"))
            if not wait.waiters:
                del self._waits[job_id]
        await self._script.call("forget", self._name, job_id)

    async def cancel(self, job_id: str) -> None:
        wait = self._waits.get(job_id)
        if wait is not None:
            settle(wait.done, JobCancelled("cancelled"))
            if not wait.waiters:
                del self._waits[job_id]
        await self._script.call("cancel", self._name, job_id, CANCELLED_SECONDS)

    async def is_cancelled(self, job_id: str) -> bool:
        return bool(await self._script.call("cancelled", job_id))

    async def forget_place(self, place: str) -> None:
        await self._script.call("forget_place", place)

    async def position(self, job_id: str) -> int:
        return int(await self._script.call("position", job_id))

    async def status(self) -> Status:
        waiting, in_work, requests, workers, since = await self._script.call("status")
        served = {line: max(0, ago) / 1000 for line, ago in zip(LINES, since, strict=True) if ago != NEVER}
        return Status(dict(zip(LINES, waiting, strict=True)), in_work, requests, workers, served)

    def workers_alive(self) -> int:
        return self._workers

    def served(self, line: str) -> float | None:
        seconds = self._served.get(line)
        return None if seconds is None or seconds > SERVED_SECONDS else seconds

    # -- outcomes

    async def _listen(self) -> None:
        """Read what the script tells this bot, with what it speaks of."""
        key = f"{self._script.prefix}:told:{self._name}"
        told_anything = ("XREAD", "COUNT", 1, "BLOCK", int(BLOCK_SECONDS * 1000), "STREAMS", key, "0-0")
        while True:
            try:
                await self._read(*await self._script.call_after(told_anything, "hear", self._name, AT_ONCE))
            except Exception:  # the sweep finds what is missed here
                log.exception("outcomes could not be read")
                await asyncio.sleep(1.0)

    async def _read(self, messages: Sequence[bytes], found: Sequence[_Found]) -> None:
        done = []
        for message in messages:
            what, _, rest = message.decode().partition(":")
            if what == "d":
                done.append(rest)
            elif what == "f" and (wait := self._waits.get(rest)) is not None:
                settle(wait.done, JobCancelled("forgotten"))
            elif what == "p":
                share, _, job_id = rest.partition(":")
                for listener in list(self._waits[job_id].listeners) if job_id in self._waits else ():
                    listener(float(share))
        for job_id, (state, outcome) in zip(done, found, strict=True):
            await self._settle(job_id, state, outcome)

    async def _collect(self, job_ids: Sequence[str]) -> None:
        waited = [job_id for job_id in job_ids if job_id in self._waits]
        for start in range(0, len(waited), AT_ONCE):
            some = waited[start : start + AT_ONCE]
            for job_id, (state, outcome) in zip(some, await self._script.carry("collect", *some), strict=True):
                await self._settle(job_id, state, outcome)

    async def _settle(self, job_id: str, state: bytes, outcome: bytes) -> None:
        """Hand those who wait what `collect` found of a job."""
        if (wait := self._waits.get(job_id)) is None:
            return
        if state == b"done":
            try:
                settle(wait.done, unpack_outcome(outcome))
            except (WireError, KeyError, TypeError) as error:
                log.error("job %s has an outcome that is not understood here, and is done again: %s", job_id, error)
                await self._script.call("redo", job_id)
                settle(wait.done, JobLost(job_id))
        elif state in (b"lost", b"gone"):
            settle(wait.done, JobLost(job_id))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self.sweep()
            except Exception:
                log.exception("the queue could not be looked through")

    async def sweep(self, keep_seconds: float = KEEP_SECONDS) -> None:
        """Look whether any outcome was missed; drop workers that are gone, and jobs that nobody waits for.

        These are the ones that have outlasted their `Job.lasts`, and all that are older than `keep_seconds`.
        """
        await self._look()
        waited = list(self._waits)
        for start in range(0, len(waited), 500):
            some = waited[start : start + 500]
            states = await self._script.call("states", *some)
            await self._collect([i for i, s in zip(some, states, strict=True) if s != b"waiting"])
        await self._script.call("sweep", int(keep_seconds * 1000))

    async def _look(self) -> None:
        status = await self.status()
        self._workers, self._served = status.workers, status.served
