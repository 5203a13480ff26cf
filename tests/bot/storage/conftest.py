"""The stores that each contract of the bot's storage is tested with."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.storage.sqlite import Database
from model.serving.redis.connection import connect_joined
from tests.support.redis_server import RedisServer


@pytest.fixture(params=["sqlite", "redis", "cluster"])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Database | None, Any]]:
    """An open SQLite file, or else a client of an empty Redis server or cluster."""
    if request.param == "sqlite":
        database = await Database.open(tmp_path)
        yield database, None
        await database.close()
        return
    server: RedisServer = request.getfixturevalue("redis_cluster" if request.param == "cluster" else "redis_server")
    client = connect_joined(server.url)
    await client.flushall()
    yield None, client
    await client.aclose()
