"""What the bot remembers of a chat, in its SQLite file."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time

from bot.sqlite_database import Database
from bot.storage import Picture


class SqliteStorage:
    """The memory of one bot, a `Storage`. File ids are of use to the bot they were given to alone."""

    def __init__(self, database: Database, bot_id: int) -> None:
        self._database = database
        self._bot = bot_id

    async def remember_picture(self, chat_id: int, picture: Picture) -> None:
        row = (self._bot, chat_id, json.dumps(dataclasses.asdict(picture)))

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT OR REPLACE INTO pictures VALUES (?, ?, ?)", row)

        await self._database.run(work)

    async def last_picture(self, chat_id: int) -> Picture | None:
        def work(connection: sqlite3.Connection) -> str | None:
            query = "SELECT picture FROM pictures WHERE bot = ? AND chat = ?"
            row = connection.execute(query, (self._bot, chat_id)).fetchone()
            return row[0] if row else None

        found = await self._database.run(work)
        return Picture(**json.loads(found)) if found else None

    async def note(self, key: str, text: str, seconds: float) -> None:
        now = time.time()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM notes WHERE expires < ?", (now,))
            connection.execute(
                "INSERT OR REPLACE INTO notes VALUES (?, ?, ?, ?)", (self._bot, key, text, now + seconds)
            )

        await self._database.run(work)

    async def noted(self, key: str) -> str | None:
        def work(connection: sqlite3.Connection) -> str | None:
            query = "SELECT text FROM notes WHERE bot = ? AND key = ? AND expires >= ?"
            row = connection.execute(query, (self._bot, key, time.time())).fetchone()
            return row[0] if row else None

        return await self._database.run(work)
