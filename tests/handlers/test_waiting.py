"""Conversations with people who wait, and who change their minds. The queue is the real one where places matter."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, MagicMock

import pytest
from aiogram import Bot
from aiogram.filters.callback_data import CallbackQueryFilter
from aiogram.types import User

from bot.answers.asked import asked_for
from bot.answers.keyboards import Cancel
from bot.answers.status import Rhythm, Waiting
from bot.service.in_progress import InWork, Work, interruptible
from bot.storage.inbox import Accepted, Asked, Place, Settle
from bot.storage.sqlite_inbox import SqliteInbox
from bot.telegram.pacing import Pacer
from bot.telegram.updates import understood
from handlers import create_routers
from model.errors import JobCancelled
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import Job
from model.serving.limits import Rate
from model.serving.redis.address import RedisRefused
from tests.support.conversation import buttons, press, replied, tampered, timeline_of
from tests.support.fake_queue import FakeQueue, captions, closed_queue, eventually, is_status, next_answer, running_bot
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.jobs import make_job
from tests.support.local_queue import WORKER, all_done, clip_result, joined_queue, take
from tests.support.pictures import PHOTO
from tests.support.records import opened, waiting_in

QUICK = Rhythm(after=0.1, every=0.2, every_in_groups=0.4)


@pytest.fixture
def queue() -> FakeQueue:
    """Closed: what a test asks for stays in work until it opens the queue."""
    queue = closed_queue()
    return queue


@pytest.fixture
def real_queue() -> LocalQueue:
    return joined_queue()


@pytest.fixture
async def ann(server: FakeTelegram, queue: FakeQueue, tmp_path: Path) -> AsyncIterator[Person]:
    """Somebody whose bot works on the queue that a test opens."""
    async with running_bot(server, queue, tmp_path, grace=0.2, rhythm=QUICK):
        yield server.person("Ann")


@pytest.fixture
async def vic(server: FakeTelegram, real_queue: LocalQueue, tmp_path: Path) -> AsyncIterator[Person]:
    """Somebody whose bot works on the real queue."""
    async with running_bot(server, real_queue, tmp_path, grace=0.2, rhythm=QUICK):
        yield server.person("Vic")


async def says(person: Any, words: str) -> Message:
    """What the bot has in this chat, once it has these words."""
    message: Message = await person.wait_for(lambda m: m.get("text") == words, 60)
    return message


async def in_line(queue: LocalQueue, message: Message, person: Person) -> None:
    """Return when the job of a message was put: the order in which those of one person are is else not certain."""
    async with asyncio.timeout(60):
        while not await queue.has(f"424242-{person.server.update_id(message)}"):
            await asyncio.sleep(0.01)


# -- the status


async def test_what_is_answered_soon_gets_an_answer_and_nothing_else(server: FakeTelegram, tmp_path: Path) -> None:
    ann = server.person("Ann")
    async with running_bot(server, FakeQueue(), tmp_path, rhythm=Rhythm(after=10.0)):
        await ann.send_photo(PHOTO)
        assert (await ann.next_message())["text"].startswith("a cat")
    assert len(server.sent(ann.id)) == 1
    assert not server.sent(ann.id, "deleteMessage")


async def test_what_is_refused_at_once_gets_its_words_and_nothing_else(
    server: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is over before anybody could be told to wait."""
    ann = server.person("Ann")
    async with running_bot(server, FakeQueue(), tmp_path, rhythm=Rhythm(after=0.0)):
        await ann.send_document(PHOTO, "big.png", "image/png", file_size=20 * 1024 * 1024 + 1)
        assert "larger than 20 MB" in (await ann.next_message())["text"]
    assert len(server.sent(ann.id)) == 1
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_the_place_in_line_is_said_and_goes_when_the_answer_comes(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    queue.positions = dict.fromkeys((f"424242-{number}" for number in range(1001, 1100)), 4)
    photo = await ann.send_photo(PHOTO)
    status = await ann.next_message()
    assert status["text"] == "Your picture waits in line. Its place: 5."
    assert replied(status) == photo["message_id"]
    assert buttons(status) == ["✖ Cancel"]
    queue.positions = dict.fromkeys(queue.positions, 1)
    edited = await says(ann, "Your picture waits in line. Its place: 2.")
    queue.positions = {}
    edited = await says(ann, "I am looking at your picture.")
    assert edited["message_id"] == status["message_id"]
    queue.open.set()
    assert (await ann.next_message())["text"].startswith("a cat")
    await eventually(lambda: len(ann.bot_messages()) == 1)


async def test_a_status_changes_only_when_its_words_do(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    await ann.send_photo(PHOTO)
    await says(ann, "I am looking at your picture.")
    await asyncio.sleep(1.0)
    assert not server.sent(ann.id, "editMessageText")
    assert len(server.sent(ann.id)) == 1


async def test_a_second_photo_is_queued_and_both_are_counted(real_queue: LocalQueue, vic: Person) -> None:
    for number in range(3):  # of others, before his
        await real_queue.put(make_job(f"other-{number}", number), b"")
    photos = [await vic.send_photo(PHOTO) for _ in range(2)]
    status = await says(vic, "I am working on 2 pictures. Place in line of the next: 4.")
    for _ in range(5):
        await take(real_queue, "photo")
    for photo in photos:
        await real_queue.finish(WORKER, f"424242-{vic.server.update_id(photo)}", captions())
    await eventually(lambda: [m["text"][:5] for m in vic.bot_messages()] == ["a cat"] * 2)
    assert sorted(map(replied, vic.bot_messages())) == [photo["message_id"] for photo in photos]
    assert replied(status) == photos[0]["message_id"]


async def test_pictures_and_clips_are_counted_apart_and_what_is_answered_no_more(
    real_queue: LocalQueue, vic: Person
) -> None:
    olga = vic.server.person("Ольга", language_code="ru")
    for person in (vic, olga):
        for _ in range(2):
            await in_line(real_queue, await person.send_photo(PHOTO), person)
        await in_line(real_queue, await person.send_video(b"mp4"), person)
    await says(vic, "I am working on 2 pictures and 1 clip. Place in line of the next: 2.")
    await says(olga, "В работе: 2 картинки и 1 ролик. Место в очереди у следующего: 3.")
    for _ in range(4):
        lease = await take(real_queue, "photo")
        await real_queue.finish(WORKER, lease.job.id, captions())
    lease = await take(real_queue, "clip-bulk")
    await real_queue.progress(WORKER, lease.job.id, 0.5)
    await says(vic, "I am watching your clip: 50 %")


async def test_how_much_of_a_clip_is_watched_is_edited_into_the_status(
    server: FakeTelegram, queue: FakeQueue, real_queue: LocalQueue, tmp_path: Path
) -> None:
    ann = server.person("Ann")
    async with running_bot(server, real_queue, tmp_path, rhythm=Rhythm(after=0.1, every=1.5)):
        await ann.send_video(b"mp4")
        lease = await take(real_queue)
        status = await says(ann, "I am watching your clip: 0 %")
        for share in (0.1, 0.2, 0.4):  # faster than Telegram likes edits
            await real_queue.progress(WORKER, lease.job.id, share)
        edited = await says(ann, "I am watching your clip: 40 %")
        assert edited["message_id"] == status["message_id"]
        assert len(server.sent(ann.id, "editMessageText")) in (1, 2)
        await real_queue.finish(WORKER, lease.job.id, clip_result())
        await timeline_of(ann)
        await eventually(lambda: [call for call in server.sent(ann.id, "deleteMessage") if call.ok])


async def test_with_no_worker_the_person_is_told_once_and_the_status_goes_away(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    olga = server.person("Ольга", language_code="ru")
    queue.alive = 0
    await ann.send_video(b"mp4")
    assert "Your clip waits in line: the program" in (await ann.next_message())["text"]
    await ann.send_photo(PHOTO)
    await ann.wait_for(lambda m: "The program that looks at them is not running" in m.get("text", ""), 60)
    await olga.send_photo(PHOTO)
    assert "картинка ждёт в очереди" in (await olga.next_message())["text"]
    assert (len(ann.bot_messages()), len(olga.bot_messages())) == (1, 1)
    queue.alive = 1
    await says(olga, "Смотрю на вашу картинку.")
    queue.open.set()
    assert (await olga.next_message())["text"].startswith("a cat")
    await eventually(lambda: len(olga.bot_messages()) == 1)


async def test_in_a_group_what_is_accepted_shows_it_until_it_is_answered(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    photos = [await person.send_photo(PHOTO, "@captions_test_bot", chat=group) for person in (ann, bob)]
    marked = {photo["message_id"]: ["👀"] for photo in photos}
    await eventually(lambda: group.reactions == marked)
    await asyncio.sleep(0.3)  # longer than until a status
    assert group.bot_messages() == []
    queue.open.set()
    await eventually(lambda: group.reactions == {message: [] for message in marked})
    assert sorted(map(replied, group.bot_messages())) == sorted(marked)


async def test_a_reaction_is_taken_back_after_faults_and_after_a_kill(
    server: FakeTelegram, queue: FakeQueue, tmp_path: Path
) -> None:
    ann = server.person("Ann")
    group = server.group("Cats", ann)
    async with running_bot(server, queue, tmp_path, grace=0.2, rhythm=QUICK):
        photo = await ann.send_photo(PHOTO, "@captions_test_bot", chat=group)
        await eventually(lambda: group.reactions)
        server.faults.add("setMessageReaction", "429", times=1, retry_after=1)
        server.faults.add("setMessageReaction", "500", times=1)
        queue.open.set()
        await eventually(lambda: group.reactions == {photo["message_id"]: []})
    with opened(tmp_path) as database:
        row = (424242, group.id, -photo["message_id"], "a process that was killed")
        database.execute("INSERT INTO notices VALUES (?, ?, ?, ?)", row)
    group.reactions[photo["message_id"]] = ["👀"]
    async with running_bot(server, queue, tmp_path, rhythm=QUICK):
        await eventually(lambda: group.reactions == {photo["message_id"]: []})


async def test_where_a_group_takes_no_reactions_each_has_a_status_of_their_own(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    server.faults.add("setMessageReaction", "too_old")
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    photos = [await person.send_photo(PHOTO, "@captions_test_bot", chat=group) for person in (ann, bob)]
    await eventually(lambda: len(group.bot_messages()) == 2)
    assert sorted(map(replied, group.bot_messages())) == [photo["message_id"] for photo in photos]
    assert {message["text"] for message in group.bot_messages()} == {"I am looking at your picture."}


async def test_a_status_leaves_room_for_answers(
    server: FakeTelegram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of what a chat takes at once is left: with so many answers just out, nothing is said of what is in work."""
    monkeypatch.setattr("bot.app.Pacer", partial(Pacer, private=Rate(3600.0, burst=10)))
    ann, bob = server.person("Ann"), server.person("Bob")
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path, grace=0.2, rhythm=QUICK):
        for _ in range(9):
            await ann.send_text("/help")
        await eventually(lambda: len(ann.bot_messages()) == 9)
        queue.open.clear()
        await ann.send_photo(PHOTO)
        await bob.send_photo(PHOTO)
        await says(bob, "I am looking at your picture.")
        await asyncio.sleep(0.5)
        assert len(ann.bot_messages()) == 9
        queue.open.set()
        await eventually(lambda: len(ann.bot_messages()) == 10)


async def test_a_status_that_cannot_be_noted_goes_all_the_same(
    queue: FakeQueue, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(*_: object) -> None:
        raise RedisRefused("the password was changed")

    monkeypatch.setattr(SqliteInbox, "notice_shown", refused)
    await ann.send_photo(PHOTO)
    await says(ann, "I am looking at your picture.")
    queue.open.set()
    await ann.wait_for(lambda m: m["text"].startswith("a cat"), 60)
    await eventually(lambda: len(ann.bot_messages()) == 1)


async def test_a_status_that_was_deleted_by_hand_does_not_matter(queue: FakeQueue, ann: Person) -> None:
    await ann.send_photo(PHOTO)
    await ann.delete(await says(ann, "I am looking at your picture."))
    queue.alive = 0  # the words change
    await asyncio.sleep(0.5)
    queue.open.set()
    assert (await next_answer(ann))["text"].startswith("a cat")
    await ann.send_text("/help")
    assert "/sample" in (await ann.next_message())["text"]


async def test_what_was_left_on_display_and_cannot_be_looked_up_is_no_reason_not_to_start(
    server: FakeTelegram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def refused(*_: object) -> None:
        raise RedisRefused("the password was changed")

    monkeypatch.setattr(SqliteInbox, "notices_left", refused)
    ann = server.person("Ann")
    async with running_bot(server, FakeQueue(), tmp_path):
        await ann.send_photo(PHOTO)
        assert (await ann.next_message())["text"].startswith("a cat")
    assert "messages from before could not be looked up" in caplog.text


# -- cancelling


async def test_a_press_cancels_all_that_is_in_work_for_who_asked(real_queue: LocalQueue, vic: Person) -> None:
    for _ in range(2):
        await vic.send_photo(PHOTO)
    status = await says(vic, "I am working on 2 pictures. Place in line of the next: 2.")
    lease = await take(real_queue, "photo")
    assert await press(vic, status, "✖ Cancel") == "Cancelled: 2 pictures."
    await all_done(real_queue)
    assert await real_queue.extend(WORKER, [lease.job.id]) == []
    await eventually(lambda: not vic.bot_messages())
    await vic.send_text("/help")  # and nothing else is said
    assert "/sample" in (await vic.next_message())["text"]
    assert len(vic.bot_messages()) == 1


async def test_the_command_says_how_much_was_cancelled_or_that_there_was_nothing(
    server: FakeTelegram, real_queue: LocalQueue, vic: Person
) -> None:
    olga = server.person("Ольга", language_code="ru")
    for person, words in ((vic, "There is nothing to cancel."), (olga, "Отменять нечего.")):
        await person.send_text("/cancel")
        await says(person, words)
    for person in (vic, olga):
        for _ in range(3):
            await person.send_photo(PHOTO)
        for _ in range(2):
            await person.send_video(b"mp4")
    await vic.wait_for(lambda m: "3 pictures and 2 clips" in m.get("text", ""), 60)
    await olga.wait_for(lambda m: "3 картинки и 2 ролика" in m.get("text", ""), 60)
    for person, words in ((vic, "Cancelled: 3 pictures and 2 clips."), (olga, "Отменено: 3 картинки и 2 ролика.")):
        await person.send_text("/cancel")
        await says(person, words)
    await all_done(real_queue)


async def test_only_what_was_asked_in_this_chat_is_cancelled(
    server: FakeTelegram, real_queue: LocalQueue, vic: Person
) -> None:
    group = server.group("Cats", vic)
    await vic.send_photo(PHOTO, "@captions_test_bot", chat=group)
    await eventually(lambda: list(group.reactions.values()) == [["👀"]])
    await vic.send_text("/cancel")
    await says(vic, "There is nothing to cancel.")
    await vic.send_text("/cancel", chat=group)
    await says(group, "Cancelled: 1 picture.")


async def test_only_who_asked_may_cancel(server: FakeTelegram, real_queue: LocalQueue, vic: Person) -> None:
    """Whatever a client sends: a button's data can be forged."""
    server.faults.add("setMessageReaction", "too_old")  # so that there is a status with a button
    bob = server.person("Bob")
    group = server.group("Clips", vic)
    await vic.send_video(b"mp4", "@captions_test_bot", chat=group)
    lease = await take(real_queue)
    status = await group.next_message()
    assert "Only the person" in str(await press(bob, status, "✖ Cancel"))
    for data in (f"x:{bob.id}", f"x:{vic.id}"):
        await tampered(bob, status, data)
    assert await real_queue.extend(WORKER, [lease.job.id]) == [lease.job.id]
    await real_queue.finish(WORKER, lease.job.id, clip_result())


async def test_administrators_cancel_what_one_of_them_asked_for_without_a_name(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    """Who writes in the name of the group presses under a name of their own."""
    server.faults.add("setMessageReaction", "too_old")  # so that there is a status with a button
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    name = "@captions_test_bot"
    mention = {"caption": name, "caption_entities": [{"type": "mention", "offset": 0, "length": len(name)}]}
    photo = group.new_message(anonymous, server.store_photo(PHOTO) | mention, None, None)
    server.push("message", photo | {"sender_chat": group.shape})
    status = await group.wait_for(is_status)
    assert "Only the person" in str(await press(bob, status, "✖ Cancel"))
    assert await press(ann, status, "✖ Cancel") == "Cancelled: 1 picture."


async def test_a_closed_bot_answers_presses_of_strangers(
    server: FakeTelegram, real_queue: LocalQueue, tmp_path: Path
) -> None:
    ann, olga = server.person("Ann"), server.person("Ольга", language_code="ru")
    server.faults.add("setMessageReaction", "too_old")  # so that there is a status with a button
    group = server.group("Clips", ann)
    async with running_bot(server, real_queue, tmp_path, rhythm=QUICK, allowed_ids=frozenset({ann.id})):
        await ann.send_video(b"mp4", "@captions_test_bot", chat=group)
        lease = await take(real_queue)
        assert "узкого круга" in str(await press(olga, await group.next_message(), "✖ Cancel"))
        assert await real_queue.extend(WORKER, [lease.job.id]) == [lease.job.id]
        await real_queue.finish(WORKER, lease.job.id, clip_result())


async def test_a_download_that_is_cancelled_stops(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    server.faults.add("download", "slow", seconds=300.0)
    await ann.send_document(PHOTO * 100, "a.jpg", "image/jpeg")
    await ann.next_message()
    await ann.send_text("/cancel")
    await says(ann, "Cancelled: 1 picture.")
    await eventually(lambda: not queue.admitted and not waiting_in(tmp_path))
    assert not queue.jobs


async def test_what_is_cancelled_while_it_is_put_in_line_is_not_worked_on(
    real_queue: LocalQueue, vic: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, arrived, go_on = real_queue.put, asyncio.Event(), asyncio.Event()

    async def slowly(job: Job, media: bytes) -> None:
        arrived.set()
        await go_on.wait()
        await put(job, media)

    monkeypatch.setattr(real_queue, "put", slowly)
    await vic.send_video(b"mp4")
    status = await vic.next_message()
    await arrived.wait()
    await press(vic, status, "✖ Cancel")
    go_on.set()
    await all_done(real_queue)


async def test_what_is_being_sent_is_not_cancelled(server: FakeTelegram, tmp_path: Path) -> None:
    ann = server.person("Ann")
    slow = server.faults.add("sendMessage", "delay", times=1, seconds=60)
    async with running_bot(server, FakeQueue(), tmp_path):
        await ann.send_photo(PHOTO)
        await eventually(lambda: slow.fired)
        await ann.send_text("/cancel")
        assert (await ann.next_message())["text"] == "There is nothing to cancel."
        slow.over.set()
        assert (await ann.next_message())["text"].startswith("a cat")


async def test_what_is_answered_is_not_cancelled_before_the_inbox_knows_it(
    server: FakeTelegram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bob = server.person("Bob")
    acknowledge, answered, go_on = SqliteInbox.acknowledge, asyncio.Event(), asyncio.Event()

    async def slow(self: SqliteInbox, update_id: int, settle: Settle) -> None:
        if not answered.is_set():
            answered.set()
            await go_on.wait()
        await acknowledge(self, update_id, settle)

    monkeypatch.setattr(SqliteInbox, "acknowledge", slow)
    async with running_bot(server, FakeQueue(), tmp_path):
        await bob.send_photo(PHOTO)
        await answered.wait()
        await bob.next_message()
        await bob.send_text("/cancel")
        assert (await bob.next_message())["text"] == "There is nothing to cancel."
        go_on.set()


async def test_an_answer_that_waits_for_its_turn_is_cancelled(
    server: FakeTelegram, queue: FakeQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Telegram takes one message a second in a chat: what is captioned and not yet on its way can be called off."""
    monkeypatch.setattr("bot.app.Pacer", partial(Pacer, private=Rate(3600.0, burst=2)))
    queue.open.set()
    ann = server.person("Ann")
    async with running_bot(server, queue, tmp_path, grace=0.2):
        for _ in range(5):
            await ann.send_photo(PHOTO)
        answers = [await ann.next_message() for _ in range(2)]
        await eventually(lambda: len(queue.jobs) == 5 and len(queue.results) == 3)  # two are done with
        assert await tampered(ann, answers[0], Cancel(user=ann.id).pack()) == "Cancelled: 3 pictures."
        await eventually(lambda: not queue.admitted)
    assert waiting_in(tmp_path) == []
    assert ann.bot_messages() == answers


async def test_an_answer_that_telegram_put_off_is_cancelled(
    server: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Told to wait, it has sent nothing yet."""
    caplog.set_level(logging.INFO)
    ann, queue = server.person("Ann"), FakeQueue()
    server.faults.add("sendMessage", "429", times=1, retry_after=3600)
    async with running_bot(server, queue, tmp_path, grace=0.2):
        await ann.send_photo(PHOTO)
        await eventually(lambda: "sendMessage: told to wait" in caplog.text)
        message = {"message_id": 1, "chat": ann.shape, "date": 1, "text": "?"}
        assert await tampered(ann, message, f"x:{ann.id}") == "Cancelled: 1 picture."
        await eventually(lambda: not queue.admitted)
    assert ann.bot_messages() == []


async def test_what_another_bot_process_is_about_to_do_is_cancelled(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It downloads the one, and waits with the other for its turn at Telegram; who cancels knows neither."""
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*_: object) -> bytes:
        arrived.set()
        await go_on.wait()
        return PHOTO

    monkeypatch.setattr("bot.telegram.media.download", slow)
    photo = await ann.send_photo(PHOTO)
    await arrived.wait()
    await queue.cancel(f"424242-{server.update_id(photo)}")
    go_on.set()
    await eventually(lambda: not waiting_in(tmp_path))  # it is done with, and was not put
    assert queue.jobs == {}

    queue.open.set()
    monkeypatch.setattr("bot.service.requests.UNHEARD", 0.0)
    cancelled = queue.is_cancelled
    monkeypatch.setattr(queue, "is_cancelled", AsyncMock(return_value=True))
    await ann.send_photo(PHOTO)
    await eventually(lambda: queue.jobs and not queue.admitted)
    monkeypatch.setattr(queue, "is_cancelled", cancelled)
    await eventually(lambda: not ann.bot_messages())  # what was shown meanwhile has gone


async def test_a_press_is_acknowledged_before_any_work(real_queue: LocalQueue, vic: Person) -> None:
    """An outage of the queue is waited for; the button does not spin meanwhile."""
    await vic.send_video(b"mp4")
    lease = await take(real_queue)
    status = await vic.next_message()
    mended = asyncio.Event()
    forget = real_queue.forget

    async def forget_once_mended(job_id: str) -> None:
        await mended.wait()
        await forget(job_id)

    real_queue.forget = forget_once_mended  # type: ignore[method-assign]
    assert await press(vic, status, "✖ Cancel") == "Cancelled: 1 clip."
    assert await real_queue.extend(WORKER, [lease.job.id]) == [lease.job.id]
    mended.set()
    await all_done(real_queue)


async def test_what_waits_for_another_try_can_be_cancelled(
    queue: FakeQueue, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0

    async def broken(*_: object, **__: object) -> None:
        nonlocal tried
        tried += 1
        raise OSError("no queue")

    with monkeypatch.context() as outage:
        outage.setattr(queue, "admit", broken)
        await ann.send_photo(PHOTO)
        await eventually(lambda: tried)
        await ann.send_text("/cancel")
        assert (await ann.next_message())["text"] == "Cancelled: 1 picture."
    queue.open.set()
    later = await ann.send_photo(PHOTO)
    assert replied(await next_answer(ann)) == later["message_id"]
    await asyncio.sleep(2.0)  # longer than the pause between two tries
    await eventually(lambda: len(ann.bot_messages()) == 2)
    assert len(queue.jobs) == 1


async def test_a_cancel_right_after_a_restart_is_obeyed(server: FakeTelegram, queue: FakeQueue, tmp_path: Path) -> None:
    ann = server.person("Ann")
    async with running_bot(server, queue, tmp_path, grace=0.1, rhythm=QUICK):
        await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
    await ann.send_text("/cancel")
    async with running_bot(server, queue, tmp_path, rhythm=QUICK):
        await eventually(lambda: not queue.admitted)
        queue.open.set()
        await ann.send_text("/help")
        await ann.wait_for(lambda m: "/sample" in m.get("text", ""), 60)
    assert not [message for message in ann.bot_messages() if message["text"].startswith("a cat")]


async def test_what_another_bot_process_has_in_work_is_cancelled_too(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    """As behind a webhook: both know what is in the inbox and in the queue."""
    bob = server.person("Bob")
    sent = [
        await ann.send_text("/start"),  # causes no work
        ann.new_message(ann.user, server.store("video", b"mp4", {"width": 1, "height": 1, "duration": 1}), None, None),
        ann.new_message(ann.user, {"text": "/sample 3"}, None, None),
        bob.new_message(bob.user, server.store_photo(PHOTO), None, None),
    ]
    await ann.next_message()
    with opened(tmp_path) as database:
        for number, message in enumerate(sent):
            body = json.dumps({"update_id": number, "message": message})
            database.execute("INSERT INTO updates VALUES (424242, ?, unixepoch(), 0, 0, ?)", (number, body))
            queue.admitted[f"424242-{number}"] = make_job(f"424242-{number}", message["from"]["id"])
    await ann.send_text("/cancel")
    assert (await ann.next_message())["text"] == "Cancelled: 1 picture and 1 clip."
    assert sorted(queue.admitted) == ["424242-0", "424242-3"]
    assert queue.cancelled == {"424242-1", "424242-2"}
    await eventually(lambda: waiting_in(tmp_path) == [0, 3])  # nor does the next start take them up


# -- what is in work, by itself


def work(number: int, user: int = 7) -> Work:
    job, accepted = make_job(f"job-{number}", user), Accepted(number, 0.0)
    return Work(job=job, place=Place(1, None, user), message=1, accepted=accepted)


PERSON = {"id": 7, "is_bot": False, "first_name": "Ann"}
SIZES = {"photo": [{"file_id": "p", "file_unique_id": "p", "width": 9, "height": 9}]}
VIDEO = {"video": {"file_id": "v", "file_unique_id": "v", "width": 9, "height": 9, "duration": 1}}
MENTION = {"caption": "@captions", "caption_entities": [{"type": "mention", "offset": 0, "length": 9}]}


def sent(said: dict[str, Any], chat: int = 7) -> dict[str, Any]:
    kind = "private" if chat > 0 else "supergroup"
    message = {"message_id": 1, "date": 1, "chat": {"id": chat, "type": kind, "title": "x"}, "from": PERSON, **said}
    return {"update_id": 1, "message": message}


def pressed(data: str) -> dict[str, Any]:
    press = {"id": "1", "from": PERSON, "chat_instance": "1", "message": sent({"text": "?"})["message"], "data": data}
    return {"update_id": 1, "callback_query": press}


@pytest.fixture
def telegram() -> Bot:
    bot = Bot("42:x")
    bot._me = User(id=42, is_bot=True, first_name="Captions", username="captions")
    return bot


@pytest.mark.parametrize(
    ("update", "kind"),
    [
        (sent({"text": "/Sample 3"}), "photo"),
        (sent({"text": "/sample@captions"}, -5), "photo"),
        (sent({"text": "/sample@another"}, -5), None),
        (sent({"text": "/caption"}), "photo"),
        (sent({"text": "/colours"}), "photo"),
        (sent({"text": "/choose a dog | a cat"}), "photo"),
        (sent({"text": "/caption", "reply_to_message": sent(VIDEO)["message"]}), "clip"),
        (sent({"text": "what is it?", "reply_to_message": sent(SIZES)["message"]}), "photo"),
        (sent({"text": "/help", "reply_to_message": sent(SIZES)["message"]}), None),
        (sent({"text": "hello"}), None),
        (sent(SIZES), "photo"),
        (sent(VIDEO), "clip"),
        (sent(SIZES, -5), None),
        (sent(SIZES | MENTION, -5), "photo"),
        (sent(SIZES | {"media_group_id": "1"}, -5), "photo"),
        ({"update_id": 1, "message": {"message_id": "?"}}, None),
    ],
)
async def test_what_an_update_asks_for(telegram: Bot, update: dict[str, Any], kind: str | None) -> None:
    asked = await asked_for(telegram, understood(update, telegram))
    assert (asked.work if asked is not None else None) == kind


WORKING = {"am": "photo", "ah": "photo", "aw": "photo", "ac": "photo", "as": "photo", "m": "clip", "t": "clip"}
# Colours, tags, edits, live photos.
WORKING |= {"av": "photo", "ak": "photo", "ag": "photo", "ay": "edit", "al": "clip"}


async def test_a_button_counts_only_as_the_work_it_is_known_to_give(telegram: Bot) -> None:
    """A new one gives none until somebody says so."""
    routers = [nested for router in create_routers() for nested in router.chain_tail]
    handlers = [handler for router in routers for handler in router.callback_query.handlers]
    filters = [each.callback for handler in handlers for each in handler.filters or ()]
    buttons = {each.callback_data.__prefix__ for each in filters if isinstance(each, CallbackQueryFilter)}
    assert buttons > set(WORKING)
    for prefix in (*buttons, "new", ""):
        asked = await asked_for(telegram, understood(pressed(f"{prefix}:key"), telegram))
        assert asked == Asked(WORKING.get(prefix), Place(7, None, 7)), prefix


async def test_what_came_after_a_cancel_is_not_cancelled_by_it() -> None:
    in_work, place = InWork(), Place(1, None, 7)
    before, after = work(10), work(12)
    with in_work.enter(before), in_work.enter(after):
        assert in_work.cancel(place, Accepted(11, 0.0)) == {"job-10": "photo"}
        assert (before.cancelled, after.cancelled) == (True, False)
        assert in_work.cancel(place, Accepted(11, 0.0)) == {}
    with pytest.raises(JobCancelled), in_work.enter(work(9)):
        pass
    with in_work.enter(work(13)), in_work.enter(work(9, user=8)):
        pass


async def test_a_cancelled_block_ends_at_once_and_later_ones_do_not_begin() -> None:
    stopped = work(1)
    reached: list[str] = []

    async def run() -> None:
        async with interruptible(stopped):
            reached.append("begun")
            await asyncio.Event().wait()

    task = asyncio.create_task(run())
    await eventually(lambda: reached)
    stopped.cancel()
    stopped.cancel()
    for attempt in (task, run()):
        with pytest.raises(JobCancelled):
            await attempt
    assert reached == ["begun"]


async def test_a_timeout_inside_is_no_cancellation() -> None:
    with pytest.raises(TimeoutError):
        async with interruptible(work(1)):
            raise TimeoutError


async def test_cancels_are_forgotten_in_time() -> None:
    now = [0.0]
    clock: Callable[[], float] = lambda: now[0]  # noqa: E731
    in_work = InWork(clock)
    in_work.cancel(Place(1, None, 7), Accepted(11, 0.0))
    now[0] = 4000.0
    in_work.cancel(Place(2, None, 7), Accepted(12, 0.0))
    with in_work.enter(work(9)):
        pass


async def test_a_request_that_ends_as_its_status_would_begin_has_none() -> None:
    bot, in_work = MagicMock(), InWork()
    waiting = Waiting(bot, FakeQueue(), MagicMock(), Pacer(), Rhythm(after=0.0))
    with in_work.enter(work(10)) as group:
        waiting._begin(group)  # the task has not run yet
    [task] = waiting._tasks
    await task
    assert not bot.method_calls
