"""Which items of an album are answered by whom."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from bot.answers.album_plans import (
    LEASE,
    QUIET,
    SILENCE,
    STAGGER,
    Album,
    AlbumNotes,
    Done,
    Follow,
    Item,
    Lead,
    NotMeant,
    Over,
    Plan,
    Wait,
    decide,
)
from bot.config import Settings
from bot.storage.chats import Picture
from bot.storage.opening import open_memory

LONG = 10_000.0


def items(count: int, **about: bool) -> dict[int, Item]:
    kept = {"clip": False, "addressed": True} | about
    return {n: Item(n, 100 + n, 0.5 * n, Picture(f"file {n}", f"{n}"), **kept) for n in range(1, count + 1)}


def test_the_first_item_leads_when_no_new_one_has_come_for_a_while() -> None:
    found = items(3)
    assert decide(Album(found), found[1], 0.9 * QUIET) == Wait()
    assert decide(Album(found), found[1], QUIET) == Lead(Plan(1, (1, 2, 3), together=True), new=True)
    assert decide(Album(found), found[2], QUIET) == decide(Album(found), found[3], QUIET) == Wait()


def test_the_others_follow_and_are_over_with_it() -> None:
    found, plan = items(3), Plan(1, (1, 2, 3), together=True)
    album = Album(found, (plan,))
    assert decide(album, found[1], 0.0) == Lead(plan, new=False)  # again, after a restart
    assert decide(album, found[3], LONG) == Follow(plan)
    done = Done({1: 0.5, 2: 1.0, 3: 1.5}, {2: "crashed"})
    for plans in ((plan,), ()):
        assert decide(Album(found, plans, (done,)), found[3], 0.0) == Over()
        assert decide(Album(found, plans, (done,)), found[2], 0.0) == Over("crashed")


def test_an_item_that_is_tried_again_by_hand_is_not_over() -> None:
    found = items(3)
    done = Done({1: 0.5, 2: 1.0, 3: 1.5}, {2: "crashed"})
    again = dataclasses.replace(found[2], received=99.0)
    album = Album(found | {2: again}, (), (done,))
    assert decide(album, again, QUIET) == Lead(Plan(2, (2,), together=False), new=True)


def test_late_items_make_a_plan_of_their_own_with_no_delay() -> None:
    found, early = items(5), Plan(2, (2, 3), together=True)
    album = Album(found, (early,))
    assert decide(album, found[1], QUIET) == Lead(Plan(1, (1, 4, 5), together=True), new=True)
    answered = Album(found, (), (Done({1: 0.5, 2: 1.0, 3: 1.5}),))
    assert decide(answered, found[4], QUIET) == Lead(Plan(4, (4, 5), together=True), new=True)
    assert decide(answered, found[5], QUIET) == Wait()


def test_where_nobody_leads_the_others_do_one_after_the_other() -> None:
    """As after several crashes, when updates are processed one at a time, not the first item first."""
    found = items(4)
    leads = {}
    for number, item in found.items():
        still = 0.0
        while decide(Album(found), item, still) == Wait():
            still += 0.5
        leads[number] = still
    assert leads[1] <= QUIET
    assert leads[2] >= LEASE  # the first one's process may have died, and the inbox gives its update to another
    assert [leads[n + 1] - leads[n] for n in (2, 3)] == [STAGGER, STAGGER]


@pytest.mark.parametrize("clip", [1, 2, 3])
def test_an_album_with_a_clip_is_answered_item_by_item(clip: int) -> None:
    found = items(3)
    found[clip] = dataclasses.replace(found[clip], clip=True)
    plan = Plan(1, (1, 2, 3), together=False)
    assert decide(Album(found), found[1], QUIET) == Lead(plan, new=True)
    assert decide(Album(found, (plan,)), found[3], 0.0) == Lead(plan, new=False)


def test_one_item_speaks_for_an_album() -> None:
    found = items(3, addressed=False)
    assert decide(Album(found), found[1], 0.9 * SILENCE) == Wait()
    assert decide(Album(found), found[2], SILENCE) == NotMeant()
    found[3] = dataclasses.replace(found[3], addressed=True)
    assert isinstance(decide(Album(found), found[1], QUIET), Lead)


async def test_a_picture_that_turned_out_to_move_remains_a_clip_whoever_reads_the_notes(tmp_path: Path) -> None:
    first, second = items(2).values()
    async with open_memory(Settings(data_dir=tmp_path), 424242) as (_, storage):
        notes = AlbumNotes(storage, 1, "group")
        for item in (first, second):
            await notes.add(item)
        await notes.add(dataclasses.replace(first, clip=True))
        for me in (first, second):
            album = await notes.read(me)
            assert [album.items[number].clip for number in (1, 2)] == [True, False]
            assert decide(album, first, QUIET) == Lead(Plan(1, (1, 2), together=False), new=True)
