"""/stats: what it counts, for whom, and that it outlives restarts. One contract for both engines."""

from __future__ import annotations

import asyncio
import math
import random
import re
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from bot import replies
from bot.errors import StorageError
from bot.i18n import create_i18n
from bot.metrics import BotMetrics
from bot.stats import BUCKETS, Day, Latency, Report, Stats, bucket_of, hashed, percentile
from bot.storage.redis_stats import RedisStats
from bot.storage.sqlite_stats import FILE_NAME, SqliteStats
from bot.storage.stats import KEPT, StatsStore
from model.errors import NotAnImage
from model.serving.queue import Status
from model.serving.redis.connection import connect
from tests.support.fake_queue import FakeQueue, running_bot
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.pictures import PHOTO
from tests.support.redis_server import RedisServer

HOUR = 3600.0


OpenStore = Callable[..., StatsStore]


@pytest.fixture(params=["sqlite", "redis", "cluster"])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Each call is the store of another process."""
    if request.param == "sqlite":
        stores: list[SqliteStats] = []

        def of_sqlite(bot: int = 1) -> StatsStore:
            stores.append(SqliteStats(tmp_path, bot))
            return stores[-1]

        yield of_sqlite
        for store in stores:
            await store.close()
        return
    server: RedisServer = request.getfixturevalue("redis_cluster" if request.param == "cluster" else "redis_server")
    client = connect(server.url)
    await client.flushall()
    yield lambda bot=1: RedisStats(client, bot)
    await client.aclose()


class Clock:
    now = 1_800_000_000.0 // HOUR * HOUR + 1800

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def test_what_is_counted_outlives_the_process(open_store: OpenStore, clock: Clock) -> None:
    before = Stats(open_store(), clock)
    before.answered("photo", 1.0)
    before.answered("photo")  # it had waited for this start
    before.answered("clip", 20.0)
    before.failed("not_image")
    before.served(5)
    await before.write()
    after = Stats(open_store(), clock)
    after.answered("photo", 1.0)
    after.failed("not_image")
    after.failed("busy")
    after.served(5)
    after.served(6)
    day = await after.day()
    assert (day.requests, day.answered, day.failed) == (7, 4, 3)
    assert day.failures == {"not_image": 2, "busy": 1}
    assert day.people == 2
    assert [(each.kind, each.answers) for each in day.latencies] == [("photo", 3), ("clip", 1)]
    assert day.latencies[0].median == pytest.approx(1.0, rel=0.1)
    assert day.latencies[1].p95 == pytest.approx(20.0, rel=0.1)


async def test_processes_count_together_and_bots_apart(open_store: OpenStore, clock: Clock) -> None:
    one, two, other = Stats(open_store(), clock), Stats(open_store(), clock), Stats(open_store(2), clock)
    for stats in (one, two, other):
        stats.answered("photo", 1.0)
        stats.served(5)
        await stats.write()
    assert (await one.day()).answered == 2
    assert (await one.day()).people == 1
    assert (await other.day()).answered == 1


async def test_a_day_later_nothing_is_shown(open_store: OpenStore, clock: Clock) -> None:
    stats = Stats(open_store(), clock)
    stats.failed("busy")
    stats.served(5)
    await stats.write()
    clock.now += 23 * HOUR
    stats.served(6)
    day = await stats.day()
    assert (day.failed, day.people) == (1, 2)
    clock.now += HOUR + 1
    day = await stats.day()
    assert (day.failed, day.people) == (0, 1)
    clock.now += 24 * HOUR
    assert await stats.day() == Day(0, {}, [], 0)


async def test_of_people_a_keyed_hash_is_kept_and_can_be_forgotten(open_store: OpenStore, clock: Clock) -> None:
    stats, same, other = (Stats(open_store(bot), clock) for bot in (1, 1, 2))
    keys = [await stats._store.key(), await same._store.key(), await other._store.key()]
    assert keys[0] == keys[1] != keys[2]
    assert len(keys[0]) == 32
    assert hashed(5, keys[0]) not in (hashed(6, keys[0]), hashed(5, keys[2]))
    for person in (5, 6):
        stats.served(person)
    await stats.write()
    stats.served(5)
    await stats.forget(5)
    assert (await stats.day()).people == 1


async def test_what_is_old_is_gone_from_the_file(tmp_path: Path, clock: Clock) -> None:
    store = SqliteStats(tmp_path, 1)
    stats = Stats(store, clock)
    stats.failed("busy")
    stats.served(123456789)
    await stats.write()
    connection = sqlite3.connect(tmp_path / FILE_NAME)
    assert b"123456789" not in b"".join(file.read_bytes() for file in tmp_path.iterdir())
    clock.now += KEPT + HOUR
    stats.failed("gone")
    await stats.write()
    assert connection.execute("SELECT field FROM counts").fetchall() == [("failed:gone",)]
    assert connection.execute("SELECT * FROM people").fetchall() == []
    stats.served(123456789)
    await stats.write()
    clock.now += KEPT + HOUR
    await stats.write()  # although nothing was counted
    assert connection.execute("SELECT hour FROM counts UNION ALL SELECT seen FROM people").fetchall() == []
    connection.close()
    await store.close()


async def test_what_is_old_goes_from_redis_by_itself(redis_server: RedisServer, clock: Clock) -> None:
    client: Any = connect(redis_server.url)
    await client.flushall()
    stats = Stats(RedisStats(client, 1), clock)
    stats.failed("busy")
    stats.served(5)
    await stats.write()
    lives = {key.rpartition(b":")[2]: await client.ttl(key) for key in await client.keys()}
    await client.aclose()
    assert lives.pop(b"key") == -1
    assert len(lives) == 2
    assert all(KEPT - 60 < life <= KEPT for life in lives.values())


class Failing:
    """A store that fails as often as it is told to, in front of another one."""

    def __init__(self, store: StatsStore) -> None:
        self.store = store
        self.failures = 2

    async def add(self, *arguments: Any) -> None:
        self.failures -= 1
        if self.failures >= 0:
            raise StorageError("database or disk is full")
        await self.store.add(*arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)


async def test_what_cannot_be_written_is_kept_for_the_next_time_and_said_once(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = SqliteStats(tmp_path, 1)
    stats = Stats(Failing(store), clock)
    stats.answered("photo", 1.0)
    stats.served(5)
    stop = asyncio.Event()
    writing = asyncio.create_task(stats.keep_writing(stop, every=0.001))
    while (await store.read(0, 0.0))[1] == 0:
        await asyncio.sleep(0.01)
    stats.failed("busy")
    stop.set()
    await writing
    day = await stats.day()
    assert (day.answered, day.failed, day.people) == (1, 1, 1)
    assert caplog.text.count("writing what /stats counts fails") == 1
    await store.close()


async def test_a_report_is_made_of_what_answers(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / FILE_NAME).write_text("this is no database, and longer than a header of one would be" * 20)
    stats = Stats(SqliteStats(tmp_path, 1), clock)

    async def away() -> Status:
        raise ConnectionError("no Redis")

    clock.now += 100
    assert await stats.report(away, 3) == Report(None, None, 3, 100.0)


# Percentiles


def test_percentiles_are_right_within_nine_per_cent() -> None:
    randomness = random.Random(3)
    times = sorted(randomness.lognormvariate(0.0, 1.5) for _ in range(5000))
    counts = Counter(map(bucket_of, times))
    for share in (0.05, 0.5, 0.95, 0.99):
        true = times[math.ceil(share * len(times)) - 1]
        assert percentile(counts, share) == pytest.approx(true, rel=0.092)


def test_extremes_have_their_buckets() -> None:
    assert bucket_of(-1.0) == bucket_of(0.0) == 0
    assert bucket_of(1e9) == BUCKETS - 1
    assert percentile({}, 0.5) is None
    assert percentile({0: 0}, 0.5) is None


async def test_answers_and_failures_are_counted_for_stats_too(tmp_path: Path) -> None:
    store = SqliteStats(tmp_path, 1)
    metrics = BotMetrics()
    metrics.stats = Stats(store)
    metrics.answered("photo", 0.5)
    metrics.failed("damaged")
    day = await metrics.stats.day()
    assert (day.answered, day.failures) == (1, {"damaged": 1})
    await store.close()


# What an administrator sees


async def ask(person: Person) -> str:
    await person.send_text("/stats")
    text: str = (await person.next_message())["text"]
    return text


async def test_an_administrator_sees_the_figures_also_after_a_restart(server: FakeTelegram, tmp_path: Path) -> None:
    ann, bob, olga = server.person("Ann"), server.person("Bob"), server.person("Ольга", language_code="ru")
    admins = frozenset({ann.id, olga.id})
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path, admin_ids=admins):
        for _ in range(3):
            await bob.send_photo(PHOTO)
            await bob.next_message()
        queue.outcome = lambda job, media: NotAnImage()
        await bob.send_photo(PHOTO)
        await bob.next_message()
        queue.outcome = lambda job, media: ZeroDivisionError()
        await bob.send_photo(PHOTO)
        await bob.next_message()
    async with running_bot(server, FakeQueue(alive=2), tmp_path, admin_ids=admins):
        lines = (await ask(ann)).splitlines()
        assert lines[:3] == [
            "The last 24 hours",
            "Requests: 5, answered: 3, failed: 2",
            "Failures: not_image 1, unforeseen 1",
        ]
        assert re.fullmatch(r"Photos: 3, half within [\d.]+ s, 95 % within [\d.]+ s", lines[3])
        assert lines[4:] == [
            "2 people",
            "",
            "Now",
            "Waiting: 0, in work: 0, workers: 2",
            "Given up and kept for a look: 0",
            "Running for 0 h 0 min",
        ]
        assert "Запросов: 5, отвечено: 3, не удалось: 2" in await ask(olga)


async def test_to_others_it_is_an_unknown_command(server: FakeTelegram, tmp_path: Path) -> None:
    ann, bob = server.person("Ann"), server.person("Bob")
    group = server.group("Friends", ann, bob)
    async with running_bot(server, FakeQueue(), tmp_path, admin_ids=frozenset({ann.id})):
        assert "do not know this command" in await ask(bob)
        await ann.send_text("/stats", chat=group)  # figures are not for everybody there
        await bob.send_text("/stats", chat=group)
        assert "The last 24 hours" in await ask(ann)
    assert group.bot_messages() == []


def test_the_words() -> None:
    latencies = [Latency("photo", 1200, 0.84, 12.3), Latency("clip", 2, None, None), Latency("<new>", 1, 1.0, 1.0)]
    day = Day(1203, {"busy": 1}, latencies, 21)
    status = Status({"photo": 3, "clip": 1, "clip-bulk": 0}, in_work=2, open_requests=6, workers=1)
    report = Report(day, status, 4, 2 * 86_400 + 3 * 3600 + 120)
    i18n = create_i18n()
    with i18n.context():
        assert replies.stats(report).splitlines() == [
            "<b>The last 24 hours</b>",
            "Requests: 1204, answered: 1203, failed: 1",
            "Failures: busy 1",
            "Photos: 1200, half within 0.84 s, 95 % within 12 s",
            "Clips: 2",
            "&lt;new&gt;: 1, half within 1 s, 95 % within 1 s",
            "21 people",
            "",
            "<b>Now</b>",
            "Waiting: 4 (photo 3, clip 1), in work: 2, workers: 1",
            "Given up and kept for a look: 4",
            "Running for 2 d 3 h",
        ]
        assert "cannot be read" in replies.stats(Report(None, None, 0, 0.0))
        assert "cannot be reached" in replies.stats(Report(None, None, 0, 0.0))
    with i18n.context(), i18n.use_locale("ru"):
        assert "21 человек\n" in replies.stats(report)
        assert "половина за 0,84 с, 95 % за 12 с" in replies.stats(report)
        assert "3 ч" in replies.stats(report)
