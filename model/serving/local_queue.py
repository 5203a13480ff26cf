"""The embedded queue: jobs in the bot's memory, and the pipe over which its worker process takes them.

What must survive the bot's own death is in its journal of updates (`bot/inbox.py`), from which jobs are put again;
this queue survives the worker's: whatever a dead worker held is delivered again, ahead of the line.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from model.errors import JobCrashed, error_of
from model.serving.jobs import (
    Job,
    JobFailure,
    JobResult,
    WireError,
    decode_job,
    decode_result,
    encode_job,
    encode_result,
    pack,
    unpack,
)
from model.serving.queue import Lease

_LENGTH: Final = struct.Struct(">Q")
MAX_FRAME: Final = 1 << 31  # a batch of media


@dataclass
class _Entry:
    job: Job
    media: bytes
    done: asyncio.Future[JobResult]
    attempt: int = 0
    worker: int | None = None  # who holds it
    taken: float = 0.0  # when, on the queue's clock
    waiters: int = 0


@dataclass
class LocalQueue:
    """Both sides of the contract in one process; the worker's side takes the id of the worker that asks."""

    max_attempts: int = 3
    clock: Callable[[], float] = time.monotonic
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _line: deque[str] = field(default_factory=deque)
    _workers: set[int] = field(default_factory=set)
    _arrival: asyncio.Condition = field(default_factory=asyncio.Condition)

    # -- the bot's side

    async def put(self, job: Job, media: bytes) -> None:
        if job.id in self._entries:
            return
        self._entries[job.id] = _Entry(job, media, asyncio.get_running_loop().create_future())
        self._line.append(job.id)
        await self._announce()

    async def wait(self, job_id: str) -> JobResult:
        entry = self._entries.get(job_id)
        if entry is None:
            raise error_of("failed", f"job {job_id} is not in this queue")
        entry.waiters += 1
        try:
            return await asyncio.shield(entry.done)
        finally:
            entry.waiters -= 1
            if not entry.waiters:
                await self.cancel(job_id)

    def position(self, job_id: str) -> int:
        try:
            return self._line.index(job_id)
        except ValueError:
            return 0

    async def cancel(self, job_id: str) -> None:
        entry = self._entries.pop(job_id, None)
        if entry is None:
            return
        if job_id in self._line:
            self._line.remove(job_id)
        entry.done.cancel()
        await self._announce()

    def workers_alive(self) -> int:
        return len(self._workers)

    # -- the workers' side

    def join(self, worker: int) -> None:
        """This worker is there and takes jobs."""
        self._workers.add(worker)

    async def leave(self, worker: int) -> None:
        """This worker is gone; what it held is delivered again, or fails when it has been tried often enough."""
        self._workers.discard(worker)
        held = [entry for entry in self._entries.values() if entry.worker == worker]
        for entry in reversed(held):
            entry.worker = None
            if entry.attempt >= self.max_attempts:
                self._settle(entry, JobCrashed(f"brought down a worker {entry.attempt} times"))
            else:
                self._line.appendleft(entry.job.id)
        await self._announce()

    async def take(self, worker: int, most: int) -> list[Lease]:
        """As `JobConsumer.take`.

        A job that is delivered again is all that its worker holds until it is over: should it bring the worker down,
        no other job is suspected with it.
        """
        self.join(worker)
        leases: list[Lease] = []
        async with self._arrival:
            await self._arrival.wait_for(lambda: self._next_for(worker) is not None)
            while len(leases) < most and (entry := self._next_for(worker)) is not None:
                self._line.popleft()
                entry.attempt += 1
                entry.worker = worker
                entry.taken = self.clock()
                leases.append(Lease(entry.job, entry.media, entry.attempt))
        return leases

    def _next_for(self, worker: int) -> _Entry | None:
        """The head of the line, if this worker may have it now."""
        if not self._line:
            return None
        head = self._entries[self._line[0]]
        held = [entry for entry in self._entries.values() if entry.worker == worker]
        if any(entry.attempt > 1 for entry in held) or (head.attempt > 0 and held):
            return None
        return head

    async def finish(self, worker: int, job_id: str, result: JobResult) -> None:
        await self._end(worker, job_id, result)

    async def fail(self, worker: int, job_id: str, failure: JobFailure) -> None:
        await self._end(worker, job_id, error_of(failure.kind, failure.message))

    async def give_back(self, worker: int, job_ids: Sequence[str]) -> None:
        for job_id in reversed(job_ids):
            entry = self._held(worker, job_id)
            if entry is not None:
                entry.attempt -= 1
                entry.worker = None
                self._line.appendleft(job_id)
        await self._announce()

    def longest_held(self, worker: int) -> float:
        """Seconds for which this worker has held its oldest job; 0 when it holds none."""
        taken = [entry.taken for entry in self._entries.values() if entry.worker == worker]
        return self.clock() - min(taken) if taken else 0.0

    # -- inside

    def _held(self, worker: int, job_id: str) -> _Entry | None:
        entry = self._entries.get(job_id)
        return entry if entry is not None and entry.worker == worker else None

    async def _end(self, worker: int, job_id: str, outcome: JobResult | Exception) -> None:
        entry = self._held(worker, job_id)
        if entry is not None:
            self._settle(entry, outcome)
            await self._announce()

    @staticmethod
    def _settle(entry: _Entry, outcome: JobResult | Exception) -> None:
        entry.worker = None
        entry.media = b""
        if entry.done.done():
            return
        if isinstance(outcome, JobResult):
            entry.done.set_result(outcome)
        else:
            entry.done.set_exception(outcome)
            entry.done.exception()  # it may be that nobody waits any more

    async def _announce(self) -> None:
        async with self._arrival:
            self._arrival.notify_all()


# -- the pipe


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The next frame. Raises asyncio.IncompleteReadError at the end, WireError for an absurd length."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_FRAME:
        raise WireError(f"a frame of {length} bytes")
    return await reader.readexactly(length)


def write_frame(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(_LENGTH.pack(len(frame)))
    writer.write(frame)


async def serve_worker(
    queue: LocalQueue, worker: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """The queue's end of one worker's pipe: returns when the worker is gone, having taken back what it held.

    Raises WireError for what no worker of this version sends.
    """
    taking: asyncio.Task[None] | None = None

    async def deliver(most: int) -> None:
        leases = await queue.take(worker, most)
        header = {"jobs": [{"job": encode_job(lease.job), "attempt": lease.attempt} for lease in leases]}
        write_frame(writer, pack(header, [lease.media for lease in leases]))
        await writer.drain()

    try:
        while True:
            header, attachments = unpack(await read_frame(reader))
            match header:
                case {"op": "take", "most": int(most)}:
                    taking = asyncio.create_task(deliver(most))
                case {"op": "finish", "id": str(job_id), "result": dict(result)}:
                    await queue.finish(worker, job_id, decode_result(result, attachments))
                case {"op": "fail", "id": str(job_id), "kind": str(kind), "message": str(message)}:
                    await queue.fail(worker, job_id, JobFailure(kind, message))
                case {"op": "give_back", "ids": list(job_ids)}:
                    await queue.give_back(worker, job_ids)
                case _:
                    raise WireError("a frame that asks for nothing known here")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        if taking is not None:
            taking.cancel()
            await asyncio.gather(taking, return_exceptions=True)
        await queue.leave(worker)


class PipeConsumer:
    """The worker's end of the pipe; a `JobConsumer`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def _send(self, header: dict[str, Any], attachments: Sequence[bytes] = ()) -> None:
        write_frame(self._writer, pack(header, attachments))
        await self._writer.drain()

    async def take(self, most: int) -> list[Lease]:
        await self._send({"op": "take", "most": most})
        header, attachments = unpack(await read_frame(self._reader))
        return [
            Lease(decode_job(entry["job"]), media, entry["attempt"])
            for entry, media in zip(header["jobs"], attachments, strict=True)
        ]

    async def finish(self, job_id: str, result: JobResult) -> None:
        header, attachments = encode_result(result)
        await self._send({"op": "finish", "id": job_id, "result": header}, attachments)

    async def fail(self, job_id: str, failure: JobFailure) -> None:
        await self._send({"op": "fail", "id": job_id, "kind": failure.kind, "message": failure.message})

    async def give_back(self, job_ids: Sequence[str]) -> None:
        await self._send({"op": "give_back", "ids": list(job_ids)})

    async def close(self) -> None:
        """Send what is still to be sent, and hang up."""
        self._writer.close()
        await self._writer.wait_closed()
