"""A queue and a worker's side of it, joined as with a child process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import zlib
from collections.abc import AsyncIterator
from typing import Any

from model.serving.embedded.pipe import PipeConsumer, serve_worker
from model.serving.embedded.queue import LEASE_SECONDS, LocalQueue
from model.serving.jobs import Job
from model.serving.worker.network import Captioners
from model.serving.worker.worker import Worker
from tests.support.jobs import make_job


def job(name: str, **settings: Any) -> Job:
    """Each of another person."""
    return make_job(name, zlib.crc32(name.encode()), **settings)


async def streams(readable: int, writable: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(readable, "rb"))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(writable, "wb")
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


class Pipes:
    """A queue and a consumer joined by two operating system pipes, as with a child process."""

    def __init__(self) -> None:
        self.queue = LocalQueue()

    async def __aenter__(self) -> Pipes:
        down, up = os.pipe(), os.pipe()
        reader, self._writer = await streams(down[0], up[1])
        self.consumer = PipeConsumer(reader, self._writer, LEASE_SECONDS)
        their_reader, self._their_writer = await streams(up[0], down[1])
        self.serving = asyncio.create_task(serve_worker(self.queue, 1, their_reader, self._their_writer))
        return self

    async def hang_up(self) -> None:
        await self.consumer.close()
        await self.serving

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        self._their_writer.close()
        await self.serving


@contextlib.asynccontextmanager
async def serving(captioners: Captioners, **settings: Any) -> AsyncIterator[LocalQueue]:
    """The queue of a worker that runs in this process. settings: more arguments of `Worker`."""
    async with Pipes() as pipes:
        stop = asyncio.Event()
        task = asyncio.create_task(Worker(pipes.consumer, captioners, **settings).run(stop))
        try:
            yield pipes.queue
        finally:
            stop.set()
            await task
