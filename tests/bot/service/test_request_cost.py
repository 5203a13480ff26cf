"""What one update costs, apart from its answer."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from bot.storage.sqlite import FILE_NAME, Database
from model.serving.redis.connection import _Direct, _Joined
from model.serving.redis.consumer import RedisConsumer
from model.serving.redis.producer import RedisQueue
from tests.support.fake_queue import FakeQueue, captions, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram
from tests.support.pictures import picture
from tests.support.redis_server import RedisServer


async def test_no_update_is_handed_to_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each such step would cost as much as a write to the disk, and there are many."""
    handed: list[Any] = []
    to_thread = asyncio.to_thread

    async def recorded(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if str(sys._getframe(1).f_globals["__name__"]).startswith("aiogram."):
            handed.append(function)
        return await to_thread(function, *args, **kwargs)

    async with FakeTelegram() as server, running_bot(server, FakeQueue(), tmp_path):
        monkeypatch.setattr(asyncio, "to_thread", recorded)
        ann = server.person("Ann")
        await ann.send_photo(picture())
        await ann.next_message()
        for text in ("/start", "/unknown", "hello", "https://example.org"):
            await ann.send_text(text)
            await ann.next_message()
        await ann.send_document(b"%PDF", "letter.pdf", mime_type="application/pdf")
        await ann.next_message()
    assert handed == []


async def test_a_photo_waits_for_the_disk_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is written down, and until it is acknowledged; what buttons need is confirmed with the latter."""
    writes: list[bool] = []
    run: Any = Database.run

    async def recorded(self: Database, work: Callable[[sqlite3.Connection], Any], *, at_once: bool = True) -> Any:
        def counted(connection: sqlite3.Connection) -> Any:
            before = connection.total_changes
            result = work(connection)
            if connection.total_changes > before and self.path.name == FILE_NAME:
                writes.append(at_once)
            return result

        return await run(self, counted, at_once=at_once)

    monkeypatch.setattr(Database, "run", recorded)
    async with FakeTelegram() as server, running_bot(server, FakeQueue(), tmp_path):
        ann = server.person("Ann")
        await ann.send_photo(picture())
        await ann.next_message()
    start, end = [True], [True]
    assert writes == [*start, True, False, False, False, True, *end]


# From time to time; the last: what /stats counts.
BESIDE = {"status", "sweep", "states", "extend", "forgotten", "take free", "stats"}


def asked_for(command: Sequence[Any]) -> str:
    """The command; for a script what it is asked for: of the queue, of the inbox ("take" with what), or a note."""
    if command[0] != "EVALSHA":
        of = next((name for name in ("settings", "stats") if f":{name}" in str(command[1:2])), None)
        return of or str(command[0])
    keys, arguments = command[3 : 3 + command[2]], command[3 + command[2] :]
    if len(keys) > 1:
        return "note"
    if keys == ("{captions}",):
        return str(arguments[1])
    if keys[0].endswith(":stats"):
        return "stats"
    return "take free" if arguments[0] == "take" else str(arguments[0])


def only_waited(name: str, answer: Any) -> bool:
    return (name == "XREAD" and not answer) or (name == "take" and answer[0] != b"jobs") or answer == [[], []]


async def test_a_photo_asks_redis_so_often(
    tmp_path: Path, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each question is a way there and back, and each that writes waits for the disk, once for what goes together."""
    asked: list[str] = []
    execute: Any = Redis.execute_command
    execute_together: Any = Pipeline.execute
    answers_together: Any = _Joined._answers
    execute_directly: Any = _Direct.call

    def record(commands: Sequence[Sequence[Any]], answers: Sequence[Any]) -> None:
        names = [
            name
            for command, answer in zip(commands, answers, strict=True)
            if (name := asked_for(command)) not in BESIDE and not only_waited(name, answer)
        ]
        asked.extend([" + ".join(names)] if names else [])

    async def recorded(self: Redis, *command: Any, **options: Any) -> Any:
        answer = await execute(self, *command, **options)
        record([command], [answer])
        return answer

    async def recorded_together(self: Any, raise_on_error: bool = True) -> Any:
        commands = [command for command, _ in self.command_stack]
        answers = await execute_together(self, raise_on_error)
        record(commands, answers)
        return answers

    async def recorded_joined(self: Any, calls: Any) -> Any:
        answers = await answers_together(self, calls)
        record([command for command, _, _ in calls], answers)
        return answers

    async def recorded_directly(self: Any, *command: Any, **options: Any) -> Any:
        answer = await execute_directly(self, *command, **options)
        if command[0] == "EVALSHA":
            record([command], [answer])
        return answer

    monkeypatch.setattr(_Joined, "_answers", recorded_joined)
    monkeypatch.setattr(_Direct, "call", recorded_directly)
    monkeypatch.setattr(Redis, "execute_command", recorded)
    monkeypatch.setattr(Pipeline, "execute", recorded_together)
    redis_server.call("FLUSHALL")
    queue, consumer = RedisQueue(redis_server.url, "bot"), RedisConsumer(redis_server.url, "worker")
    await queue.open()
    await consumer.open()
    address = SecretStr(redis_server.url)
    try:
        async with FakeTelegram() as server, running_bot(server, queue, tmp_path, redis_url=address):
            ann = server.person("Ann")
            for _ in range(2):
                asked.clear()  # of the first photo: it makes the scripts known
                await ann.send_photo(picture())
                [lease] = await asyncio.wait_for(consumer.take("photo", 1), 60)
                await consumer.finish(lease.job.id, captions())
                await ann.next_message()
                await eventually(lambda: "acknowledge" in str(asked))
            once = list(asked)
    finally:
        await consumer.close()
        await queue.close()
    expected = ["record + settings", "admit + note", "put", "XREAD", "take", "finish", "XREAD + hear", "note"]
    assert sorted(once[:-1]) == sorted(expected)
    assert once[-1] == "note + forget + acknowledge"
