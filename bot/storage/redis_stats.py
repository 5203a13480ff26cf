"""What /stats counts, in Redis, where all processes of a bot count together."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bot.storage.redis_inbox import prefix_of
from bot.storage.stats import HOURS, KEPT, Field
from model.serving.redis.connection import LuaScript, patiently

if TYPE_CHECKING:
    from redis.asyncio import Redis

# One call, all or nothing. KEYS[1]: the prefix, with a hash tag, of
#   prefix:HOUR    hash  what is counted → how often
#   prefix:people  zset  keyed hashes, by when they were last seen
# ARGV: seconds to keep, the time before which people are forgotten, how many counts, then hour, what and how often for
# each of them, then hash and time for each person.
ADD: Final = """
local prefix, kept, oldest, counts = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
for index = 4, 3 * counts + 3, 3 do
  local key = prefix .. ':' .. ARGV[index]
  redis.call('HINCRBY', key, ARGV[index + 1], ARGV[index + 2])
  redis.call('EXPIRE', key, kept)
end
local people = prefix .. ':people'
for index = 3 * counts + 4, #ARGV, 2 do
  redis.call('ZADD', people, ARGV[index + 1], ARGV[index])
end
redis.call('ZREMRANGEBYSCORE', people, '-inf', '(' .. oldest)
redis.call('EXPIRE', people, kept)
"""


class RedisStats:
    """The counts of one bot, a `StatsStore`. An hour's counts are gone 25 hours after the last of them."""

    def __init__(self, connection: Redis, bot_id: int) -> None:
        self._client: Any = connection
        self._prefix = f"{prefix_of(bot_id)}:stats"
        self._add = LuaScript(connection, ADD)
        self._key: bytes | None = None

    async def key(self) -> bytes:
        if self._key is None:
            name = f"{self._prefix}:key"
            await patiently(lambda: self._client.set(name, secrets.token_bytes(32), nx=True))
            self._key = bytes(await patiently(lambda: self._client.get(name)))
        return self._key

    async def add(self, counts: Mapping[Field, int], people: Mapping[bytes, float], now: float) -> None:
        """Not repeated here: it would count twice."""
        what = [part for (hour, field), count in counts.items() for part in (hour, field, count)]
        who = [part for person, seen in people.items() for part in (person, seen)]
        await self._add([self._prefix], [KEPT, now - KEPT, len(counts), *what, *who])

    async def read(self, first_hour: int, since: float) -> tuple[dict[str, int], int]:
        hours = range(first_hour, first_hour + HOURS)
        found = await asyncio.gather(*(patiently(partial(self._hour, hour)) for hour in hours))
        sums: Counter[str] = Counter()
        for each in found:
            sums.update({field.decode(): int(count) for field, count in each.items()})
        people = await patiently(lambda: self._client.zcount(f"{self._prefix}:people", since, "+inf"))
        return dict(sums), int(people)

    async def _hour(self, hour: int) -> dict[bytes, bytes]:
        counts: dict[bytes, bytes] = await self._client.hgetall(f"{self._prefix}:{hour}")
        return counts

    async def forget(self, person: bytes) -> None:
        await patiently(lambda: self._client.zrem(f"{self._prefix}:people", person))
