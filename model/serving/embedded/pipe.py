"""The pipe between the bot and its worker process: both ends, and the frames between them.

A frame is its length (8 bytes, big endian) and then as `model.serving.codec.pack` makes it. A request that wants an
answer has a number, which the answer repeats: several may be open at once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import struct
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Any, Final

from model.errors import JobFailed
from model.serving.codec import WireError, pack, unpack
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import JobFailure, Outcome, decode_job, decode_outcome, encode_job, encode_outcome
from model.serving.queue import Lease, settle

log = logging.getLogger(__name__)

_LENGTH: Final = struct.Struct(">Q")
MAX_FRAME: Final = 1 << 31  # a batch of media


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The next frame. Raises asyncio.IncompleteReadError at the end, WireError for an absurd length."""
    (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
    if length > MAX_FRAME:
        raise WireError(f"a frame of {length} bytes")
    return await reader.readexactly(length)


def write_frame(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(_LENGTH.pack(len(frame)) + frame)  # at once: each write wakes the other end


async def serve_worker(
    queue: LocalQueue, worker: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """The queue's end of one worker's pipe: returns when the worker is gone, having taken back what it held.

    Raises WireError for what no worker of this version sends.
    """
    taking: dict[int, asyncio.Task[None]] = {}

    async def deliver(number: int, line: str, most: int) -> None:
        leases = await queue.take(worker, line, most)
        jobs = [{"job": encode_job(lease.job), "attempt": lease.attempt, "waited": lease.waited} for lease in leases]
        with suppress(ConnectionError):  # what a worker that is gone does not get is taken back when it leaves
            write_frame(writer, pack({"answer": number, "jobs": jobs}, [lease.media for lease in leases]))
            await writer.drain()

    try:
        while True:
            header, attachments = unpack(await read_frame(reader))
            match header:
                case {"op": "take", "number": int(number), "line": str(line), "most": int(most)}:
                    taking[number] = asyncio.create_task(deliver(number, line, most))
                    taking[number].add_done_callback(lambda _, number=number: taking.pop(number))  # type: ignore[misc]
                case {"op": "withdraw", "number": int(number)}:
                    if number in taking:
                        taking[number].cancel()
                case {"op": "extend", "number": int(number), "ids": list(job_ids)}:
                    kept = await queue.extend(worker, job_ids, header.get("waiting", ()))
                    write_frame(writer, pack({"answer": number, "ids": kept}))
                case {"op": "forgotten", "number": int(number)}:
                    write_frame(writer, pack({"answer": number, "places": await queue.forgotten(worker)}))
                case {"op": "progress", "id": str(job_id), "share": float(share)}:
                    await queue.progress(worker, job_id, share)
                case {"op": "finish", "id": str(job_id), "outcome": dict(outcome)}:
                    await queue.finish(worker, job_id, decode_outcome(outcome, attachments))
                case {"op": "fail", "id": str(job_id), "kind": str(kind), "message": str(message)}:
                    await queue.fail(worker, job_id, JobFailure(kind, message))
                case {"op": "give_back", "ids": list(job_ids)}:
                    await queue.give_back(worker, job_ids)
                case _:
                    raise WireError("a frame that asks for nothing known here")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        tasks = list(taking.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await queue.leave(worker)


class PipeConsumer:
    """The worker's end of the pipe; a `JobConsumer`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lease_seconds: float) -> None:
        self.lease_seconds = lease_seconds
        self._reader = reader
        self._writer = writer
        self._numbers = itertools.count()
        self._asked: dict[int, asyncio.Future[tuple[dict[str, Any], list[bytes]]]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def _send(self, header: dict[str, Any], attachments: Sequence[bytes] = ()) -> None:
        write_frame(self._writer, pack(header, attachments))
        await self._writer.drain()

    async def _ask(self, header: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        number = next(self._numbers)
        answer: asyncio.Future[tuple[dict[str, Any], list[bytes]]] = asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        try:
            await self._send({**header, "number": number})
            return await answer
        except asyncio.CancelledError:
            write_frame(self._writer, pack({"op": "withdraw", "number": number}))
            raise
        finally:
            del self._asked[number]

    async def _read(self) -> None:
        try:
            while True:
                header, attachments = unpack(await read_frame(self._reader))
                asked = self._asked.get(header["answer"])
                if asked is not None and not asked.done():
                    asked.set_result((header, attachments))
                elif jobs := header.get("jobs"):  # they were on their way when the take was withdrawn
                    await self.give_back([entry["job"]["id"] for entry in jobs])
        except (asyncio.IncompleteReadError, OSError, WireError, KeyError) as error:
            for asked in self._asked.values():
                settle(asked, ConnectionError(f"the bot's end of the pipe: {type(error).__name__}"))

    async def take(self, line: str, most: int) -> list[Lease]:
        """As the contract says. Jobs that cannot be read fail: a bot of another version has no other worker."""
        leases: list[Lease] = []
        while not leases:
            header, attachments = await self._ask({"op": "take", "line": line, "most": most})
            for entry, media in zip(header["jobs"], attachments, strict=True):
                try:
                    leases.append(Lease(decode_job(entry["job"]), media, entry["attempt"], entry["waited"]))
                except WireError as error:
                    log.error("a job of another version fails; restart the bot: %s", error)
                    await self.fail(entry["job"]["id"], JobFailure(JobFailed.kind, str(error)))
        return leases

    async def extend(self, job_ids: Sequence[str], waiting: Collection[str] = ()) -> list[str]:
        header, _ = await self._ask({"op": "extend", "ids": list(job_ids), "waiting": list(waiting)})
        return list(header["ids"])

    async def forgotten(self) -> list[str]:
        header, _ = await self._ask({"op": "forgotten"})
        return list(header["places"])

    async def progress(self, job_id: str, share: float) -> None:
        await self._send({"op": "progress", "id": job_id, "share": float(share)})

    async def finish(self, job_id: str, result: Outcome) -> None:
        header, attachments = encode_outcome(result)
        await self._send({"op": "finish", "id": job_id, "outcome": header}, attachments)

    async def fail(self, job_id: str, failure: JobFailure) -> None:
        await self._send({"op": "fail", "id": job_id, "kind": failure.kind, "message": failure.message})

    async def give_back(self, job_ids: Sequence[str]) -> None:
        await self._send({"op": "give_back", "ids": list(job_ids)})

    async def close(self) -> None:
        """Send what is still to be sent, and hang up."""
        if self._reading is not None:
            self._reading.cancel()
        self._writer.close()
        await self._writer.wait_closed()
