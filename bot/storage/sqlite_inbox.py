"""The inbox in the bot's SQLite file, for one bot process."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

from bot.storage.inbox import (
    DEAD_KEPT,
    REMEMBERED,
    Asked,
    DeadLetter,
    Notice,
    Recorded,
    Settle,
    new_entry,
    nothing,
    process_name,
)
from bot.storage.redaction import letter_of
from bot.storage.sqlite import Database

FORGET_SECONDS: Final = 600.0  # between two times when what is too old is dropped


class SqliteInbox:
    """The updates of one bot, an `Inbox`."""

    def __init__(self, database: Database, bot_id: int) -> None:
        self._database = database
        self._bot = bot_id
        self._process = process_name()
        self._forgotten = 0.0  # when ids were last dropped

    async def record(
        self, updates: Sequence[dict[str, Any]], asked: Mapping[int, Asked] | None = None
    ) -> list[Recorded]:
        now = time.time()
        entries = [new_entry(update, now, asked) for update in updates]

        def work(connection: sqlite3.Connection) -> list[Recorded]:
            if now > self._forgotten + FORGET_SECONDS:
                self._forget(connection, now)
            insert = "INSERT OR IGNORE INTO updates (bot, id, received, body) VALUES (?, ?, ?, ?)"
            return [
                entry
                for entry in entries
                if connection.execute(insert, (self._bot, entry.id, now, entry.dump())).rowcount
            ]

        return await self._database.run(work)

    async def acknowledge(self, update_id: int, settle: Settle = nothing) -> None:
        await settle()
        await self._database.run(lambda connection: self._acknowledge(connection, update_id))

    def _acknowledge(self, connection: sqlite3.Connection, update_id: int) -> None:
        connection.execute("UPDATE updates SET body = NULL, alone = 0 WHERE bot = ? AND id = ?", (self._bot, update_id))

    async def waiting(self) -> list[Recorded]:
        return await self._database.run(self._waiting)

    async def recover(self, max_attempts: int) -> list[Recorded]:
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

    async def reclaim(self, max_attempts: int) -> list[Recorded]:
        """There is no other process: only what `retry` put back is to be taken."""
        now = time.time()

        def work(connection: sqlite3.Connection) -> list[Recorded]:
            if now > self._forgotten + FORGET_SECONDS:  # also when nobody writes for days
                self._forget(connection, now)
            query = "DELETE FROM dead WHERE bot = ? AND retry RETURNING id, body"
            entries = [Recorded.load(number, body, now) for number, body in connection.execute(query, (self._bot,))]
            insert = "INSERT OR REPLACE INTO updates (bot, id, received, body) VALUES (?, ?, ?, ?)"
            connection.executemany(insert, [(self._bot, entry.id, now, entry.dump()) for entry in entries])
            return entries

        return await self._database.run(work)

    async def begin_alone(self, update_id: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "UPDATE updates SET alone = (id = ?) WHERE bot = ? AND (alone OR id = ?)",
                (update_id, self._bot, update_id),
            )

        await self._database.run(work)

    async def stopped(self) -> None:
        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO stops VALUES (?, 1)", (self._bot,))

        await self._database.run(work)

    # -- notices

    async def notice_shown(self, notice: Notice) -> None:
        row = (self._bot, notice.chat, notice.message, self._process)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO notices VALUES (?, ?, ?, ?)", row)

        await self._database.run(work)

    async def notice_removed(self, notice: Notice) -> None:
        row = (self._bot, notice.chat, notice.message)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM notices WHERE bot = ? AND chat = ? AND message = ?", row)

        await self._database.run(work)

    async def notices_left(self) -> list[Notice]:
        def work(connection: sqlite3.Connection) -> list[Notice]:
            query = "SELECT chat, message FROM notices WHERE bot = ? AND process <> ?"
            return [Notice(*row) for row in connection.execute(query, (self._bot, self._process))]

        return await self._database.run(work)

    # -- dead letters

    async def dead_letter(self, update_id: int, reason: str, attempts: int) -> None:
        now = time.time()

        def work(connection: sqlite3.Connection) -> None:
            query = "SELECT body FROM updates WHERE bot = ? AND id = ? AND body IS NOT NULL"
            row = connection.execute(query, (self._bot, update_id)).fetchone()
            if row is not None:
                entry = Recorded.load(update_id, row[0], now)
                body = letter_of(entry, self._bot).dump()
                insert = "INSERT OR REPLACE INTO dead (bot, id, died, attempts, reason, body) VALUES (?, ?, ?, ?, ?, ?)"
                connection.execute(insert, (self._bot, update_id, now, attempts, reason, body))
                self._acknowledge(connection, update_id)
            self._forget(connection, now)

        await self._database.run(work)

    async def dead(self) -> list[DeadLetter]:
        now = time.time()

        def work(connection: sqlite3.Connection) -> list[DeadLetter]:
            query = (
                "SELECT id, reason, attempts, died, body FROM dead "
                "WHERE bot = ? AND NOT retry AND died >= ? ORDER BY died, id"
            )
            rows = connection.execute(query, (self._bot, now - DEAD_KEPT))
            return [
                DeadLetter(number, reason, attempts, died, Recorded.load(number, body, died).body)
                for number, reason, attempts, died, body in rows
            ]

        return await self._database.run(work)

    async def retry(self, update_ids: Collection[int] | None) -> int:
        return await self._for_each("UPDATE dead SET retry = 1 WHERE bot = ? AND NOT retry", update_ids)

    async def drop(self, update_ids: Collection[int] | None) -> int:
        return await self._for_each("DELETE FROM dead WHERE bot = ? AND NOT retry", update_ids)

    async def _for_each(self, statement: str, update_ids: Collection[int] | None) -> int:
        def work(connection: sqlite3.Connection) -> int:
            if update_ids is None:
                return connection.execute(statement, (self._bot,)).rowcount
            rows = [(self._bot, number) for number in set(update_ids)]
            return sum(connection.execute(f"{statement} AND id = ?", row).rowcount for row in rows)

        return await self._database.run(work)

    def _forget(self, connection: sqlite3.Connection, now: float) -> None:
        """Drop old letters and notes, and ids that Telegram will not repeat: in a quiet week it may give them anew."""
        connection.execute("DELETE FROM updates WHERE body IS NULL AND received < ?", (now - REMEMBERED,))
        connection.execute("DELETE FROM dead WHERE died < ? AND NOT retry", (now - DEAD_KEPT,))
        connection.execute("DELETE FROM chat_notes WHERE expires <= ?", (now,))
        connection.execute("DELETE FROM person_notes WHERE expires <= ?", (now,))
        self._forgotten = now

    def _waiting(self, connection: sqlite3.Connection) -> list[Recorded]:
        rows = connection.execute(
            "SELECT id, body, received, attempts FROM updates WHERE bot = ? AND body IS NOT NULL ORDER BY id",
            (self._bot,),
        )
        return [Recorded.load(*row) for row in rows]
