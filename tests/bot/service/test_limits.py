"""What is taken on at once stays within its limits, and whoever waits is served in turn."""

from __future__ import annotations

import asyncio

from bot.service.limits import Pace
from model.serving.limits import ByteBudget
from tests.support.clock import Clock


def test_how_soon_there_is_room_follows_from_what_was_done_lately() -> None:
    clock = Clock()
    pace = Pace(clock)
    pace.completed()
    assert pace.seconds(10) is None  # one says nothing
    for _ in range(3):
        clock.now += 2.0
        pace.completed()
    assert pace.seconds(1) == 5.0
    assert pace.seconds(10) == 20.0
    clock.now += 6.0  # a pause counts
    assert pace.seconds(10) == 40.0
    clock.now += 1000.0
    assert pace.seconds(10) is None


async def test_bytes_are_handed_out_in_turn() -> None:
    budget = ByteBudget(10)
    order: list[str] = []
    leave = {name: asyncio.Event() for name in "abcd"}

    async def work(name: str, size: int) -> None:
        async with budget.hold(size):
            order.append(name)
            await leave[name].wait()

    async with asyncio.TaskGroup() as group:
        for name, size in (("a", 6), ("b", 50), ("c", 4), ("d", 4)):
            group.create_task(work(name, size))
        await asyncio.sleep(0)
        assert order == ["a"]  # c would fit, but b is before it
        leave["a"].set()
        await asyncio.sleep(0.01)
        assert order == ["a", "b"]  # more than all there is, alone
        leave["b"].set()
        await asyncio.sleep(0.01)
        assert order == ["a", "b", "c", "d"]
        leave["c"].set()
        leave["d"].set()


async def use(budget: ByteBudget, size: int) -> None:
    async with budget.hold(size):
        pass


async def test_who_gives_up_waiting_makes_room_for_the_next() -> None:
    budget = ByteBudget(10)

    async with budget.hold(5):
        waiting = [asyncio.create_task(use(budget, size)) for size in (8, 5, 10)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0.01)
        assert [task.done() for task in waiting] == [True, True, False]
    await asyncio.wait_for(waiting[2], 60)


async def test_who_gives_up_just_as_the_turn_comes_leaves_nothing_behind() -> None:
    budget = ByteBudget(10)

    async with budget.hold(10):
        first, second = (asyncio.create_task(use(budget, 10)) for _ in range(2))
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 60)
    await asyncio.wait_for(use(budget, 10), 60)
