"""Where the bot keeps what must outlive it: in a SQLite file, or in Redis where REDIS_URL is set."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bot.config import Settings
from bot.storage.chats import Storage
from bot.storage.inbox import Inbox
from bot.storage.stats import StatsStore


@asynccontextmanager
async def open_memory(settings: Settings, bot_id: int) -> AsyncIterator[tuple[Inbox, Storage]]:
    """Waits for a Redis that is not there yet. Raises StorageError, or RedisRefused for a wrong password.

    Each engine is imported only where it is used.
    """
    if settings.redis_url is not None:
        from bot.storage.redis_chats import RedisStorage
        from bot.storage.redis_inbox import RedisInbox
        from model.serving.redis.connection import connect, patiently

        connection = connect(settings.redis_url.get_secret_value())
        try:
            await patiently(connection.ping)
            yield RedisInbox(connection, bot_id), RedisStorage(connection, bot_id)
        finally:
            await connection.aclose()
        return
    from bot.storage.sqlite import Database
    from bot.storage.sqlite_chats import SqliteStorage
    from bot.storage.sqlite_inbox import SqliteInbox

    database = await Database.open(settings.data_dir)
    try:
        yield SqliteInbox(database, bot_id), SqliteStorage(database, bot_id)
    finally:
        await database.close()


@asynccontextmanager
async def open_stats_store(settings: Settings, bot_id: int) -> AsyncIterator[StatsStore]:
    """The store of one bot. Engines are imported where they are used."""
    if settings.redis_url is not None:
        from bot.storage.redis_stats import RedisStats
        from model.serving.redis.connection import connect

        connection = connect(settings.redis_url.get_secret_value())
        try:
            yield RedisStats(connection, bot_id)
        finally:
            await connection.aclose()
        return
    from bot.storage.sqlite_stats import SqliteStats

    store = SqliteStats(settings.data_dir, bot_id)
    try:
        yield store
    finally:
        await store.close()
