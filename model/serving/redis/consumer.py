"""The worker's side of the queue in Redis; see `producer.py`. Free of torch."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from model.errors import JobCrashed
from model.serving.codec import WireError
from model.serving.jobs import JobFailure, Outcome, decode_job
from model.serving.queue import LINES, Lease, kind_of, settle
from model.serving.redis.connection import patiently
from model.serving.redis.script import BLOCK_SECONDS, PREFIX, Script, pack_outcome

log = logging.getLogger(__name__)

LEASE_SECONDS: Final = 15.0
AT_ONCE: Final = 4  # media that are fetched in one answer

# A job's id, attempt, header, waiting time (ms) and line; its media, unless they are to be fetched.
_Taken: TypeAlias = tuple[bytes, int, bytes, int, bytes, bytes | None]


@dataclass(frozen=True)
class _Held:
    kind: str  # of its line
    attempt: int


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
        lines: Sequence[str] = LINES,
    ) -> None:
        """`lines`: those that this worker takes from."""
        self.lease_seconds = lease_seconds
        self._script = Script(url, prefix, lines)
        self._name = name
        self._max_attempts = max_attempts
        self._crashed = pack_outcome(JobFailure(JobCrashed.kind, f"brought down a worker {max_attempts} times"))
        self._held: dict[str, _Held] = {}
        self._arriving: set[str] = set()  # of these, those whose media are being fetched
        self._taking = asyncio.Lock()
        self._changed = asyncio.Condition()
        self._refused = False  # something is to be delivered again, and comes when less is held
        self._rings = dict.fromkeys(LINES, 0)  # how often those who wait for work were woken
        self._ends = dict.fromkeys(LINES, b"0-0")  # where each line's stream ended when last seen
        self._empty = dict.fromkeys(LINES, -1)  # as of which ring nothing more was there to be taken
        self._bell: asyncio.Task[None] | None = None
        self._told = "0"  # up to where this worker has read which places are to be forgotten
        self._finished: list[tuple[str, bytes, asyncio.Future[None]]] = []  # to be handed in
        self._handing_in: asyncio.Task[None] | None = None
        self._given_up: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Join the workers. Waits for Redis. Raises RedisRefused."""
        await self._script.connect()
        await self.extend([])
        self._bell = asyncio.create_task(self._ring())

    async def close(self) -> None:
        """Leave the workers; what is still held is delivered again when its lease ends."""
        if self._bell is not None:
            self._bell.cancel()
            await asyncio.gather(self._bell, return_exceptions=True)
        await asyncio.gather(*self._given_up)
        await self._script.call("leave", self._name)
        await self._script.close()

    # -- the contract

    async def take(self, line: str, most: int) -> list[Lease]:
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._rings[line] != self._empty[line])
            rings = self._rings[line]
            async with self._taking:
                leases, was_all = await self._look(line, most)
            if was_all:
                self._empty[line] = rings
            if leases:
                return leases

    async def _look(self, line: str, most: int) -> tuple[list[Lease], bool]:
        """What could be taken, as far as it is of use, and whether there is nothing more."""
        suspects = [held for held in self._held.values() if held.attempt > 1]
        if any(held.kind == kind_of(line) or held.attempt >= self._max_attempts for held in suspects):
            return [], True
        kinds = sorted({held.kind for held in self._held.values()})
        call = asyncio.ensure_future(
            self._script.carry(
                *("take", self._name, line, most, f",{','.join(kinds)}," if kinds else ""),
                *(int(self.lease_seconds * 1000), self._max_attempts, self._crashed),
            )
        )
        try:
            answer = await asyncio.shield(call)
        except asyncio.CancelledError:
            self._give_up(call)
            raise
        if answer[0] == b"suspect":
            self._refused = True
            return [], True
        if was_all := len(answer) > (2 if answer[0] == b"jobs" else 1):
            self._ends[line] = answer[-1]
        try:
            return (await self._leases(answer[1]) if answer[0] == b"jobs" else []), was_all
        except asyncio.CancelledError:
            self._give_up(call)
            raise

    def _give_up(self, call: asyncio.Future[Any]) -> None:
        task = asyncio.create_task(self._give_back_unseen(call))
        self._given_up.add(task)
        task.add_done_callback(self._given_up.discard)

    async def _give_back_unseen(self, call: asyncio.Future[Any]) -> None:
        """What a take that nobody waits for any more was given."""
        answer = await call
        if answer[0] == b"jobs":
            await self.give_back([entry[0].decode() for entry in answer[1]])

    async def _leases(self, jobs: Sequence[_Taken]) -> list[Lease]:
        ids = [entry[0].decode() for entry in jobs]
        for job_id, (_, attempt, _, _, line, _) in zip(ids, jobs, strict=True):
            self._held[job_id] = _Held(kind_of(line.decode()), attempt)
        self._arriving = set(ids)
        try:
            return await self._with_media(ids, jobs)
        finally:
            self._arriving = set()

    async def _with_media(self, ids: Sequence[str], jobs: Sequence[_Taken]) -> list[Lease]:
        media_of = {job_id: job[-1] for job_id, job in zip(ids, jobs, strict=True)}
        left = [job_id for job_id, media in media_of.items() if media is None]
        for start in range(0, len(left), AT_ONCE):
            some = left[start : start + AT_ONCE]
            keys = [f"{self._script.prefix}:media:{job_id}" for job_id in some]
            found = await patiently(lambda keys=keys: self._script.carrying.mget(keys))  # type: ignore[misc]
            media_of |= zip(some, found, strict=True)
        leases = []
        for job_id, (_, attempt, text, waited, _, _) in zip(ids, jobs, strict=True):
            media = media_of[job_id]
            if media is None:
                await self._over(job_id, "lost", job_id)
                continue
            try:
                leases.append(Lease(decode_job(json.loads(text)), media, attempt, waited / 1000))
            except (WireError, ValueError) as error:
                log.error("job %s is left to workers of another version: %s", job_id, error)
                await self._over(job_id, "pass_on", self._name, job_id)
        return leases

    async def extend(self, job_ids: Sequence[str], waiting: Collection[str] = ()) -> list[str]:
        """As the contract says. Nobody but the worker itself counts for how long it holds a job."""
        named = set(job_ids)
        left = self._held.keys() - named - self._arriving
        also = self._arriving - named
        kept = await self._script.call("extend", self._name, int(self.lease_seconds * 1000), *job_ids, *also)
        ids = [job_id for each in kept if (job_id := each.decode()) in named]
        await self._drop(named - set(ids) | left)
        return ids

    async def forgotten(self) -> list[str]:
        told, places = await self._script.call("forgotten", self._told)
        self._told = told.decode()
        return [place.decode() for place in places]

    async def progress(self, job_id: str, share: float) -> None:
        await self._script.call("progress", self._name, job_id, f"{share:.3f}")

    async def finish(self, job_id: str, result: Outcome) -> None:
        """As the contract says. Outcomes that are ready while others are on their way go together."""
        handed = asyncio.get_running_loop().create_future()
        self._finished.append((job_id, pack_outcome(result), handed))
        if self._handing_in is None:
            self._handing_in = asyncio.create_task(self._hand_in())
        await handed
        await self._drop({job_id})

    async def _hand_in(self) -> None:
        try:
            while self._finished:
                batch, self._finished = self._finished[:AT_ONCE], self._finished[AT_ONCE:]
                try:
                    await self._script.carry("finish", *(part for job in batch for part in job[:2]))
                    error = None
                except Exception as problem:
                    error = problem
                for _, _, handed in batch:
                    settle(handed, error)
        finally:
            self._handing_in = None

    async def fail(self, job_id: str, failure: JobFailure) -> None:
        await self._over(job_id, "finish", job_id, pack_outcome(failure))

    async def give_back(self, job_ids: Sequence[str]) -> None:
        if job_ids:
            await self._script.call("give_back", self._name, *job_ids)
            await self._drop(set(job_ids))
            await self._wake(LINES)

    # -- inside

    async def _over(self, job_id: str, *command: str | bytes) -> None:
        await self._script.call(*command)
        await self._drop({job_id})

    async def _drop(self, job_ids: set[str]) -> None:
        """These are not held any more. Those who wait for work are woken only if that gives them a chance."""
        dropped = [self._held.pop(job_id) for job_id in job_ids & self._held.keys()]
        kinds = {held.kind for held in self._held.values()}
        if any(held.attempt > 1 or (self._refused and held.kind not in kinds) for held in dropped):
            self._refused = False
            await self._wake(LINES)

    async def _wake(self, lines: Iterable[str]) -> None:
        """Let those who wait for work look into these lines."""
        async with self._changed:
            for line in lines:
                self._rings[line] += 1
            self._changed.notify_all()

    async def _ring(self) -> None:
        """Wake those who wait for work: when a stream has grown since it was last seen, and all from time to time.

        What was handed back makes no stream grow.
        """
        blocking, pause = self._script.blocking, min(BLOCK_SECONDS, self.lease_seconds / 2)
        milliseconds, all_woken = int(pause * 1000), time.monotonic()
        while True:
            keys = {f"{self._script.prefix}:line:{line}": end for line, end in self._ends.items()}
            try:
                grown = await patiently(lambda keys=keys: blocking.xread(keys, count=100, block=milliseconds))  # type: ignore[misc]
            except Exception:
                log.exception("the lines cannot be watched")
                await asyncio.sleep(1.0)
                continue
            ends = {key.decode().rpartition(":")[2]: entries[-1][0] for key, entries in grown or ()}
            self._ends |= ends
            if not ends or time.monotonic() >= all_woken + pause:
                all_woken = time.monotonic()
                await self._wake(LINES)
            else:
                await self._wake(ends)
