"""Nobody asks for so much in a short time that others wait for it; and what waited for the bot is never refused."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path

import pytest

from bot.errors import TooFast
from bot.service.limits import Throttle, waited
from bot.storage.inbox import Accepted
from tests.support.clock import Clock
from tests.support.fake_queue import FakeQueue, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram
from tests.support.metrics import scrape, value
from tests.support.pictures import PHOTO
from tests.support.redis_server import free_port

ANN, BOB = 7, 8


def asked(throttle: Throttle, times: int, user: int = ANN, name: str = "photo") -> int:
    """How many of so many requests pass."""
    passed = 0
    for number in range(times):
        try:
            throttle.check(user, f"{name}-{passed}-{number}")
        except TooFast:
            continue
        passed += 1
    return passed


def test_a_burst_passes_and_then_one_each_three_seconds() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    assert asked(throttle, 25) == 20
    with pytest.raises(TooFast) as refused:
        throttle.check(ANN, "one more")
    assert refused.value.seconds == 3.0
    clock.now += 2.0
    assert asked(throttle, 1, name="early") == 0
    clock.now += 1.0
    assert asked(throttle, 5, name="later") == 1
    clock.now += 60.0
    assert asked(throttle, 25, name="rested") == 20


def test_the_time_that_is_said_is_enough() -> None:
    clock = Clock()
    throttle = Throttle(burst=3, interval=7.0, clock=clock)
    asked(throttle, 3)
    clock.now += 1.5
    with pytest.raises(TooFast) as refused:
        throttle.check(ANN, "a")
    clock.now += refused.value.seconds
    throttle.check(ANN, "b")


def test_people_do_not_wait_for_each_other_and_operators_are_not_limited() -> None:
    throttle = Throttle({BOB}, burst=2, clock=Clock())
    assert asked(throttle, 5) == 2
    assert asked(throttle, 50, BOB) == 50
    assert asked(throttle, 5, 9) == 2


def test_an_album_counts_once_and_is_served_or_refused_as_a_whole() -> None:
    clock = Clock()
    throttle = Throttle(burst=2, interval=3.0, clock=clock)
    for _ in range(10):
        throttle.check(ANN, "album")
    throttle.check(ANN, "photo")
    for wait in (0.0, 1.0, 3.0):  # even if there is room again when its later items come
        clock.now += wait
        with pytest.raises(TooFast):
            throttle.check(ANN, "another album")
    throttle.check(ANN, "photo 2")


def test_those_who_ask_no_more_are_forgotten() -> None:
    clock = Clock()
    throttle = Throttle(clock=clock)
    for user in range(1000):
        throttle.check(user, "photo")
    clock.now += 61.0
    throttle.check(ANN, "photo")
    assert throttle.people == 1


@pytest.mark.parametrize(
    ("received", "again", "asked_at", "expected"),
    [
        (1000.9, False, 1000, False),  # in the second of the start: dates are whole seconds
        (1500.0, False, 1495, False),
        (1500.0, True, 1495, True),
        (1003.0, False, 999, True),  # before the bot was there
        (1500.0, False, 1460, True),  # Telegram was out of reach
        (1500.0, False, None, False),  # a press
        (1010.0, False, None, True),
    ],
)
def test_what_waited_for_the_bot(received: float, again: bool, asked_at: float | None, expected: bool) -> None:
    assert waited(Accepted(1, received, again), asked_at, began=1000.5) is expected


def jobs_of(queue: FakeQueue, user: int, count: int) -> bool:
    return sum(job.user == user for job in queue.jobs.values()) == count


async def test_whoever_asks_too_fast_is_told_when_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a clear line, before anything is downloaded, and it is counted."""
    monkeypatch.setattr("bot.app.Throttle", partial(Throttle, clock=lambda: 1000.0))
    async with FakeTelegram() as server:
        ann, olga = server.person("Ann"), server.person("Ольга", language_code="ru")
        queue = FakeQueue()
        queue.open.clear()
        port = free_port()
        async with running_bot(server, queue, tmp_path, grace=0.1, metrics_port=port):
            await ann.send_text("/help")
            await ann.next_message()
            await asyncio.sleep(1.1)  # what is dated before the start counts as waited
            for person, words in ((ann, "You ask faster than I can follow. "), (olga, "Вы спрашиваете быстрее")):
                await person.send_album([PHOTO] * 3)
                for _ in range(19):
                    await person.send_photo(PHOTO)
                await eventually(partial(jobs_of, queue, person.id, 22))
                downloads = len([call for call in server.calls if call.method == "download"])
                await person.send_photo(PHOTO)
                refusal = (await person.next_message())["text"]
                assert refusal.startswith(words)
                assert " 3 " in refusal
                assert len([call for call in server.calls if call.method == "download"]) == downloads
            found = await asyncio.to_thread(scrape, port)
            assert value(found, "caption_failures_total", kind="too_fast") == 2
        assert server.violations == []


async def test_a_group_hears_once_that_somebody_asks_too_fast(tmp_path: Path) -> None:
    async with FakeTelegram() as server:
        ann = server.person("Ann")
        group = server.group("Cats", ann)
        queue = FakeQueue()
        queue.open.clear()
        async with running_bot(server, queue, tmp_path, grace=0.1, max_per_user=2):
            photos = [await ann.send_photo(PHOTO, "@captions_test_bot", chat=group) for _ in range(6)]
            assert "already have 2 requests of yours" in (await group.next_message())["text"]
            await eventually(lambda: all(map(server.confirmed, photos)))
            await ann.send_photo(PHOTO)  # in private each is told
            await ann.next_message()
        assert len(group.bot_messages()) == 1


async def test_what_was_sent_while_the_bot_was_down_is_all_answered(tmp_path: Path) -> None:
    async with FakeTelegram() as server:
        ann = server.person("Ann")
        photo = ann.new_message(ann.user, server.store_photo(PHOTO), None, None)
        for _ in range(25):
            server.push("message", photo | {"date": int(time.time()) - 60})
        queue = FakeQueue()
        async with running_bot(server, queue, tmp_path, grace=0.1):
            await eventually(lambda: len(queue.jobs) == 25)
