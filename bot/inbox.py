"""The journal of updates: accept → process → strike off, and what still waits when the bot starts again."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from bot.database import Database

REMEMBERED: Final = 48 * 3600.0  # Telegram keeps unconfirmed updates for 24 h


@dataclass(frozen=True)
class Recorded:
    """An update that was accepted and is not yet answered."""

    id: int
    body: dict[str, Any]
    received: float  # seconds since the epoch
    attempts: int = 0  # crashes of the bot it was there for


class Inbox:
    """The updates of one bot. An id stays known for two days after it was struck off.

    So an update is answered once even if the bot was killed after the answer and before the next getUpdates
    confirmed it to Telegram.
    """

    def __init__(self, database: Database, bot_id: int) -> None:
        self._database = database
        self._bot = bot_id
        self._forgotten = 0.0  # when ids were last dropped

    async def record(self, updates: Sequence[dict[str, Any]]) -> list[Recorded]:
        """Write updates down in one transaction; those seen for the first time. Raises sqlite3.Error."""
        now = time.time()
        entries = [Recorded(int(update["update_id"]), update, now) for update in updates]

        def work(connection: sqlite3.Connection) -> list[Recorded]:
            if now > self._forgotten + 3600:
                self._forget(connection, now)
            insert = "INSERT OR IGNORE INTO updates (bot, id, received, body) VALUES (?, ?, ?, ?)"
            return [
                entry
                for entry in entries
                if connection.execute(insert, (self._bot, entry.id, now, _dump(entry.body))).rowcount
            ]

        return await self._database.run(work)

    async def strike(self, update_id: int) -> None:
        """The update is answered: forget all but its id. Raises sqlite3.Error."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE updates SET body = NULL, alone = 0 WHERE bot = ? AND id = ?", (self._bot, update_id)
            )

        await self._database.run(work)

    async def waiting(self) -> list[Recorded]:
        """What is not struck off, in the order in which it came."""
        return await self._database.run(self._waiting)

    async def recover(self, max_attempts: int) -> list[Recorded]:
        """Call once at start: what is left from before, with its crashes counted.

        A crash counts for all that was waiting, but only up to `max_attempts`: many are there, one is to blame. Those
        that reach it are to be processed alone (`begin_alone`), and then each crash counts for the one in work.
        """

        def work(connection: sqlite3.Connection) -> list[Recorded]:
            row = connection.execute("SELECT clean FROM stops WHERE bot = ?", (self._bot,)).fetchone()
            if row is not None and not row[0]:
                connection.execute(
                    "UPDATE updates SET attempts = attempts + 1 "
                    "WHERE bot = ? AND body IS NOT NULL AND (attempts < ? OR alone)",
                    (self._bot, max_attempts),
                )
            connection.execute("UPDATE updates SET alone = 0 WHERE bot = ? AND alone", (self._bot,))
            self._forget(connection, time.time())
            connection.execute("INSERT OR REPLACE INTO stops VALUES (?, 0)", (self._bot,))
            return self._waiting(connection)

        return await self._database.run(work)

    async def begin_alone(self, update_id: int) -> None:
        """Note that, should the bot crash now, it is this update's doing and no other's."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE updates SET alone = (id = ?) WHERE bot = ? AND (alone OR id = ?)",
                (update_id, self._bot, update_id),
            )

        await self._database.run(work)

    async def stopped(self) -> None:
        """Note that the bot ends as it should, so that what still waits is not suspected of anything."""

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO stops VALUES (?, 1)", (self._bot,))

        await self._database.run(work)

    def _forget(self, connection: sqlite3.Connection, now: float) -> None:
        """Drop ids that Telegram will not repeat; after a quiet week it may give them to other updates."""
        connection.execute("DELETE FROM updates WHERE body IS NULL AND received < ?", (now - REMEMBERED,))
        self._forgotten = now

    def _waiting(self, connection: sqlite3.Connection) -> list[Recorded]:
        rows = connection.execute(
            "SELECT id, body, received, attempts FROM updates WHERE bot = ? AND body IS NOT NULL ORDER BY id",
            (self._bot,),
        )
        return [Recorded(number, json.loads(body), received, attempts) for number, body, received, attempts in rows]


def _dump(body: dict[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
