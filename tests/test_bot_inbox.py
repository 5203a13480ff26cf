"""The journal: what it keeps, in which order, and whom it suspects after crashes."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.database import Database
from bot.inbox import Inbox
from bot.media import Picture
from bot.storage import SqliteStorage


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    database = await Database.open(tmp_path)
    yield database
    await database.close()


def update(number: int, text: str = "x") -> dict[str, Any]:
    return {"update_id": number, "message": {"text": text}}


async def test_updates_wait_in_order_until_they_are_struck_off(database: Database) -> None:
    inbox = Inbox(database, 1)
    await inbox.record([update(3), update(1, "кот"), update(2)])
    await inbox.strike(3)
    waiting = await inbox.waiting()
    assert [entry.id for entry in waiting] == [1, 2]
    assert waiting[0].body == update(1, "кот")


async def test_an_update_is_new_only_once(database: Database) -> None:
    inbox = Inbox(database, 1)
    assert [entry.id for entry in await inbox.record([update(1), update(2)])] == [1, 2]
    await inbox.strike(1)
    assert [entry.id for entry in await inbox.record([update(1), update(2), update(3)])] == [3]


async def test_another_bot_in_the_same_folder_has_updates_and_pictures_of_its_own(database: Database) -> None:
    inbox, other = Inbox(database, 1), Inbox(database, 2)
    await inbox.record([update(1)])
    assert len(await other.record([update(1)])) == 1
    await SqliteStorage(database, 1).remember_picture(5, Picture("a", "b", 3))
    assert await SqliteStorage(database, 1).last_picture(5) == Picture("a", "b", 3)
    assert await SqliteStorage(database, 2).last_picture(5) is None


async def test_all_or_nothing_of_a_batch_is_recorded(database: Database) -> None:
    inbox = Inbox(database, 1)
    with pytest.raises(OverflowError):
        await inbox.record([update(1), {"update_id": 1 << 70}])
    assert await inbox.waiting() == []


async def test_crashes_are_counted_and_stops_are_not(database: Database) -> None:
    inbox = Inbox(database, 1)

    async def attempts() -> dict[int, int]:
        return {entry.id: entry.attempts for entry in await inbox.recover(max_attempts=2)}

    assert await attempts() == {}
    await inbox.record([update(1), update(2)])
    await inbox.stopped()
    assert await attempts() == {1: 0, 2: 0}
    assert await attempts() == {1: 1, 2: 1}
    assert await attempts() == {1: 2, 2: 2}
    assert await attempts() == {1: 2, 2: 2}  # one of them is to blame: from here on only what runs alone is counted
    await inbox.begin_alone(1)
    await inbox.begin_alone(2)
    assert await attempts() == {1: 2, 2: 3}
    await inbox.begin_alone(1)
    await inbox.stopped()
    assert await attempts() == {1: 2, 2: 3}


async def test_ids_are_forgotten_after_some_days(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = Inbox(database, 1)
    monkeypatch.setattr("time.time", lambda: 1000.0)
    await inbox.record([update(1), update(2)])
    await inbox.strike(1)
    monkeypatch.setattr("time.time", lambda: 1000.0 + 72 * 3600)
    assert [entry.id for entry in await inbox.recover(3)] == [2]
    assert [entry.id for entry in await inbox.record([update(1), update(2)])] == [1]


async def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    database = await Database.open(tmp_path)
    await Inbox(database, 1).record([update(1)])
    await database.close()
    with pytest.raises(sqlite3.Error):
        database._transact(lambda connection: None)
    database = await Database.open(tmp_path)
    assert [entry.id for entry in await Inbox(database, 1).waiting()] == [1]
    await database.close()
