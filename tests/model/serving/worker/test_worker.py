"""Wire types, the embedded queue and its pipe, and the worker that serves it."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import gc
import io
import itertools
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
import torch
from PIL import Image

from model.clip_moments import DescribedFrame, PreparedFrame
from model.decoding.sampling import Sampling
from model.errors import DamagedImage, JobCrashed, JobFailed, NotAClip, NotAnImage
from model.media import clips as media_clips
from model.media import images
from model.media.clips import ClipLimits
from model.media.memory import DECODING
from model.serving.codec import WireError, pack, unpack
from model.serving.embedded import pipe
from model.serving.embedded.process import NO_RESTART, EmbeddedWorker, WorkerCannotStart
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import JobFailure, decode_job, decode_outcome, encode_job, encode_outcome
from model.serving.queue import JobConsumer, Lease
from model.serving.tasks.base import Findings, Picture
from model.serving.tasks.clip import ClipResult, ClipTask
from model.serving.tasks.photo import PhotoResult, WireCaption
from model.serving.worker import process
from model.serving.worker import worker as worker_module
from model.serving.worker.network import Captioners
from model.serving.worker.worker import Worker, WorkerHung, choose
from tests.conftest import ROOT
from tests.support.clock import Clock, eventually
from tests.support.jobs import make_job
from tests.support.pipes import Pipes, job

RESULT = PhotoResult(WireCaption("a dog", 0.5), (WireCaption("the dog", 0.25),), b"jpeg")


# -- wire types


def test_jobs_and_results_survive_the_wire() -> None:
    sent = job("7", samples=3, sampling=Sampling(temperature=1.2, ladder=True), seed=9, sheet=False)
    header, attachments = unpack(pack({"job": encode_job(sent)}, [b"media", b""]))
    assert decode_job(header["job"]) == sent
    assert attachments == [b"media", b""]
    fields, parts = encode_outcome(RESULT)
    header, attachments = unpack(pack(fields, parts))
    assert decode_outcome(header, attachments) == RESULT


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"PK\x03\x04 something else entirely",
        pack({"a": 1}, [b"xyz"])[:-1],
        pack({"a": 1}) + b"more",
        b"CAPT\x63" + pack({})[5:],
        pack({})[:5] + b"\x00\x00\x00\x02[]",
    ],
)
def test_foreign_and_damaged_frames_are_refused(frame: bytes) -> None:
    with pytest.raises(WireError):
        unpack(frame)


def test_what_is_no_job_or_result_is_refused() -> None:
    with pytest.raises(WireError):
        decode_job({"id": "1"})
    with pytest.raises(WireError):
        decode_job({**encode_job(job("1")), "task": {"sampling": {"temperature": 99}}})
    with pytest.raises(WireError):
        decode_outcome({"greedy": {"words": 1}, "samples": []}, [])


# -- the pipe and the worker


@pytest.fixture
async def pipes() -> AsyncIterator[Pipes]:
    async with Pipes() as joined:
        yield joined


async def test_the_pipe_carries_jobs_and_answers(pipes: Pipes) -> None:
    media = os.urandom(3_000_000)  # more than any pipe holds at once
    await pipes.queue.put(job("a"), media)
    await pipes.queue.put(job("b"), b"")
    leases = await pipes.consumer.take("photo", 9)
    assert leases == [Lease(job("a"), media, 1), Lease(job("b"), b"", 1)]
    await pipes.consumer.finish("a", RESULT)
    await pipes.consumer.fail("b", JobFailure("damaged", "bits"))
    assert await pipes.queue.wait("a") == RESULT
    with pytest.raises(DamagedImage):
        await pipes.queue.wait("b")


async def test_a_broken_pipe_returns_the_jobs(pipes: Pipes) -> None:
    await pipes.queue.put(job("a"), b"")
    await pipes.consumer.take("photo", 1)
    await pipes.hang_up()
    assert [lease.attempt for lease in await pipes.queue.take(2, "photo", 1)] == [2]


async def test_a_job_of_another_version_fails_alone(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    await pipes.queue.put(job("strange"), b"")
    taking = asyncio.create_task(pipes.consumer.take("photo", 9))
    with monkeypatch.context() as patch:
        patch.setattr(pipe, "encode_job", lambda job: {**encode_job(job), "colour": "red"})
        with pytest.raises(JobFailed):
            await asyncio.wait_for(pipes.queue.wait("strange"), 60)
    await pipes.queue.put(job("known"), b"")
    assert [lease.job.id for lease in await asyncio.wait_for(taking, 60)] == ["known"]


@pytest.mark.parametrize(("where", "status"), [("Captioners", NO_RESTART), ("Worker", None)])
def test_only_settings_that_cannot_be_used_end_a_worker_for_good(
    where: str, status: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anything else is worth another start."""

    def wrong(*_: object, **__: object) -> None:
        raise WireError("no frame")

    @contextlib.asynccontextmanager
    async def nowhere(*_: object) -> AsyncIterator[None]:
        yield

    monkeypatch.setattr(process, "_redis_consumer", nowhere)
    monkeypatch.setattr(process, "Captioners", MagicMock())
    monkeypatch.setattr(process, where, wrong)
    serve = partial(process.serve_redis, "", process.WorkerOptions(weights_dir=tmp_path, data_dir=tmp_path))
    if status is None:
        with pytest.raises(WireError):
            serve()
    else:
        assert serve() == status


@pytest.mark.parametrize(("device", "setting", "most"), [("cpu", None, 16), ("cuda", None, 64), ("cuda", 24, 24)])
def test_batches_are_larger_on_a_gpu_unless_set(
    device: str, setting: int | None, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextlib.asynccontextmanager
    async def nowhere(*_: object) -> AsyncIterator[None]:
        yield

    captioners = MagicMock()
    captioners.encoder.device = torch.device(device)
    worker = MagicMock(return_value=AsyncMock())
    monkeypatch.setattr(process, "_redis_consumer", nowhere)
    monkeypatch.setattr(process, "Captioners", lambda *_: captioners)
    monkeypatch.setattr(process, "Worker", worker)
    assert (
        process.serve_redis("", process.WorkerOptions(weights_dir=tmp_path, data_dir=tmp_path, max_batch=setting)) == 0
    )
    assert worker.call_args.kwargs["max_batch"] == most
    assert [call.args for call in captioners.warm_up.call_args_list] == [(most,)] * (device == "cuda")
    assert [call.args for call in captioners.draw_on.call_args_list] == [(torch.device(device),)] * (device == "cuda")


async def captions_of(pipes: Pipes, name: str) -> PhotoResult:
    result = await pipes.queue.wait(name)
    assert isinstance(result, PhotoResult)
    return result


@contextlib.asynccontextmanager
async def working(
    consumer: JobConsumer, captioners: Captioners, max_batch: int = 4, **settings: Any
) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(Worker(consumer, captioners, max_batch=max_batch, **settings).run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def test_the_worker_answers_each_job_as_it_asks(
    pipes: Pipes, captioners: Captioners, photo_files: list[Path]
) -> None:
    media = photo_files[1].read_bytes()
    jobs = [job("photo"), job("sample", samples=8, seed=3, sheet=False), job("baseline", model="baseline"), job("html")]
    async with working(pipes.consumer, captioners):
        for each in jobs:
            await pipes.queue.put(each, b"<html>" if each.id == "html" else media)
        photo, sample, baseline = [await captions_of(pipes, each.id) for each in jobs[:3]]
        with pytest.raises(NotAnImage):
            await pipes.queue.wait("html")
    assert photo.sheet is not None
    assert Image.open(io.BytesIO(photo.sheet)).format == "JPEG"
    assert len(photo.samples) == 5
    assert sample.sheet is None
    assert len(sample.samples) == 8
    assert sample.greedy == photo.greedy
    assert baseline.sheet is None


@pytest.mark.slow
async def test_what_waits_goes_in_one_batch(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    together = Captioners.caption

    def recorded(captioners: Captioners, pictures: list[Picture]) -> list[Findings | Exception]:
        sizes.append(len(pictures))
        return together(captioners, pictures)

    monkeypatch.setattr(Captioners, "caption", recorded)
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
    together = Captioners._together

    def explosive(captioners: Captioners, pictures: list[Picture]) -> list[Findings | Exception]:
        if any(picture.job_id == "poison" for picture in pictures):
            raise RuntimeError("out of memory, say")
        return together(captioners, pictures)

    monkeypatch.setattr(Captioners, "_together", explosive)
    async with Pipes() as pipes:
        for name in ("a", "b", "poison", "c"):
            await pipes.queue.put(job(name, sheet=False), photo_files[0].read_bytes())
        async with working(pipes.consumer, captioners):
            for name in "abc":
                assert (await captions_of(pipes, name)).greedy.text
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
            left += len(await asyncio.wait_for(pipes.queue.take(2, "photo", 12), 60))
        assert 0 < finished < 12
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)


# -- the child process

CHILD = f"""
import asyncio, os, signal, sys, time
sys.path.insert(0, {str(ROOT)!r})
from model.serving.embedded.process import connect_to_parent
from model.serving.tasks.photo import PhotoResult, WireCaption

async def main():
    consumer = await connect_to_parent()
    print("a stray print must not reach the pipe")
    while True:
        for lease in await consumer.take("photo", 1):
            if lease.media == b"die":
                os._exit(1)
            if lease.media == b"hang":
                await asyncio.sleep(1000)
            if lease.media == b"stopped":
                os.kill(os.getpid(), signal.SIGSTOP)
            if lease.media == b"silence":
                await consumer.extend([])
                time.sleep(1000)
            if lease.media == b"slow":
                await asyncio.sleep(1)
            await consumer.finish(lease.job.id, PhotoResult(WireCaption(str(os.getpid()), 1.0), ()))

asyncio.run(main())
"""


@contextlib.asynccontextmanager
async def watched(
    queue: LocalQueue, program: str = CHILD, **limits: Any
) -> AsyncIterator[tuple[EmbeddedWorker, asyncio.Task[None]]]:
    """A worker process that runs this program, and the task that watches it; both end with the block."""
    child = EmbeddedWorker(queue, [sys.executable, "-c", program], dict(os.environ), **limits)
    watching = asyncio.create_task(child.run())
    try:
        yield child, watching
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_dead_worker_process_is_replaced() -> None:
    queue = LocalQueue(max_attempts=1)
    async with watched(queue) as (child, _):
        await queue.put(job("a"), b"")
        first = await asyncio.wait_for(queue.wait("a"), 60)
        assert isinstance(first, PhotoResult)
        await queue.put(job("b"), b"die")
        with pytest.raises(JobCrashed):
            await asyncio.wait_for(queue.wait("b"), 60)
        assert queue.workers_alive() == 0
        await queue.put(job("c"), b"")
        second = await asyncio.wait_for(queue.wait("c"), 60)
        assert isinstance(second, PhotoResult)
        assert first.greedy.text != second.greedy.text
    assert child.process is not None
    assert child.process.returncode is not None  # it ends with the one that watches it


@pytest.mark.skipif(sys.platform != "linux", reason="only there the size of a pipe can be set")
async def test_the_pipe_holds_a_result_with_its_sheet() -> None:
    queue = LocalQueue()
    async with watched(queue) as (child, _):
        await queue.put(job("a"), b"")
        await asyncio.wait_for(queue.wait("a"), 60)
        started: Any = child.process
        results = started._transport.get_pipe_transport(1).get_extra_info("pipe")
        assert fcntl.fcntl(results, fcntl.F_GETPIPE_SZ) >= 500_000


async def test_a_worker_that_can_never_start_is_not_started_again() -> None:
    child = EmbeddedWorker(LocalQueue(), [sys.executable, "-c", f"raise SystemExit({NO_RESTART})"], dict(os.environ))
    with pytest.raises(WorkerCannotStart):
        await asyncio.wait_for(child.run(), 60)


@pytest.mark.parametrize(
    ("media", "limit"),
    [
        (b"hang", {"seconds": {"photo": 0.5}}),
        (b"silence", {"silence": 0.5}),
        (b"stopped", {"silence": 0.5}),  # before its first heartbeat
    ],
)
async def test_a_worker_that_hangs_or_falls_silent_is_killed_and_replaced(media: bytes, limit: dict[str, Any]) -> None:
    queue = LocalQueue(max_attempts=1)
    async with watched(queue, **limit):
        await queue.put(job("a"), media)
        with pytest.raises(JobCrashed):
            await asyncio.wait_for(queue.wait("a"), 60)
        await queue.put(job("b"), b"")
        assert await asyncio.wait_for(queue.wait("b"), 60)


async def test_silence_is_counted_from_when_a_worker_is_ready() -> None:
    clock = Clock()
    queue = LocalQueue(clock=clock)
    await clock.pass_time(300)  # it loads
    assert queue.silent(1) == 0
    taking = asyncio.create_task(queue.take(1, "photo", 1))  # it is ready, and is stopped before its first heartbeat
    await clock.pass_time(51)
    assert queue.silent(1) == 51
    await queue.extend(1, [])
    assert queue.silent(1) == 0
    taking.cancel()
    await queue.leave(1)
    await clock.pass_time(51)
    assert queue.silent(1) == 0


async def test_a_clip_may_take_longer_than_a_picture() -> None:
    queue = LocalQueue(max_attempts=1)
    async with watched(queue, CHILD.replace('"photo"', '"clip"'), seconds={"photo": 0.2}):
        await queue.put(job("a", task=ClipTask), b"slow")
        assert await asyncio.wait_for(queue.wait("a"), 60)


async def test_nonsense_on_the_pipe_ends_the_worker_and_not_the_bot() -> None:
    script = (
        "import sys, time; sys.stdout.buffer.write(bytes(7) + bytes([3]) + b'abc'); sys.stdout.flush(); time.sleep(99)"
    )
    async with watched(LocalQueue(), script) as (child, watching):
        await asyncio.sleep(1)
        assert not watching.done()
    assert child.process is not None
    assert child.process.returncode is not None  # it does not outlive the one that watches it


async def test_a_program_that_cannot_be_started_is_tried_again() -> None:
    child = EmbeddedWorker(LocalQueue(), ["/nowhere/to/be/found"], dict(os.environ))
    running = asyncio.create_task(child.run())
    await asyncio.sleep(0.5)
    assert not running.done()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# -- how batches are made


def test_the_quick_lane_goes_first_and_the_bulk_lane_never_starves() -> None:
    quick, bulk = [f"quick {n}" for n in range(20)], [f"bulk {n}" for n in range(20)]
    assert choose(quick, bulk, 8, 0) == [*quick[:6], *bulk[:2]]
    assert choose(quick[:1], bulk, 8, 0) == [quick[0], *bulk[:7]]
    assert choose(quick, [], 8, 0) == quick[:8]
    assert choose([], bulk, 8, 0) == bulk[:8]
    assert choose(quick[:3], bulk[:2], 8, 0) == [*quick[:3], *bulk[:2]]
    for most in (1, 2, 3):
        batches = [choose(quick, bulk, most, turn) for turn in range(8)]
        assert sum(batch == bulk[:most] for batch in batches) == 2
        assert sum(batch == quick[:most] for batch in batches) == 6


async def test_a_single_photo_passes_fifty_of_another_person(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is in the batch after the one that runs when it comes."""
    batches: list[list[str]] = []
    came_at: list[int] = []
    async with Pipes() as pipes:

        def recorded(captioners: Captioners, pictures: list[Picture]) -> list[Findings | Exception]:
            batches.append([picture.job_id for picture in pictures])
            if len(batches) == 4:
                asyncio.run_coroutine_threadsafe(arrive("single", 2), loop).result(20)
                came_at.append(len(batches))
            time.sleep(0.2)  # for the intake
            return [NotAnImage("no matter")] * len(pictures)

        async def arrive(name: str, user: int) -> None:
            await pipes.queue.put(make_job(name, user), photo_files[0].read_bytes())

        loop = asyncio.get_running_loop()
        monkeypatch.setattr(Captioners, "caption", recorded)
        for number in range(50):
            await arrive(f"{number}", 1)
        async with working(pipes.consumer, captioners, max_batch=4):
            await eventually(lambda: sum(map(len, batches)) >= 51)
    assert came_at == [4]
    assert "single" in batches[4]
    assert sorted(name for batch in batches for name in batch) == sorted([*map(str, range(50)), "single"])


async def test_the_next_batch_begins_before_tasks_go_on_with_what_the_last_one_found(
    pipes: Pipes, captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the network stands still while results are packed and handed in."""
    worker = Worker(pipes.consumer, captioners, max_batch=1)
    order: list[str] = []
    begin, fail = worker._device.submit, pipes.consumer.fail

    def recorded(*work: Any) -> Any:
        order.append("begins")
        return begin(*work)

    async def handed_in(job_id: str, failure: JobFailure) -> None:
        order.append("handed in")
        await fail(job_id, failure)

    def found(captioners: Captioners, pictures: list[Picture]) -> list[Findings | Exception]:
        for _ in range(2000):
            if worker._ready() or len(order) > 1:  # the second picture is decoded
                break
            time.sleep(0.01)
        return [NotAnImage("no matter")] * len(pictures)

    monkeypatch.setattr(worker._device, "submit", recorded)
    monkeypatch.setattr(pipes.consumer, "fail", handed_in)
    monkeypatch.setattr(Captioners, "caption", found)
    stop = asyncio.Event()
    running = asyncio.create_task(worker.run(stop))
    for name in ("a", "b"):
        await pipes.queue.put(job(name), photo_files[0].read_bytes())
    for name in ("a", "b"):
        with pytest.raises(NotAnImage):
            await asyncio.wait_for(pipes.queue.wait(name), 60)
    stop.set()
    await running
    assert order == ["begins", "begins", "handed in", "handed in"]


@pytest.mark.parametrize(("what", "name"), [(Captioners, "caption"), (images, "open_image")])
async def test_a_hung_network_or_thread_ends_the_worker(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch, what: object, name: str
) -> None:
    hung = threading.Event()
    monkeypatch.setattr(what, name, lambda *_: hung.wait(20) and [NotAnImage("too late")])
    monkeypatch.setattr(worker_module, "HEARTBEAT", 0.05)
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    async with Pipes() as pipes:
        await pipes.queue.put(job("a"), photo_files[0].read_bytes())
        worker = Worker(pipes.consumer, captioners, seconds={"photo": 0.3}, thread_seconds=0.3)
        with pytest.raises(WorkerHung):
            await asyncio.wait_for(worker.run(asyncio.Event()), 60)
        hung.set()
    await asyncio.sleep(0.1)
    del worker, pipes
    gc.collect()
    assert unseen == []  # no task of it goes on and fails with nobody to see


async def test_jobs_that_wait_for_a_thread_lose_no_time(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a file that is decoded slowly, a job is given back and taken anew before its time is over."""
    slow, opened = threading.Event(), images.open_image

    def open_slowly(data: bytes) -> Image.Image:
        slow.wait(60)
        return opened(data)

    monkeypatch.setattr(images, "open_image", open_slowly)
    monkeypatch.setattr(worker_module, "HEARTBEAT", 0.02)
    async with Pipes() as pipes:
        for name in ("slow", "behind"):
            await pipes.queue.put(job(name), photo_files[0].read_bytes())
        taken: list[str] = []
        take = pipes.queue.take

        async def noted(worker: int, line: str, most: int) -> list[Lease]:
            leases = await take(worker, line, most)
            taken.extend(lease.job.id for lease in leases)
            assert all(lease.attempt == 1 for lease in leases)
            return leases

        monkeypatch.setattr(pipes.queue, "take", noted)
        async with working(
            pipes.consumer, captioners, threads=1, seconds={"photo": 2.0, "clip": 2.0}, thread_seconds=60.0
        ):
            await eventually(lambda: taken.count("behind") >= 2)
            slow.set()
            assert isinstance(await asyncio.wait_for(pipes.queue.wait("behind"), 60), PhotoResult)


def begins(held: dict[str, worker_module._Held], pipes: Pipes) -> dict[str, float]:
    """When the time of each job begins, by the worker's and by the bot's count."""
    worker = {name: each.overdue - each.seconds for name, each in held.items()}
    return worker | {f"{name}, for the bot": pipes.queue._entries[name].taken for name in held}


async def test_waiting_for_other_jobs_in_the_worker_does_not_count(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job waits for room in memory; another that is to be drawn waits for its thread."""
    looked, caption = threading.Event(), Captioners.caption

    def slowly(captioners: Captioners, pictures: list[Picture]) -> list[Findings | Exception]:
        looked.wait(60)
        return caption(captioners, pictures)

    monkeypatch.setattr(Captioners, "caption", slowly)
    monkeypatch.setattr(worker_module, "HEARTBEAT", 0.02)
    async with Pipes() as pipes, asyncio.timeout(60):
        worker, stop = Worker(pipes.consumer, captioners, threads=1), asyncio.Event()
        running = asyncio.create_task(worker.run(stop))
        await pipes.queue.put(job("drawn"), photo_files[0].read_bytes())
        await eventually(lambda: "drawn" in worker._held and worker._held["drawn"].picture is not None)
        with DECODING.hold(DECODING.size):
            await pipes.queue.put(job("decoded"), photo_files[0].read_bytes())
            await eventually(lambda: "decoded" in worker._held and not worker._held["decoded"].waits)
            looked.set()
            held = dict(worker._held)
            begun = begins(held, pipes)
            await eventually(lambda: not begun.items() & begins(held, pipes).items())
        for name in held:
            assert await pipes.queue.wait(name)
        stop.set()
        await running


async def test_what_breaks_the_network_counts_as_tried_and_what_had_not_begun_does_not(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = threading.Event()

    def lost(captioners: Captioners, pictures: list[Picture]) -> list[Findings | Exception]:
        assert decoded.wait(20)
        raise RuntimeError("CUDA error: device-side assert triggered")

    monkeypatch.setattr(Captioners, "caption", lost)
    async with Pipes() as pipes:
        await pipes.queue.put(job("poison"), photo_files[0].read_bytes())
        running = asyncio.create_task(Worker(pipes.consumer, captioners, max_batch=1).run(asyncio.Event()))
        while (await pipes.queue.status()).in_work < 1:
            await asyncio.sleep(0.01)
        await pipes.queue.put(job("innocent"), photo_files[0].read_bytes())
        while (await pipes.queue.status()).in_work < 2:
            await asyncio.sleep(0.01)
        decoded.set()
        with pytest.raises(RuntimeError, match="device-side"):
            await asyncio.wait_for(running, 60)
        await pipes.hang_up()
        attempts = {}
        for _ in range(2):
            [lease] = await asyncio.wait_for(pipes.queue.take(2, "photo", 1), 60)
            attempts[lease.job.id] = lease.attempt
            await pipes.queue.finish(2, lease.job.id, RESULT)
        assert attempts == {"poison": 2, "innocent": 1}


async def test_a_forgotten_job_is_not_worked_on(
    captioners: Captioners, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    go_on = threading.Event()

    def recorded(captioners: Captioners, pictures: list[Picture]) -> list[Findings | Exception]:
        seen.extend(picture.job_id for picture in pictures)
        assert go_on.wait(20)
        return [NotAnImage("no matter")] * len(pictures)

    monkeypatch.setattr(Captioners, "caption", recorded)
    monkeypatch.setattr(worker_module, "HEARTBEAT", 0.05)
    async with Pipes() as pipes, working(pipes.consumer, captioners, max_batch=1):
        await pipes.queue.put(job("a"), photo_files[0].read_bytes())
        await eventually(lambda: seen)
        await pipes.queue.put(job("b"), photo_files[0].read_bytes())
        await pipes.queue.put(job("c"), photo_files[0].read_bytes())
        while (await pipes.queue.status()).in_work < 2:
            await asyncio.sleep(0.01)
        await pipes.queue.forget("b")
        while await pipes.queue.position("c") or (await pipes.queue.status()).waiting["photo"]:
            await asyncio.sleep(0.01)
        go_on.set()
        with pytest.raises(NotAnImage):
            await asyncio.wait_for(pipes.queue.wait("c"), 60)
    assert seen == ["a", "c"]


# -- clips


@pytest.fixture(scope="module")
def clip(photos: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Three photos, four seconds each, as a GIF."""
    wide = [photo.resize((180, 120)) for photo in photos[:3]]
    panned = [photo.crop((x, 0, x + 160, 120)) for photo in wide for x in range(0, 16, 2)]
    frames = [frame.quantize(64, method=Image.Quantize.FASTOCTREE) for frame in panned]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:], duration=500)
    return out.getvalue()


@pytest.mark.slow
async def test_a_clip_is_answered_with_its_moments(pipes: Pipes, captioners: Captioners, clip: bytes) -> None:
    shares: list[float] = []
    async with working(pipes.consumer, captioners):
        await pipes.queue.put(job("clip", task=ClipTask), clip)
        result = await pipes.queue.wait("clip", shares.append)
        await pipes.queue.put(job("two", task=ClipTask, moments=2), clip)
        two = await pipes.queue.wait("two")
        await pipes.queue.put(job("photo", task=ClipTask), b"<html>")
        with pytest.raises(NotAClip):
            await pipes.queue.wait("photo")
    assert isinstance(result, ClipResult)
    assert [frame.time // 4 for frame in result.moments] == [0, 1, 2]
    assert len(result.frames) >= 3
    assert all(frame.text for frame in result.frames)
    assert len(result.pictures) == 3
    for picture in (*result.pictures, result.timeline):
        assert Image.open(io.BytesIO(picture)).format == "JPEG"
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert isinstance(two, ClipResult)
    assert len(two.moments) == 2
    fields, parts = encode_outcome(result)
    assert decode_outcome(*unpack(pack(fields, parts))) == result


@pytest.mark.slow
@pytest.mark.parametrize("keep", [True, False])
async def test_another_choice_of_moments_needs_no_second_look_unless_nothing_may_be_kept(
    pipes: Pipes, captioners: Captioners, clip: bytes, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    batches: list[int] = []
    describe = Captioners.describe

    def counted(captioners: Captioners, model: str, frames: list[PreparedFrame]) -> list[DescribedFrame]:
        batches.append(len(frames))
        return describe(captioners, model, frames)

    monkeypatch.setattr(Captioners, "describe", counted)
    async with working(pipes.consumer, captioners):
        await pipes.queue.put(job("first", task=ClipTask, keep=keep), clip)
        first = await pipes.queue.wait("first")
        looked_at = len(batches)
        await pipes.queue.put(job("more", task=ClipTask, moments=5, keep=keep), clip)
        more = await pipes.queue.wait("more")
    assert len(batches) == (looked_at if keep else 2 * looked_at)
    assert isinstance(first, ClipResult)
    assert isinstance(more, ClipResult)
    assert (len(first.moments), len(more.moments)) == (3, 5)
    assert [(f.time, f.text, f.score) for f in first.frames] == [(f.time, f.text, f.score) for f in more.frames]
    shown = dict(zip((frame.time for frame in more.moments), more.pictures, strict=True))
    assert [shown.get(frame.time, picture) for frame, picture in zip(first.moments, first.pictures, strict=True)] == [
        *first.pictures
    ]


@pytest.mark.slow
async def test_pictures_and_frames_take_turns(
    captioners: Captioners, clip: bytes, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A picture waits for one batch of a clip's frames at most, and the clip goes on between pictures."""
    order: list[str] = []
    describe = Captioners.describe

    def pictures(captioners: Captioners, pictures: list[Picture]) -> list[Findings | Exception]:
        order.extend(["picture"] * len(pictures))
        time.sleep(0.1)  # the next are there before this ends
        return [NotAnImage("no matter")] * len(pictures)

    def frames(captioners: Captioners, model: str, batch: list[PreparedFrame]) -> list[DescribedFrame]:
        order.append("frames")
        time.sleep(0.1)
        return describe(captioners, model, batch)

    monkeypatch.setattr(Captioners, "caption", pictures)
    monkeypatch.setattr(Captioners, "describe", frames)
    async with Pipes() as pipes:
        for number in range(16):
            await pipes.queue.put(job(str(number)), photo_files[0].read_bytes())
        await pipes.queue.put(job("clip", task=ClipTask), clip)
        async with working(pipes.consumer, captioners, max_batch=2):
            await pipes.queue.wait("clip")
            for number in range(16):
                with pytest.raises(NotAnImage):
                    await pipes.queue.wait(str(number))
    for place, pair in enumerate(itertools.pairwise(order)):
        if pair == ("frames", "frames"):
            assert order[:place].count("picture") == 16, order


async def test_a_cancelled_clip_stops(
    captioners: Captioners, clip: bytes, photo_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    describe = Captioners.describe

    def frames(captioners: Captioners, model: str, batch: list[PreparedFrame]) -> list[DescribedFrame]:
        seen.append(len(batch))
        time.sleep(0.3)
        return describe(captioners, model, batch[:1]) * len(batch)

    monkeypatch.setattr(Captioners, "describe", frames)
    monkeypatch.setattr(worker_module, "HEARTBEAT", 0.05)
    async with Pipes() as pipes, working(pipes.consumer, captioners):
        await pipes.queue.put(job("clip", task=ClipTask), clip)
        await eventually(lambda: seen)
        await pipes.queue.forget("clip")
        await pipes.queue.put(job("next", task=ClipTask), clip)
        assert await pipes.queue.wait("next")
    assert len(seen) < 6


@pytest.mark.slow
async def test_a_cancelled_clip_keeps_its_room_while_its_thread_waits(
    captioners: Captioners, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines of clips have two threads: one that waits for another clip's memory must be the only one that does."""
    begun, go_on = [], threading.Event()
    opened = media_clips.open_clip

    def waits(media: bytes, limits: ClipLimits) -> contextlib.AbstractContextManager[media_clips.Clip]:
        begun.append(media)
        go_on.wait(60)
        return opened(media, limits)

    monkeypatch.setattr(media_clips, "open_clip", waits)
    monkeypatch.setattr(worker_module, "HEARTBEAT", 0.02)
    async with Pipes() as pipes, working(pipes.consumer, captioners):
        await pipes.queue.put(job("cancelled", task=ClipTask), clip)
        await eventually(lambda: begun)
        await pipes.queue.cancel("cancelled")
        await pipes.queue.put(job("next", task=ClipTask), clip)
        await asyncio.sleep(0.3)
        waiting = (await pipes.queue.status()).waiting["clip"]
        go_on.set()
        assert waiting == 1
        assert await asyncio.wait_for(pipes.queue.wait("next"), 60)


async def test_a_stopped_worker_hands_its_clip_back(
    captioners: Captioners, clip: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def frames(captioners: Captioners, model: str, batch: list[PreparedFrame]) -> list[DescribedFrame]:
        begun.set()
        time.sleep(0.2)
        raise RuntimeError("too late to matter")

    monkeypatch.setattr(Captioners, "describe", frames)
    async with Pipes() as pipes:
        await pipes.queue.put(job("clip", task=ClipTask), clip)
        async with working(pipes.consumer, captioners):
            await eventually(begun.is_set)
        await pipes.hang_up()
        [lease] = await asyncio.wait_for(pipes.queue.take(2, "clip", 1), 60)
        assert lease.attempt == 1


def test_a_slow_clip_is_refused_before_its_thread_is_taken_for_one_that_hangs() -> None:
    """Its last step may overrun the budget, and what is done with a batch of its frames comes on top."""
    assert ClipLimits().decoding <= 0.8 * worker_module.THREAD_SECONDS
