"""The inbox in Redis, which several bot processes may share: each entry belongs to the process that has it in work.

Redis 6.2 or later, also a cluster. While Redis is away, calls wait for it.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bot.storage.inbox import (
    DEAD_KEPT,
    REMEMBERED,
    Asked,
    DeadLetter,
    Notice,
    Recorded,
    Settle,
    new_entry,
    nothing,
    process_name,
)
from bot.storage.redaction import letter_of
from model.serving.redis.connection import LuaScript, patiently

if TYPE_CHECKING:
    from redis.asyncio import Redis

_SCRIPT: Final = Path(__file__).with_suffix(".lua").read_text(encoding="utf-8")


def prefix_of(bot_id: int) -> str:
    """Of all keys of one bot; the hash tag keeps them in one slot of a cluster."""
    return f"{{captions}}:bot:{bot_id}"


class RedisInbox:
    """The updates of one bot, an `Inbox`. A process is taken for dead when it has not called for 30 seconds."""

    def __init__(self, connection: Redis, bot_id: int) -> None:
        """`connection`: made by `connect_joined`."""
        self._client: Any = connection
        self._script = LuaScript(connection, _SCRIPT)
        self._bot = bot_id
        self._prefix = prefix_of(bot_id)
        self._process = process_name()

    async def _call(self, command: str, *arguments: str | bytes | float) -> Any:
        what = self._what(command, *arguments)
        return await patiently(lambda: self._script([self._prefix], what))

    def _what(self, command: str, *arguments: str | bytes | float) -> tuple[str | bytes | float, ...]:
        return command, self._process, process_name(), *arguments

    async def record(
        self, updates: Sequence[dict[str, Any]], asked: Mapping[int, Asked] | None = None
    ) -> list[Recorded]:
        now = time.time()
        entries = [new_entry(update, now, asked) for update in updates]
        pairs = [part for entry in entries for part in (entry.id, entry.dump())]
        new = sorted(map(int, await self._call("record", now, now - REMEMBERED, *pairs)))
        by_id = {entry.id: entry for entry in reversed(entries)}  # the first of two alike
        return [by_id[number] for number in new]

    async def acknowledge(self, update_id: int, settle: Settle = nothing) -> None:
        """What `settle` asks of the same connection goes with this, before it: both are on the disk at once.

        After a restart of Redis, which then knows no scripts, they may come in the other order.
        """
        what = self._what("acknowledge", update_id, time.time())
        await patiently(lambda: asyncio.gather(settle(), self._script([self._prefix], what)))

    async def waiting(self) -> list[Recorded]:
        return _entries(await self._call("waiting"))

    async def recover(self, max_attempts: int) -> list[Recorded]:
        return await self._take("all", max_attempts)

    async def reclaim(self, max_attempts: int) -> list[Recorded]:
        return await self._take("free", max_attempts)

    async def _take(self, which: str, max_attempts: int) -> list[Recorded]:
        now = time.time()
        return _entries(await self._call("take", which, max_attempts, now - DEAD_KEPT, now - REMEMBERED))

    async def begin_alone(self, update_id: int) -> None:
        await self._call("alone", update_id)

    async def stopped(self) -> None:
        await self._call("stopped")

    # -- notices

    async def notice_shown(self, notice: Notice) -> None:
        await self._call("shown", f"{notice.chat}:{notice.message}")

    async def notice_removed(self, notice: Notice) -> None:
        await self._call("removed", f"{notice.chat}:{notice.message}")

    async def notices_left(self) -> list[Notice]:
        found = await self._call("notices")
        return [Notice(*map(int, field.split(b":"))) for field in found]

    # -- dead letters

    async def dead_letter(self, update_id: int, reason: str, attempts: int) -> None:
        body = await patiently(lambda: self._client.hget(f"{self._prefix}:body", str(update_id)))
        if body is None:
            return
        now = time.time()
        entry = Recorded.load(update_id, body, now)
        kept = letter_of(entry, self._bot).dump().encode()
        about = json.dumps({"id": update_id, "reason": reason, "attempts": attempts, "died": now}).encode()
        letter = b"%d:%b%b" % (len(kept), kept, about)
        await self._call("dead_letter", update_id, now, letter, now - DEAD_KEPT)

    async def dead(self) -> list[DeadLetter]:
        letters = []
        for letter in await self._call("dead", time.time() - DEAD_KEPT):
            length, _, rest = letter.partition(b":")
            about = json.loads(rest[int(length) :])
            letters.append(DeadLetter(body=Recorded.load(0, rest[: int(length)], 0.0).body, **about))
        return letters

    async def retry(self, update_ids: Collection[int] | None) -> int:
        return int(await self._call("retry", time.time(), *_chosen(update_ids)))

    async def drop(self, update_ids: Collection[int] | None) -> int:
        return int(await self._call("drop", *_chosen(update_ids)))


def _chosen(update_ids: Collection[int] | None) -> list[str]:
    return ["all"] if update_ids is None else [str(number) for number in set(update_ids)]


def _entries(rows: Sequence[Any]) -> list[Recorded]:
    """In the order in which Telegram numbered them."""
    found = [Recorded.load(int(number), body, float(when), attempts) for number, body, when, attempts in rows]
    return sorted(found, key=lambda entry: entry.id)
