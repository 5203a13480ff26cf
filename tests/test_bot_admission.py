"""What is taken on at once stays within its limits, and whoever waits is served in turn."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

import pytest

from bot.admission import Admission, Busy, ByteBudget


def test_a_place_is_free_again_when_a_request_is_over() -> None:
    admission = Admission(most=2, most_per_person=1)
    for _ in range(3):
        with admission.admit(1, "a"), admission.admit(2, "b"):
            with pytest.raises(Busy) as caught, admission.admit(3, "c"):
                pass
            assert caught.value.of_person is None


def test_one_person_has_so_many_places_and_others_are_not_touched() -> None:
    admission = Admission(most=10, most_per_person=2)
    with ExitStack() as stack:
        for request in "ab":
            stack.enter_context(admission.admit(1, request))
        with pytest.raises(Busy) as caught, admission.admit(1, "c"):
            pass
        assert caught.value.of_person == 2
        stack.enter_context(admission.admit(2, "d"))


def test_items_of_one_request_share_a_place() -> None:
    admission = Admission(most=1, most_per_person=1)
    with admission.admit(1, "album"), admission.admit(1, "album"):
        pass
    with admission.admit(1, "other"):
        pass


def test_what_was_accepted_before_is_neither_refused_nor_counted() -> None:
    admission = Admission(most=1, most_per_person=1)
    with admission.admit(1, "a"), admission.admit(1, "b", before=True):
        pass
    with admission.admit(1, "b", before=True), admission.admit(1, "a"):
        pass


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


async def test_who_gives_up_waiting_makes_room_for_the_next() -> None:
    budget = ByteBudget(10)

    async def use(size: int) -> None:
        async with budget.hold(size):
            pass

    async with budget.hold(5):
        waiting = [asyncio.create_task(use(size)) for size in (8, 5, 10)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0.01)
        assert [task.done() for task in waiting] == [True, True, False]
    await asyncio.wait_for(waiting[2], 1)


async def test_who_gives_up_just_as_the_turn_comes_leaves_nothing_behind() -> None:
    budget = ByteBudget(10)

    async def use(size: int) -> None:
        async with budget.hold(size):
            pass

    async with budget.hold(10):
        first, second = (asyncio.create_task(use(10)) for _ in range(2))
        await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait_for(second, 1)
    await asyncio.wait_for(use(10), 1)
