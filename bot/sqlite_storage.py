"""What the bot remembers of a chat, in its SQLite file."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time
from collections.abc import Callable

from bot.chat_settings import ChatSettings
from bot.sqlite_database import Database
from bot.storage import PICTURE_KEPT, Picture


class SqliteStorage:
    """The memory of one bot, a `Storage`. File ids are of use to the bot they were given to alone."""

    def __init__(self, database: Database, bot_id: int, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._bot = bot_id
        self._clock = clock

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
        await self.note(chat_id, "picture", json.dumps(dataclasses.asdict(picture)), PICTURE_KEPT)

    async def last_picture(self, chat_id: int) -> Picture | None:
        found = await self.noted(chat_id, "picture")
        return Picture(**json.loads(found)) if found else None

    async def note(self, chat_id: int, key: str, text: str, seconds: float) -> None:
        now = self._clock()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM chat_notes WHERE expires <= ?", (now,))
            row = (self._bot, chat_id, key, text, now + seconds)
            connection.execute("INSERT OR REPLACE INTO chat_notes VALUES (?, ?, ?, ?, ?)", row)

        await self._database.run(work)

    async def noted(self, chat_id: int, key: str) -> str | None:
        query = "SELECT text FROM chat_notes WHERE bot = ? AND chat = ? AND key = ? AND expires > ?"

        def work(connection: sqlite3.Connection) -> str | None:
            row = connection.execute(query, (self._bot, chat_id, key, self._clock())).fetchone()
            return row[0] if row else None

        return await self._database.run(work)

    async def forget_note(self, chat_id: int, key: str) -> None:
        def work(connection: sqlite3.Connection) -> None:
            row = (self._bot, chat_id, key)
            connection.execute("DELETE FROM chat_notes WHERE bot = ? AND chat = ? AND key = ?", row)

        await self._database.run(work)

    async def notes(self, chat_id: int, prefix: str) -> dict[str, str]:
        query = (
            "SELECT key, text FROM chat_notes "
            "WHERE bot = ? AND chat = ? AND substr(key, 1, ?) = ? AND expires > ? ORDER BY key"
        )

        def work(connection: sqlite3.Connection) -> dict[str, str]:
            return dict(connection.execute(query, (self._bot, chat_id, len(prefix), prefix, self._clock())))

        return await self._database.run(work)

    async def forget_chat(self, chat_id: int) -> None:
        def work(connection: sqlite3.Connection) -> None:
            for table in ("chats", "chat_notes"):
                connection.execute(f"DELETE FROM {table} WHERE bot = ? AND chat = ?", (self._bot, chat_id))  # noqa: S608

        await self._database.run(work)
