"""What lies in the file of a bot: `bot.sqlite3` in its data folder."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from bot.chat_settings import ChatSettings
from bot.storage.sqlite import Database
from bot.storage.sqlite_chats import SqliteStorage
from tests.support.fake_telegram import TOKEN

BOT_ID = int(TOKEN.partition(":")[0])


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[sqlite3.Connection]:
    """The file, for one transaction."""
    with contextlib.closing(sqlite3.connect(folder / "bot.sqlite3")) as connection, connection:
        yield connection


def note_keys(folder: Path) -> list[str]:
    """The keys of all that is noted of chats."""
    with opened(folder) as connection:
        return [row[0] for row in connection.execute("SELECT key FROM chat_notes")]


def forget_notes(folder: Path, pattern: str = "%") -> None:
    """Delete the notes whose keys are like this, of all chats."""
    with opened(folder) as connection:
        connection.execute("DELETE FROM chat_notes WHERE key LIKE ?", (pattern,))


def waiting_in(folder: Path) -> list[int]:
    """The ids of updates that are not acknowledged."""
    with opened(folder) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM updates WHERE body IS NOT NULL ORDER BY id")]


def everything(folder: Path) -> str:
    """All that lies in the bot's file, but for the updates it has in work."""
    with opened(folder) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return "\n".join(f"{table}: {row}" for table in tables for row in connection.execute(f"SELECT * FROM {table}"))


async def kept(folder: Path, chat_id: int) -> ChatSettings:
    """The settings of a chat."""
    database = await Database.open(folder)
    try:
        return await SqliteStorage(database, BOT_ID).settings(chat_id)
    finally:
        await database.close()


async def keep(folder: Path, chat_id: int, settings: ChatSettings) -> None:
    database = await Database.open(folder)
    await SqliteStorage(database, BOT_ID).keep_settings(chat_id, settings)
    await database.close()
