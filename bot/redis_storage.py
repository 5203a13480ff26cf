"""What the bot remembers of a chat, in Redis."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from bot.chat_settings import ChatSettings
from bot.redis_inbox import prefix_of
from bot.storage import LONGEST_NOTE, PICTURE_KEPT, Picture
from model.serving.redis_connection import patiently

if TYPE_CHECKING:
    from redis.asyncio import Redis

# One step, so that a note that is written meanwhile is either forgotten with the others or found later.
_FORGET: Final = """
for _, key in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do redis.call('DEL', ARGV[1] .. key) end
redis.call('DEL', KEYS[1], KEYS[2])
"""


class RedisStorage:
    """The memory of one bot, a `Storage`. File ids are of use to the bot they were given to alone.

    A chat's notes are keys of their own, so that Redis itself deletes them in time; each begins with its end (seconds
    since the epoch) by the bot's clock. A sorted set names those of a chat, by when they end.
    """

    def __init__(self, connection: Redis, bot_id: int, clock: Callable[[], float] = time.time) -> None:
        self._client: Any = connection
        self._prefix = prefix_of(bot_id)
        self._clock = clock

    async def settings(self, chat_id: int) -> ChatSettings:
        found = await patiently(lambda: self._client.get(self._key("settings", chat_id)))
        return ChatSettings.read(found)

    async def keep_settings(self, chat_id: int, settings: ChatSettings) -> None:
        text = json.dumps(settings.changes())
        await patiently(lambda: self._client.set(self._key("settings", chat_id), text))

    async def remember_picture(self, chat_id: int, picture: Picture) -> None:
        await self.note(chat_id, "picture", json.dumps(dataclasses.asdict(picture)), PICTURE_KEPT)

    async def last_picture(self, chat_id: int) -> Picture | None:
        found = await self.noted(chat_id, "picture")
        return Picture(**json.loads(found)) if found else None

    async def note(self, chat_id: int, key: str, text: str, seconds: float) -> None:
        now = self._clock()
        milliseconds = max(1, round(1000 * seconds))
        index = self._key("notes", chat_id)

        async def write() -> None:
            async with self._client.pipeline(transaction=True) as pipe:
                pipe.set(self._key("note", chat_id, key), f"{now + seconds} {text}", px=milliseconds)
                pipe.zremrangebyscore(index, "-inf", now)
                pipe.zadd(index, {key: now + seconds})
                pipe.expire(index, round(LONGEST_NOTE))
                await pipe.execute()

        await patiently(write)

    async def noted(self, chat_id: int, key: str) -> str | None:
        found: bytes | None = await patiently(lambda: self._client.get(self._key("note", chat_id, key)))
        return self._text(found)

    async def forget_note(self, chat_id: int, key: str) -> None:
        await patiently(lambda: self._client.delete(self._key("note", chat_id, key)))

    async def notes(self, chat_id: int, prefix: str) -> dict[str, str]:
        keys = sorted(key for key in await self._index(chat_id) if key.startswith(prefix))
        if not keys:
            return {}
        names = [self._key("note", chat_id, key) for key in keys]
        found: list[bytes | None] = await patiently(lambda: self._client.mget(names))
        texts = zip(keys, map(self._text, found), strict=True)
        return {key: text for key, text in texts if text is not None}

    async def forget_chat(self, chat_id: int) -> None:
        kept = self._key("notes", chat_id), self._key("settings", chat_id)
        await patiently(lambda: self._client.eval(_FORGET, 2, *kept, self._key("note", chat_id, "")))

    def _text(self, found: bytes | None) -> str | None:
        end, _, text = (found or b"0").decode().partition(" ")
        return text if float(end) > self._clock() else None

    async def _index(self, chat_id: int) -> list[str]:
        found: list[bytes] = await patiently(lambda: self._client.zrange(self._key("notes", chat_id), 0, -1))
        return [key.decode() for key in found]

    def _key(self, kind: str, chat_id: int, *more: str) -> str:
        return ":".join((self._prefix, kind, str(chat_id), *more))
