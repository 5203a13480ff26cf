"""What the bot remembers of a chat, in Redis."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from bot.chat_settings import ChatSettings
from bot.storage.chats import LASTING, LONGEST_NOTE, MOST_IN_ROOM, MOST_LASTING, PICTURE, YEAR, Note, Picture, room_of
from bot.storage.redis_inbox import prefix_of
from model.serving.redis.connection import LuaScript, patiently

if TYPE_CHECKING:
    from redis.asyncio import Redis


# KEYS[1] of each script: the index of the chat's notes; KEYS[2]: its settings. ARGV[1]: what a note's key begins with.
# Each is one step, so that a note that is written meanwhile is either forgotten with the others or found later.
# Notes with room of their own have an index by themselves: that of the chat with a colon and their room. The set
# `rooms` beside the chat's index has these rooms.

# ARGV: now, the longest note (s), the end of one that lasts, the most of those, the key that does not count among them,
# the longest note in a room (s), the most in a room; then key, value, end, milliseconds and room of each note. A full
# Redis refuses a script that begins by adding, but without its note no answer could be sent, and nothing would ever
# make room.
_NOTE: Final = """
local index, now, longest, lasting, most, picture = KEYS[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5]), ARGV[6]
redis.call('ZREMRANGEBYSCORE', index, '-inf', now)
for at = 9, #ARGV, 5 do
  local room = ARGV[at + 4]
  redis.call('SET', ARGV[1] .. ARGV[at], ARGV[at + 1], 'PX', ARGV[at + 3])
  if room == '' then
    redis.call('ZADD', index, ARGV[at + 2], ARGV[at])
  else
    local own, rooms = index .. ':' .. room, index .. ':rooms'
    redis.call('ZREMRANGEBYSCORE', own, '-inf', now)
    redis.call('ZADD', own, ARGV[at + 2], ARGV[at])
    redis.call('SADD', rooms, room)
    local spare = redis.call('ZCARD', own) - tonumber(ARGV[8])
    if spare > 0 then
      for _, key in ipairs(redis.call('ZRANGE', own, 0, spare - 1)) do redis.call('DEL', ARGV[1] .. key) end
      redis.call('ZREMRANGEBYRANK', own, 0, spare - 1)
    end
    redis.call('EXPIRE', own, ARGV[7])
    redis.call('EXPIRE', rooms, ARGV[7])
  end
end
local spare = redis.call('ZCOUNT', index, '(' .. lasting, '+inf') - most
if tonumber(redis.call('ZSCORE', index, picture) or 0) > tonumber(lasting) then spare = spare - 1 end
if spare > 0 then
  for _, key in ipairs(redis.call('ZRANGEBYSCORE', index, '(' .. lasting, '+inf', 'LIMIT', 0, spare + 1)) do
    if key ~= picture and spare > 0 then
      redis.call('DEL', ARGV[1] .. key)
      redis.call('ZREM', index, key)
      spare = spare - 1
    end
  end
end
redis.call('EXPIRE', index, longest)
"""
# ARGV[2]: how the keys begin. Key and value of each.
_FIND: Final = """
local found, begins = {}, ARGV[2]
local function look(index)
  for _, key in ipairs(redis.call('ZRANGE', index, 0, -1)) do
    if string.sub(key, 1, #begins) == begins then
      found[#found + 1] = key
      found[#found + 1] = redis.call('GET', ARGV[1] .. key)
    end
  end
end
look(KEYS[1])
for _, room in ipairs(redis.call('SMEMBERS', KEYS[1] .. ':rooms')) do
  if string.sub(room, 1, #begins) == begins or string.sub(begins, 1, #room) == room then
    look(KEYS[1] .. ':' .. room)
  end
end
return found
"""
# ARGV: the key, its room, if it has one.
_DROP: Final = """
redis.call('DEL', ARGV[1] .. ARGV[2])
if ARGV[3] == '' then return redis.call('ZREM', KEYS[1], ARGV[2]) end
local own = KEYS[1] .. ':' .. ARGV[3]
redis.call('ZREM', own, ARGV[2])
if redis.call('EXISTS', own) == 0 then redis.call('SREM', KEYS[1] .. ':rooms', ARGV[3]) end
"""
_FORGET: Final = """
local function forget(index)
  for _, key in ipairs(redis.call('ZRANGE', index, 0, -1)) do redis.call('DEL', ARGV[1] .. key) end
  redis.call('DEL', index)
end
forget(KEYS[1])
for _, room in ipairs(redis.call('SMEMBERS', KEYS[1] .. ':rooms')) do forget(KEYS[1] .. ':' .. room) end
redis.call('DEL', KEYS[1] .. ':rooms', KEYS[2])
"""


class RedisStorage:
    """The memory of one bot, a `Storage`. File ids are of use to the bot they were given to alone.

    A chat's notes are keys of their own, so that Redis itself deletes them in time; each begins with its end (seconds
    since the epoch) by the bot's clock. A sorted set names those of a chat, by when they end.
    """

    notes_take_long: ClassVar[bool] = True

    def __init__(self, connection: Redis, bot_id: int, clock: Callable[[], float] = time.time) -> None:
        self._client: Any = connection
        self._note, self._drop, self._forget = (LuaScript(connection, text) for text in (_NOTE, _DROP, _FORGET))
        self._prefix = prefix_of(bot_id)
        self._clock = clock

    async def settings(self, chat_id: int) -> ChatSettings:
        found = await patiently(lambda: self._client.get(self._key("settings", chat_id)))
        return ChatSettings.read(found)

    async def keep_settings(self, chat_id: int, settings: ChatSettings) -> None:
        text = json.dumps(settings.changes())
        await patiently(lambda: self._client.set(self._key("settings", chat_id), text))

    async def remember_picture(self, chat_id: int, picture: Picture) -> None:
        await self.note_all(chat_id, [Note.of_picture(picture)])

    async def last_picture(self, chat_id: int) -> Picture | None:
        found = await self.noted(chat_id, PICTURE)
        return Picture(**json.loads(found)) if found else None

    async def note_all(self, chat_id: int, notes: Sequence[Note]) -> None:
        now = self._clock()
        parts: list[str | float] = []
        for note in notes:
            end = now + note.seconds
            parts += [note.key, f"{end} {note.text}", end, max(1, round(1000 * note.seconds)), room_of(note.key)]
        limits = now, round(LONGEST_NOTE), now + LASTING, MOST_LASTING, PICTURE, round(YEAR), MOST_IN_ROOM
        await self._run(self._note, chat_id, *limits, *parts)

    async def noted(self, chat_id: int, key: str) -> str | None:
        found: bytes | None = await patiently(lambda: self._client.get(self._key("note", chat_id, key)))
        return self._text(found)

    async def forget_note(self, chat_id: int, key: str) -> None:
        await self._run(self._drop, chat_id, key, room_of(key))

    async def notes(self, chat_id: int, prefix: str) -> dict[str, str]:
        # EVAL is joined with no other call: there may be much to find.
        find = partial(self._client.eval, _FIND, 1, self._key("notes", chat_id), self._key("note", chat_id, ""), prefix)
        found: list[bytes | None] = await patiently(find)
        pairs = zip(found[::2], map(self._text, found[1::2]), strict=True)
        return dict(sorted((key.decode(), text) for key, text in pairs if key is not None and text is not None))

    async def forget_chat(self, chat_id: int) -> None:
        await self._run(self._forget, chat_id)

    async def _run(self, script: LuaScript, chat_id: int, *arguments: str | float) -> Any:
        keys = self._key("notes", chat_id), self._key("settings", chat_id)
        what = self._key("note", chat_id, ""), *arguments
        return await patiently(lambda: script(keys, what))

    def _text(self, found: bytes | None) -> str | None:
        end, _, text = (found or b"0").decode().partition(" ")
        return text if float(end) > self._clock() else None

    def _key(self, kind: str, chat_id: int, *more: str) -> str:
        return ":".join((self._prefix, kind, str(chat_id), *more))
