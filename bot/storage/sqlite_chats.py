"""What the bot remembers of a chat, in its SQLite file."""

from __future__ import annotations

import json
import math
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from bot.chat_settings import ChatSettings
from bot.storage.chats import LASTING, MOST_IN_ROOM, MOST_LASTING, PICTURE, Note, Picture, room_of
from bot.storage.sqlite import Database

_MAKE_ROOM: Final = """
DELETE FROM chat_notes WHERE bot = :bot AND chat = :chat AND expires > :end AND key <> :picture AND expires <= (
    SELECT expires FROM chat_notes WHERE bot = :bot AND chat = :chat AND expires > :end AND key <> :picture
    ORDER BY expires DESC LIMIT 1 OFFSET :most
)
"""
_MAKE_ROOM_OF_PERSON: Final = """
DELETE FROM person_notes WHERE bot = :bot AND chat = :chat AND key >= :room AND key < :after AND expires <= (
    SELECT expires FROM person_notes WHERE bot = :bot AND chat = :chat AND key >= :room AND key < :after
    ORDER BY expires DESC LIMIT 1 OFFSET :most
)
"""
_TABLES: Final = ("chat_notes", "person_notes")
_SWEEP_SECONDS: Final = 60.0  # between two looks for notes that have expired; nobody reads these


class SqliteStorage:
    """The memory of one bot, a `Storage`. File ids are of use to the bot they were given to alone."""

    notes_take_long: ClassVar[bool] = False

    def __init__(self, database: Database, bot_id: int, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._bot = bot_id
        self._clock = clock
        self._swept = -math.inf  # when expired notes were last deleted

    async def settings(self, chat_id: int) -> ChatSettings:
        query = "SELECT settings FROM chats WHERE bot = ? AND chat = ?"

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(query, (self._bot, chat_id)).fetchone()
            return row[0] if row else None

        return ChatSettings.read(await self._database.run(work))

    async def keep_settings(self, chat_id: int, settings: ChatSettings) -> None:
        row = (self._bot, chat_id, json.dumps(settings.changes()))

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO chats VALUES (?, ?, ?)", row)

        await self._database.run(work)

    async def remember_picture(self, chat_id: int, picture: Picture) -> None:
        await self.note_all(chat_id, [Note.of_picture(picture)])

    async def last_picture(self, chat_id: int) -> Picture | None:
        found = await self.noted(chat_id, PICTURE)
        return Picture(**json.loads(found)) if found else None

    async def note_all(self, chat_id: int, notes: Sequence[Note]) -> None:
        now = self._clock()
        sweep = not self._swept <= now < self._swept + _SWEEP_SECONDS  # a clock may be set back, too
        rows = [(_table(note.key), (self._bot, chat_id, note.key, note.text, now + note.seconds)) for note in notes]
        rooms = [
            {"bot": self._bot, "chat": chat_id, "room": room, "after": _after(room), "most": MOST_IN_ROOM}
            for room in sorted({room_of(note.key) for note in notes} - {""})
        ]
        lasting = {"bot": self._bot, "chat": chat_id, "end": now + LASTING, "picture": PICTURE, "most": MOST_LASTING}

        def work(connection: sqlite3.Connection) -> None:
            if sweep:
                for table in _TABLES:
                    connection.execute(f"DELETE FROM {table} WHERE expires <= ?", (now,))  # noqa: S608
            for table, row in rows:
                connection.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?, ?, ?)", row)  # noqa: S608
            if any(note.seconds > LASTING for note in notes):
                connection.execute(_MAKE_ROOM, lasting)
            connection.executemany(_MAKE_ROOM_OF_PERSON, rooms)

        await self._database.run(work, at_once=False)
        if sweep:
            self._swept = now

    async def noted(self, chat_id: int, key: str) -> str | None:
        query = f"SELECT text FROM {_table(key)} WHERE bot = ? AND chat = ? AND key = ? AND expires > ?"  # noqa: S608

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(query, (self._bot, chat_id, key, self._clock())).fetchone()
            return row[0] if row else None

        return await self._database.run(work)

    async def forget_note(self, chat_id: int, key: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            row = (self._bot, chat_id, key)
            connection.execute(f"DELETE FROM {_table(key)} WHERE bot = ? AND chat = ? AND key = ?", row)  # noqa: S608

        await self._database.run(work)

    async def notes(self, chat_id: int, prefix: str) -> dict[str, str]:
        which = "bot = :bot AND chat = :chat AND key >= :first AND key < :after AND expires > :now"
        query = " UNION ALL ".join(f"SELECT key, text FROM {table} WHERE {which}" for table in _TABLES)  # noqa: S608
        where = {"bot": self._bot, "chat": chat_id, "first": prefix, "after": _after(prefix), "now": self._clock()}

        def work(connection: sqlite3.Connection) -> dict[str, str]:
            return dict(connection.execute(f"{query} ORDER BY key", where))

        return await self._database.run(work)

    async def forget_chat(self, chat_id: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            for table in ("chats", *_TABLES):
                connection.execute(f"DELETE FROM {table} WHERE bot = ? AND chat = ?", (self._bot, chat_id))  # noqa: S608

        await self._database.run(work)


def _table(key: str) -> str:
    """Where a note with this key is."""
    return "person_notes" if room_of(key) else "chat_notes"


def _after(prefix: str) -> str:
    """Behind all keys that begin so: texts are compared by their UTF-8."""
    return prefix + chr(sys.maxunicode)
