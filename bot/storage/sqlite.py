"""One SQLite file, driven from one thread of its own, so that the event loop never waits for a disk."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Self, TypeAlias, TypeVar

from bot.errors import StorageError

T = TypeVar("T")
_Outcome: TypeAlias = tuple[Any, Exception | None]

FILE_NAME: Final = "bot.sqlite3"
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS updates (
    bot INTEGER NOT NULL,
    id INTEGER NOT NULL,
    received REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    alone INTEGER NOT NULL DEFAULT 0,
    body TEXT,  -- NULL once the update is acknowledged
    PRIMARY KEY (bot, id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_updates ON updates (bot, id) WHERE body IS NOT NULL;
CREATE TABLE IF NOT EXISTS stops (bot INTEGER PRIMARY KEY, clean INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS chats (
    bot INTEGER NOT NULL,
    chat INTEGER NOT NULL,
    settings TEXT NOT NULL,
    PRIMARY KEY (bot, chat)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS chat_notes (
    bot INTEGER NOT NULL,
    chat INTEGER NOT NULL,
    key TEXT NOT NULL,
    text TEXT NOT NULL,
    expires REAL NOT NULL,
    PRIMARY KEY (bot, chat, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS person_notes (  -- those with room of their own
    bot INTEGER NOT NULL,
    chat INTEGER NOT NULL,
    key TEXT NOT NULL,
    text TEXT NOT NULL,
    expires REAL NOT NULL,
    PRIMARY KEY (bot, chat, key)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS expiring_person_notes ON person_notes (expires);
CREATE INDEX IF NOT EXISTS expiring_notes ON chat_notes (expires);
CREATE INDEX IF NOT EXISTS notes_of_chats ON chat_notes (bot, chat, expires);
DROP TABLE IF EXISTS pictures;  -- of an earlier version
DROP TABLE IF EXISTS notes;
CREATE TABLE IF NOT EXISTS dead (
    bot INTEGER NOT NULL,
    id INTEGER NOT NULL,
    died REAL NOT NULL,
    attempts INTEGER NOT NULL,
    reason TEXT NOT NULL,
    body TEXT NOT NULL,
    retry INTEGER NOT NULL DEFAULT 0,  -- the running bot is to take it up
    PRIMARY KEY (bot, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notices (
    bot INTEGER NOT NULL,
    chat INTEGER NOT NULL,
    message INTEGER NOT NULL,
    process TEXT NOT NULL,  -- which shows it
    PRIMARY KEY (bot, chat, message)
) WITHOUT ROWID;
"""


@dataclass
class _Waiting:
    """Work that waits for its transaction."""

    work: Callable[[sqlite3.Connection], Any]
    at_once: bool
    done: asyncio.Future[Any]


class Database:
    """Runs functions of a connection, one after the other.

    What comes while a transaction is being written shares the next one: a disk confirms it in the same time.
    """

    def __init__(self, path: Path, schema: str = SCHEMA) -> None:
        self.path = path
        self._schema = schema
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="database")
        self._connection: sqlite3.Connection | None = None
        self._at_once = True
        self._waiting: list[_Waiting] = []
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    @classmethod
    async def open(cls, folder: Path, name: str = FILE_NAME, schema: str = SCHEMA) -> Self:
        """Open or create a file in `folder`, readable by its owner alone.

        Raises StorageError.
        """
        database = cls(folder / name, schema)
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(database._executor, database._connect)
        except BaseException as error:
            database._executor.shutdown(wait=False)
            if isinstance(error, OSError | sqlite3.Error):
                raise StorageError(f"{database.path}: {error}") from error
            raise
        return database

    def _connect(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))  # SQLite's own files inherit the mode
        self.path.chmod(0o600)
        connection = sqlite3.connect(self.path, timeout=10)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA secure_delete = ON")  # what is deleted is overwritten
            connection.executescript(self._schema)
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    async def run(self, work: Callable[[sqlite3.Connection], T], *, at_once: bool = True) -> T:
        """What `work` returns, once its transaction is on the disk. Raises what it raises; StorageError.

        Not `at_once`: the transaction outlives this process, but is on the disk only with the next one, which a failing
        machine may forestall. A disk takes milliseconds to confirm.
        """
        if self._closed:
            raise StorageError(f"{self.path}: the database is closed")
        waiting = _Waiting(work, at_once, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._idle.is_set():
            self._begin()
        try:
            result: T = await waiting.done
        except sqlite3.Error as error:
            raise StorageError(f"{self.path}: {error}") from error
        return result

    def _begin(self) -> None:
        """Start a transaction of all that waits."""
        self._waiting, together = [], [each for each in self._waiting if not each.done.cancelled()]
        if not together:
            self._idle.set()
        else:
            self._idle.clear()
            running = asyncio.get_running_loop().run_in_executor(self._executor, self._transact, together)
            running.add_done_callback(partial(self._settle, together))

    def _settle(self, together: Sequence[_Waiting], running: asyncio.Future[list[_Outcome]]) -> None:
        for each, (result, error) in zip(together, running.result(), strict=True):
            if each.done.cancelled():
                continue
            if error is None:
                each.done.set_result(result)
            else:
                each.done.set_exception(error)
        self._begin()

    def _transact(self, together: Sequence[_Waiting]) -> list[_Outcome]:
        """What each returns or raises. Where one fails, each has a transaction of its own."""
        try:
            return [(result, None) for result in self._in_one(together)]
        except Exception as error:
            if len(together) == 1:
                return [(None, error)]
            return [outcome for each in together for outcome in self._transact([each])]

    def _in_one(self, together: Sequence[_Waiting]) -> list[Any]:
        assert self._connection is not None
        at_once = any(each.at_once for each in together)
        if at_once != self._at_once:  # each transaction that is confirmed takes those before it along
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if at_once else 'NORMAL'}")
            self._at_once = at_once
        with self._connection:
            return [each.work(self._connection) for each in together]

    async def close(self) -> None:
        """Once all that waits is written."""
        self._closed = True
        await self._idle.wait()
        await asyncio.get_running_loop().run_in_executor(self._executor, self._disconnect)
        self._executor.shutdown()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
