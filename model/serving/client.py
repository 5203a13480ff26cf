"""A client of the queue: one job, from admission to result, for the bot and benchmarks. No torch."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext, suppress
from dataclasses import replace
from typing import Final, TypeAlias

from model.errors import FeaturesGone
from model.serving.jobs import Job, Outcome
from model.serving.queue import JobLost, JobProducer

log = logging.getLogger(__name__)

MOST_PUTS: Final = 3  # of one job, each after it was lost; then the caller tries again later

# Returns the media. What it enters into the stack, such as room in memory, is held until the result is there.
Fetch: TypeAlias = Callable[[AsyncExitStack], Awaitable[bytes]]


class Client:
    """Runs jobs on the workers behind a queue."""

    def __init__(self, queue: JobProducer) -> None:
        self._queue = queue

    async def run(
        self,
        job: Job,
        fetch: Fetch,
        *,
        admitted: bool = False,
        again: bool = False,
        progress: Callable[[float], None] | None = None,
        interruptible: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
        check: Callable[[], None] = lambda: None,
    ) -> Outcome:
        """Admit a job, put it with its media, and return its result. The caller forgets the job afterwards.

        `admitted`: the caller has admitted it. `again`: an earlier process may have put it, so its media are fetched
        only where the queue lacks it. `progress` receives the share that is done, in [0, 1]. The wait runs within
        `interruptible()`; `check` raises what ends the job between two tries. A job without its media is run again with
        them when the worker lacks its features, and a lost job is put again.

        Raises CaptionError, Busy, JobLost after `MOST_PUTS` losses, and what `fetch` and `check` raise.
        """

        async def result(job: Job) -> Outcome:
            for put in range(1, MOST_PUTS + 1):
                with suppress(JobLost):
                    async with AsyncExitStack() as held:
                        if put > 1 or not (again and await self._queue.has(job.id)):
                            media = await fetch(held) if job.task.needs_media else b""
                            await self._queue.put(job, media)  # not interrupted: what is put must be there to forget
                            del media
                        async with interruptible():
                            return await self._queue.wait(job.id, progress)
                check()
                log.warning("the queue lost the job or its picture")
                if put < MOST_PUTS:
                    await self._queue.admit(job, before=True)
            raise JobLost(job.id)

        if not admitted:
            await self._queue.admit(job, before=again)
        try:
            return await result(job)
        except FeaturesGone:  # perhaps of a try by an earlier process
            log.info("no worker knows the picture any more: it is sent")
        await self._queue.forget(job.id)
        check()
        job = replace(job, task=job.task.with_media())
        await self._queue.admit(job, before=True)
        return await result(job)
