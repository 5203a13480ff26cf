"""The queue's contract, kept by each engine: embedded (through its pipe), Redis, and Redis as a cluster of one node."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Protocol

import pytest

from model.errors import CaptionError, FeaturesGone, JobCancelled, JobCrashed, JobFailed, NotAnImage
from model.serving.embedded.pipe import PipeConsumer, serve_worker
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import Job, JobFailure, Outcome
from model.serving.queue import LINES, Busy, JobConsumer, JobLost, JobProducer, Lease, Limits
from model.serving.redis import consumer as redis_consumer
from model.serving.redis import producer as redis_queue
from model.serving.redis.consumer import RedisConsumer
from model.serving.redis.producer import RedisQueue
from model.serving.redis.script import Script
from model.serving.tasks import TASKS
from model.serving.tasks.clip import ClipTask
from model.serving.tasks.photo import PhotoResult, WireCaption
from tests.support.clock import eventually
from tests.support.jobs import make_job
from tests.support.pipes import streams
from tests.support.redis_server import RedisServer

RESULT = PhotoResult(WireCaption("a dog", 0.5), (WireCaption("the dog", 0.25),), b"jpeg")
LEASE = 1.5  # seconds, where a test is about leases; a process may stand still for a moment
LONG = 10.0  # where it is not
SOON = 60.0
SERVED = "{captions}:served"
LARGE = 300_000  # bytes; too many to come along with a job from Redis


def job(name: str, user: int = 1, **settings: object) -> Job:
    return make_job(name, user, **settings)  # type: ignore[arg-type]


class Engine(Protocol):
    """How a test gets the two sides of one queue. `lease`: seconds; to be set before."""

    lease: float

    async def producer(self, limits: Limits | None = None) -> JobProducer: ...

    async def consumer(self, name: str = "worker") -> JobConsumer: ...

    async def crash(self, consumer: JobConsumer) -> None:
        """The process of this worker is gone, without a word."""


@dataclass
class Embedded:
    queue: LocalQueue = field(default_factory=lambda: LocalQueue(max_attempts=3))
    lease: float = LONG
    ends: dict[int, tuple[asyncio.Task[None], list[asyncio.StreamWriter]]] = field(default_factory=dict)

    async def producer(self, limits: Limits | None = None) -> JobProducer:
        self.queue.limits = limits or self.queue.limits
        self.queue.lease_seconds = self.lease
        return self.queue

    async def consumer(self, name: str = "worker") -> JobConsumer:
        down, up = os.pipe(), os.pipe()
        reader, writer = await streams(down[0], up[1])
        their_reader, their_writer = await streams(up[0], down[1])
        consumer = PipeConsumer(reader, writer, self.lease)
        serving = asyncio.create_task(serve_worker(self.queue, len(self.ends), their_reader, their_writer))
        self.ends[id(consumer)] = serving, [writer, their_writer]
        return consumer

    async def crash(self, consumer: JobConsumer) -> None:
        serving, [writer, _] = self.ends[id(consumer)]
        writer.close()
        await serving

    async def close(self) -> None:
        for serving, writers in self.ends.values():
            for writer in writers:
                writer.close()
            await serving


@dataclass
class OnRedis:
    server: RedisServer
    lease: float = LONG
    queues: list[RedisQueue] = field(default_factory=list)
    consumers: list[RedisConsumer] = field(default_factory=list)

    async def producer(self, limits: Limits | None = None) -> RedisQueue:
        queue = RedisQueue(self.server.url, f"bot-{len(self.queues)}", limits=limits)
        self.queues.append(queue)
        await queue.open()
        return queue

    async def consumer(self, name: str = "worker") -> RedisConsumer:
        name = f"{name}-{len(self.consumers)}"
        consumer = RedisConsumer(self.server.url, name, max_attempts=3, lease_seconds=self.lease)
        self.consumers.append(consumer)
        await consumer.open()
        return consumer

    async def crash(self, consumer: JobConsumer) -> None:
        """Its lease expires: nobody else is told."""

    def keys(self) -> set[str]:
        lines = self.server.call("KEYS", "*").split("\r\n")
        return {line for line in lines if line.startswith("{captions}")}

    async def close(self) -> None:
        for queue in self.queues:
            await queue.close()
        for consumer in self.consumers:
            await consumer.close()


@pytest.fixture(params=["embedded", "redis", "cluster"])
async def engine(
    request: pytest.FixtureRequest, redis_server: RedisServer, redis_cluster: RedisServer
) -> AsyncIterator[Engine]:
    made: Embedded | OnRedis
    if request.param == "embedded":
        made = Embedded()
    else:
        made = OnRedis(redis_server if request.param == "redis" else redis_cluster)
        made.server.call("FLUSHALL")
    async with asyncio.timeout(300):
        yield made
        await made.close()


@pytest.fixture
async def redis(redis_server: RedisServer) -> AsyncIterator[OnRedis]:
    made = OnRedis(redis_server)
    made.server.call("FLUSHALL")
    async with asyncio.timeout(300):
        yield made
        await made.close()


async def line_up(queue: JobProducer, *names: str, user: int | None = None) -> None:
    """Jobs of a person each, unless `user` is given."""
    for number, name in enumerate(names):
        each = job(name, user=user or 1000 + number)
        await queue.admit(each)
        await queue.put(each, name.encode())


async def taken(consumer: JobConsumer, most: int = 9, line: str = "photo") -> list[tuple[str, int]]:
    async with asyncio.timeout(SOON):
        return [(lease.job.id, lease.attempt) for lease in await consumer.take(line, most)]


async def test_a_job_is_taken_finished_and_its_result_waited_for(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    asked = job("a", samples=3, seed=7)
    media = os.urandom(3_000_000)
    await queue.admit(asked)
    assert not await queue.has("a")
    await queue.put(asked, media)
    assert await queue.has("a")
    waiting = asyncio.create_task(queue.wait("a"))
    assert await worker.take("photo", 5) == [Lease(asked, media, 1)]
    await worker.finish("a", RESULT)
    assert await asyncio.wait_for(waiting, SOON) == RESULT
    assert await queue.wait("a") == RESULT  # until it is forgotten
    assert await queue.has("a")
    await queue.forget("a")
    assert not await queue.has("a")
    with pytest.raises((JobLost, CaptionError)):
        await queue.wait("a")


async def test_take_waits_for_work_and_takes_whatever_waits(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    taking = asyncio.create_task(taken(worker, 3))
    await asyncio.sleep(0.05)
    assert not taking.done()
    await line_up(queue, "a")
    assert await taking == [("a", 1)]
    await line_up(queue, *"bcdef")
    assert [await queue.position(name) for name in "abcf"] == [0, 0, 1, 4]
    assert await taken(worker, 3) == [("b", 1), ("c", 1), ("d", 1)]
    status = await queue.status()
    assert (status.waiting["photo"], status.in_work, status.open_requests, status.workers) == (2, 4, 6, 1)


async def test_the_same_job_put_twice_is_done_once(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    await line_up(queue, "a")
    await line_up(queue, "a")
    both = [asyncio.create_task(queue.wait("a")) for _ in range(2)]
    assert await taken(worker) == [("a", 1)]
    await worker.finish("a", RESULT)
    assert await asyncio.gather(*both) == [RESULT, RESULT]


async def test_failures_arrive_as_the_errors_they_were(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    await line_up(queue, "a", "b")
    await taken(worker)
    await worker.fail("a", JobFailure("not_image", "html"))
    await worker.fail("b", JobFailure("from the future", "?"))
    with pytest.raises(NotAnImage, match="html"):
        await queue.wait("a")
    with pytest.raises(JobFailed):
        await queue.wait("b")


async def test_what_a_dead_worker_held_comes_again_first_and_alone(engine: Engine) -> None:
    """A job delivered again is all that its worker holds, from its delivery to its end."""
    engine.lease = LEASE
    queue, dead = await engine.producer(), await engine.consumer()
    await line_up(queue, "a", "b", "c")
    assert len(await taken(dead, 2)) == 2
    await engine.crash(dead)
    await asyncio.sleep(LEASE)
    worker = await engine.consumer()
    assert await taken(worker) == [("a", 2)]
    ahead = asyncio.create_task(taken(worker))  # as a worker does while its network is busy
    for _ in range(8):
        await asyncio.sleep(LEASE / 6)
        assert await worker.extend(["a"]) == ["a"]
    assert not ahead.done()
    await worker.finish("a", RESULT)
    assert await queue.wait("a") == RESULT
    assert await ahead == [("b", 2)]
    await worker.fail("b", JobFailure("damaged", ""))
    assert await taken(worker) == [("c", 1)]


async def test_a_lease_that_is_extended_holds_and_one_that_is_not_ends(engine: Engine) -> None:
    engine.lease = LEASE
    queue, first = await engine.producer(), await engine.consumer("first")
    second = await engine.consumer("second")
    await line_up(queue, "a", "b")
    assert await taken(first) == [("a", 1), ("b", 1)]
    other = asyncio.create_task(taken(second))
    for _ in range(12):
        await asyncio.sleep(LEASE / 6)
        assert await first.extend(["a"]) == ["a"]
    assert await other == [("b", 2)]  # the idle worker noticed without any new job
    assert await first.extend(["a", "b"]) == ["a"]
    await first.finish("b", RESULT)  # late, and still the first to have it
    assert await queue.wait("b") == RESULT
    assert await second.extend(["b"]) == []


async def test_a_job_that_a_worker_lets_go_of_comes_again_to_the_same_worker(engine: Engine) -> None:
    engine.lease = LEASE
    queue, worker = await engine.producer(), await engine.consumer()
    await line_up(queue, "slow", "b")
    assert await taken(worker, 1) == [("slow", 1)]
    again = asyncio.create_task(taken(worker, 1, line="clip"))  # no other line is needed for it
    for _ in range(6):
        await asyncio.sleep(LEASE / 3)
        assert await worker.extend([]) == []  # it took too long
    assert await again == [("slow", 2)]
    await worker.finish("slow", RESULT)
    assert await taken(worker) == [("b", 1)]


async def put_clip(queue: JobProducer, name: str) -> None:
    await queue.put(job(name, user=hash(name), task=ClipTask), b"")


async def crash(engine: Engine, worker: JobConsumer) -> JobConsumer:
    """Another worker, when this one is known to be dead."""
    await engine.crash(worker)
    await asyncio.sleep(LEASE)
    return await engine.consumer()


async def test_photos_go_on_beside_a_clip_that_is_delivered_again(engine: Engine) -> None:
    engine.lease = LEASE
    queue, worker = await engine.producer(), await engine.consumer()
    await put_clip(queue, "clip")
    assert await taken(worker, line="clip") == [("clip", 1)]
    worker = await crash(engine, worker)
    await put_clip(queue, "other clip")
    assert await taken(worker, line="clip") == [("clip", 2)]
    other = asyncio.create_task(taken(worker, line="clip"))
    await line_up(queue, "a", "b")
    assert await taken(worker, 1) == [("a", 1)]
    assert await taken(worker, 1) == [("b", 1)]
    await asyncio.sleep(0.1)
    assert not other.done()
    await worker.finish("clip", RESULT)
    assert await other == [("other clip", 1)]


async def test_the_last_attempt_at_a_clip_is_made_alone(engine: Engine) -> None:
    """Whatever it stood beside when workers died, it is given up only for what it did by itself."""
    engine.lease = LEASE
    queue, worker = await engine.producer(), await engine.consumer()
    await put_clip(queue, "clip")
    for attempt in (1, 2):
        assert await taken(worker, line="clip") == [("clip", attempt)]
        if attempt == 2:
            await line_up(queue, "beside")
            assert await taken(worker) == [("beside", 1)]
        worker = await crash(engine, worker)
    await line_up(queue, "new")
    assert await taken(worker, line="clip") == [("beside", 2)]
    clip = asyncio.create_task(taken(worker, line="clip"))
    await asyncio.sleep(0.1)
    assert not clip.done()
    await worker.finish("beside", RESULT)
    assert await clip == [("clip", 3)]
    new = asyncio.create_task(taken(worker))
    await asyncio.sleep(0.1)
    assert not new.done()
    await worker.finish("clip", RESULT)
    assert await new == [("new", 1)]


async def greedy_worker(worker: JobConsumer) -> None:
    """Takes all it can get before it works, ends when there is nothing to do, and dies of poison."""
    held: list[str] = []
    while True:
        with contextlib.suppress(TimeoutError):
            held += [lease.job.id for lease in await asyncio.wait_for(worker.take("photo", 2), LEASE / 2)]
            continue
        if not held or "poison" in held:
            return
        for name in held:
            await worker.finish(name, RESULT)
        held = []


@pytest.mark.slow
async def test_no_other_job_is_given_up_with_one_that_kills_workers(engine: Engine) -> None:
    engine.lease = LEASE
    queue = await engine.producer()
    await line_up(queue, "first", "poison", "last")
    waits = {name: asyncio.create_task(queue.wait(name)) for name in ("first", "poison", "last")}
    async with asyncio.timeout(SOON):
        while not all(wait.done() for wait in waits.values()):
            worker = await engine.consumer()
            await greedy_worker(worker)
            await engine.crash(worker)
            await asyncio.wait(waits.values(), timeout=LEASE)
    with pytest.raises(JobCrashed):
        await waits["poison"]
    assert [await waits["first"], await waits["last"]] == [RESULT, RESULT]


async def test_jobs_handed_back_do_not_count_as_tried(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    await line_up(queue, "a", "b", "c")
    await taken(worker)
    await worker.give_back(["b", "c"])
    other = await engine.consumer()
    assert await taken(other) == [("b", 1), ("c", 1)]
    await other.finish("b", RESULT)
    assert await queue.wait("b") == RESULT


async def test_a_forgotten_job_is_gone_wherever_it_is(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    await line_up(queue, "a", "b", "c")
    waiting = asyncio.create_task(queue.wait("b"))
    await asyncio.sleep(0.05)
    await queue.forget("b")
    with pytest.raises(JobCancelled):
        await waiting
    assert await taken(worker) == [("a", 1), ("c", 1)]
    await queue.forget("a")
    assert await worker.extend(["a", "c"]) == ["c"]
    await worker.finish("a", RESULT)
    await queue.forget("a")
    await queue.forget("never heard of")
    assert not await queue.has("a")


async def test_a_cancelled_job_is_not_taken_wherever_it_is(engine: Engine) -> None:
    """Another process of the bot may be about to put it, or to wait for it."""
    queue, worker = await engine.producer(), await engine.consumer()
    for name in ("admitted", "waiting", "never heard of"):
        if name != "never heard of":
            await queue.admit(job(name))
    await queue.put(job("waiting"), b"")
    waiting = asyncio.create_task(queue.wait("waiting"))
    await asyncio.sleep(0.05)
    for name in ("admitted", "waiting", "never heard of"):
        assert not await queue.is_cancelled(name)
        await queue.cancel(name)
        assert await queue.is_cancelled(name)
        with pytest.raises(JobCancelled):
            await queue.put(job(name), b"media")
    with pytest.raises(JobCancelled):
        await asyncio.wait_for(waiting, SOON)
    assert (await queue.status()).open_requests == 0
    await queue.admit(job("next"))
    await queue.put(job("next"), b"")
    assert [lease.job.id for lease in await worker.take("photo", 5)] == ["next"]


async def test_a_job_that_was_forgotten_may_be_put_anew(engine: Engine) -> None:
    """As the bot does with one whose picture no worker knows: the same job, now with its media."""
    queue, worker = await engine.producer(), await engine.consumer()
    first, second = job("a", known=True), job("a")
    await queue.admit(first)
    await queue.put(first, b"")
    waiting = asyncio.create_task(queue.wait("a"))
    assert await worker.take("photo", 1) == [Lease(first, b"")]
    await worker.fail("a", JobFailure("features_gone", ""))
    with pytest.raises(FeaturesGone):
        await asyncio.wait_for(waiting, SOON)
    await queue.forget("a")
    await queue.admit(second, before=True)
    await queue.put(second, b"media")
    waiting = asyncio.create_task(queue.wait("a"))
    assert await worker.take("photo", 1) == [Lease(second, b"media")]
    await worker.finish("a", RESULT)
    assert await asyncio.wait_for(waiting, SOON) == RESULT


async def test_a_wait_given_up_leaves_the_job(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    await line_up(queue, "a")
    waiting = asyncio.create_task(queue.wait("a"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await taken(worker) == [("a", 1)]
    await worker.finish("a", RESULT)
    assert await asyncio.wait_for(queue.wait("a"), SOON) == RESULT


async def test_limits_hold_for_requests_not_for_their_parts(engine: Engine) -> None:
    queue = await engine.producer(Limits(requests=3, requests_per_person=2))
    for number in range(4):
        await queue.admit(job(f"item {number}", user=1, request="album"))
    await queue.admit(job("single", user=1))
    with pytest.raises(Busy) as refused:
        await queue.admit(job("one too many", user=1))
    assert refused.value.of_person == 2
    await queue.admit(job("other", user=2))
    with pytest.raises(Busy) as refused:
        await queue.admit(job("full", user=3))
    assert refused.value.of_person is None
    await queue.admit(job("item 0", user=1, request="album"))  # known already
    await queue.admit(job("from before", user=3), before=True)
    for number in range(4):
        with pytest.raises(Busy):
            await queue.admit(job("full", user=4))
        await queue.forget(f"item {number}")
    with pytest.raises(Busy):  # the one from before takes a place, too
        await queue.admit(job("full", user=4))
    await queue.forget("from before")
    await queue.admit(job("full", user=4))
    assert (await queue.status()).open_requests == 3


async def test_the_limit_holds_for_many_at_once(engine: Engine) -> None:
    queue = await engine.producer(Limits(requests=5))
    outcomes = await asyncio.gather(
        *(queue.admit(job(str(number), user=number)) for number in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, Busy) for outcome in outcomes) == 15


async def test_many_jobs_of_one_person_wait_beside_the_others(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    await line_up(queue, *map(str, range(6)), user=1)
    await line_up(queue, "single")
    assert await taken(worker) == [("0", 1), ("1", 1), ("single", 1)]
    assert await taken(worker, line="photo-bulk", most=3) == [("2", 1), ("3", 1), ("4", 1)]
    for name in "01234":
        await worker.finish(name, RESULT)
        await queue.forget(name)
    await line_up(queue, "later", user=1)
    assert await taken(worker) == [("later", 1)]


async def test_clips_wait_in_a_line_of_their_own(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    clip = job("clip", task=ClipTask)
    await queue.admit(clip)
    await queue.put(clip, b"mp4")
    await line_up(queue, "photo")
    shares: list[float] = []
    waiting = asyncio.create_task(queue.wait("clip", shares.append))
    assert await taken(worker) == [("photo", 1)]
    assert await taken(worker, line="clip") == [("clip", 1)]
    await worker.progress("clip", 0.25)
    await worker.progress("clip", 0.5)
    await worker.finish("clip", RESULT)
    assert await asyncio.wait_for(waiting, SOON) == RESULT
    assert shares == [0.25, 0.5]


async def test_several_takes_may_wait_at_once(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    lines = ("photo", "photo-bulk", "clip")
    takes = [asyncio.create_task(taken(worker, line=line)) for line in lines]
    await asyncio.sleep(0.05)
    clip = job("clip", user=9, task=ClipTask)
    await queue.admit(clip)
    await queue.put(clip, b"")
    assert await takes[2] == [("clip", 1)]
    await line_up(queue, "a", "b", "c", user=1)
    assert await takes[1] == [("c", 1)]
    assert ("a", 1) in await takes[0]


async def test_each_worker_hears_once_which_places_are_to_be_forgotten(engine: Engine) -> None:
    queue = await engine.producer()
    workers = [await engine.consumer(f"worker {number}") for number in range(2)]
    await line_up(queue, "a", "b")
    for worker in workers:
        assert await taken(worker, 1)
        assert await worker.forgotten() == []
    for place in ("chat 1", "chat 2", "chat 1"):
        await queue.forget_place(place)
    assert sorted(await workers[0].forgotten()) == ["chat 1", "chat 2"]
    assert await workers[0].forgotten() == []
    await queue.forget_place("chat 1")  # it was used again since
    await queue.forget_place("Straße 3")
    assert sorted(await workers[0].forgotten()) == ["Straße 3", "chat 1"]
    assert sorted(await workers[1].forgotten()) == ["Straße 3", "chat 1", "chat 2"]
    assert await workers[1].forgotten() == []


async def test_workers_share_what_waits(engine: Engine) -> None:
    queue = await engine.producer()
    workers = [await engine.consumer(f"worker {number}") for number in range(3)]
    names = [f"job {number}" for number in range(30)]
    done: list[str] = []

    async def work(worker: JobConsumer) -> None:
        while True:
            for lease in await worker.take("photo", 2):
                done.append(lease.job.id)
                await worker.finish(lease.job.id, RESULT)

    waits = asyncio.gather(*(asyncio.create_task(put_and_wait(queue, name)) for name in names))
    works = [asyncio.create_task(work(worker)) for worker in workers]
    async with asyncio.timeout(SOON):
        assert await waits == [RESULT] * 30
    for each in works:
        each.cancel()
    await asyncio.gather(*works, return_exceptions=True)
    assert sorted(done) == sorted(names)


async def put_and_wait(queue: JobProducer, name: str) -> Outcome:
    each = job(name, user=hash(name))
    await queue.admit(each)
    await queue.put(each, b"media")
    return await queue.wait(name)


# -- the embedded queue alone


@pytest.mark.parametrize("poison", [("photo",), ("clip",), ("clip", "photo"), ("photo",) * 4])
async def test_no_job_is_given_up_for_those_taken_with_it(poison: tuple[str, ...]) -> None:
    """Workers take all that they can get, and die if there is poison in it."""
    queue = LocalQueue(max_attempts=3)
    kinds = [*poison, "clip", "photo", "photo", "clip"]
    waits = []
    for number, kind in enumerate(kinds):
        await queue.put(job(str(number), user=number, task=TASKS[kind]), b"")
        waits.append(asyncio.create_task(queue.wait(str(number))))
    for worker in itertools.count():
        held: list[str] = []
        while more := [lease.job.id for line in LINES for lease in await at_once(queue, worker, line)]:
            held += more
        if not held:
            break
        for name in held if all(int(name) >= len(poison) for name in held) else ():
            await queue.finish(worker, name, RESULT)
        await queue.leave(worker)
    outcomes = await asyncio.gather(*waits, return_exceptions=True)
    assert [isinstance(outcome, JobCrashed) for outcome in outcomes] == [n < len(poison) for n in range(len(kinds))]


async def at_once(queue: LocalQueue, worker: int, line: str) -> list[Lease]:
    """Up to two jobs of a line, or none where it would have to be waited for them."""
    try:
        return await asyncio.wait_for(queue.take(worker, line, 2), 0.01)
    except TimeoutError:
        return []


# -- Redis alone


async def test_places_are_not_remembered_for_long(redis: OnRedis) -> None:
    queue, worker = await redis.producer(), await redis.consumer()
    key = "{captions}:forgotten"
    redis.server.call("ZADD", key, "1", "long ago")
    await queue.forget_place("now")
    assert await worker.forgotten() == ["now"]
    assert 3600 < int(redis.server.call("TTL", key).strip()[1:]) <= 7200


async def test_a_place_is_heard_of_though_the_clock_goes_back(redis: OnRedis) -> None:
    queue, worker = await redis.producer(), await redis.consumer()
    later = str((int(time.time()) + 60) * 1000)
    redis.server.call("ZADD", "{captions}:forgotten", later, "before")
    assert await worker.forgotten() == ["before"]
    await queue.forget_place("after")
    assert await worker.forgotten() == ["after"]


async def test_another_bot_finds_the_outcome_of_one_that_died(redis: OnRedis) -> None:
    first, worker = await redis.producer(), await redis.consumer()
    await line_up(first, "done", "waiting")
    assert await taken(worker, 1) == [("done", 1)]
    await worker.finish("done", RESULT)
    second = await redis.producer()
    for name in ("done", "waiting"):
        await second.admit(job(name), before=True)
        assert await second.has(name)
    assert await asyncio.wait_for(second.wait("done"), SOON) == RESULT
    waiting = asyncio.create_task(second.wait("waiting"))
    assert await taken(worker) == [("waiting", 1)]
    await worker.finish("waiting", RESULT)
    assert await asyncio.wait_for(waiting, SOON) == RESULT


async def test_a_job_whose_media_are_gone_goes_back_to_the_bot(redis: OnRedis) -> None:
    queue, worker = await redis.producer(), await redis.consumer()
    await line_up(queue, "a", "b")
    redis.server.call("DEL", "{captions}:media:a")
    waiting = asyncio.create_task(queue.wait("a"))
    assert await taken(worker) == [("b", 1)]
    with pytest.raises(JobLost):
        await waiting
    assert not await queue.has("a")
    await line_up(queue, "a")
    assert await taken(worker) == [("a", 1)]


@pytest.mark.slow
async def test_a_queue_that_redis_forgot_is_put_again(redis: OnRedis) -> None:
    queue, worker = await redis.producer(), await redis.consumer()
    await line_up(queue, "a")
    waiting = asyncio.create_task(queue.wait("a"))
    taking = asyncio.create_task(taken(worker, line="clip"))
    await asyncio.sleep(0.05)
    redis.server.call("FLUSHALL")
    with pytest.raises(JobLost):
        await asyncio.wait_for(waiting, 60)
    await queue.put(job("a"), b"media")
    assert await taken(worker) == [("a", 1)]
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)


async def test_redis_may_go_and_come_back(redis: OnRedis, caplog: pytest.LogCaptureFixture) -> None:
    redis.lease = LEASE
    queue, worker = await redis.producer(), await redis.consumer()
    await line_up(queue, "a", "b")
    assert await taken(worker, 1) == [("a", 1)]
    waits = [asyncio.create_task(queue.wait(name)) for name in ("a", "b", "c")[:2]]
    caplog.set_level("INFO")
    redis.server.kill()
    finishing = asyncio.create_task(worker.finish("a", RESULT))
    putting = asyncio.create_task(line_up(queue, "c"))
    await asyncio.sleep(0.5)
    assert not finishing.done()
    redis.server.start()
    await asyncio.wait_for(asyncio.gather(finishing, putting), 60)
    left = {"b", "c"}
    while left:
        for name, _ in await taken(worker):
            await worker.finish(name, RESULT)
            left.remove(name)
    assert await asyncio.wait_for(asyncio.gather(*waits), 60) == [RESULT, RESULT]
    said = [record.message for record in caplog.records if "Redis" in record.message]
    assert len(said) == 2, said  # that it went, and that it is back


async def test_workers_that_are_gone_are_swept_away(redis: OnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_queue, "SWEEP_SECONDS", 0.05)
    queue, worker = await redis.producer(), await redis.consumer("gone")
    await line_up(queue, "a")
    assert await taken(worker) == [("a", 1)]
    await worker.finish("a", RESULT)
    consumers = ("XINFO", "CONSUMERS", "{captions}:line:photo", "workers")
    assert "gone" in redis.server.call(*consumers)
    await worker.close()
    redis.consumers.clear()
    await eventually(lambda: "gone" not in redis.server.call(*consumers))


@pytest.mark.parametrize("end", [RedisQueue.forget, RedisQueue.cancel])
async def test_nothing_is_kept_of_a_job_that_is_given_up_while_it_is_put(
    redis: OnRedis, monkeypatch: pytest.MonkeyPatch, end: Callable[[RedisQueue, str], Awaitable[None]]
) -> None:
    queue, asked = await redis.producer(), asyncio.Event()

    async def never(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    await queue.admit(job("a"))
    with monkeypatch.context() as patch:
        patch.setattr(queue._script, "carry", never)
        putting = asyncio.create_task(queue.put(job("a"), b"media"))
        await asked.wait()
        putting.cancel()
        await asyncio.gather(putting, return_exceptions=True)
    await end(queue, "a")
    assert not queue._waits


async def test_a_full_redis_takes_nothing_new_and_what_it_holds_is_done(
    redis: OnRedis, caplog: pytest.LogCaptureFixture
) -> None:
    queue, worker = await redis.producer(), await redis.consumer()
    await line_up(queue, "a", "b")
    assert await taken(worker, 1) == [("a", 1)]
    redis.server.call("CONFIG", "SET", "maxmemory", "1")
    try:
        refused = asyncio.create_task(line_up(queue, "c"))
        async with asyncio.timeout(SOON):
            assert await worker.extend(["a"]) == ["a"]
            await worker.progress("a", 0.5)
            await worker.finish("a", RESULT)
            assert await taken(worker) == [("b", 1)]
            await worker.finish("b", RESULT)
            second = await redis.producer()
            await second.forget_place("chat")
            assert await worker.forgotten() == ["chat"]
            for name in "ab":
                await second.admit(job(name), before=True)
                assert await second.wait(name) == RESULT
                await second.forget(name)
        assert not refused.done()
    finally:
        redis.server.call("CONFIG", "SET", "maxmemory", "0")
    await asyncio.wait_for(refused, SOON)
    assert await taken(worker) == [("c", 1)]
    [full] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert "Redis fails" in full
    assert "OOM" in full  # as docs/operations.md says


async def test_a_job_of_another_version_stands_in_nobodys_way(redis: OnRedis) -> None:
    redis.lease = LEASE
    queue, worker = await redis.producer(), await redis.consumer()
    for name in ("strange", "known"):
        await line_up(queue, name)
        redis.server.call("HSET", "{captions}:job:strange", "job", '{"id": "strange", "colour": "red"}')
        if name == "strange":
            taking = asyncio.create_task(taken(worker, 1))
            await asyncio.sleep(0.1)
    assert await taking == [("known", 1)]
    await worker.finish("known", RESULT)
    await queue.admit(job("strange"), before=True)  # by a bot that writes it as this worker reads it
    assert await taken(worker, 1) == [("strange", 1)]


async def test_an_outcome_of_another_version_is_computed_again(redis: OnRedis, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, worker = await redis.producer(), await redis.consumer()
    await line_up(queue, "a")
    assert await taken(worker) == [("a", 1)]
    with monkeypatch.context() as other_version:
        other_version.setattr(redis_consumer, "pack_outcome", lambda _: b"CAPT of a version to come")
        await worker.finish("a", RESULT)
    with pytest.raises(JobLost):
        await asyncio.wait_for(queue.wait("a"), SOON)
    await line_up(queue, "a")
    assert await taken(worker) == [("a", 1)]
    await worker.finish("a", RESULT)
    assert await asyncio.wait_for(queue.wait("a"), SOON) == RESULT


async def test_what_a_worker_was_just_given_when_it_stops_is_handed_back(
    redis: OnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.lease = LEASE
    queue, first = await redis.producer(), await redis.consumer()
    asked = asyncio.Event()

    async def never(keys: list[str]) -> None:
        asked.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(first._script.carrying, "mget", never)
    await queue.put(job("a"), bytes(LARGE))
    taking = asyncio.create_task(first.take("photo", 1))
    await asyncio.wait_for(asked.wait(), SOON)
    for _ in range(8):
        await asyncio.sleep(LEASE / 6)
        assert await first.extend([]) == []  # what is on its way is the worker's, too
    assert (await queue.status()).in_work == 1
    taking.cancel()
    await asyncio.gather(taking, return_exceptions=True)
    second = await redis.consumer()
    assert await taken(second) == [("a", 1)]


async def test_media_of_any_size_come_with_their_job(engine: Engine) -> None:
    queue, worker = await engine.producer(), await engine.consumer()
    media = {f"job-{size}": bytes([size % 251]) * size for size in (0, 5, 200_000, 200_001, LARGE, 6)}
    for user, (name, each) in enumerate(media.items()):
        await queue.put(job(name, user), each)
    leases = await asyncio.wait_for(worker.take("photo", len(media)), SOON)
    assert {lease.job.id: lease.media for lease in leases} == media


async def test_bots_know_which_lines_are_served(engine: Engine) -> None:
    queue = await engine.producer()
    assert (queue.served("photo"), queue.served("edit")) == (None, None)
    worker = await engine.consumer()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            await worker.take("photo", 1)
    if isinstance(queue, RedisQueue):
        await queue.sweep()  # as it does every few seconds
    assert queue.served("photo") == 0
    assert (await queue.status()).served["photo"] == 0


async def test_a_worker_takes_only_from_its_lines_what_others_failed_to_finish(redis: OnRedis) -> None:
    """Such as edits, for which most workers have no network."""
    redis.lease = 0.3
    queue, first = await redis.producer(), await redis.consumer()
    await queue.put(job("clip", task=ClipTask), b"")
    assert await taken(first, line="clip") == [("clip", 1)]
    other = RedisConsumer(redis.server.url, "other", lease_seconds=0.3, lines=("photo", "photo-bulk"))
    redis.consumers.append(other)
    await other.open()
    await line_up(queue, "a")
    assert await taken(other) == [("a", 1)]
    await other.finish("a", RESULT)
    await asyncio.sleep(0.5)  # the lease of the clip is over
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await other.take("photo", 1)
    assert await taken(await redis.consumer(), line="photo") == [("clip", 2)]
    status = await queue.status()
    assert (status.served["photo"], "clip" in status.served) == (0, True)


async def test_a_line_is_known_for_a_day_after_its_last_worker() -> None:
    now = [0.0]
    queue = LocalQueue(clock=lambda: now[0])
    queue.join(1, "edit")
    queue.join(2, "edit")
    await queue.leave(1)
    assert queue.served("edit") == 0
    await queue.leave(2)
    now[0] = 3600.0
    assert queue.served("edit") == 3600.0
    now[0] = 90_000.0
    assert queue.served("edit") is None


async def test_nothing_is_left_of_jobs_that_are_over(redis: OnRedis) -> None:
    queue, worker = await redis.producer(), await redis.consumer()
    await line_up(queue, *map(str, range(5)), user=1)
    for line in ("photo", "photo-bulk"):
        for name, _ in await taken(worker, line=line):
            await worker.finish(name, RESULT)
    for number in range(5):
        await queue.wait(str(number))
        await queue.forget(str(number))
    lines = {f"{{captions}}:line:{line}" for line in ("photo", "photo-bulk", "clip", "clip-bulk", "edit", "edit-bulk")}
    lines.add(SERVED)  # which lines workers take from: it names no job
    await worker.close()
    redis.consumers.clear()
    async with asyncio.timeout(SOON):
        while not redis.keys() <= lines:
            await asyncio.sleep(0.02)  # until the last notices are read
    assert all(redis.server.call("XLEN", line) == ":0\r\n" for line in lines - {SERVED})


async def test_what_is_handed_back_is_found_however_busy_another_line_is(redis: OnRedis) -> None:
    queue, one, other = await redis.producer(), await redis.consumer(), await redis.consumer()
    clip = job("clip", task=ClipTask)
    await queue.admit(clip)
    await queue.put(clip, b"clip")
    assert await taken(one, line="clip") == [("clip", 1)]
    waiting = asyncio.create_task(other.take("clip", 1))
    await asyncio.sleep(0.3)  # it has looked and waits
    await one.give_back(["clip"])
    for number in range(60):
        if waiting.done():
            break
        photo = job(str(number), user=1000 + number)
        await queue.admit(photo)
        await queue.put(photo, b"photo")
        await other.finish((await taken(other))[0][0], RESULT)
        await asyncio.sleep(0.2)
    assert [lease.job.id for lease in await asyncio.wait_for(waiting, 0.01)] == ["clip"]


async def test_a_bot_hears_of_outcomes_after_redis_has_lost_its_scripts(redis: OnRedis) -> None:
    """Without any other call that would make it know them."""
    script = Script(redis.server.url, "{captions}")
    try:
        for _ in range(2):
            redis.server.call("SCRIPT", "FLUSH")
            assert await script.call_after(("GET", "nothing"), "hear", "bot", 4) == [[], []]
    finally:
        await script.close()


async def test_what_is_left_of_dead_bots_and_workers_is_swept_away(redis: OnRedis) -> None:
    queue, worker = await redis.producer(), await redis.consumer()
    await line_up(queue, "a", "b")
    assert await taken(worker, 1) == [("a", 1)]
    await queue.sweep()
    assert (await queue.status()).waiting["photo"] == 1
    await worker.finish("a", RESULT)
    assert await queue.wait("a") == RESULT
    await worker.close()
    redis.consumers.clear()
    await queue.sweep()
    assert redis.server.call("XINFO", "CONSUMERS", "{captions}:line:photo", "workers") == "*0\r\n"
    await asyncio.sleep(0.01)
    await queue.sweep(keep_seconds=0)
    assert (await queue.status()).open_requests == 0
    assert not await queue.has("a")


async def test_what_a_killed_web_process_asked_for_is_dropped_when_its_time_is_over(
    redis: OnRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_queue, "LATE_SECONDS", 0.05)
    killed, other = await redis.producer(), await redis.producer()
    for name, lasts in (("of the web", 0.0), ("of the web, for longer", 60.0), ("of a bot", None)):
        await killed.put(replace(job(name), lasts=lasts), b"media")
    await asyncio.sleep(0.1)
    await other.sweep()
    assert [await other.has(name) for name in ("of the web", "of the web, for longer", "of a bot")] == [0, 1, 1]
    assert (await other.status()).open_requests == 2
