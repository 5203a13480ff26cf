"""What one update costs, apart from its answer."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.storage.sqlite import FILE_NAME, Database
from tests.support.fake_queue import FakeQueue, running_bot
from tests.support.fake_telegram import FakeTelegram
from tests.support.pictures import picture


async def test_no_update_is_handed_to_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each such step would cost as much as a write to the disk, and there are many."""
    handed: list[Any] = []
    to_thread = asyncio.to_thread

    async def recorded(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if str(sys._getframe(1).f_globals["__name__"]).startswith("aiogram."):
            handed.append(function)
        return await to_thread(function, *args, **kwargs)

    async with FakeTelegram() as server, running_bot(server, FakeQueue(), tmp_path):
        monkeypatch.setattr(asyncio, "to_thread", recorded)
        ann = server.person("Ann")
        await ann.send_photo(picture())
        await ann.next_message()
        for text in ("/start", "/unknown", "hello", "https://example.org"):
            await ann.send_text(text)
            await ann.next_message()
        await ann.send_document(b"%PDF", "letter.pdf", mime_type="application/pdf")
        await ann.next_message()
    assert handed == []


async def test_a_photo_waits_for_the_disk_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is written down, and until it is acknowledged; what buttons need is confirmed with the latter."""
    writes: list[bool] = []
    transact = Database._transact

    def recorded(self: Database, work: Callable[[sqlite3.Connection], Any], at_once: bool) -> Any:
        def counted(connection: sqlite3.Connection) -> Any:
            before = connection.total_changes
            result = work(connection)
            if connection.total_changes > before and self.path.name == FILE_NAME:
                writes.append(at_once)
            return result

        return transact(self, counted, at_once)

    monkeypatch.setattr(Database, "_transact", recorded)
    async with FakeTelegram() as server, running_bot(server, FakeQueue(), tmp_path):
        ann = server.person("Ann")
        await ann.send_photo(picture())
        await ann.next_message()
    start, end = [True], [True]
    assert writes == [*start, True, False, False, False, True, *end]
