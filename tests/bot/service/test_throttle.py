"""Nobody asks for so much in a short time that others wait for it; and what waited for the bot is never refused."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.errors import TooFast
from bot.service.limits import Throttle
from tests.support.clock import Clock
from tests.support.fake_queue import FakeQueue, closed_queue, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Person
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


def jobs_of(queue: FakeQueue, user: int, count: int) -> bool:
    return sum(job.user == user for job in queue.jobs.values()) == count


async def test_whoever_asks_too_fast_is_told_when_to_try_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a clear line, before anything is downloaded, and it is counted."""
    monkeypatch.setattr("bot.app.Throttle", partial(Throttle, clock=lambda: 1000.0))
    async with FakeTelegram() as server:
        ann, olga = server.person("Ann"), server.person("Ольга", language_code="ru")
        queue = closed_queue()
        port = free_port()
        async with running_bot(server, queue, tmp_path, grace=0.1, metrics_port=port):
            await ann.send_text("/help")
            await ann.next_message()
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
        queue = closed_queue()
        async with running_bot(server, queue, tmp_path, grace=0.1, max_per_user=2):
            photos = [await ann.send_photo(PHOTO, "@captions_test_bot", chat=group) for _ in range(6)]
            assert "already working on 2 requests of yours" in (await group.next_message())["text"]
            await eventually(lambda: all(map(server.confirmed, photos)))
            await ann.send_photo(PHOTO)  # in private each is told
            await ann.next_message()
        assert len(group.bot_messages()) == 1


SKEWS = [-3600.0, 0.0, 30.0, 3600.0]  # seconds by which this machine's clock is ahead of Telegram's


@pytest.mark.parametrize("skew", SKEWS)
@pytest.mark.parametrize("webhook", [False, True])
@pytest.mark.slow
async def test_only_what_was_sent_while_the_bot_was_down_is_all_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, webhook: bool, skew: float
) -> None:
    """Whatever the clocks say. A hundred and one: Telegram hands over a hundred at a time."""
    monkeypatch.setattr("bot.app.Throttle", partial(Throttle, clock=lambda: 1000.0))
    changes: dict[str, Any] = {"max_per_user": 200}
    if webhook:
        port = free_port()
        changes |= {"webhook_url": f"http://127.0.0.1:{port}/hook", "webhook_port": port}
    async with FakeTelegram() as server:
        ann, bob = server.person("Ann"), server.person("Bob")

        def send(person: Person, count: int) -> None:
            for _ in range(count):
                photo = person.new_message(person.user, server.store_photo(PHOTO), None, None)
                server.push("message", photo | {"date": int(time.time() - skew)})

        send(ann, 101)
        queue = closed_queue()
        async with running_bot(server, queue, tmp_path, grace=0.1, **changes):
            await eventually(partial(jobs_of, queue, ann.id, 101))
            send(bob, 25)
            assert "You ask faster than I can follow" in (await bob.next_message())["text"]
            await eventually(partial(jobs_of, queue, bob.id, 20))


async def test_what_waited_while_telegram_could_not_be_reached_is_all_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.app.Throttle", partial(Throttle, clock=lambda: 1000.0))
    monkeypatch.setattr("bot.telegram.polling.AWAY", 0.3)
    async with FakeTelegram() as server:
        ann = server.person("Ann")
        queue = closed_queue()
        async with running_bot(server, queue, tmp_path, grace=0.1):
            outage = server.faults.add("getUpdates", "drop", times=2)
            await ann.send_text("/help")  # the poll that is under way brings it
            await eventually(lambda: outage.fired)
            for _ in range(25):
                await ann.send_photo(PHOTO)
            await eventually(partial(jobs_of, queue, ann.id, 25))
            assert outage.fired == 2
