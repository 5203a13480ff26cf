"""The worker as the bot's child process: started, watched, restarted. Both ends are here; neither imports torch.

They talk over the child's standard input and output, so the child sees the end of its input whenever its parent
ends, however that happens, and ends too.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import itertools
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Final

from model.serving.codec import WireError
from model.serving.embedded.pipe import PipeConsumer, serve_worker
from model.serving.embedded.queue import LEASE_SECONDS, LocalQueue
from model.serving.outage import Backoff
from model.serving.tasks import TASKS

log = logging.getLogger(__name__)

MARGIN: Final = 1.1  # a worker that holds a job for so many times its task's `SECONDS` hangs, and is killed
SILENCE: Final = 50.0  # seconds without a heartbeat (2 s), from when it is ready; before its leases (60 s) end
SETTLED_SECONDS: Final = 60.0  # a worker that lived this long was well: the next restart is quick again
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 60.0
END_SECONDS: Final = 10.0
NO_RESTART: Final = 78  # the exit status (EX_CONFIG) of a worker that can never start: restarting will not help
_STREAM_LIMIT: Final = 1 << 20
PIPE_BYTES: Final = 1 << 20  # a result with its sheet goes in at once; else each end waits for the other many times


class WorkerCannotStart(Exception):
    """The worker says that its settings or weights cannot be used; its log says why."""


class EmbeddedWorker:
    """Keeps one worker process running on a `LocalQueue`."""

    def __init__(
        self,
        queue: LocalQueue,
        command: Sequence[str],
        environment: dict[str, str],
        *,
        seconds: Mapping[str, float] | None = None,
        silence: float = SILENCE,
    ) -> None:
        """`command` must run `connect_to_parent` and serve the consumer it gives.

        `seconds`: how long it may hold a job, by the task's name.
        """
        self.queue = queue
        self.command = list(command)
        self.environment = environment
        self.seconds = {name: MARGIN * task.SECONDS for name, task in TASKS.items()} | dict(seconds or {})
        self.silence = silence
        self.process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Run until cancelled, restarting a dead worker with growing pauses. Raises WorkerCannotStart."""
        backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
        for number in itertools.count(1):
            started = time.monotonic()
            try:
                status: int | str = await self._run_once(number)
            except OSError as error:  # no memory for another process, say
                status = str(error)
            lived = time.monotonic() - started
            if lived > SETTLED_SECONDS:
                backoff.reset()
            if status == NO_RESTART:
                raise WorkerCannotStart
            pause = backoff.next()
            log.error("the worker ended (status %s) after %.0f s; the next one starts in %.0f s", status, lived, pause)
            await asyncio.sleep(pause)

    async def _run_once(self, number: int) -> int:
        starting = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self.environment,
                limit=_STREAM_LIMIT,
            )
        )
        try:
            process = await asyncio.shield(starting)
        except asyncio.CancelledError:
            process = await starting
            process.kill()
            await process.communicate()
            raise
        self.process = process
        assert process.stdin is not None
        assert process.stdout is not None
        watch = asyncio.create_task(self._watch(number, process))
        try:
            await serve_worker(self.queue, number, process.stdout, process.stdin)
            await self._ended(process)  # by itself: its status tells why
        except WireError:
            log.exception("the worker sent what this bot does not understand")
        finally:
            watch.cancel()
            process.stdin.close()  # it ends when it sees this
            await self._ended(process)
        assert process.returncode is not None
        return process.returncode

    async def _watch(self, number: int, process: asyncio.subprocess.Process) -> None:
        """Kill a worker that holds a job for too long, or is silent: its jobs are delivered again."""
        while True:
            await asyncio.sleep(min(self.silence, *self.seconds.values()) / 20)
            late = [kind for kind, seconds in self.seconds.items() if self.queue.longest_held(number, kind) > seconds]
            if late:
                log.error("the worker has held a %s for over %.0f s: killed", late[0], self.seconds[late[0]])
            elif (silent := self.queue.silent(number)) > self.silence:
                log.error("the worker has not been heard of for %.0f s: killed", silent)
            else:
                continue
            process.kill()
            return

    @staticmethod
    async def _ended(process: asyncio.subprocess.Process) -> None:
        """Wait for the end of a process that has reason to end, but not for ever; not at all when cancelled."""
        try:
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
        except (TimeoutError, asyncio.CancelledError) as reason:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if isinstance(reason, asyncio.CancelledError):
                raise


async def connect_to_parent() -> PipeConsumer:
    """The worker's end: a consumer over this process's standard input and output.

    Standard output is taken away from everything else (prints go to standard error). When the parent is gone, this
    process ends at once, whatever it is doing.
    """
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # it stays as large as it is
            fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_STREAM_LIMIT)
    protocol = _ParentProtocol(reader)
    await loop.connect_read_pipe(lambda: protocol, sys.stdin.buffer)
    # A reader's protocol also knows how to wait until all is written, which a bare pipe's does not.
    transport, flow = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), output
    )
    return PipeConsumer(reader, asyncio.StreamWriter(transport, flow, reader, loop), LEASE_SECONDS)


class _ParentProtocol(asyncio.StreamReaderProtocol):
    def eof_received(self) -> bool | None:
        # Threads may be deep in a forward pass: nothing is worth waiting for once nobody listens.
        threading.Thread(target=os._exit, args=(0,)).start()
        return super().eof_received()
