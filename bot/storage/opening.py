"""Where the bot keeps what must outlive it: in SQLite files, or in Redis where REDIS_URL is set.

Each engine is imported only where it is used.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from bot.config import Settings
from bot.storage.chats import Storage
from bot.storage.inbox import Inbox
from bot.storage.stats import StatsStore

if TYPE_CHECKING:
    from redis.asyncio import Redis


@asynccontextmanager
async def open_memory(
    settings: Settings, bot_id: int, redis: Redis | None = None
) -> AsyncIterator[tuple[Inbox, Storage]]:
    """Waits for a Redis that is not there yet. Raises StorageError, or RedisRefused for a wrong password.

    `redis`: the connection of the queue, see `RedisQueue.connection`; None: there is none to share.
    """
    if settings.redis_url is not None:
        from bot.storage.redis_chats import RedisStorage
        from bot.storage.redis_inbox import RedisInbox
        from model.serving.redis.connection import connect_joined, patiently

        own = aclosing(connect_joined(settings.redis_url.get_secret_value())) if redis is None else nullcontext(redis)
        async with own as connection:
            await patiently(connection.ping)
            yield RedisInbox(connection, bot_id), RedisStorage(connection, bot_id)
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
    """Waits for nothing: what is counted may be lost."""
    if settings.redis_url is not None:
        from bot.storage.redis_stats import RedisStats
        from model.serving.redis.connection import connect

        async with aclosing(connect(settings.redis_url.get_secret_value())) as connection:
            yield RedisStats(connection, bot_id)
        return
    from bot.storage.sqlite_stats import SqliteStats

    store = SqliteStats(settings.data_dir, bot_id)
    try:
        yield store
    finally:
        await store.close()
