"""Answers to one person's photos wait for each other, and for nobody else's."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict

import pytest

from bot.service.limits import Slots
from bot.service.turns import Turns
from bot.storage.inbox import Place
from tests.support.clock import eventually, settled

ANN, BOB = Place(7, None, 7), Place(8, None, 8)


async def test_answers_of_many_people_come_in_the_order_of_the_updates_whatever_their_results_do() -> None:
    """A thousand photos of a hundred people; every seventh fails, every eleventh is cancelled."""
    turns, chance = Turns(), random.Random(1)
    sent: dict[Place, list[int]] = defaultdict(list)
    updates = {update: Place(update % 100, None, update % 100) for update in range(1000)}
    for update, place in updates.items():
        turns.enter(update, place)

    async def answer(update: int) -> None:
        try:
            for _ in range(chance.randrange(50)):
                await asyncio.sleep(0)
            if update % 7 == 0:
                return
            await turns.wait([update])
            sent[updates[update]].append(update)
        finally:
            turns.leave(update)

    tasks = {update: asyncio.create_task(answer(update)) for update in chance.sample(sorted(updates), 1000)}
    await asyncio.sleep(0)  # all have begun
    for update in range(0, 1000, 11):
        tasks[update].cancel()
    await asyncio.wait_for(asyncio.gather(*tasks.values(), return_exceptions=True), 60)
    assert sum(map(len, sent.values())) >= 1000 - 143 - 91
    assert all(line == sorted(line) for line in sent.values())
    assert turns.updates == 0


async def test_nobody_waits_for_another_person_or_for_what_came_later() -> None:
    turns = Turns()
    turns.enter(1, ANN)
    turns.enter(2, BOB)
    turns.enter(4, ANN)
    for update in (1, 2):
        await asyncio.wait_for(turns.wait([update]), 60)
    waiting = asyncio.create_task(turns.wait([4]))
    await settled()
    assert not waiting.done()
    turns.enter(3, ANN)  # came a little later by another connection
    turns.leave(1)
    await settled()
    assert not waiting.done()
    turns.leave(3)
    await asyncio.wait_for(waiting, 60)


async def test_what_is_answered_together_waits_for_what_came_before_the_first_and_not_for_itself() -> None:
    turns = Turns()
    for update in (1, 2, 3, 4):
        turns.enter(update, ANN)
    album = asyncio.create_task(turns.wait([2, 4]))
    await settled()
    assert not album.done()
    turns.leave(1)
    await asyncio.wait_for(album, 60)


@pytest.mark.parametrize("update", [9, 1])
async def test_what_is_in_no_line_waits_for_nothing(update: int) -> None:
    turns = Turns()
    turns.enter(1, ANN)
    turns.leave(1)
    turns.leave(update)
    await asyncio.wait_for(turns.wait([update]), 60)
    await asyncio.wait_for(turns.wait([]), 60)


async def test_a_slot_whose_download_stalls_goes_to_the_next() -> None:
    slots, leave = Slots(2, 4, quiet=0.02), asyncio.Event()
    begun: list[int] = []

    async def download(number: int) -> None:
        async with slots.one():
            begun.append(number)
            await leave.wait()

    stalled = [asyncio.create_task(download(number)) for number in range(5)]
    await eventually(lambda: len(begun) >= 4)
    await asyncio.sleep(0.1)
    assert begun == [0, 1, 2, 3]  # no more than four are open
    leave.set()
    await asyncio.wait_for(asyncio.gather(*stalled), 60)
    assert begun == [0, 1, 2, 3, 4]


async def test_a_slot_of_which_something_is_heard_is_kept() -> None:
    slots, others = Slots(1, 9, quiet=0.2), asyncio.Event()

    async def next_one() -> None:
        async with slots.one():
            others.set()

    async with slots.one() as heard:
        waiting = asyncio.create_task(next_one())
        for _ in range(20):
            await asyncio.sleep(0.02)
            heard()
        assert not others.is_set()
    await asyncio.wait_for(waiting, 60)
