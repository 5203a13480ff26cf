"""Sends every kind of file to one worker of the real program: what a person gets, and what it costs.

`python -m tests.support.corpus_table docs/files.md` writes the table anew (minutes).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from model.errors import AnimatedPicture, CaptionError
from model.serving.embedded.process import EmbeddedWorker
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import Job
from model.serving.queue import Limits
from model.serving.tasks.base import Task
from model.serving.tasks.clip import ClipTask
from model.serving.tasks.photo import PhotoTask
from tests.conftest import ROOT
from tests.support.kinds import CAPTIONED, MOMENTS, Kind
from tests.support.priority import keep_ordinary
from tests.support.program import environment

AT_ONCE: Final = 20  # files that are sent together
PEOPLE: Final = 1000
HEADINGS: Final = (
    (CAPTIONED, "a caption"),
    (MOMENTS, "its moments"),
    ("unread_image", "a kind of picture that is not read"),
    ("unread_clip", "a kind of clip that is not read"),
)


@dataclass
class OneWorker:
    """A queue and the worker process behind it."""

    queue: LocalQueue
    child: EmbeddedWorker
    pids: set[int] = field(default_factory=set)
    number: int = 0  # of jobs

    @property
    def pid(self) -> int:
        assert self.child.process is not None
        return self.child.process.pid

    @property
    def peak(self) -> int:
        """Bytes that the process took at most since it began."""
        return _status(self.pid, "VmHWM")

    @property
    def resident(self) -> int:
        return _status(self.pid, "VmRSS")

    async def answer(self, data: bytes, *, clip: bool) -> str:
        """CAPTIONED, MOMENTS or the kind of an error, as the bot asks: a picture that moves is asked for as a clip."""
        tasks: list[Task] = [ClipTask()] if clip else [PhotoTask(sheet=True), ClipTask()]
        for task in tasks:
            self.number += 1
            job = Job(str(self.number), self.number % PEOPLE, task)
            try:
                await self.queue.put(job, data)
                await self.queue.wait(job.id)
                return MOMENTS if isinstance(task, ClipTask) else CAPTIONED
            except AnimatedPicture:
                continue
            except CaptionError as error:
                return error.kind
            finally:
                await self.queue.forget(job.id)
                self.pids.add(self.pid)
        raise AssertionError("unreachable")


def _status(pid: int, name: str) -> int:
    found = re.search(rf"{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@contextlib.asynccontextmanager
async def one_worker(folder: Path, **settings: str) -> AsyncIterator[OneWorker]:
    """The worker that `start.py` starts, by default with the shipped network; ready when this returns."""
    queue = LocalQueue(max_attempts=1, limits=Limits(PEOPLE, PEOPLE))
    command = [sys.executable, str(ROOT / "start.py"), "worker", "--embedded", str(os.getpid())]
    child = EmbeddedWorker(queue, command, environment(DATA_DIR=str(folder), LOG_LEVEL="WARNING", **settings))
    running = asyncio.create_task(child.run())
    try:
        while queue.workers_alive() == 0:
            await asyncio.sleep(0.05)
        yield OneWorker(queue, child)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@dataclass(frozen=True)
class Sent:
    """A file that is made, and what came of it."""

    kind: Kind
    clip: bool
    size: int
    got: str

    @property
    def is_right(self) -> bool:
        return self.got == self.kind.right


async def send_all(worker: OneWorker, kinds: Sequence[tuple[Kind, bool]]) -> list[Sent]:
    """Each kind, AT_ONCE at a time. clip: whether it is sent as one."""
    free, making = asyncio.Semaphore(AT_ONCE), asyncio.Lock()

    async def send(kind: Kind, clip: bool) -> Sent:
        async with free:
            async with making:  # pictures are not to be saved by two threads
                data = await asyncio.to_thread(kind.make)
            return Sent(kind, clip, len(data), await worker.answer(data, clip=clip))

    return list(await asyncio.gather(*(send(kind, clip) for kind, clip in kinds)))


def all_kinds() -> list[tuple[Kind, bool]]:
    from tests.support.clip_kinds import clip_kinds
    from tests.support.picture_kinds import picture_kinds

    return [*((kind, False) for kind in picture_kinds()), *((kind, True) for kind in clip_kinds())]


def table(sent: Iterable[Sent]) -> str:
    """Markdown: kinds by what a person gets."""
    lines = ["| kind | sent as | answer |", "| --- | --- | --- |"]
    words = dict(HEADINGS)
    for each in sent:
        got = words.get(each.got, f"`{each.got}`") + ("" if each.is_right else f" (**wrong**, `{each.kind.right}`)")
        lines.append(f"| {each.kind.name} | {'clip' if each.clip else 'picture'} | {got} |")
    return "\n".join(lines)


async def main(path: Path) -> None:
    keep_ordinary()
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        async with one_worker(Path(folder)) as worker:
            idle, began = worker.resident, time.monotonic()
            sent = await send_all(worker, all_kinds())
            seconds, peak, restarts = time.monotonic() - began, worker.peak, len(worker.pids) - 1
    clips = sum(each.clip for each in sent)
    text = path.read_text() if path.exists() else ""
    head = text.partition("<!-- measured -->")[0]
    path.write_text(
        f"{head}<!-- measured -->\n\n{len(sent) - clips} kinds of pictures and {clips} of clips, {AT_ONCE} at once, "
        f"through one worker on a CPU: {sum(each.is_right for each in sent)} of {len(sent)} as they should be, "
        f"{restarts} restarts, {peak / 2**20:.0f} MiB at most ({idle / 2**20:.0f} MiB before the first), "
        f"{seconds:.0f} s with the making of the files.\n\n{table(sent)}\n"
    )
    print(path.read_text().partition("<!-- measured -->")[2].partition("|")[0])
    print(*(f"{each.kind.name}: {each.got}, not {each.kind.right}" for each in sent if not each.is_right), sep="\n")


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
