"""Wire types, the embedded queue and its pipe, and the worker that serves it."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image

from model.captioner import CaptionSet
from model.errors import CaptionError, DamagedImage, JobCrashed, JobFailed, NotAnImage
from model.sampling import Sampling
from model.serving import worker as worker_module
from model.serving.embedded import NO_RESTART, EmbeddedWorker, WorkerCannotStart
from model.serving.jobs import (
    Job,
    JobFailure,
    JobResult,
    WireCaption,
    WireError,
    decode_job,
    decode_result,
    encode_job,
    encode_result,
    pack,
    unpack,
)
from model.serving.local_queue import LocalQueue, PipeConsumer, serve_worker
from model.serving.queue import JobConsumer, Lease
from model.serving.worker import Captioners, Picture, Worker, caption_batch
from tests.conftest import ROOT, WEIGHTS

RESULT = JobResult(WireCaption("a dog", 0.5), (WireCaption("the dog", 0.25),), b"jpeg")


def job(name: str, user: int = 1, **settings: object) -> Job:
    return Job(id=name, user=user, **settings)  # type: ignore[arg-type]


# -- wire types


def test_jobs_and_results_survive_the_wire() -> None:
    sent = job("7", samples=3, sampling=Sampling(temperature=1.2, ladder=True), seed=9, sheet=False)
    header, attachments = unpack(pack({"job": encode_job(sent)}, [b"media", b""]))
    assert decode_job(header["job"]) == sent
    assert attachments == [b"media", b""]
    fields, parts = encode_result(RESULT)
    header, attachments = unpack(pack(fields, parts))
    assert decode_result(header, attachments) == RESULT


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"PK\x03\x04 something else entirely",
        pack({"a": 1}, [b"xyz"])[:-1],
        pack({"a": 1}) + b"more",
        b"CAPT\x02" + pack({})[5:],
        b"CAPT\x01\x00\x00\x00\x02[]",
    ],
)
def test_foreign_and_damaged_frames_are_refused(frame: bytes) -> None:
    with pytest.raises(WireError):
        unpack(frame)


def test_what_is_no_job_or_result_is_refused() -> None:
    with pytest.raises(WireError):
        decode_job({"id": "1"})
    with pytest.raises(WireError):
        decode_job({**encode_job(job("1")), "sampling": {"temperature": 99}})
    with pytest.raises(WireError):
        decode_result({"greedy": {"words": 1}, "samples": []}, [])


# -- the queue


async def test_a_job_is_taken_finished_and_its_result_waited_for() -> None:
    queue = LocalQueue()
    await queue.put(job("a"), b"media")
    waiting = asyncio.create_task(queue.wait("a"))
    assert await queue.take(1, 5) == [Lease(job("a"), b"media", 1)]
    await queue.finish(1, "a", RESULT)
    assert await waiting == RESULT


async def test_take_waits_for_work_and_takes_whatever_waits() -> None:
    queue = LocalQueue()
    taking = asyncio.create_task(queue.take(1, 3))
    await asyncio.sleep(0.01)
    assert not taking.done()
    assert queue.workers_alive() == 1
    await queue.put(job("a"), b"")
    assert [lease.job.id for lease in await taking] == ["a"]
    for name in "bcdef":
        await queue.put(job(name), b"")
    assert [queue.position(name) for name in "bcf"] == [0, 1, 4]
    assert [lease.job.id for lease in await queue.take(1, 3)] == ["b", "c", "d"]


async def test_the_same_job_put_twice_is_done_once() -> None:
    queue = LocalQueue()
    await queue.put(job("a"), b"")
    await queue.put(job("a"), b"")
    both = [asyncio.create_task(queue.wait("a")) for _ in range(2)]
    await asyncio.sleep(0)
    assert len(await queue.take(1, 5)) == 1
    await queue.finish(1, "a", RESULT)
    assert await asyncio.gather(*both) == [RESULT, RESULT]


async def test_failures_arrive_as_the_errors_they_were() -> None:
    queue = LocalQueue()
    await queue.put(job("a"), b"")
    await queue.put(job("b"), b"")
    await queue.take(1, 5)
    await queue.fail(1, "a", JobFailure("not_image", "html"))
    await queue.fail(1, "b", JobFailure("from the future", "?"))
    with pytest.raises(NotAnImage, match="html"):
        await queue.wait("a")
    with pytest.raises(JobFailed):
        await queue.wait("b")


async def test_what_a_dead_worker_held_comes_again_first_and_alone() -> None:
    """A job delivered again is all that its worker holds, from its delivery to its end."""
    queue = LocalQueue(max_attempts=3)
    for name in "abc":
        await queue.put(job(name), b"")
    assert len(await queue.take(1, 2)) == 2
    await queue.leave(1)
    assert queue.workers_alive() == 0
    assert [(lease.job.id, lease.attempt) for lease in await queue.take(2, 9)] == [("a", 2)]
    ahead = asyncio.create_task(queue.take(2, 9))  # as a worker does while its network is busy
    await asyncio.sleep(0.01)
    assert not ahead.done()
    await queue.finish(1, "a", RESULT)  # the dead worker's late answer counts for nothing
    await asyncio.sleep(0.01)
    assert not ahead.done()
    await queue.finish(2, "a", RESULT)
    assert await queue.wait("a") == RESULT
    assert [(lease.job.id, lease.attempt) for lease in await ahead] == [("b", 2)]
    await queue.fail(2, "b", JobFailure("damaged", ""))
    assert [(lease.job.id, lease.attempt) for lease in await queue.take(2, 9)] == [("c", 1)]


async def greedy_worker(queue: LocalQueue, number: int) -> None:
    """Takes all it can get before it works, ends when there is nothing to do, and dies of poison."""
    held: list[str] = []
    while True:
        try:
            held += [lease.job.id for lease in await asyncio.wait_for(queue.take(number, 2), 0.05)]
        except TimeoutError:
            if not held or "poison" in held:
                return
            for name in held:
                await queue.finish(number, name, RESULT)
            held = []


async def test_no_innocent_job_is_given_up_with_one_that_kills() -> None:
    queue = LocalQueue(max_attempts=3)
    waits = {}
    for name in ("first", "poison", "last"):
        await queue.put(job(name), b"")
        waits[name] = asyncio.create_task(queue.wait(name))
    for number in range(4):
        await greedy_worker(queue, number)
        await queue.leave(number)
    with pytest.raises(JobCrashed):
        await waits["poison"]
    assert [await waits["first"], await waits["last"]] == [RESULT, RESULT]


async def test_a_job_that_brings_workers_down_is_given_up() -> None:
    queue = LocalQueue(max_attempts=2)
    await queue.put(job("poison"), b"")
    waiting = asyncio.create_task(queue.wait("poison"))
    for number in range(2):
        assert await queue.take(number, 1)
        await queue.leave(number)
    with pytest.raises(JobCrashed):
        await waiting


async def test_jobs_handed_back_do_not_count_as_tried() -> None:
    queue = LocalQueue()
    for name in "abc":
        await queue.put(job(name), b"")
    await queue.take(1, 3)
    await queue.give_back(1, ["b", "c"])
    assert [(lease.job.id, lease.attempt) for lease in await queue.take(2, 9)] == [("b", 1), ("c", 1)]


async def test_a_cancelled_job_is_forgotten_wherever_it_is() -> None:
    queue = LocalQueue()
    await queue.put(job("a"), b"")
    await queue.put(job("b"), b"")
    waiting = asyncio.create_task(queue.wait("b"))
    await asyncio.sleep(0)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert [lease.job.id for lease in await queue.take(1, 9)] == ["a"]
    await queue.cancel("a")
    await queue.finish(1, "a", RESULT)
    with pytest.raises(CaptionError):
        await queue.wait("a")


async def test_time_in_work_is_known() -> None:
    now = 100.0
    queue = LocalQueue(clock=lambda: now)
    await queue.put(job("a"), b"")
    assert queue.longest_held(1) == 0
    await queue.take(1, 1)
    now = 107.0
    assert queue.longest_held(1) == 7


# -- the pipe and the worker


class Pipes:
    """A queue and a consumer joined by two operating system pipes, as with a child process."""

    def __init__(self) -> None:
        self.queue = LocalQueue()

    async def __aenter__(self) -> Pipes:
        down, up = os.pipe(), os.pipe()
        reader, self._writer = await _streams(down[0], up[1])
        self.consumer = PipeConsumer(reader, self._writer)
        their_reader, self._their_writer = await _streams(up[0], down[1])
        self.serving = asyncio.create_task(serve_worker(self.queue, 1, their_reader, self._their_writer))
        return self

    async def hang_up(self) -> None:
        await self.consumer.close()
        await self.serving

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()
        self._their_writer.close()
        await self.serving


async def _streams(readable: int, writable: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(readable, "rb"))
    transport, protocol = await loop.connect_write_pipe(
        lambda: asyncio.StreamReaderProtocol(asyncio.StreamReader()), os.fdopen(writable, "wb")
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


@pytest.fixture
async def pipes() -> AsyncIterator[Pipes]:
    async with Pipes() as joined:
        yield joined


async def test_the_pipe_carries_jobs_and_answers(pipes: Pipes) -> None:
    media = os.urandom(3_000_000)  # more than any pipe holds at once
    await pipes.queue.put(job("a"), media)
    await pipes.queue.put(job("b"), b"")
    leases = await pipes.consumer.take(9)
    assert leases == [Lease(job("a"), media, 1), Lease(job("b"), b"", 1)]
    await pipes.consumer.finish("a", RESULT)
    await pipes.consumer.fail("b", JobFailure("damaged", "bits"))
    assert await pipes.queue.wait("a") == RESULT
    with pytest.raises(DamagedImage):
        await pipes.queue.wait("b")


async def test_a_broken_pipe_returns_the_jobs(pipes: Pipes) -> None:
    await pipes.queue.put(job("a"), b"")
    await pipes.consumer.take(1)
    await pipes.hang_up()
    assert [lease.attempt for lease in await pipes.queue.take(2, 1)] == [2]


@pytest.fixture(scope="module")
def captioners() -> Captioners:
    return Captioners(WEIGHTS, "cpu", "attention", "fp32")


@contextlib.asynccontextmanager
async def working(consumer: JobConsumer, captioners: Captioners, max_batch: int = 4) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Worker(consumer, captioners, max_batch=max_batch).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def test_the_worker_answers_each_job_as_it_asks(
    pipes: Pipes, captioners: Captioners, photo_files: list[Path]
) -> None:
    media = photo_files[1].read_bytes()
    jobs = [
        job("photo"),
        job("sample", samples=8, seed=3, sheet=False),
        job("baseline", model="baseline"),
        job("html"),
    ]
    async with working(pipes.consumer, captioners):
        for each in jobs:
            await pipes.queue.put(each, b"<html>" if each.id == "html" else media)
        photo, sample, baseline = [await pipes.queue.wait(each.id) for each in jobs[:3]]
        with pytest.raises(NotAnImage):
            await pipes.queue.wait("html")
    assert photo.sheet is not None
    assert Image.open(io.BytesIO(photo.sheet)).format == "JPEG"
    assert len(photo.samples) == 5
    assert sample.sheet is None
    assert len(sample.samples) == 8
    assert sample.greedy == photo.greedy
    assert baseline.sheet is None


async def test_what_waits_goes_in_one_batch(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def recorded(captioners: Captioners, pictures: list[Picture]) -> list[CaptionSet | Exception]:
        sizes.append(len(pictures))
        return caption_batch(captioners, pictures)

    monkeypatch.setattr(worker_module, "caption_batch", recorded)
    async with Pipes() as pipes:
        for number in range(9):
            await pipes.queue.put(job(str(number), sheet=False), photo_files[0].read_bytes())
        async with working(pipes.consumer, captioners, max_batch=4):
            await asyncio.gather(*(pipes.queue.wait(str(number)) for number in range(9)))
    assert sum(sizes) == 9
    assert max(sizes) == 4
    assert len(sizes) == 3


async def test_one_poison_picture_fails_alone(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    together = worker_module._caption_together

    def explosive(captioners: Captioners, pictures: list[Picture]) -> list[CaptionSet | Exception]:
        if any(picture.job.id == "poison" for picture in pictures):
            raise RuntimeError("out of memory, say")
        return together(captioners, pictures)

    monkeypatch.setattr(worker_module, "_caption_together", explosive)
    async with Pipes() as pipes:
        for name in ("a", "b", "poison", "c"):
            await pipes.queue.put(job(name, sheet=False), photo_files[0].read_bytes())
        async with working(pipes.consumer, captioners):
            for name in "abc":
                assert (await pipes.queue.wait(name)).greedy.text
            with pytest.raises(JobFailed, match="out of memory"):
                await pipes.queue.wait("poison")


async def test_a_stopped_worker_finishes_or_hands_back(captioners: Captioners, photo_files: list[Path]) -> None:
    async with Pipes() as pipes:
        for number in range(12):
            await pipes.queue.put(job(str(number), sheet=False), photo_files[0].read_bytes())
        waits = [asyncio.create_task(pipes.queue.wait(str(number))) for number in range(12)]
        async with working(pipes.consumer, captioners, max_batch=2):
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        await pipes.hang_up()
        finished = sum(task.done() for task in waits)
        left = 0
        while left + finished < 12:
            left += len(await asyncio.wait_for(pipes.queue.take(2, 12), 5))
        assert 0 < finished < 12
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


# -- the child process

CHILD = """
import asyncio, os, sys
sys.path.insert(0, {root!r})
from model.serving.embedded import connect_to_parent
from model.serving.jobs import JobResult, WireCaption

async def main():
    consumer = await connect_to_parent()
    print("a stray print must not reach the pipe")
    while True:
        for lease in await consumer.take(1):
            if lease.media == b"die":
                os._exit(1)
            if lease.media == b"hang":
                await asyncio.sleep(1000)
            await consumer.finish(lease.job.id, JobResult(WireCaption(str(os.getpid()), 1.0), ()))

asyncio.run(main())
"""


async def test_a_dead_worker_process_is_replaced() -> None:
    queue = LocalQueue(max_attempts=1)
    child = EmbeddedWorker(queue, [sys.executable, "-c", CHILD.format(root=str(ROOT))], dict(os.environ))
    running = asyncio.create_task(child.run())
    try:
        await queue.put(job("a"), b"")
        first = await asyncio.wait_for(queue.wait("a"), 20)
        await queue.put(job("b"), b"die")
        with pytest.raises(JobCrashed):
            await asyncio.wait_for(queue.wait("b"), 20)
        assert queue.workers_alive() == 0
        await queue.put(job("c"), b"")
        second = await asyncio.wait_for(queue.wait("c"), 20)
        assert first.greedy.text != second.greedy.text
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert child.process is not None
    assert child.process.returncode is not None  # it ends with the one that watches it


async def test_a_worker_that_can_never_start_is_not_started_again() -> None:
    child = EmbeddedWorker(LocalQueue(), [sys.executable, "-c", f"raise SystemExit({NO_RESTART})"], dict(os.environ))
    with pytest.raises(WorkerCannotStart):
        await asyncio.wait_for(child.run(), 20)


async def test_a_worker_that_hangs_is_killed_and_replaced() -> None:
    queue = LocalQueue(max_attempts=1)
    command = [sys.executable, "-c", CHILD.format(root=str(ROOT))]
    child = EmbeddedWorker(queue, command, dict(os.environ), job_seconds=0.5)
    running = asyncio.create_task(child.run())
    try:
        await queue.put(job("a"), b"hang")
        with pytest.raises(JobCrashed):
            await asyncio.wait_for(queue.wait("a"), 20)
        await queue.put(job("b"), b"")
        assert await asyncio.wait_for(queue.wait("b"), 20)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_nonsense_on_the_pipe_ends_the_worker_and_not_the_bot() -> None:
    script = (
        "import sys, time; sys.stdout.buffer.write(bytes(7) + bytes([3]) + b'abc'); sys.stdout.flush(); time.sleep(99)"
    )
    queue = LocalQueue()
    child = EmbeddedWorker(queue, [sys.executable, "-c", script], dict(os.environ))
    running = asyncio.create_task(child.run())
    await asyncio.sleep(1)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_program_that_cannot_be_started_is_tried_again() -> None:
    child = EmbeddedWorker(LocalQueue(), ["/nowhere/to/be/found"], dict(os.environ))
    running = asyncio.create_task(child.run())
    await asyncio.sleep(0.5)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
