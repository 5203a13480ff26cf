"""What /stats counts, in a SQLite file of its own: it may be lost or deleted, and never holds up the inbox."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, TypeVar

from bot.storage.sqlite import Database
from bot.storage.stats import HOUR, KEPT, Field

T = TypeVar("T")

FILE_NAME: Final = "stats.sqlite3"
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS counts (
    bot INTEGER NOT NULL,
    hour INTEGER NOT NULL,  -- hours since the epoch
    field TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (bot, hour, field)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS people (
    bot INTEGER NOT NULL,
    person BLOB NOT NULL,  -- a keyed hash
    seen REAL NOT NULL,
    PRIMARY KEY (bot, person)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keys (bot INTEGER PRIMARY KEY, key BLOB NOT NULL);
"""


class SqliteStats:
    """The counts of one bot, a `StatsStore`. The file is opened when it is first used."""

    def __init__(self, folder: Path, bot_id: int) -> None:
        self._folder = folder
        self._bot = bot_id
        self._database: Database | None = None

    async def _run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._database is None:
            self._database = await Database.open(self._folder, FILE_NAME, SCHEMA)
        return await self._database.run(work)

    async def close(self) -> None:
        if self._database is not None:
            await self._database.close()

    async def key(self) -> bytes:
        def work(connection: sqlite3.Connection) -> bytes:
            connection.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (self._bot, secrets.token_bytes(32)))
            key: bytes = connection.execute("SELECT key FROM keys WHERE bot = ?", (self._bot,)).fetchone()[0]
            return key

        return await self._run(work)

    async def add(self, counts: Mapping[Field, int], people: Mapping[bytes, float], now: float) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO counts VALUES (?, ?, ?, ?) "
                "ON CONFLICT (bot, hour, field) DO UPDATE SET count = count + excluded.count",
                [(self._bot, hour, field, count) for (hour, field), count in counts.items()],
            )
            connection.executemany(
                "INSERT INTO people VALUES (?, ?, ?) "
                "ON CONFLICT (bot, person) DO UPDATE SET seen = max(seen, excluded.seen)",
                [(self._bot, person, seen) for person, seen in people.items()],
            )
            connection.execute("DELETE FROM counts WHERE hour < ?", (int(now - KEPT) // HOUR,))
            connection.execute("DELETE FROM people WHERE seen < ?", (now - KEPT,))

        await self._run(work)

    async def read(self, first_hour: int, since: float) -> tuple[dict[str, int], int]:
        def work(connection: sqlite3.Connection) -> tuple[dict[str, int], int]:
            sums = "SELECT field, sum(count) FROM counts WHERE bot = ? AND hour >= ? GROUP BY field"
            people = "SELECT count(*) FROM people WHERE bot = ? AND seen >= ?"
            return (
                dict(connection.execute(sums, (self._bot, first_hour))),
                connection.execute(people, (self._bot, since)).fetchone()[0],
            )

        return await self._run(work)

    async def forget(self, person: bytes) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM people WHERE bot = ? AND person = ?", (self._bot, person))

        await self._run(work)
