"""What people are told of what is kept of them, its deletion, and a log that names nobody."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bot.answers.keyboards import Forget, OtherMoments
from bot.answers.status import Rhythm
from bot.chat_settings import ChatSettings
from bot.config import Settings
from bot.dead_letters import dead
from bot.logs import configure_logging
from bot.storage.sqlite_stats import FILE_NAME as STATS_FILE
from model.errors import DamagedImage, JobCrashed
from tests.support.conversation import ONLY_ADMINISTRATORS, becomes, buttons, menu_of, press, tampered
from tests.support.fake_queue import (
    FakeQueue,
    captions,
    closed_queue,
    eventually,
    next_answer,
    running_bot,
    settings_for,
)
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.pictures import PHOTO, SHEET
from tests.support.records import BOT_ID, everything, kept, opened, waiting_in

pytestmark = pytest.mark.usefixtures("unpaced")


async def dead_letters(server: FakeTelegram, folder: Path, capsys: pytest.CaptureFixture[str]) -> list[tuple[int, int]]:
    """The chats of messages that were given up, and who sent them."""
    capsys.readouterr()
    await dead(settings_for(server, folder), "list", None, as_json=True)
    messages = [json.loads(line)["update"]["message"] for line in capsys.readouterr().out.splitlines()]
    return [(message["chat"]["id"], message["from"]["id"]) for message in messages]


async def test_privacy_tells_what_is_kept_and_for_how_long(
    server: FakeTelegram, ann: Person, olga: Person, tmp_path: Path
) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        english = (await menu_of(ann, "/privacy"))["text"]
        russian = (await menu_of(olga, "/privacy"))["text"]
    for words in ("only while I work on it", "48 hours", "90 days", "1 hour at most", "7 days", "about a day"):
        assert words in english
    for words in ("For 2 hours", "pictures to an album", "third parties", "/forget"):
        assert words in english
    for words in ("48 часов", "90 дней", "1 час", "7 дней", "около суток", "2 часа", "Третьим лицам", "/forget"):
        assert words in russian
    assert english.count("• ") == russian.count("• ") == 16


async def test_only_what_privacy_names_is_kept(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    """After an answer there are settings and file ids, and nothing of what was said or by whom."""
    ann.user |= {"last_name": "Marked-Last-Name", "username": "marked_username"}
    async with running_bot(server, FakeQueue(), tmp_path):
        photo = await ann.send_photo(PHOTO, "Marked-Words")
        await ann.next_message()
        await ann.send_text("Marked-Text")
        await ann.next_message()
        await eventually(lambda: "Marked" not in everything(tmp_path))
    left = everything(tmp_path)
    assert "marked" not in left.casefold()
    assert photo["photo"][-1]["file_id"] in left


async def test_forget_takes_two_presses_and_deletes_all_of_the_chat(
    server: FakeTelegram, ann: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path):
        menu = await menu_of(ann)
        await press(ann, menu, "Heatmap: on")
        await ann.send_photo(PHOTO)
        await ann.next_message()
        queue.outcome = lambda job, media: JobCrashed("brought down a worker 3 times")
        await ann.send_photo(PHOTO)
        assert "several times" in (await ann.next_message())["text"]
        await eventually(lambda: not waiting_in(tmp_path))
        assert len(await dead_letters(server, tmp_path, capsys)) == 1

        question = await menu_of(ann, "/forget")
        assert buttons(question) == ["🗑 Delete", "No, keep it"]
        await press(ann, question, "🗑 Delete")
        sure = await becomes(ann, question, "Shall I really delete it?")
        assert buttons(sure) == ["No, keep it", "🗑 Yes, delete it"]
        assert await kept(tmp_path, ann.id) == ChatSettings(heatmap=False)
        await press(ann, sure, "🗑 Yes, delete it")
        done = await becomes(ann, question, "I have deleted:")
        assert done["text"].split("\n")[:4] == [
            "I have deleted:",
            "• the settings of this chat",
            "• what I noted of pictures, clips and my answers, for their buttons",
            "• 1 message that I could not answer",
        ]
        assert "reply_markup" not in done
        assert queue.forgotten_places == [f"{BOT_ID}:{ann.id}"]
        assert await dead_letters(server, tmp_path, capsys) == []
        assert await kept(tmp_path, ann.id) == ChatSettings()
        await ann.send_text("/sample")
        assert "no picture in this chat" in (await ann.next_message())["text"]
    assert "file_id" not in everything(tmp_path)


def people_counted(folder: Path) -> int:
    """How many count as people who used the bot."""
    with closing(sqlite3.connect(folder / STATS_FILE)) as connection:
        return int(connection.execute("SELECT count(*) FROM people").fetchone()[0])


@pytest.mark.parametrize("in_a_group", [False, True])
async def test_who_asks_is_no_longer_counted(
    server: FakeTelegram, ann: Person, olga: Person, tmp_path: Path, in_a_group: bool
) -> None:
    group = server.group("Cats", ann)
    async with running_bot(server, FakeQueue(), tmp_path):
        for person in (ann, olga):
            await person.send_text("/help")
            await person.next_message()
        question = await menu_of(olga, "/forget", group if in_a_group else None)
        await tampered(olga, question, Forget(do="yes", user=olga.id if in_a_group else None).pack())
        await becomes(olga, question, "Больше удалять нечего.")
    assert people_counted(tmp_path) == 1  # Ann


async def test_a_second_yes_at_the_same_time_is_no_failure(server: FakeTelegram, olga: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        question = await menu_of(olga, "/forget")
        for _ in range(2):
            assert await tampered(olga, question, Forget(do="yes").pack()) is None
        done = await becomes(olga, question, "Больше удалять нечего.")
        assert "reply_markup" not in done


async def test_keeping_it_changes_nothing(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path):
        await press(ann, await menu_of(ann), "Heatmap: on")
        for first in ([], ["🗑 Delete"]):
            question = await menu_of(ann, "/forget")
            for button in first:
                await press(ann, question, button)
                await becomes(ann, question, "Shall I really")
            await press(ann, question, "No, keep it")
            await becomes(ann, question, "Nothing was deleted.")
    assert await kept(tmp_path, ann.id) == ChatSettings(heatmap=False)
    assert queue.forgotten_places == []


async def test_buttons_under_old_answers_say_why_they_work_no_more(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path):
        question = await menu_of(ann, "/forget")
        await tampered(ann, question, Forget(do="yes").pack())
        await becomes(ann, question, "nothing left")
        await tampered(ann, question, OtherMoments(key="key-of-a-clip", count=3).pack())
        assert "deleted with /forget" in (await ann.next_message())["text"]


async def test_what_is_in_work_is_answered_after_all_was_forgotten(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = closed_queue()
    async with running_bot(server, queue, tmp_path):
        photo = await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
        question = await menu_of(ann, "/forget")
        await tampered(ann, question, Forget(do="yes").pack())
        assert "will be answered" in (await becomes(ann, question, "I have deleted"))["text"]
        queue.open.set()
        answer = await ann.next_message()
        assert answer["reply_to_message"]["message_id"] == photo["message_id"]
        await ann.send_text("/start")
        await ann.next_message()
    assert await kept(tmp_path, ann.id) == ChatSettings()
    assert "'picture'" not in everything(tmp_path)


async def test_in_a_group_members_delete_their_own_and_administrators_all(
    server: FakeTelegram, ann: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    eve, bob = server.person("Eve"), server.person("Bob")
    group = server.group("Cats", ann)
    queue = FakeQueue(lambda job, media: JobCrashed("brought down a worker 3 times"))
    async with running_bot(server, queue, tmp_path):
        for person in (eve, bob):
            await person.send_photo(PHOTO, "@captions_test_bot", chat=group)
            await group.next_message()
        await eve.send_photo(PHOTO)
        await eve.next_message()
        await eventually(lambda: not waiting_in(tmp_path))
        offer = await menu_of(eve, "/forget", group)
        assert "only its administrators can delete" in offer["text"]
        await press(eve, offer, "🗑 Delete")
        await becomes(eve, offer, "Shall I really")
        assert await press(ann, offer, "🗑 Yes, delete it") == "Only the person who asked for this can press it."
        await press(eve, offer, "🗑 Yes, delete it")
        assert (await becomes(eve, offer, "I have deleted"))["text"] == (
            "I have deleted:\n• 1 message that I could not answer\n\nI no longer have a record that you used me."
        )
        assert await dead_letters(server, tmp_path, capsys) == [(group.id, bob.id), (eve.id, eve.id)]
        assert queue.forgotten_places == []

        await press(ann, await menu_of(ann, "/settings", group), "Heatmap: on")
        offer = await menu_of(ann, "/forget", group)
        assert await press(eve, offer, "🗑 Delete") == ONLY_ADMINISTRATORS
        forged = Forget(do="yes").pack()
        assert await tampered(eve, offer, forged) == ONLY_ADMINISTRATORS
        assert await kept(tmp_path, group.id) == ChatSettings(heatmap=False)
        await tampered(ann, offer, forged)
        await becomes(ann, offer, "the settings of this chat")
        assert await dead_letters(server, tmp_path, capsys) == [(eve.id, eve.id)]
        assert queue.forgotten_places == [f"{BOT_ID}:{group.id}"]


async def test_an_old_question_says_to_ask_again(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        gone: Message = {"message_id": 3, "date": 0, "chat": ann.shape}
        said = await tampered(ann, gone, Forget(do="yes").pack())
    assert said == "This message is too old for its buttons. Please send the command again."


# The log


@pytest.mark.usefixtures("root_logger")
async def test_the_log_names_nobody_and_repeats_nothing(
    server: FakeTelegram, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation with all sorts of failures, at INFO."""
    monkeypatch.setattr("bot.telegram.processing.FIRST_PAUSE", 0.01)
    user = {"id": 987654321, "is_bot": False, "first_name": "Marked-First", "last_name": "Marked-Last"}
    eve = Person(server, user | {"username": "marked_user", "language_code": "en"})
    server.chats[eve.id] = eve
    group = server.group("Marked-Group", eve)
    queue = FakeQueue()
    configure_logging(Settings())
    async with running_bot(server, queue, tmp_path, rhythm=Rhythm(after=0.1)):
        photo = await eve.send_photo(PHOTO, "Marked-Caption")
        await next_answer(eve)
        secrets = [str(eve.id), str(group.id), "marked", photo["photo"][-1]["file_id"], "photo_"]
        for text in (
            "Marked-Text",
            "/marked_command Marked-Word",
            "/sample Marked-Arguments",
            "https://marked.example",
        ):
            await eve.send_text(text)
            await next_answer(eve)
        await eve.send_document(b"x", "Marked-File.pdf", "application/pdf", "Marked-Document")
        await next_answer(eve)
        failures = (DamagedImage("x"), JobCrashed("x"), RuntimeError("Marked-Error"), ValueError(eve.id))
        for failure in failures:
            queue.outcome = lambda job, media, failure=failure: failure  # type: ignore[misc]
            await eve.send_photo(PHOTO, "Marked-Caption")
            await next_answer(eve)
        queue.outcome = lambda job, media: captions(sheet=SHEET)
        server.faults.add("sendPhoto", "too_old", times=1)
        await eve.send_photo(PHOTO, "Marked-Caption")
        await next_answer(eve)
        server.push("message", {"message_id": "Marked", "chat": eve.shape, "from": eve.user, "text": "Marked"})
        server.push(
            "message", {"message_id": 9, "date": "Marked", "chat": eve.shape, "from": eve.user, "text": "Marked"}
        )
        await next_answer(eve)
        server.push("marked_kind", {"text": "Marked-Kind"})
        await tampered(eve, photo, "Marked-Data")
        menu = await menu_of(eve, "/settings", group)
        await press(eve, menu, "Heatmap: on")
        await becomes(eve, menu, "Heatmap: off")
        question = await menu_of(eve, "/forget", group)
        await tampered(eve, question, Forget(do="yes").pack())
        await becomes(eve, question, "I have deleted")
        fault = server.faults.add("sendMessage", "blocked", times=1)
        await eve.send_text("Marked-Blocked")
        await eventually(lambda: fault.fired)
        for kind in ("500", "429", "drop"):
            server.faults.add("sendMessage", kind, times=1)
            await eve.send_text("Marked-Again")
            await next_answer(eve)
        download = server.faults.add("getFile", "gone", times=1)
        await eve.send_photo(PHOTO, "Marked-Gone")
        await next_answer(eve)
        assert download.fired
    assert server.warnings == ["update marked_kind is not in allowed_updates"]
    server.warnings.clear()
    log = capfd.readouterr().err
    assert "failed unforeseen" in log
    assert "is not understood" in log
    assert "refused the answer" in log
    for secret in secrets:
        assert secret.casefold() not in log.casefold(), [line for line in log.splitlines() if secret in line]


def answers_to(folder: Path) -> set[int]:
    """Whose answers are noted."""
    with opened(folder) as database:
        notes = database.execute("SELECT text FROM chat_notes WHERE key LIKE 'answer:%'").fetchall()
    return {json.loads(text)["user"] for (text,) in notes}


async def test_in_a_group_a_member_takes_back_what_was_noted_of_answers_to_them(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    eve, bob = server.person("Eve"), server.person("Bob")
    group = server.group("Cats", ann)
    async with running_bot(server, FakeQueue(), tmp_path):
        for person in (eve, bob):
            await person.send_photo(PHOTO, "@captions_test_bot", chat=group)
            await group.next_message()
        assert answers_to(tmp_path) == {eve.id, bob.id}
        question = await menu_of(eve, "/forget", group)
        await press(eve, question, "🗑 Delete")
        await press(eve, await becomes(eve, question, "Shall I really"), "🗑 Yes, delete it")
        await becomes(eve, question, "what I noted of pictures, clips and my answers")
    assert answers_to(tmp_path) == {bob.id}


@pytest.mark.parametrize("administrator", [False, True])
async def test_forget_in_a_group_leaves_no_trace_of_messages_that_mention_the_bot(
    server: FakeTelegram, ann: Person, tmp_path: Path, administrator: bool
) -> None:
    eve = server.person("Eve")
    group = server.group("Cats", ann, *([eve] if administrator else []))
    async with running_bot(server, FakeQueue(), tmp_path):
        await eve.send_photo(PHOTO, "@captions_test_bot", chat=group)
        await group.next_message()
        await eventually(lambda: "'guest:" in everything(tmp_path) and not waiting_in(tmp_path))
        question = await menu_of(eve, "/forget", group)
        await tampered(eve, question, Forget(do="yes", user=None if administrator else eve.id).pack())
        await becomes(eve, question, "I no longer have a record")
        await eventually(lambda: not waiting_in(tmp_path))
    assert "'guest:" not in everything(tmp_path)
