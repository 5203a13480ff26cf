"""The inbox: what it keeps, in which order, whom it suspects after crashes. One contract for both engines."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiogram.types import Message
from pydantic import SecretStr

from bot.answers.forgetting import forget_letters
from bot.config import Settings
from bot.dead_letters import print_letters
from bot.errors import StorageError
from bot.storage.chats import Note, Picture, Storage
from bot.storage.inbox import Asked, Inbox, Notice, Recorded
from bot.storage.inbox import Place as Where
from bot.storage.opening import open_memory
from bot.storage.redaction import reduced
from bot.storage.redis_chats import RedisStorage
from bot.storage.redis_inbox import RedisInbox
from bot.storage.sqlite import Database
from bot.storage.sqlite_chats import SqliteStorage
from bot.storage.sqlite_inbox import SqliteInbox
from bot.telegram.media import Medium, medium_of
from model.serving.redis.address import RedisRefused
from model.serving.redis.connection import connect, connect_joined
from tests.support.redis_server import RedisServer

Engine = SqliteInbox | RedisInbox


@dataclass
class Place:
    """Where inboxes lie; each `inbox()` is that of another process."""

    database: Database | None = None
    client: Any = None

    def inbox(self, bot: int = 1) -> Engine:
        return SqliteInbox(self.database, bot) if self.database else RedisInbox(self.client, bot)

    def storage(self, bot: int = 1) -> Storage:
        return SqliteStorage(self.database, bot) if self.database else RedisStorage(self.client, bot)


@pytest.fixture
def place(engine: tuple[Database | None, Any]) -> Place:
    return Place(*engine)


def update(number: int, text: str = "x") -> dict[str, Any]:
    return {"update_id": number, "message": {"text": text, "chat": {"id": 5, "type": "private"}}}


async def ids(inbox: Inbox) -> list[int]:
    return [entry.id for entry in await inbox.waiting()]


async def test_updates_wait_in_order_until_they_are_acknowledged(place: Place) -> None:
    inbox = place.inbox()
    await inbox.record([update(13), update(1, "кот"), update(2)])
    await inbox.acknowledge(13)
    assert await ids(inbox) == [1, 2]
    assert (await inbox.waiting())[0].body == update(1, "кот")


async def test_what_an_update_has_elsewhere_is_settled_when_it_is_acknowledged(place: Place) -> None:
    inbox, settled = place.inbox(), list[int]()

    async def settle() -> None:
        settled.append(1)

    await inbox.record([update(1)])
    await inbox.acknowledge(1, settle)
    assert (settled, await inbox.waiting()) == ([1], [])


async def test_a_text_that_is_cut_within_a_character_is_recorded_as_it_came(place: Place) -> None:
    inbox = place.inbox()
    await inbox.record([update(1, "half of an emoji: \ud83d"), update(2, "\x00\u202e")])
    assert [entry.body for entry in await inbox.waiting()] == [
        update(1, "half of an emoji: \ud83d"),
        update(2, "\x00\u202e"),
    ]


async def test_what_an_update_asks_for_stays_with_it(place: Place) -> None:
    """Also after it was given up; an update of an earlier version has none of it."""
    inbox, asked = place.inbox(), Asked("clip", Where(5, None, 7))
    recorded = await inbox.record([update(1), update(2)], {1: asked})
    for entries in (recorded, await inbox.waiting(), await inbox.recover(3)):
        assert [(entry.asked, entry.body) for entry in entries] == [(asked, update(1)), (None, update(2))]
    await inbox.dead_letter(1, "crashed", 3)
    assert [set(letter.body) for letter in await inbox.dead()] == [{"update_id", "message"}]
    await inbox.retry([1])
    assert [entry.asked for entry in await inbox.reclaim(3)] == [asked]


async def test_an_update_is_new_only_once(place: Place) -> None:
    inbox = place.inbox()
    assert [entry.id for entry in await inbox.record([update(1), update(2)])] == [1, 2]
    await inbox.acknowledge(1)
    assert [entry.id for entry in await inbox.record([update(1), update(2), update(3)])] == [3]
    assert await inbox.record([]) == []
    alike = await inbox.record([update(5, "first"), update(4), update(5, "second")])
    assert {entry.id: entry.body["message"]["text"] for entry in alike}[5] == "first"
    assert len(alike) == 2


async def test_another_bot_in_the_same_place_has_updates_and_pictures_of_its_own(place: Place) -> None:
    inbox, other = place.inbox(1), place.inbox(2)
    await inbox.record([update(1)])
    assert len(await other.record([update(1)])) == 1
    await place.storage(1).remember_picture(5, Picture("a", "b", 3))
    await place.storage(1).remember_picture(5, Picture("c", "d"))
    assert await place.storage(1).last_picture(5) == Picture("c", "d")
    assert await place.storage(2).last_picture(5) is None


async def test_a_note_can_be_deleted_by_itself(place: Place) -> None:
    storage = place.storage()
    for key in ("answer:a", "answer:b"):
        await storage.note_all(5, [Note(key, key, 60)])
    await storage.forget_note(5, "answer:a")
    await storage.forget_note(6, "answer:b")  # another chat's
    assert await storage.noted(5, "answer:a") is None
    assert await storage.notes(5, "answer:") == {"answer:b": "answer:b"}


async def test_all_or_nothing_of_a_batch_is_recorded(place: Place) -> None:
    inbox = place.inbox()
    with pytest.raises(KeyError):
        await inbox.record([update(1), {}])
    assert await ids(inbox) == []


async def test_crashes_are_counted_and_stops_are_not(place: Place) -> None:
    inbox = place.inbox()

    async def attempts() -> dict[int, int]:
        return {entry.id: entry.attempts for entry in await inbox.recover(max_attempts=2)}

    assert await attempts() == {}
    await inbox.record([update(1), update(2)])
    await inbox.stopped()
    assert await attempts() == {1: 0, 2: 0}
    assert await attempts() == {1: 1, 2: 1}
    assert await attempts() == {1: 2, 2: 2}
    assert await attempts() == {1: 2, 2: 2}  # one of them is to blame: from here on only what runs alone is counted
    await inbox.begin_alone(1)
    await inbox.begin_alone(2)
    assert await attempts() == {1: 2, 2: 3}
    await inbox.begin_alone(1)
    await inbox.stopped()
    assert await attempts() == {1: 2, 2: 3}


async def test_crashes_of_another_process_are_counted_too(place: Place) -> None:
    first = place.inbox()
    await first.recover(3)
    await first.record([update(1)])
    assert [entry.attempts for entry in await place.inbox().recover(3)] == [1]


async def test_ids_are_forgotten_after_some_days(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = place.inbox()
    monkeypatch.setattr("time.time", lambda: 1000.0)
    await inbox.record([update(1), update(2)])
    await inbox.acknowledge(1)
    monkeypatch.setattr("time.time", lambda: 1000.0 + 72 * 3600)
    assert [entry.id for entry in await inbox.recover(3)] == [2]
    assert [entry.id for entry in await inbox.record([update(1), update(2)])] == [1]


async def test_dead_letters_can_be_retried_while_the_bot_runs(place: Place) -> None:
    inbox, by_hand = place.inbox(), place.inbox()
    await inbox.record([update(1, "/sample 3"), update(2)])
    await inbox.dead_letter(1, "crashed", 3)
    assert await ids(inbox) == [2]
    assert await inbox.record([update(1)]) == []
    [letter] = await by_hand.dead()
    assert (letter.id, letter.reason, letter.attempts) == (1, "crashed", 3)
    assert letter.body["message"]["text"] == "/sample 3"
    assert await inbox.reclaim(3) == []
    assert await by_hand.retry([1, 9]) == 1
    assert await by_hand.dead() == []
    [entry] = await inbox.reclaim(3)
    assert (entry.id, entry.attempts, entry.body) == (1, 0, letter.body)
    assert await inbox.reclaim(3) == []
    assert await ids(inbox) == [1, 2]
    await inbox.acknowledge(1)
    assert await inbox.record([update(1)]) == []


async def test_what_is_put_back_while_no_bot_runs_is_taken_up_by_the_next(place: Place) -> None:
    inbox = place.inbox()
    await inbox.record([update(1)])
    await inbox.dead_letter(1, "crashed", 3)
    await inbox.stopped()
    assert await place.inbox().retry(None) == 1
    later = place.inbox()
    entries = [*await later.recover(3), *await later.reclaim(3)]
    assert [(entry.id, entry.attempts) for entry in entries] == [(1, 0)]


async def left_of_the_past(place: Place) -> int:
    """How many ids, letters and notes lie there, of whatever age."""
    if place.database is not None:
        tables = "SELECT id FROM updates UNION ALL SELECT id FROM dead UNION ALL SELECT key FROM chat_notes"
        count = f"SELECT count(*) FROM ({tables})"
        return await place.database.run(lambda connection: int(connection.execute(count).fetchone()[0]))
    struck, died, dead = (f"{{captions}}:bot:1:{name}" for name in ("struck", "died", "dead"))
    zcard = place.client.zcard
    return int(await zcard(struck) + await zcard(died) + await place.client.hlen(dead))


async def test_what_is_too_old_goes_although_nobody_writes(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox, began = place.inbox(), time.time()
    await inbox.recover(3)
    await inbox.record([update(1), update(2)])
    await inbox.acknowledge(1)
    await inbox.dead_letter(2, "it kills workers", 3)
    await place.storage().note_all(5, [Note("known:x", "1", 3600.0)])
    await inbox.reclaim(3)
    assert await left_of_the_past(place) >= 4
    monkeypatch.setattr("time.time", lambda: began + 8 * 24 * 3600)
    await inbox.reclaim(3)
    assert await left_of_the_past(place) == 0


async def test_dead_letters_are_dropped_by_hand_or_after_a_week(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = place.inbox()
    monkeypatch.setattr("time.time", lambda: 1_000_000.0)
    await inbox.record([update(number) for number in range(1, 5)])
    for number in (1, 2, 3):
        await inbox.dead_letter(number, "crashed", 3)
    assert await inbox.drop([2, 7]) == 1
    assert [letter.id for letter in await inbox.dead()] == [1, 3]
    monkeypatch.setattr("time.time", lambda: 1_000_000.0 + 8 * 24 * 3600)
    assert await inbox.dead() == []
    await inbox.dead_letter(4, "crashed", 3)
    assert [letter.id for letter in await inbox.dead()] == [4]
    assert await inbox.drop(None) == 1
    assert await inbox.dead() == []


async def test_dead_letters_of_a_chat_or_of_one_person_there_are_forgotten(place: Place) -> None:
    inbox = place.inbox()

    def from_(number: int, chat: int, person: int) -> dict[str, Any]:
        message = {"message_id": number, "date": 1, "chat": {"id": chat, "type": "group"}, "from": {"id": person}}
        return {"update_id": number, "message": message | {"text": "x"}}

    press = {"update_id": 9, "callback_query": {"from": {"id": 1}, "message": {"chat": {"id": -5}}}}
    bodies = [from_(1, -5, 1), from_(2, -5, 2), from_(3, -5, 1), from_(4, 1, 1), from_(5, -5, 1), press]
    for number, channel in ((6, -7), (7, -8)):  # all who write in the name of a chat have the same user
        bodies.append(from_(number, -5, 136817688))
        bodies[-1]["message"]["sender_chat"] = {"id": channel, "type": "channel", "title": "Marked"}
    await inbox.record(bodies)
    for number in (1, 2, 3, 4, 6, 7, 9):
        await inbox.dead_letter(number, "reason", 3)
    assert await forget_letters(inbox, -5, 3) == 0
    assert await forget_letters(inbox, -5, 136817688) == 0
    assert await forget_letters(inbox, -5, 1) == 2
    assert await forget_letters(inbox, -5, -7) == 1
    assert [letter.body["message"]["sender_chat"] for letter in await inbox.dead() if letter.id == 7] == [
        {"id": -8, "type": "channel"}
    ]
    assert await forget_letters(inbox, -5, -8) == 1
    assert [letter.id for letter in await inbox.dead()] == [2, 4, 9]
    assert await forget_letters(inbox, -5) == 1
    assert await forget_letters(inbox, -5) == 0
    assert [letter.id for letter in await inbox.dead()] == [4, 9]
    assert await ids(inbox) == [5]  # what is in work goes on
    assert await forget_letters(place.inbox(2), 1) == 0


async def test_a_press_that_is_given_up_leaves_its_number_alone(place: Place) -> None:
    inbox = place.inbox()
    press = {"update_id": 1, "callback_query": {"id": "1", "from": {"id": 987654}, "data": "more:x"}}
    asked = Asked("photo", Where(987654, None, 987654))
    await inbox.record([press], {1: asked})
    await inbox.dead_letter(1, "crashed", 3)
    [letter] = await inbox.dead()
    assert letter.body == {"update_id": 1}
    await inbox.retry([1])
    assert [(entry.body, entry.asked) for entry in await inbox.reclaim(3)] == [({"update_id": 1}, None)]


async def test_an_acknowledged_update_never_becomes_a_dead_letter(place: Place) -> None:
    inbox = place.inbox()
    await inbox.record([update(1)])
    await inbox.acknowledge(1)
    await inbox.dead_letter(1, "late", 1)
    assert await inbox.dead() == []


async def test_notices_are_known_to_the_next_process_and_not_to_their_own(place: Place) -> None:
    first = place.inbox()
    await first.recover(3)
    for number in (1, 2):
        await first.notice_shown(Notice(-100, number))
    await first.notice_removed(Notice(-100, 1))
    assert await first.notices_left() == []
    second = place.inbox()
    await second.recover(3)
    assert await second.notices_left() == [Notice(-100, 2)]
    await second.notice_removed(Notice(-100, 2))
    assert await second.notices_left() == []


# SQLite alone


async def test_what_was_written_is_there_after_reopening(tmp_path: Path) -> None:
    database = await Database.open(tmp_path)
    await SqliteInbox(database, 1).record([update(1)])
    await database.close()
    database = await Database.open(tmp_path)
    assert await ids(SqliteInbox(database, 1)) == [1]
    await database.close()


async def test_a_damaged_file_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "bot.sqlite3").write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError):
        await Database.open(tmp_path)


# Redis alone


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Any]:
    client = connect_joined(redis_server.url)
    await client.flushall()
    yield client
    await client.aclose()


async def die(client: Any) -> None:
    """All processes that were alive have been silent for longer than that."""
    for process in await client.zrange("{captions}:bot:1:alive", 0, -1):
        await client.zadd("{captions}:bot:1:alive", {process: 1})


async def test_bots_that_share_an_inbox_take_only_what_dead_ones_left(client: Any) -> None:
    ann, bob = RedisInbox(client, 1), RedisInbox(client, 1)
    await ann.record([update(1), update(2)])
    await bob.record([update(3)])
    await ann.begin_alone(2)
    assert await bob.record([update(1)]) == []
    assert await bob.reclaim(1) == []
    await die(client)
    taken = await bob.reclaim(1)  # being asked, Bob is alive again
    assert [(entry.id, entry.attempts) for entry in taken] == [(1, 1), (2, 1)]
    assert await bob.reclaim(1) == []
    assert await ann.reclaim(1) == []


async def test_what_a_bot_leaves_at_a_stop_is_taken_at_once_and_without_suspicion(client: Any) -> None:
    ann, bob = RedisInbox(client, 1), RedisInbox(client, 1)
    await ann.record([update(1)])
    await ann.stopped()
    assert [(entry.id, entry.attempts) for entry in await bob.reclaim(1)] == [(1, 0)]


class LosesAnswers:
    """A client whose connection breaks after each first try of a call, when Redis has done it."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.lost: set[Any] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.client, name)

    async def execute_command(self, *arguments: Any) -> Any:
        answer = await self.client.execute_command(*arguments)
        if arguments not in self.lost:
            self.lost.add(arguments)
            raise ConnectionResetError
        return answer


async def test_a_lost_answer_changes_nothing(client: Any) -> None:
    await RedisInbox(client, 1).stopped()  # the script is known
    inbox = RedisInbox(LosesAnswers(client), 1)  # type: ignore[arg-type]
    assert [entry.id for entry in await inbox.record([update(1), update(2)])] == [1, 2]
    settled: list[int] = []

    async def settle() -> None:
        settled.append(2)

    await inbox.acknowledge(2, settle)
    assert settled == [2, 2]  # with each try, before it
    other = RedisInbox(LosesAnswers(client), 1)  # type: ignore[arg-type]
    assert [(entry.id, entry.attempts) for entry in await other.recover(3)] == [(1, 1)]


@pytest.mark.parametrize("kept", [["photo", 5, None], ["photo", 5, None, 7, True], [], 3, {"work": "photo"}])
def test_what_another_version_decided_is_decided_anew(kept: object) -> None:
    entry = Recorded.load(1, json.dumps({"update_id": 1, "_asked": kept}), 2.0)
    assert (entry.body, entry.asked) == ({"update_id": 1}, None)


async def test_a_lost_answer_is_repeated_whatever_else_the_bot_asked_meanwhile(client: Any) -> None:
    inbox = RedisInbox(client, 1)
    await inbox.recover(3)

    class Hangs(LosesAnswers):
        """What else was under way is done, too, before the call is repeated."""

        async def execute_command(self, *arguments: Any) -> Any:
            try:
                return await super().execute_command(*arguments)
            except ConnectionResetError:
                inbox._script.client = client
                await client.hset("{captions}:bot:1:owner", "7", "")
                await client.hset("{captions}:bot:1:body", "7", json.dumps(update(7)))
                await client.hset("{captions}:bot:1:received", "7", "1.5")
                assert [entry.id for entry in await inbox.reclaim(3)] == [7]
                raise

    inbox._script.client = Hangs(client)
    assert [entry.id for entry in await inbox.record([update(1), update(2)])] == [1, 2]
    assert inbox._script.client is client  # so it did break off


async def test_a_full_redis_takes_nothing_new_but_lets_go_of_what_is_done(client: Any) -> None:
    inbox = RedisInbox(client, 1)
    await inbox.record([update(1), update(2), update(3)])
    await client.config_set("maxmemory", "1")
    try:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(inbox.record([update(4)]), 0.3)
        async with asyncio.timeout(60):
            await inbox.acknowledge(1)
            await inbox.dead_letter(2, "reason", 1)
            await inbox.stopped()
            assert [entry.id for entry in await RedisInbox(client, 1).recover(3)] == [3]
    finally:
        await client.config_set("maxmemory", "0")


async def test_what_is_recorded_survives_a_kill_of_redis(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        client = connect(server.url)
        inbox = RedisInbox(client, 1)
        await inbox.record([update(1), update(2)])
        await inbox.acknowledge(1)
        await asyncio.to_thread(server.restart)
        assert await ids(inbox) == [2]
        assert await inbox.record([update(1), update(2)]) == []
        await client.aclose()


async def test_memory_does_not_grow_with_what_is_done(client: Any) -> None:
    inbox = RedisInbox(client, 1)
    await client.zadd("{captions}:bot:1:struck", {str(number): 2e9 + number for number in range(100_100)})
    await inbox.record([update(200_000)])
    assert await client.zcard("{captions}:bot:1:struck") == 100_000
    await inbox.acknowledge(200_000)
    keys = {key.decode() for key in await client.keys("*")}
    assert keys == {f"{{captions}}:bot:1:{name}" for name in ("alive", "calls", "struck")}
    await inbox.stopped()
    assert {key.decode() for key in await client.keys("*")} == {"{captions}:bot:1:struck"}


async def test_a_wrong_password_is_said_at_the_start(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="right") as server:
        settings = Settings(redis_url=SecretStr(server.url.replace("right", "wr0ng")))
        with pytest.raises(RedisRefused):
            async with open_memory(settings, 1):
                pass


# What is kept of a dead letter


def test_what_is_kept_names_nobody_and_repeats_no_words(capsys: pytest.CaptureFixture[str]) -> None:
    person = {"id": 7, "is_bot": False, "first_name": "Secretname", "username": "secretuser", "language_code": "ru"}
    message = {
        "message_id": 3,
        "date": 1_700_000_000,
        "chat": {"id": -5, "type": "group", "title": "Secret title"},
        "from": person,
        "caption": "@captions_bot look at my secret",
        "photo": [
            {"file_id": "small", "file_unique_id": "s", "width": 9, "height": 9},
            {"file_id": "large", "file_unique_id": "l", "width": 90, "height": 90, "file_size": 5},
        ],
        "reply_to_message": {
            "message_id": 2,
            "date": 1,
            "chat": {"id": -5, "type": "group", "title": "Secret title"},
            "from": person,
            "text": "secret too",
        },
    }
    kept = reduced({"update_id": 1, "message": message}, bot_id=42)
    assert "ecret" not in json.dumps(kept)
    assert kept["message"]["photo"] == message["photo"][1:]  # type: ignore[index]
    assert kept["message"]["from"]["language_code"] == "ru"
    assert kept["message"]["reply_to_message"]["message_id"] == 2
    assert kept["message"]["caption_entities"][0]["user"]["id"] == 42  # it is still addressed to the bot

    for text, expected in (("/sample 8 t=1.2", "/sample 8 t=1.2"), ("/sample my secret", "/sample"), ("secret", ".")):
        said = {"message_id": 3, "date": 1, "chat": {"id": 5, "type": "private"}, "text": text}
        assert reduced({"update_id": 1, "message": said}, 42)["message"]["text"] == expected

    for text in ("/choose a secret | a dog", "/tags@captions_bot secret"):  # what is asked for cannot be kept
        assert reduced({"update_id": 1, "message": {**message, "caption": text}}, 42) == {"update_id": 1}
    assert reduced({"update_id": 1, "message": {**message, "caption": "/tags"}}, 42)["message"]["caption"] == "/tags"

    print_letters([], as_json=False)
    assert capsys.readouterr().out.startswith("ID")


FILE = {"file_id": "AgAC", "file_unique_id": "Ag", "file_size": 9}
MOVING = {**FILE, "width": 3, "height": 2, "duration": 4, "file_name": "secret.mp4", "mime_type": "video/mp4"}
STICKER = {**FILE, "type": "regular", "width": 5, "height": 5, "is_animated": False, "set_name": "secret", "emoji": "s"}
STORY = {"photo": [{**FILE, "width": 3, "height": 2}]}


@pytest.mark.parametrize(
    "shown",
    [
        {"video": {**MOVING, "cover": STORY["photo"]}},
        {"animation": MOVING, "document": {**FILE, "mime_type": "video/mp4"}},
        {"video_note": {**FILE, "length": 240, "duration": 3}},
        {"sticker": {**STICKER, "is_video": False}},
        {"sticker": {**STICKER, "is_video": True}},
        {"live_photo": {**MOVING, "photo": STORY["photo"]}},
        {"paid_media": {"star_count": 5, "paid_media": [{"type": "photo", **STORY}]}},
        {"paid_media": {"star_count": 5, "paid_media": [{"type": "video", "video": MOVING}]}},
    ],
)
@pytest.mark.parametrize("where", ["message", "reply", "elsewhere"])
def test_what_is_tried_again_is_the_same_file(shown: dict[str, Any], where: str) -> None:
    person = {"id": 7, "is_bot": False, "first_name": "Secretname"}
    said = {"message_id": 3, "date": 1_700_000_000, "chat": {"id": 7, "type": "private"}, "from": person}
    message: dict[str, Any] = {
        "message": {**said, **shown},
        "reply": {**said, "text": "/caption", "reply_to_message": {**said, **shown}},
        "elsewhere": {
            **said,
            "text": "/caption",
            "external_reply": {"origin": {"type": "user", "date": 1, "sender_user": person}, **shown},
        },
    }[where]
    kept = reduced({"update_id": 1, "message": message}, bot_id=42)

    def medium(body: dict[str, Any]) -> Medium | None:
        read = Message.model_validate(body)
        return medium_of(read.external_reply or read.reply_to_message or read)

    assert "ecret" not in json.dumps(kept)
    assert medium(kept["message"]) == medium(message) is not None
    person["id"] = 42  # what the bot itself has shown elsewhere is no picture to be captioned
    assert reduced({"update_id": 1, "message": message}, bot_id=42)["message"].get("external_reply") is None


async def test_the_table_and_the_lines(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    inbox = place.inbox()
    await inbox.record([update(1, "/sample 3")])
    await inbox.dead_letter(1, "brought down a worker 3 times", 3)
    letters = await inbox.dead()
    print_letters(letters, as_json=False)
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["ID", "GIVEN", "UP", "TRIES", "CHAT", "WHAT", "REASON"]
    assert row.endswith("/sample 3  brought down a worker 3 times")
    print_letters(letters, as_json=True)
    line = json.loads(capsys.readouterr().out)
    assert (line["id"], line["attempts"], line["update"]["message"]["text"]) == (1, 3, "/sample 3")
