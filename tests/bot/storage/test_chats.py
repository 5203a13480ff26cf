"""What is remembered of chats, and for how long. One contract for both engines."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest

from bot.chat_settings import ChatSettings
from bot.storage import redis_chats as redis_storage
from bot.storage import sqlite_chats as sqlite_storage
from bot.storage.chats import MOST_IN_ROOM, PICTURE_KEPT, YEAR, Note, Picture, Storage, change_settings
from bot.storage.redis_chats import RedisStorage
from bot.storage.sqlite import Database
from bot.storage.sqlite_chats import SqliteStorage
from model.serving.redis.connection import connect_joined
from tests.support.clock import Clock
from tests.support.redis_server import RedisServer

DAY = 86_400.0
CHAT, OTHER = 5, -1_000_000_000_005  # a person's, a group's


@dataclass
class Place:
    """Where memories lie; each `storage()` is that of another process."""

    database: Database | None = None
    client: Any = None
    clock: Clock = field(default_factory=Clock)

    def storage(self, bot: int = 1) -> Storage:
        if self.database is not None:
            return SqliteStorage(self.database, bot, self.clock)
        return RedisStorage(self.client, bot, self.clock)

    async def raw_settings(self, text: str, bot: int = 1) -> None:
        """As another version may have written them."""
        if self.database is None:
            await self.client.set(f"{{captions}}:bot:{bot}:settings:{CHAT}", text)
        else:
            insert = "INSERT OR REPLACE INTO chats VALUES (?, ?, ?)"
            await self.database.run(lambda connection: connection.execute(insert, (bot, CHAT, text)))

    async def stored(self) -> int:
        """How many things there are."""
        if self.database is None:
            return len([key async for key in self.client.scan_iter()])
        tables = ("chats", "chat_notes", "person_notes")
        count = "SELECT " + " + ".join(f"(SELECT count(*) FROM {table})" for table in tables)
        found: int = await self.database.run(lambda connection: connection.execute(count).fetchone()[0])
        return found


@pytest.fixture
def place(engine: tuple[Database | None, Any]) -> Place:
    return Place(*engine)


async def test_settings_are_those_that_were_kept_last_and_the_defaults_before(place: Place) -> None:
    assert await place.storage().settings(CHAT) == ChatSettings()
    mine = ChatSettings(model="baseline", samples=0, strategy="ladder", temperature=1.2, beam=False, language="ru")
    await place.storage().keep_settings(CHAT, mine)
    assert await place.storage().settings(CHAT) == mine
    assert await place.storage().settings(OTHER) == ChatSettings()
    place.clock.now += 1000 * DAY
    assert await place.storage().settings(CHAT) == mine
    await place.storage().keep_settings(CHAT, ChatSettings())
    assert await place.storage().settings(CHAT) == ChatSettings()


async def test_two_changes_of_settings_at_a_time_are_both_kept(place: Place) -> None:
    storage = place.storage()
    changes: tuple[dict[str, Any], ...] = ({"tags": ("dog",)}, {"history": True}, {"voice": True})
    await asyncio.gather(*(change_settings(storage, CHAT, partial(replace, **change)) for change in changes))
    assert await storage.settings(CHAT) == ChatSettings(tags=("dog",), history=True, voice=True)


async def test_settings_of_another_version_count_as_far_as_they_are_understood(place: Place) -> None:
    await place.raw_settings('{"samples": 99, "temperature": "hot", "model": "gpt", "colour": "red", "beam": false}')
    assert await place.storage().settings(CHAT) == ChatSettings(beam=False)


@pytest.mark.parametrize("text", ["[]", "null", "3", '"x"', "{", '{"voice": "yes", "samples": 2.5, "language": 7}'])
async def test_settings_that_make_no_sense_are_the_defaults(place: Place, text: str) -> None:
    await place.raw_settings(text)
    assert await place.storage().settings(CHAT) == ChatSettings()


async def test_a_note_is_found_until_its_time_is_over(place: Place) -> None:
    storage = place.storage()
    await storage.note_all(CHAT, [Note("short", "gone soon", 60)])
    await storage.note_all(CHAT, [Note("long", "a cat, кот, 🐈", 90 * DAY)])
    place.clock.now += 59
    assert await place.storage().noted(CHAT, "short") == "gone soon"
    place.clock.now += 2
    assert await place.storage().noted(CHAT, "short") is None
    assert await place.storage().notes(CHAT, "") == {"long": "a cat, кот, 🐈"}
    place.clock.now += 89 * DAY
    assert await place.storage().noted(CHAT, "long") == "a cat, кот, 🐈"
    place.clock.now += 1 * DAY
    assert await place.storage().noted(CHAT, "long") is None
    assert await place.storage().notes(CHAT, "") == {}


async def test_a_note_that_is_written_again_counts_from_then(place: Place) -> None:
    storage = place.storage()
    await storage.note_all(CHAT, [Note("key", "first", 60)])
    place.clock.now += 50
    await storage.note_all(CHAT, [Note("key", "second", 60)])
    place.clock.now += 50
    assert await storage.noted(CHAT, "key") == "second"
    assert await storage.notes(CHAT, "k") == {"key": "second"}


async def test_notes_are_found_by_how_their_keys_begin(place: Place) -> None:
    storage = place.storage()
    for key in ("clip:b", "clip:a", "clips:c", "CLIP:d", "photo:a", "clip*", "c%"):
        await storage.note_all(CHAT, [Note(key, f"of {key}", DAY)])
    await storage.note_all(OTHER, [Note("clip:z", "of another chat", DAY)])
    assert list((await storage.notes(CHAT, "clip:")).items()) == [("clip:a", "of clip:a"), ("clip:b", "of clip:b")]
    assert list(await storage.notes(CHAT, "c%")) == ["c%"]
    assert len(await storage.notes(CHAT, "")) == 7
    assert await storage.notes(CHAT, "none") == {}


async def test_the_last_picture_is_remembered_for_its_time(place: Place) -> None:
    storage = place.storage()
    assert await storage.last_picture(CHAT) is None
    await storage.remember_picture(CHAT, Picture("first", "f", 10))
    await storage.remember_picture(CHAT, Picture("second", "s"))
    assert await storage.last_picture(CHAT) == Picture("second", "s", None)
    assert await storage.last_picture(OTHER) is None
    place.clock.now += PICTURE_KEPT + 1
    assert await storage.last_picture(CHAT) is None


async def test_all_of_a_chat_is_forgotten_and_nothing_of_others(place: Place) -> None:
    storage = place.storage()
    for chat in (CHAT, OTHER):
        await storage.keep_settings(chat, ChatSettings(samples=3))
        await storage.remember_picture(chat, Picture(f"of {chat}", "u"))
        for number in range(30):
            await storage.note_all(chat, [Note(f"clip:{number}", "x", DAY)])
    both = await place.stored()
    await storage.forget_chat(CHAT)
    assert await storage.settings(CHAT) == ChatSettings()
    assert await storage.last_picture(CHAT) is None
    assert await storage.notes(CHAT, "") == {}
    assert await storage.noted(CHAT, "clip:7") is None
    assert await place.stored() == both // 2
    assert await storage.settings(OTHER) == ChatSettings(samples=3)
    assert len(await storage.notes(OTHER, "clip:")) == 30
    await storage.forget_chat(CHAT)
    await storage.forget_chat(77)


async def test_a_note_written_while_the_chat_is_forgotten_can_be_found_and_forgotten_too(place: Place) -> None:
    storage = place.storage()
    for _ in range(20):
        await asyncio.gather(
            *(storage.note_all(CHAT, [Note(f"n{number}", "x", DAY)]) for number in range(5)),
            storage.forget_chat(CHAT),
            *(storage.note_all(CHAT, [Note(f"m{number}", "x", DAY)]) for number in range(5)),
        )
        listed = await storage.notes(CHAT, "")
        single = {key for n in range(5) for key in (f"n{n}", f"m{n}") if await storage.noted(CHAT, key) is not None}
        assert listed.keys() == single
    await storage.forget_chat(CHAT)
    assert await place.stored() == 0


async def test_two_bots_in_one_place_have_memories_of_their_own(place: Place) -> None:
    one, two = place.storage(1), place.storage(2)
    await one.keep_settings(CHAT, ChatSettings(samples=1))
    await one.note_all(CHAT, [Note("key", "of one", DAY)])
    await one.remember_picture(CHAT, Picture("a", "b"))
    assert await two.settings(CHAT) == ChatSettings()
    assert await two.notes(CHAT, "") == {}
    assert await two.last_picture(CHAT) is None
    await two.note_all(CHAT, [Note("key", "of two", DAY)])
    await two.forget_chat(CHAT)
    assert await one.noted(CHAT, "key") == "of one"
    assert await one.settings(CHAT) == ChatSettings(samples=1)


async def test_several_notes_are_kept_at_once(place: Place) -> None:
    await place.storage().note_all(CHAT, [Note("a", "one", 60), Note("b", "two", DAY), Note("c", "three", 0.0)])
    assert await place.storage().notes(CHAT, "") == {"a": "one", "b": "two"}
    place.clock.now += 61
    assert await place.storage().notes(CHAT, "") == {"b": "two"}


async def test_a_chat_cannot_fill_the_memory(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what lasts for months the latest is kept; what is needed for a day and the last picture are not counted."""
    for engine in (sqlite_storage, redis_storage):
        monkeypatch.setattr(engine, "MOST_LASTING", 20)
    storage = place.storage()
    await storage.remember_picture(CHAT, Picture("a", "b"))
    await storage.note_all(CHAT, [Note("parts:1", "x", DAY)])
    for number in range(50):
        place.clock.now += 1
        await storage.note_all(CHAT, [Note(f"answer:{number}", "x", 90 * DAY), Note("known:b", "1", 3600)])
        await storage.note_all(OTHER, [Note(f"answer:{number % 20}", "x", 90 * DAY)])
    found = await storage.notes(CHAT, "")
    assert found.keys() == {"picture", "parts:1", "known:b", *(f"answer:{number}" for number in range(30, 50))}
    assert len(await storage.notes(OTHER, "")) == 20
    assert await storage.noted(CHAT, "answer:29") is None
    assert await storage.last_picture(CHAT) == Picture("a", "b")


async def test_notes_of_a_person_have_room_of_their_own(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest of 5,000 leave, of that person in that chat alone, and nothing that buttons need."""
    for engine in (sqlite_storage, redis_storage):
        monkeypatch.setattr(engine, "MOST_LASTING", 3)
    storage = place.storage()
    await storage.note_all(CHAT, [Note(f"answer:{number}", "x", 90 * DAY) for number in range(3)])
    for start in range(0, MOST_IN_ROOM + 1, 500):
        place.clock.now += 1
        part = range(start, min(start + 500, MOST_IN_ROOM + 1))
        await storage.note_all(CHAT, [Note(f"vector:7:{n}", "x", YEAR - MOST_IN_ROOM + n) for n in part])
    await storage.note_all(CHAT, [Note("vector:70:a", "of another", YEAR), Note("vector:8:a", "x", YEAR)])
    await storage.note_all(OTHER, [Note("vector:7:a", "elsewhere", YEAR)])
    own = await storage.notes(CHAT, "vector:7:")
    assert len(own) == MOST_IN_ROOM
    assert "vector:7:0" not in own
    assert await storage.noted(CHAT, "vector:7:0") is None
    assert await storage.noted(CHAT, "vector:70:a") == "of another"
    assert len(await storage.notes(CHAT, "vector:")) == MOST_IN_ROOM + 2
    assert (await storage.notes(CHAT, "vector:7")).keys() == own.keys() | {"vector:70:a"}
    assert len(await storage.notes(CHAT, "answer:")) == 3
    assert len(await storage.notes(CHAT, "")) == MOST_IN_ROOM + 5
    await storage.forget_note(CHAT, "vector:7:9")
    await storage.forget_note(CHAT, "vector:8:a")
    assert await storage.noted(CHAT, "vector:7:9") is None
    place.clock.now += YEAR - 100
    assert len(await storage.notes(CHAT, "vector:7:")) == 99
    await storage.forget_chat(CHAT)
    assert await storage.notes(CHAT, "") == {}
    assert await storage.noted(OTHER, "vector:7:a") == "elsewhere"
    await storage.forget_chat(OTHER)
    assert await place.stored() == 0


async def test_what_is_over_takes_no_room(place: Place) -> None:
    storage = place.storage()
    for number in range(50):
        await storage.note_all(CHAT, [Note(f"n{number}", "x", 0.01)])
        place.clock.now += 1
    place.clock.now -= 25  # SQLite looks once a minute, and when a clock was set back
    await storage.note_all(CHAT, [Note("also", "x", 0.01)])
    place.clock.now += 60
    await storage.note_all(CHAT, [Note("last", "x", DAY)])
    async with asyncio.timeout(60):
        while await place.stored() > 2:  # Redis removes a key a moment after its end
            await asyncio.sleep(0.02)
    assert await storage.notes(CHAT, "") == {"last": "x"}


async def test_what_is_forgotten_takes_no_room_and_leaves_no_name(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    for engine in (sqlite_storage, redis_storage):
        monkeypatch.setattr(engine, "MOST_LASTING", 2)
    storage = place.storage()
    await storage.note_all(CHAT, [Note("answer:kept", "{}", 80 * DAY)])
    for number in range(3):
        await storage.note_all(CHAT, [Note(f"answer:{number}", "{}", 90 * DAY)])
        await storage.forget_note(CHAT, f"answer:{number}")
    assert await storage.noted(CHAT, "answer:kept") == "{}"
    await storage.forget_note(CHAT, "answer:kept")
    assert await place.stored() == 0


async def test_notes_can_be_written_to_a_full_redis(redis_server: RedisServer) -> None:
    """Each answer needs one, and only answers make room."""
    client = connect_joined(redis_server.url)
    await client.flushall()
    storage = RedisStorage(client, 1)
    await client.config_set("maxmemory", "1")
    try:
        async with asyncio.timeout(60):
            await storage.note_all(CHAT, [Note("answer:a", "a cat", DAY)])
            assert await storage.noted(CHAT, "answer:a") == "a cat"
    finally:
        await client.config_set("maxmemory", "0")
        await client.aclose()
