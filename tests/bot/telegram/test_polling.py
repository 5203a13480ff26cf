"""The bot as a process: starts, receives, survives, stops, and loses nothing."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from bot.app import run_bot
from bot.errors import StorageError
from bot.storage.inbox import Asked, Recorded
from bot.storage.sqlite_inbox import SqliteInbox
from handlers import create_routers
from tests.conftest import ROOT
from tests.support.conversation import ASKED_FOR, all_answered, answers
from tests.support.fake_queue import FakeQueue, captions, closed_queue, eventually, running_bot, settings_for
from tests.support.fake_telegram import TOKEN, FakeTelegram, Person
from tests.support.pictures import PHOTO
from tests.support.records import opened, waiting_in

# Start


@pytest.mark.parametrize("token", ["424242:another-token-of-this-bot", "1:AAAAAAAAAAAAAAA"])
async def test_a_wrong_token_is_said_and_ends_the_bot(
    server: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    async with running_bot(server, FakeQueue(), tmp_path, token=SecretStr(token)) as bot:
        assert await bot.status() == 2
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert len(errors) == 1
    assert "BOT_TOKEN" in errors[0]
    assert token not in caplog.text


async def test_a_token_that_is_withdrawn_ends_a_running_bot(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path) as bot:
        await ann.send_photo(PHOTO)
        await ann.next_message()
        server.token = "424242:a-new-token-from-BotFather"
        await ann.send_text("hello")
        assert await bot.status() == 2


async def test_a_second_poller_is_reported_and_ends_the_bot(
    server: FakeTelegram, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_bot(server, FakeQueue(), tmp_path) as bot:
        await ann.send_text("hello")
        await ann.next_message()
        server.faults.add("getUpdates", "409")
        await ann.send_text("hello")
        assert await bot.status() == 3
    assert "Another process" in caplog.text


async def test_a_folder_that_cannot_be_used_is_said(server: FakeTelegram, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    async with running_bot(server, FakeQueue(), tmp_path / "file") as bot:
        assert await bot.status() == 1


async def test_it_waits_for_a_server_that_is_not_there_yet_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = FakeTelegram(port)
    ann = server.person("Ann")
    async with running_bot(server, FakeQueue(), tmp_path):
        await asyncio.sleep(1.5)
        async with server:
            await ann.send_photo(PHOTO)
            assert (await ann.next_message())["text"].startswith("a cat")
            said = [each.getMessage() for each in caplog.records if "connection to Telegram" in each.getMessage()]
            assert len(said) == 2
            assert "trying again" in said[0]
            assert "works again" in said[1]
            assert TOKEN not in caplog.text


async def test_a_stop_is_heard_while_the_server_is_not_there(tmp_path: Path) -> None:
    async with running_bot(FakeTelegram(9), FakeQueue(), tmp_path) as bot:
        await asyncio.sleep(0.1)
        bot.stop.set()
        assert await bot.status() == 0


async def test_it_takes_over_from_a_webhook_and_drops_nothing(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    server.webhook = {"url": "http://127.0.0.1:9/", "secret_token": ""}
    photo = await ann.send_photo(PHOTO)
    async with running_bot(server, FakeQueue(), tmp_path):
        await all_answered(server, ann, [photo])


async def test_only_messages_and_buttons_are_asked_for(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        await ann.send_text("hello")
        await ann.next_message()
    assert set(server.sent(method="getUpdates")[0].params["allowed_updates"]) == ASKED_FOR


# Trouble with Telegram


@pytest.mark.parametrize("kind", ["500", "502_html", "drop", "429"])
async def test_polling_goes_on_after_trouble_and_says_so_once(
    server: FakeTelegram, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Any
) -> None:
    caplog.set_level(logging.INFO)
    server.faults.add("getUpdates", kind, times=2 if kind != "429" else 1)
    async with running_bot(server, FakeQueue(), tmp_path):
        photo = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [photo])
    said = [each.getMessage() for each in caplog.records if "receiving updates" in each.getMessage()]
    assert ["trying again" in line for line in said] == [True, False]
    assert "<html>" not in caplog.text


@pytest.mark.parametrize("kind", ["429", "500", "502_html", "drop"])
async def test_an_answer_is_sent_again_until_it_arrives(
    server: FakeTelegram, ann: Person, tmp_path: Path, kind: Any
) -> None:
    sheet = FakeQueue(lambda job, media: captions(sheet=PHOTO))
    server.faults.add("sendPhoto", kind, times=1)
    async with running_bot(server, sheet, tmp_path):
        photo = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [photo])
    assert len(sheet.jobs) == 1


async def test_a_person_who_blocked_the_bot_is_not_written_to_for_ever(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    bob, queue = server.person("Bob"), FakeQueue()
    server.faults.add("send*", "blocked", chat_id=ann.id)
    async with running_bot(server, queue, tmp_path):
        await ann.send_photo(PHOTO)
        await bob.send_photo(PHOTO)
        await bob.next_message()
        await eventually(lambda: not waiting_in(tmp_path))
        assert not queue.admitted
    refused = [call for call in server.calls if call.error and call.method == "sendMessage"]
    assert len(refused) == 1


@pytest.mark.parametrize("kind", ["no_result", "bare"])
@pytest.mark.parametrize("method", ["getUpdates", "getMe", "sendPhoto", "getFile", "sendChatAction"])
async def test_half_an_answer_of_telegram_is_its_trouble(
    server: FakeTelegram,
    ann: Person,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    kind: Any,
    method: str,
) -> None:
    """Success without a result, and a failure without a reason. What was asked for is tried again."""
    monkeypatch.setattr("bot.answers.sending.ACTION_AFTER", 0.0)
    fault = server.faults.add(method, kind, times=2)
    async with running_bot(server, FakeQueue(lambda job, media: captions(sheet=PHOTO)), tmp_path):
        photo = await ann.send_photo(PHOTO)
        await server.until(lambda: ann.bot_messages() or None, 60)
        await eventually(lambda: not waiting_in(tmp_path))
    assert set(answers(ann)) == {photo["message_id"]}
    assert fault.fired
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("number", [2**70, 2**63, -1, None, "7", 1e30, True])
async def test_an_update_that_cannot_be_kept_is_dropped_and_takes_no_other_along(
    server: FakeTelegram, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture, number: Any
) -> None:
    server._pending[2**80] = {"update_id": number, "message": {"text": "odd"}}  # no offset of the bot confirms it
    async with running_bot(server, FakeQueue(), tmp_path) as bot:
        photos = [await ann.send_photo(PHOTO) for _ in range(3)]
        await all_answered(server, ann, photos)
        server._pending.pop(2**80)
        assert not bot.task.done()
    assert [each.getMessage() for each in caplog.records if "dropped" in each.getMessage()] == [
        "1 updates have no number that can be kept, and are dropped"
    ]


@pytest.mark.parametrize("where", ["chat", "from", "message"])
async def test_a_number_too_large_for_any_storage_is_as_one_that_is_not_there(
    server: FakeTelegram, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    photo = server.store_photo(PHOTO)
    message = {"message_id": 5, "date": 1, "chat": dict(ann.shape), "from": dict(ann.user), **photo}
    (message if where == "message" else message[where])["message_id" if where == "message" else "id"] = 2**70
    async with running_bot(server, FakeQueue(), tmp_path):
        server.push_anything({"message": message})
        await ann.send_text("/start")
        await ann.wait_for(lambda m: m.get("caption", "").startswith("Hello"), 60)
        await eventually(lambda: not waiting_in(tmp_path))
    assert "unforeseen" not in caplog.text


# Nothing is lost


async def test_an_update_is_confirmed_only_when_it_is_written_down(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = SqliteInbox.record
    failures = 2

    async def failing(inbox: SqliteInbox, updates: list[dict[str, Any]], asked: dict[int, Asked]) -> list[Recorded]:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            assert not server.confirmed(photo)
            raise StorageError("database or disk is full")
        return await record(inbox, updates, asked)

    monkeypatch.setattr(SqliteInbox, "record", failing)
    photo = await ann.send_photo(PHOTO)
    async with running_bot(server, FakeQueue(), tmp_path):
        await all_answered(server, ann, [photo])
        await server.until(lambda: server.confirmed(photo) or None, 60)
    assert failures < 0
    assert server.confirmed(photo)


@pytest.mark.slow
async def test_what_was_in_work_when_the_bot_was_killed_is_answered_after_a_restart(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.support.fake_queue", server.url, str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    try:
        photos = [await ann.send_photo(PHOTO) for _ in range(5)]
        await server.until(lambda: all(map(server.confirmed, photos)) or None, 60)
        assert all(map(server.confirmed, photos))
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert ann.bot_messages() == []
    async with running_bot(server, FakeQueue(), tmp_path, max_per_user=1):
        await all_answered(server, ann, photos)
    assert waiting_in(tmp_path) == []


async def test_a_stop_waits_for_what_is_in_work(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = closed_queue()
    async with running_bot(server, queue, tmp_path) as bot:
        photo = await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
        bot.stop.set()
        await asyncio.sleep(0.2)
        queue.open.set()
        assert await bot.status() == 0
    await all_answered(server, ann, [photo])


async def test_an_answered_update_that_telegram_delivers_again_is_not_answered_again(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        photo = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [photo])
    server._pending[server.update_id(photo)] = {"update_id": server.update_id(photo), "message": photo}
    async with running_bot(server, FakeQueue(), tmp_path):
        later = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [photo, later])


async def test_a_failure_of_the_network_of_the_queue_is_tried_again(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = FakeQueue()
    queue.outcome = lambda job, media: ConnectionError("the queue went away")
    async with running_bot(server, queue, tmp_path):
        photo = await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
        queue.outcome = lambda job, media: captions()
        await all_answered(server, ann, [photo])


async def test_an_unforeseen_error_is_said_once_and_logged_without_words_of_people(
    server: FakeTelegram, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue = FakeQueue(lambda job, media: ZeroDivisionError("secret words"))
    async with running_bot(server, queue, tmp_path):
        photo = await ann.send_photo(PHOTO, "secret words")
        assert "went wrong on my side" in (await ann.next_message())["text"]
        queue.outcome = lambda job, media: captions()
        later = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [photo, later])
    assert "ZeroDivisionError" in caplog.text
    assert "fake_queue.py" in caplog.text
    assert "secret words" not in caplog.text


async def test_updates_that_are_not_understood_do_not_hold_up_others(
    server: FakeTelegram, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.push("message", {"message_id": 7000, "chat": {"id": ann.id, "type": "private"}, "text": "no date"})
    server.push("some_kind_of_the_future", {"text": "secret words"})
    server._pending[5000] = {"update_id": 5000}
    async with running_bot(server, FakeQueue(), tmp_path):
        photo = await ann.send_photo(PHOTO)
        await ann.wait_for(lambda message: message["text"].startswith("a cat"))
        await eventually(lambda: not waiting_in(tmp_path))
    assert photo["message_id"] in [each.get("reply_to_message", {}).get("message_id") for each in ann.bot_messages()]
    assert "secret words" not in caplog.text


async def test_an_update_that_brings_the_bot_down_again_and_again_is_given_up_and_the_others_are_not(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path):
        await ann.send_text("hello")
        await ann.next_message()
    poison = await ann.send_photo(PHOTO)
    innocent = await ann.send_photo(PHOTO)
    # What the journal holds after two crashes with both in work, one with the poison alone, and one more of the same.
    bodies = {number: json.dumps(update) for number, update in server._pending.items()}
    with opened(tmp_path) as connection:
        for message, attempts in ((poison, 3), (innocent, 2)):
            number = server.update_id(message)
            connection.execute(
                "INSERT INTO updates VALUES (424242, ?, unixepoch(), ?, ?, ?)",
                (number, attempts, attempts == 3, bodies[number]),
            )
        connection.execute("UPDATE stops SET clean = 0")
    async with running_bot(server, queue, tmp_path, max_attempts=2):
        texts = {(await ann.next_message())["text"].split("\n")[0] for _ in range(2)}
    assert texts == {
        "a cat on a sofa",
        "I tried several times and could not finish this one. Please send me something else.",
    }
    assert waiting_in(tmp_path) == []


async def test_the_journal_is_for_its_owner_alone(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path / "data"):
        await ann.send_text("hello")
        await ann.next_message()
        found = [path for path in (tmp_path / "data").iterdir() if path.is_file()]
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in found}
    assert modes["bot.sqlite3"] == 0o600
    assert set(modes.values()) == {0o600}


async def test_the_bot_needs_a_token(server: FakeTelegram, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="BOT_TOKEN is not set"):
        await run_bot(settings_for(server, tmp_path, token=None), FakeQueue(), create_routers(), asyncio.Event())


async def test_many_photos_at_once_are_each_answered(server: FakeTelegram, tmp_path: Path) -> None:
    people = [server.person(f"P{number}") for number in range(10)]
    async with running_bot(server, FakeQueue(), tmp_path):
        for _ in range(5):
            for person in people:
                await person.send_photo(PHOTO)
        for person in people:
            for _ in range(5):
                await person.next_message()
    assert all(len(set(answers(person))) == 5 for person in people)
