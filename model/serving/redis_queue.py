"""The queue in Redis: Streams with a consumer group, one stream for each line. Redis 6.2 or later, also a cluster.

Free of torch. All changes are made by one script (`queue.lua`), so each is atomic, and each may run twice when an
answer is lost on its way. While Redis is away, calls wait for it; what was under way goes on when it is back.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from model.errors import CaptionError, JobCancelled, JobCrashed, error_of
from model.serving.jobs import (
    Job,
    JobFailure,
    Outcome,
    WireError,
    decode_job,
    decode_outcome,
    encode_job,
    encode_outcome,
    pack,
    unpack,
)
from model.serving.queue import LINES, QUICK_JOBS, Busy, JobLost, Lease, Limits, Status
from model.serving.redis_connection import connect, patiently

log = logging.getLogger(__name__)

PREFIX: Final = "{captions}"
LEASE_SECONDS: Final = 15.0
BLOCK_SECONDS: Final = 2.0  # also how often an idle worker looks for jobs of dead ones
SWEEP_SECONDS: Final = 5.0  # how often a bot looks whether it missed anything
KEEP_SECONDS: Final = 7 * 86_400.0  # for jobs that no bot ever asked about again
_SCRIPT: Final = (Path(__file__).parent / "queue.lua").read_text(encoding="utf-8")
_SHA: Final = hashlib.sha1(_SCRIPT.encode()).hexdigest()  # noqa: S324  # as Redis names scripts


class _Script:
    """Calls of `queue.lua`."""

    def __init__(self, url: str, prefix: str) -> None:
        self.prefix = prefix
        self.client: Any = connect(url)
        self.blocking: Any = connect(url, block_seconds=BLOCK_SECONDS)

    async def call(self, *arguments: str | bytes | float) -> Any:
        return await patiently(lambda: self._once(*arguments))

    async def _once(self, *arguments: str | bytes | float) -> Any:
        from redis.exceptions import NoScriptError

        try:
            return await self.client.evalsha(_SHA, 1, self.prefix, *arguments)
        except NoScriptError:
            return await self.client.eval(_SCRIPT, 1, self.prefix, *arguments)

    async def close(self) -> None:
        await self.client.aclose()
        await self.blocking.aclose()


def _pack_outcome(outcome: Outcome | JobFailure) -> bytes:
    if isinstance(outcome, JobFailure):
        return pack({"failure": {"kind": outcome.kind, "message": outcome.message}})
    header, attachments = encode_outcome(outcome)
    return pack({"outcome": header}, attachments)


def _unpack_outcome(frame: bytes) -> Outcome | CaptionError:
    header, attachments = unpack(frame)
    if "failure" in header:
        return error_of(str(header["failure"]["kind"]), str(header["failure"]["message"]))
    return decode_outcome(header["outcome"], attachments)


class _Wait:
    """Those in this process who wait for one job."""

    def __init__(self) -> None:
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.waiters = 0
        self.listeners: list[Callable[[float], None]] = []

    def settle(self, outcome: Outcome | Exception) -> None:
        if self.done.done():
            return
        if isinstance(outcome, Exception):
            self.done.set_exception(outcome)
            self.done.exception()  # the last waiter may be gone
        else:
            self.done.set_result(outcome)


class RedisQueue:
    """The bot's side; a `JobProducer`. `name`: of this process, unlike that of any other."""

    def __init__(self, url: str, name: str, *, limits: Limits | None = None, prefix: str = PREFIX) -> None:
        self._script = _Script(url, prefix)
        self._name = name
        self._limits = limits or Limits()
        self._waits: dict[str, _Wait] = {}
        self._workers = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Begin to listen for outcomes. Waits for Redis. Raises RedisRefused."""
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
            *("admit", job.id, header, job.user, job.request or job.id, job.kind, int(before), self._name),
            *(self._limits.requests, self._limits.requests_per_person, QUICK_JOBS),
        )
        if answer[0] == b"person":
            raise Busy(int(answer[1]))
        if answer[0] == b"full":
            raise Busy

    async def has(self, job_id: str) -> bool:
        return bool(await self._script.call("has", job_id))

    async def put(self, job: Job, media: bytes) -> None:
        while await self._script.call("put", job.id, media) != b"ok":
            await self.admit(job, before=True)  # it was never admitted, or Redis has forgotten it

    async def wait(self, job_id: str, progress: Callable[[float], None] | None = None) -> Outcome:
        wait = self._waits.get(job_id)
        if wait is None:
            wait = self._waits[job_id] = _Wait()
        wait.waiters += 1
        if progress is not None:
            wait.listeners.append(progress)
        try:
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
            wait.settle(JobCancelled("forgotten"))
        await self._script.call("forget", job_id)

    async def position(self, job_id: str) -> int:
        return int(await self._script.call("position", job_id))

    async def status(self) -> Status:
        waiting, in_work, requests, workers = await self._script.call("status")
        return Status(dict(zip(LINES, waiting, strict=True)), in_work, requests, workers)

    def workers_alive(self) -> int:
        return self._workers

    # -- outcomes

    async def _listen(self) -> None:
        """Read what the script tells this bot, and fetch what it speaks of."""
        key = f"{self._script.prefix}:reply:{self._name}"
        blocking = self._script.blocking
        while True:
            try:
                first = await patiently(lambda: blocking.blpop([key], timeout=BLOCK_SECONDS))
                if first is None:
                    continue
                more = await patiently(lambda: self._script.client.lpop(key, 100))
                await self._read([first[1], *(more or ())])
            except Exception:  # the sweep finds what is missed here
                log.exception("outcomes could not be read")
                await asyncio.sleep(1.0)

    async def _read(self, messages: Sequence[bytes]) -> None:
        done = []
        for message in messages:
            what, _, rest = message.decode().partition(":")
            if what == "d":
                done.append(rest)
            elif what == "f" and (wait := self._waits.get(rest)) is not None:
                wait.settle(JobCancelled("forgotten"))
            elif what == "p":
                share, _, job_id = rest.partition(":")
                for listener in list(self._waits[job_id].listeners) if job_id in self._waits else ():
                    listener(float(share))
        await self._collect(done)

    async def _collect(self, job_ids: Sequence[str]) -> None:
        waited = [job_id for job_id in job_ids if job_id in self._waits]
        if not waited:
            return
        found = await self._script.call("collect", *waited)
        for job_id, (state, outcome) in zip(waited, found, strict=True):
            wait = self._waits.get(job_id)
            if wait is None:
                continue
            if state == b"done":
                try:
                    wait.settle(_unpack_outcome(outcome))
                except (WireError, KeyError, TypeError) as error:
                    wait.settle(error_of("failed", f"an outcome that is not understood here: {error}"))
            elif state in (b"lost", b"gone"):
                wait.settle(JobLost(job_id))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            try:
                await self._look()
                waited = list(self._waits)
                for start in range(0, len(waited), 500):
                    some = waited[start : start + 500]
                    states = await self._script.call("states", *some)
                    await self._collect([i for i, s in zip(some, states, strict=True) if s != b"waiting"])
                await self._script.call("sweep", int(KEEP_SECONDS * 1000))
            except Exception:
                log.exception("the queue could not be looked through")

    async def _look(self) -> None:
        self._workers = (await self.status()).workers


class RedisConsumer:
    """The worker's side; a `JobConsumer`. `name`: of this process, unlike that of any other."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        max_attempts: int = 3,
        lease_seconds: float = LEASE_SECONDS,
        prefix: str = PREFIX,
    ) -> None:
        self.lease_seconds = lease_seconds
        self._script = _Script(url, prefix)
        self._name = name
        self._max_attempts = max_attempts
        self._crashed = _pack_outcome(JobFailure(JobCrashed.kind, f"brought down a worker {max_attempts} times"))
        self._held: set[str] = set()
        self._alone: str | None = None  # a job that is delivered again, while it is held
        self._taking = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._rings = 0  # how often those who wait for work were woken
        self._ends = dict.fromkeys(LINES, b"0-0")  # where each line's stream ended when last seen
        self._bell: asyncio.Task[None] | None = None
        self._given_up: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Join the workers. Waits for Redis. Raises RedisRefused."""
        await self.extend([])
        self._bell = asyncio.create_task(self._ring())

    async def close(self) -> None:
        """Leave the workers; what is still held is delivered again when its lease ends."""
        if self._bell is not None:
            self._bell.cancel()
            await asyncio.gather(self._bell, return_exceptions=True)
        if self._given_up is not None:
            await self._given_up
        await self._script.call("leave", self._name)
        await self._script.close()

    # -- the contract

    async def take(self, line: str, most: int) -> list[Lease]:
        while True:
            rings = self._rings
            if self._alone is None:
                async with self._taking:
                    leases = await self._look(line, most)
                if leases:
                    return leases
            async with self._changed:
                await self._changed.wait_for(lambda rings=rings: self._rings != rings)  # type: ignore[misc]

    async def _look(self, line: str, most: int) -> list[Lease]:
        if self._alone is not None:
            return []
        call = asyncio.ensure_future(
            self._script.call(
                *("take", self._name, line, most, len(self._held)),
                *(int(self.lease_seconds * 1000), self._max_attempts, self._crashed),
            )
        )
        try:
            answer = await asyncio.shield(call)
        except asyncio.CancelledError:
            self._given_up = asyncio.ensure_future(self._give_back_unseen(call))
            raise
        if answer[0] == b"jobs":
            return await self._leases(answer[1])
        if answer[0] == b"none":
            self._ends[line] = answer[1]
        return []

    async def _give_back_unseen(self, call: asyncio.Future[Any]) -> None:
        """What a take that nobody waits for any more was given."""
        answer = await call
        if answer[0] == b"jobs":
            await self.give_back([entry[0].decode() for entry in answer[1]])

    async def _leases(self, jobs: Sequence[tuple[bytes, int, bytes, int]]) -> list[Lease]:
        ids = [entry[0].decode() for entry in jobs]
        self._held.update(ids)
        if any(attempt > 1 for _, attempt, _, _ in jobs):
            self._alone = ids[0]
        keys = [f"{self._script.prefix}:media:{job_id}" for job_id in ids]
        found = await patiently(lambda: self._script.client.mget(keys))
        leases = []
        for job_id, (_, attempt, text, waited), media in zip(ids, jobs, found, strict=True):
            if media is None:
                await self._over(job_id, "lost", job_id)
                continue
            try:
                leases.append(Lease(decode_job(json.loads(text)), media, attempt, waited / 1000))
            except (WireError, ValueError) as error:
                log.error("job %s is left to workers of another version: %s", job_id, error)
                await self.give_back([job_id])
                await asyncio.sleep(1.0)
        return leases

    async def extend(self, job_ids: Sequence[str]) -> list[str]:
        kept = await self._script.call("extend", self._name, int(self.lease_seconds * 1000), *job_ids)
        ids = [job_id.decode() for job_id in kept]
        await self._drop(set(job_ids) - set(ids))
        return ids

    async def progress(self, job_id: str, share: float) -> None:
        await self._script.call("progress", self._name, job_id, f"{share:.3f}")

    async def finish(self, job_id: str, result: Outcome) -> None:
        await self._over(job_id, "finish", job_id, _pack_outcome(result))

    async def fail(self, job_id: str, failure: JobFailure) -> None:
        await self._over(job_id, "finish", job_id, _pack_outcome(failure))

    async def give_back(self, job_ids: Sequence[str]) -> None:
        if job_ids:
            await self._script.call("give_back", self._name, *job_ids)
            await self._drop(set(job_ids))

    # -- inside

    async def _over(self, job_id: str, *command: str | bytes) -> None:
        await self._script.call(*command)
        await self._drop({job_id})

    async def _drop(self, job_ids: set[str]) -> None:
        """These are not held any more."""
        if not job_ids:
            return
        self._held -= job_ids
        if self._alone in job_ids:
            self._alone = None
        await self._ring_once()

    async def _ring_once(self) -> None:
        async with self._changed:
            self._rings += 1
            self._changed.notify_all()

    async def _ring(self) -> None:
        """Wake those who wait for work: when a stream has grown since it was last seen, and from time to time."""
        blocking, milliseconds = self._script.blocking, int(min(BLOCK_SECONDS, self.lease_seconds / 2) * 1000)
        while True:
            keys = {f"{self._script.prefix}:line:{line}": end for line, end in self._ends.items()}
            try:
                grown = await patiently(lambda keys=keys: blocking.xread(keys, count=100, block=milliseconds))  # type: ignore[misc]
            except Exception:
                log.exception("the lines cannot be watched")
                await asyncio.sleep(1.0)
                continue
            for key, entries in grown or ():
                self._ends[key.decode().rpartition(":")[2]] = entries[-1][0]
            await self._ring_once()
