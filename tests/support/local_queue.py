"""The embedded queue, with the test in the place of its worker."""

from __future__ import annotations

import asyncio

from model.serving.embedded.queue import LocalQueue
from model.serving.queue import Lease
from model.serving.tasks.base import WireTranslation
from model.serving.tasks.clip import ClipFrame, ClipResult
from tests.support.pictures import picture

WORKER = 1


def joined_queue() -> LocalQueue:
    """A queue that WORKER has joined."""
    queue = LocalQueue()
    queue.join(WORKER)
    return queue


async def take(queue: LocalQueue, line: str = "clip") -> Lease:
    """The next job of this kind."""
    async with asyncio.timeout(60):
        [lease] = await queue.take(WORKER, line, 1)
        return lease


async def answer(queue: LocalQueue, result: ClipResult) -> Lease:
    """Finish the next clip with this result."""
    lease = await take(queue)
    await queue.finish(WORKER, lease.job.id, result)
    return lease


async def all_done(queue: LocalQueue) -> None:
    """Wait until no request is open."""
    async with asyncio.timeout(60):
        while (await queue.status()).open_requests:
            await asyncio.sleep(0.01)


RUSSIAN = WireTranslation("сцена", 0.84, (), ("сцена",), ((0, 1),))


def clip_result(
    chosen: int = 3, frames: int = 8, still: bool = False, translation: WireTranslation | None = None
) -> ClipResult:
    """What a worker finds in a clip of 64 seconds: one frame in eight seconds, of which the first are `chosen`."""
    shown = picture(320, 240)
    return ClipResult(
        duration=64.0,
        frames=tuple(ClipFrame(8.0 * n, f"scene <{n}>", 0.5, n < chosen, translation) for n in range(frames)),
        variedness=0.62,
        still=still,
        pictures=(shown,) * chosen,
        timeline=shown,
    )
