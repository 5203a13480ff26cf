"""What the bot remembers of a chat, in Redis."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any, Final

from bot.redis_inbox import prefix_of
from bot.storage import Picture
from model.serving.redis_connection import patiently

if TYPE_CHECKING:
    from redis.asyncio import Redis

KEPT: Final = 180 * 24 * 3600  # seconds after a chat's last picture


class RedisStorage:
    """The memory of one bot, a `Storage`. File ids are of use to the bot they were given to alone."""

    def __init__(self, connection: Redis, bot_id: int) -> None:
        self._client: Any = connection
        self._prefix = prefix_of(bot_id)

    async def remember_picture(self, chat_id: int, picture: Picture) -> None:
        text = json.dumps(dataclasses.asdict(picture))
        await patiently(lambda: self._client.set(self._key(chat_id), text, ex=KEPT))

    async def last_picture(self, chat_id: int) -> Picture | None:
        found = await patiently(lambda: self._client.get(self._key(chat_id)))
        return Picture(**json.loads(found)) if found else None

    async def note(self, key: str, text: str, seconds: float) -> None:
        await patiently(lambda: self._client.set(f"{self._prefix}:note:{key}", text, px=max(1, round(1000 * seconds))))

    async def noted(self, key: str) -> str | None:
        found: bytes | None = await patiently(lambda: self._client.get(f"{self._prefix}:note:{key}"))
        return found.decode() if found is not None else None

    def _key(self, chat_id: int) -> str:
        return f"{self._prefix}:picture:{chat_id}"
