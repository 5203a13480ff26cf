"""Conversations about albums, whatever happens between their items."""

from __future__ import annotations

import asyncio
import io
import logging
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from aiogram import Bot
from PIL import Image
from pydantic import SecretStr

from bot.answers.album_heatmaps import AlbumSheets
from bot.answers.albums import Albums
from bot.answers.answer import Answering
from bot.answers.asked import asked_for
from bot.answers.clips import Clips
from bot.answers.guests import Guests
from bot.answers.notes import Answers
from bot.answers.photos import Captioning
from bot.answers.picture_edits import PictureEdits
from bot.answers.sending import TelegramDelivery
from bot.answers.status import Rhythm, Waiting
from bot.app import create_bot, create_dispatcher, of_chats
from bot.chat_settings import ChatSettings
from bot.dead_letters import dead
from bot.i18n import create_i18n
from bot.metrics import BotMetrics
from bot.service.in_progress import InWork
from bot.service.jobs import job_id
from bot.service.limits import Refusals, Throttle
from bot.service.requests import Requests
from bot.storage.inbox import Inbox
from bot.storage.opening import open_memory
from bot.telegram.pacing import Pacer
from bot.telegram.processing import Processor
from bot.telegram.session import RetryMiddleware
from handlers import create_routers
from model.errors import AnimatedPicture, DamagedImage, JobCrashed
from model.serving.codec import unpack
from model.serving.jobs import Job, Outcome
from model.serving.tasks.album import AlbumResult, AlbumTask
from model.serving.tasks.clip import ClipFrame, ClipResult
from tests.conftest import ROOT
from tests.support.conversation import buttons, menu_of, press, replied
from tests.support.fake_queue import (
    NO_STATUS,
    FakeQueue,
    captions,
    closed_queue,
    eventually,
    is_status,
    next_answer,
    running_bot,
    settings_for,
)
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.jobs import album_of, photo_of
from tests.support.records import keep, note_keys, waiting_in
from tests.support.redis_server import RedisServer
from tests.support.voices import Spoken

MENTION = "@captions_test_bot"
OF_THE_SHEET = "The picture shows where I find what the words name."


def photo(number: int) -> bytes:
    """Unlike that of any other number."""
    out = io.BytesIO()
    Image.new("RGB", (60 + number, 40), "teal").save(out, "JPEG")
    return out.getvalue()


PHOTOS = [photo(number) for number in range(1, 11)]
SHEET = photo(500)
CLIP = b"mp4"


def see(job: Job, media: bytes) -> Outcome | Exception:
    """The n-th photo shows n cats; what is no photo is damaged."""
    if job.line == "clip":
        frames = tuple(ClipFrame(float(n), f"scene {n}", 0.5, True) for n in range(2))
        return ClipResult(3.0, frames, 0.5, False, (SHEET, SHEET), SHEET)
    if isinstance(job.task, AlbumTask):
        return AlbumResult(SHEET, sum(map(bool, unpack(media)[1])))
    if media not in PHOTOS:
        return DamagedImage("broken off")
    return captions(greedy=f"{PHOTOS.index(media) + 1} cats")


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bot.answers.album_plans.QUIET", 0.6)
    monkeypatch.setattr("bot.answers.album_plans.SILENCE", 0.5)
    monkeypatch.setattr("bot.answers.albums.STEP", 0.05)
    monkeypatch.setattr("bot.answers.albums.LATER", 0.1)


@pytest.fixture
async def queue(server: FakeTelegram, tmp_path: Path) -> AsyncIterator[FakeQueue]:
    """The queue of a running bot."""
    queue = FakeQueue(see)
    async with running_bot(server, queue, tmp_path, grace=1.0):
        yield queue


def lines(*numbers: int) -> str:
    return "\n".join(f"{number}. {number} cats · fairly sure (47 %)" for number in numbers)


async def forget_all(person: Person) -> None:
    """/forget, and the presses that it takes."""
    question = await menu_of(person, "/forget")
    ask, no = buttons(question)
    await person.press(question, ask)
    sure = await person.wait_for(lambda m: m["message_id"] == question["message_id"] and buttons(m)[:1] == [no], 60)
    await person.press(sure, buttons(sure)[1])
    await person.wait_for(lambda m: m["message_id"] == question["message_id"] and not buttons(m), 60)


def sheets_noted(folder: Path) -> list[str]:
    return [key for key in note_keys(folder) if key.startswith("album-sheet:")]


async def all_settled(folder: Path, queue: FakeQueue) -> None:
    await eventually(lambda: not waiting_in(folder))
    assert not queue.admitted


async def test_an_album_is_read_aloud_where_a_chat_wants_that_and_the_voice_goes_with_it(
    server: FakeTelegram, ann: Person, tmp_path: Path, voice: Spoken
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(voice=True))
    async with running_bot(server, FakeQueue(see), tmp_path):
        await ann.send_album([PHOTOS[0], b"no photo", PHOTOS[2]])
        answer = await ann.next_message()
        assert len(answer["text"].split("\n")) == 3
        spoken = await ann.next_message()
        assert voice.texts == ["1. 1 cats. 3. 3 cats"]
        await eventually(lambda: not waiting_in(tmp_path))
        await ann.delete(spoken)  # somebody was faster: no reason not to delete the rest
        await ann.press(answer, buttons(answer)[-1])
        await eventually(lambda: not ann.bot_messages())
        await eventually(lambda: not sheets_noted(tmp_path))
    assert "voice" in spoken


async def test_a_command_in_reply_to_the_answer_to_an_album_asks_which_picture(queue: FakeQueue, ann: Person) -> None:
    await ann.send_album(PHOTOS[:2])
    answer = await ann.next_message()
    await ann.send_text("/sample", reply_to=answer)
    assert "Which picture do you mean?" in (await ann.next_message())["text"]


async def test_an_album_that_was_deleted_is_not_read_aloud(
    server: FakeTelegram, ann: Person, tmp_path: Path, voice: Spoken
) -> None:
    voice.ready.clear()
    await keep(tmp_path, ann.id, ChatSettings(voice=True))
    async with running_bot(server, FakeQueue(see), tmp_path):
        await ann.send_album(PHOTOS[:2])
        answer = await ann.next_message()
        await eventually(lambda: voice.texts)
        await ann.press(answer, buttons(answer)[-1])
        await eventually(lambda: not ann.bot_messages())
        voice.ready.set()
        await eventually(lambda: not waiting_in(tmp_path))
    assert ann.bot_messages() == []


async def test_an_album_is_answered_photo_by_photo_in_one_message(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.answers.sending.ACTION_INTERVAL", 3600.0)
    queue.open.clear()
    album = await ann.send_album(PHOTOS)
    await server.until(lambda: server.sent(ann.id, "sendChatAction") or None, 60)
    queue.open.set()
    answer = await ann.next_message()
    assert answer["text"] == lines(*range(1, 11))
    assert replied(answer) == album[0]["message_id"]
    assert buttons(answer) == ["🔥 Heatmaps", "⚙ Settings", "🗑 Delete"]
    await all_settled(tmp_path, queue)
    assert len(ann.bot_messages()) == 1
    tasks = [photo_of(job) for job in queue.jobs.values()]
    assert {(task.samples, task.sheet, task.beam) for task in tasks} == {(0, False, 10)}
    assert {job.request for job in queue.jobs.values()} == {f"{ann.id}:{album[0]['media_group_id']}"}
    assert len(server.sent(ann.id, "sendChatAction")) == 1


async def test_one_damaged_photo_does_not_spoil_the_others(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    group = server.new_media_group()
    await ann.send_photo(PHOTOS[0], media_group_id=group)
    await ann.send_photo(b"\xff\xd8 broken", media_group_id=group)
    await ann.send_document(b"x", "large.png", "image/png", file_size=21 * 1024 * 1024, media_group_id=group)
    await ann.send_photo(PHOTOS[3], media_group_id=group)
    first, second, third, fourth = (await ann.next_message())["text"].split("\n")
    assert (first, fourth) == (lines(1), lines(4))
    assert second.startswith("2. This picture is damaged")
    assert third.startswith("3. This file is larger than 20 MB")


async def test_nothing_but_damaged_photos_has_no_heatmaps(queue: FakeQueue, ann: Person) -> None:
    await ann.send_album([b"1", b"2"])
    answer = await ann.next_message()
    assert [line[:10] for line in answer["text"].split("\n")] == ["1. This pi", "2. This pi"]
    assert buttons(answer) == ["⚙ Settings", "🗑 Delete"]


async def test_in_russian(queue: FakeQueue, olga: Person) -> None:
    await olga.send_album([PHOTOS[0], b"broken"])
    answer = await olga.next_message()
    assert answer["text"].split("\n")[0] == "1. 1 cats · скорее уверен (47 %)"
    assert answer["text"].split("\n")[1].startswith("2. Эта картинка повреждена")
    assert buttons(answer) == ["🔥 Тепловые карты", "⚙ Настройки", "🗑 Удалить"]
    await olga.press(answer, "🔥 Тепловые карты")
    sheet = await olga.next_message()
    assert sheet["caption"] == "1. 1 cats\nНа картинке показано, где я нахожу то, что называют слова."


async def test_a_long_album_keeps_to_one_message(queue: FakeQueue, ann: Person) -> None:
    queue.outcome = lambda job, media: captions(greedy="so <many> words " * 300)
    await ann.send_album(PHOTOS)
    text = (await ann.next_message())["text"]
    assert len(text) <= 4096
    assert [line.partition(".")[0] for line in text.split("\n")] == [str(n) for n in range(1, 11)]
    assert text.count("fairly sure (47 %)") == 10


async def test_an_album_with_a_clip_is_answered_item_by_item(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    group = server.new_media_group()
    first = await ann.send_photo(PHOTOS[0], media_group_id=group)
    clip = await ann.send_video(CLIP, media_group_id=group)
    last = await ann.send_photo(PHOTOS[2], media_group_id=group)
    await eventually(lambda: len(ann.bot_messages()) == 5)  # the clip's answer is two moments and a summary
    await all_settled(tmp_path, queue)
    said = {replied(each): each for each in ann.bot_messages() if "media_group_id" not in each}
    assert said[first["message_id"]]["text"].startswith("1 cats\nfairly sure")
    assert said[last["message_id"]]["text"].startswith("3 cats\nfairly sure")
    assert "2 moments" in said[clip["message_id"]]["caption"]
    assert len({(job.user, job.request) for job in queue.jobs.values()}) == 1  # they count as one


async def test_an_album_counts_as_one_request_and_is_refused_as_one(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = closed_queue(see)
    async with running_bot(server, queue, tmp_path, max_per_user=1):
        await ann.send_album(PHOTOS[:5])
        await eventually(lambda: len(queue.jobs) == 5)
        refused = await ann.send_album(PHOTOS[:4])
        answer = await ann.next_message()
        assert "already working on 1 request of yours" in answer["text"]
        assert replied(answer) == refused[0]["message_id"]
        group = server.new_media_group()
        await ann.send_photo(PHOTOS[0], media_group_id=group)
        await ann.send_video(CLIP, media_group_id=group)
        await ann.send_photo(PHOTOS[0], media_group_id=group)
        assert "already working on 1 request of yours" in (await ann.next_message())["text"]
        await eventually(lambda: len(waiting_in(tmp_path)) == 5)
        queue.open.set()
        assert (await ann.next_message())["text"] == lines(1, 2, 3, 4, 5)
        await all_settled(tmp_path, queue)
    assert len([each for each in ann.bot_messages() if "text" in each]) == 3


async def test_in_a_group_a_mention_on_one_item_speaks_for_the_album(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    group = server.group("Cats", ann)
    album = await ann.send_album(PHOTOS[:3], f"what is this, {MENTION} ?", chat=group)
    answer = await group.next_message()
    assert (answer["text"], replied(answer)) == (lines(1, 2, 3), album[0]["message_id"])
    last = server.new_media_group()
    await ann.send_photo(PHOTOS[0], chat=group, media_group_id=last)
    await ann.send_photo(PHOTOS[1], MENTION, chat=group, media_group_id=last)
    assert (await group.next_message())["text"] == lines(1, 2)
    await ann.send_album(PHOTOS[:3], "not for the bot", chat=group)
    await all_settled(tmp_path, queue)
    assert len(group.bot_messages()) == 2


async def test_nothing_is_kept_of_an_album_that_is_not_for_the_bot(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    settings = settings_for(server, tmp_path)
    group = server.group("Cats", ann)
    async with running_bot(server, FakeQueue(see), tmp_path):
        album = await ann.send_album(PHOTOS[:2], chat=group)
        await server.until(lambda: all(map(server.confirmed, album)) or None, 60)
        await eventually(lambda: not waiting_in(tmp_path))
    async with open_memory(settings, 424242) as (_, storage):
        assert await storage.notes(group.id, "album:") == {}


async def test_a_late_item_has_an_answer_of_its_own(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    group = server.new_media_group()
    for number in (0, 1):
        await ann.send_photo(PHOTOS[number], media_group_id=group)
    assert (await ann.next_message())["text"] == lines(1, 2)
    third = await ann.send_photo(PHOTOS[2], media_group_id=group)
    answer = await ann.next_message()
    assert answer["text"].startswith("3 cats\nfairly sure")
    assert replied(answer) == third["message_id"]
    for number in (3, 4):
        await ann.send_photo(PHOTOS[number], media_group_id=group)
    assert (await ann.next_message())["text"] == lines(4, 5)  # by their places in the album
    await all_settled(tmp_path, queue)


async def test_a_late_item_that_comes_while_the_others_are_in_work(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    queue.open.clear()
    group = server.new_media_group()
    for number in (0, 1):
        await ann.send_photo(PHOTOS[number], media_group_id=group)
    await eventually(lambda: len(queue.jobs) == 2)
    await ann.send_photo(PHOTOS[2], media_group_id=group)
    await eventually(lambda: len(queue.jobs) == 3)
    queue.open.set()
    said = {(await ann.next_message())["text"].split("\n")[0] for _ in range(2)}
    assert said == {lines(1), "3 cats"}
    await all_settled(tmp_path, queue)


async def test_an_item_that_comes_again_while_the_album_is_in_work(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same message under another update."""
    queue.open.clear()
    group = server.new_media_group()
    first, _ = [await ann.send_photo(PHOTOS[number], media_group_id=group) for number in (0, 1)]
    await eventually(lambda: len(queue.jobs) == 2)
    server.push("message", first)
    await eventually(lambda: len(queue.jobs) == 3)
    queue.open.set()
    assert (await ann.next_message())["text"] == lines(1, 2)
    await all_settled(tmp_path, queue)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_the_last_photo_of_an_album_is_the_chats_last_picture(queue: FakeQueue, ann: Person) -> None:
    album = await ann.send_album(PHOTOS[:3])
    await ann.next_message()
    queue.outcome = lambda job, media: captions("one")
    await ann.send_text("/sample 1")
    await ann.next_message()
    assert photo_of(list(queue.jobs.values())[-1]).picture == album[2]["photo"][-1]["file_unique_id"]


async def test_a_command_on_one_item_speaks_for_the_album_in_a_group(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    group = server.group("Cats", ann)
    album = await ann.send_album(PHOTOS[:3], "/caption@another_bot", chat=group)
    await server.until(lambda: all(map(server.confirmed, album)) or None, 60)
    album = await ann.send_album(PHOTOS[:2], "/caption", chat=group)
    answer = await group.next_message()
    assert (answer["text"], replied(answer)) == (lines(1, 2), album[0]["message_id"])
    assert len(group.bot_messages()) == 1


async def test_pictures_that_turn_out_to_move_are_answered_as_clips_beside_the_others(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    """Nobody knows before they are read; then each is answered like a clip that came by itself."""
    queue.outcome = lambda job, media: (
        AnimatedPicture("it moves") if job.line == "photo" and media[:1] == b"m" else see(job, media)
    )
    group = server.new_media_group()
    sent = []
    for name, data in enumerate((b"m1", PHOTOS[1], PHOTOS[2], b"m2")):
        sent.append(await ann.send_document(data, f"{name}.png", "image/png", media_group_id=group))
    answer = await ann.next_message()
    assert answer["text"].split("\n")[1:3] == lines(2, 3).split("\n")
    moving = "It moves: its moments come in an answer of their own."
    assert [answer["text"].split("\n")[n] for n in (0, 3)] == [f"1. {moving}", f"4. {moving}"]
    await server.until(lambda: len(ann.bot_messages()) == 1 + 2 * 3 or None, 60)
    await all_settled(tmp_path, queue)
    clips = [each for each in ann.bot_messages() if "2 moments" in each.get("caption", "")]
    assert sorted(map(replied, clips)) == [sent[0]["message_id"], sent[3]["message_id"]]
    assert len(ann.bot_messages()) == 7


async def test_an_album_of_nothing_but_moving_pictures_has_no_answer_beside_theirs(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    queue.outcome = lambda job, media: AnimatedPicture("it moves") if job.line == "photo" else see(job, media)
    group = server.new_media_group()
    for name in range(2):
        await ann.send_document(b"m", f"{name}.png", "image/png", media_group_id=group)
    await server.until(lambda: len(ann.bot_messages()) == 2 * 3 or None, 60)
    await all_settled(tmp_path, queue)
    assert len(ann.bot_messages()) == 6


async def test_photos_of_an_album_are_known_when_they_are_asked_about_again(queue: FakeQueue, ann: Person) -> None:
    album = await ann.send_album([*PHOTOS[:2], b"broken"])
    await ann.next_message()
    places = {job.place for job in queue.jobs.values()}
    for photo, known in zip(album, (True, True, False), strict=True):
        await ann.send_text("/sample 2", reply_to=photo)
        await ann.next_message()
        job = list(queue.jobs.values())[-1]
        assert (photo_of(job).picture, photo_of(job).known) == (photo["photo"][-1]["file_unique_id"], known)
        assert {job.place} == places == {f"424242:{ann.id}"}


# While it is in work


async def test_an_album_in_work_has_one_status_and_is_cancelled_as_a_whole(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = closed_queue(see)
    async with running_bot(server, queue, tmp_path, grace=0.2, rhythm=Rhythm(after=0.1, every=0.2)):
        await ann.send_album(PHOTOS[:4])
        assert (await ann.next_message())["text"] == "I am working on 4 pictures."
        await ann.send_text("/cancel")
        assert (await ann.next_message())["text"] == "Cancelled: 4 pictures."
        await all_settled(tmp_path, queue)
        await eventually(lambda: len(ann.bot_messages()) == 1)
        queue.open.set()
        await ann.send_album(PHOTOS[:2])
        assert (await next_answer(ann))["text"] == lines(1, 2)
        await all_settled(tmp_path, queue)
        await eventually(lambda: not any(map(is_status, ann.bot_messages())))
    assert [each["text"] for each in ann.bot_messages()] == ["Cancelled: 4 pictures.", lines(1, 2)]


async def test_an_album_that_is_still_coming_in_can_be_cancelled(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.answers.album_plans.QUIET", 5.0)
    await ann.send_album(PHOTOS[:3])
    await ann.send_text("/cancel")
    assert (await ann.next_message())["text"] == "Cancelled: 3 pictures."
    await all_settled(tmp_path, queue)
    assert not queue.jobs
    assert len(ann.bot_messages()) == 1


async def test_a_button_after_everything_was_deleted_says_why_it_does_nothing(
    server: FakeTelegram, queue: FakeQueue, ann: Person, olga: Person, tmp_path: Path
) -> None:
    for person, button, why in (
        (ann, "🔥 Heatmaps", "no longer know which album this was"),
        (olga, "🔥 Тепловые карты", "больше не знаю, какой это был альбом"),
    ):
        await person.send_album(PHOTOS[:2])
        answer = await person.next_message()
        await all_settled(tmp_path, queue)
        await forget_all(person)
        await person.press(answer, button)
        refused = await person.next_message()
        assert why in refused["text"]
        assert "/forget" in refused["text"]
        assert replied(refused) == answer["message_id"]
    async with open_memory(settings_for(server, tmp_path), 424242) as (_, storage):
        assert await storage.notes(ann.id, "") == {}


# Buttons


async def test_one_sheet_is_drawn_on_request(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    group = server.new_media_group()
    for data in (PHOTOS[0], b"broken", PHOTOS[2]):
        await ann.send_photo(data, media_group_id=group)
    answer = await ann.next_message()
    await press(ann, answer, "🔥 Heatmaps")
    sheet = await ann.next_message()
    assert sheet["caption"] == f"1. 1 cats\n3. 3 cats\n{OF_THE_SHEET}"
    assert replied(sheet) == answer["message_id"]
    [job] = [job for job in queue.jobs.values() if isinstance(job.task, AlbumTask)]
    assert (album_of(job).captions, album_of(job).model) == (("1 cats", "", "3 cats"), "attention")
    await ann.wait_for(lambda m: m["message_id"] == answer["message_id"] and "🔥 Heatmaps" not in buttons(m), 60)
    await all_settled(tmp_path, queue)


async def test_a_sheet_shows_what_can_still_be_had(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    await ann.send_album(PHOTOS[:3])
    answer = await ann.next_message()
    gone = server.faults.add("getFile", "gone")
    await ann.press(answer, "🔥 Heatmaps")
    assert "no longer gives me" in (await ann.next_message())["text"]
    gone.times = gone.fired + 1
    await ann.press(answer, "🔥 Heatmaps")
    words = (await ann.next_message())["caption"].split("\n")
    assert words == ["1. 1 cats", "2. 2 cats", "3. 3 cats", f"{OF_THE_SHEET} Not every photo could be drawn."]


async def test_a_sheet_after_a_restart(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(see), tmp_path):
        await ann.send_album(PHOTOS[:3])
        answer = await ann.next_message()
    async with running_bot(server, FakeQueue(see), tmp_path):
        await ann.press(answer, "🔥 Heatmaps")
        assert (await ann.next_message())["caption"] == f"1. 1 cats\n2. 2 cats\n3. 3 cats\n{OF_THE_SHEET}"


async def test_a_chat_that_takes_no_pictures_is_told_so(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    queue.outcome = lambda job, media: (
        AlbumResult(b"no picture", 2) if isinstance(job.task, AlbumTask) else see(job, media)
    )
    await ann.send_album(PHOTOS[:2])
    await ann.press(await ann.next_message(), "🔥 Heatmaps")
    assert "did not take my picture" in (await ann.next_message())["text"]
    server.violations.clear()


async def test_an_answer_is_deleted_by_whom_it_was_for(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    await ann.send_album(PHOTOS[:2], MENTION, chat=group)
    answer = await group.next_message()
    assert "Only the person" in str(await press(bob, answer, "🗑 Delete"))
    assert len(group.bot_messages()) == 1
    assert await press(ann, answer, "🗑 Delete") is None
    await eventually(lambda: not group.bot_messages())


async def test_administrators_of_a_group_delete_answers_to_others(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    await bob.send_album(PHOTOS[:2], MENTION, chat=group)
    answer = await group.next_message()
    await ann.press(answer, "🗑 Delete")
    await eventually(lambda: not group.bot_messages())


async def test_two_presses_at_once_draw_one_sheet(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    await ann.send_album(PHOTOS[:2])
    answer = await ann.next_message()
    queue.open.clear()
    for query in [await ann.press(answer, "🔥 Heatmaps") for _ in range(2)]:
        await ann.callback_answer(query)
    await eventually(lambda: any(isinstance(job.task, AlbumTask) for job in queue.jobs.values()))
    queue.open.set()
    await ann.next_message()
    await all_settled(tmp_path, queue)
    assert len(ann.bot_messages()) == 2


async def test_what_was_noted_of_an_answer_goes_with_it(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    """Also while its sheet is being drawn, which comes, and changes nothing in what is gone."""
    await ann.send_album(PHOTOS[:2])
    answer = await ann.next_message()
    queue.open.clear()
    await ann.press(answer, "🔥 Heatmaps")
    await eventually(lambda: any(isinstance(job.task, AlbumTask) for job in queue.jobs.values()))
    await ann.press(answer, "🗑 Delete")
    await eventually(lambda: not ann.bot_messages())
    queue.open.set()
    assert (await ann.next_message())["caption"] == f"1. 1 cats\n2. 2 cats\n{OF_THE_SHEET}"
    await all_settled(tmp_path, queue)
    assert sheets_noted(tmp_path) == []


# Kills


@pytest.mark.slow
async def test_a_bot_that_was_killed_between_two_items_answers_the_whole_album(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "tests.support.fake_queue", server.url, str(tmp_path)]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT)
    group = server.new_media_group()
    try:
        first = [await ann.send_photo(PHOTOS[number], media_group_id=group) for number in range(3)]
        await server.until(lambda: all(map(server.confirmed, first)) or None, 60)
    finally:
        process.send_signal(signal.SIGKILL)
        await process.wait()
    for number in range(3, 6):
        await ann.send_photo(PHOTOS[number], media_group_id=group)
    queue = FakeQueue(see)
    async with running_bot(server, queue, tmp_path):
        answer = await ann.next_message()
        await all_settled(tmp_path, queue)
    assert answer["text"] == lines(1, 2, 3, 4, 5, 6)
    assert replied(answer) == first[0]["message_id"]
    assert len(ann.bot_messages()) == 1


async def test_a_stop_while_an_album_is_in_work(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = closed_queue(see)
    async with running_bot(server, queue, tmp_path, grace=0.1):
        await ann.send_album(PHOTOS[:4])
        await eventually(lambda: len(queue.jobs) == 4)
    queue.open.set()
    async with running_bot(server, queue, tmp_path):
        assert (await ann.next_message())["text"] == lines(1, 2, 3, 4)
        await all_settled(tmp_path, queue)
    assert len([call for call in server.calls if call.method == "download"]) == 4


@pytest.mark.slow
async def test_an_answer_that_could_not_be_delivered_is_tried_again(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.app.RetryMiddleware", partial(RetryMiddleware, patience=0.1))
    queue = FakeQueue(see)
    async with running_bot(server, queue, tmp_path):
        server.faults.add("sendMessage", "500", times=3)
        await ann.send_album(PHOTOS[:2])
        assert (await ann.next_message(60))["text"] == lines(1, 2)
        await all_settled(tmp_path, queue)
    assert len(queue.jobs) == 2


async def test_a_photo_that_brings_workers_down_can_be_tried_again_by_hand(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.telegram.processing.RECLAIM_SECONDS", 0.1)
    queue = FakeQueue(lambda job, media: JobCrashed("3 times") if media == PHOTOS[1] else see(job, media))
    async with running_bot(server, queue, tmp_path):
        album = await ann.send_album(PHOTOS[:3])
        assert "2. I tried several times" in (await ann.next_message())["text"]
        await all_settled(tmp_path, queue)
        queue.outcome = see
        assert await dead(settings_for(server, tmp_path), "retry", {server.update_id(album[1])}) == 0
        answer = await ann.next_message()
        assert answer["text"].startswith("2 cats\n")
        assert replied(answer) == album[1]["message_id"]


# Several processes


@dataclass
class Part:
    """One of several bot processes that share a Redis and are told of updates by turns, as behind a webhook."""

    inbox: Inbox
    processor: Processor

    async def receive(self, update: dict[str, object]) -> None:
        for entry in await self.processor.record([update]):
            self.processor.start(entry)


@asynccontextmanager
async def part(server: FakeTelegram, queue: FakeQueue, folder: Path, redis: RedisServer) -> AsyncIterator[Part]:
    settings = settings_for(server, folder, redis_url=SecretStr(redis.url))
    bot: Bot = create_bot(settings)
    i18n = create_i18n()
    try:
        async with open_memory(settings, bot.id) as (inbox, storage):
            waiting = Waiting(bot, queue, inbox, Pacer(), NO_STATUS)
            requests = Requests(settings, queue, InWork(), TelegramDelivery(bot, waiting), Throttle())
            answers = Answers(storage)
            captioning = Captioning(requests, storage, answers)
            clips = Clips(settings, requests, captioning, storage, answers)
            sheets = AlbumSheets(requests, storage, answers)
            dispatcher = create_dispatcher(
                i18n,
                storage,
                create_routers(),
                answering=Answering(requests, captioning, clips, answers, storage),
                albums=Albums(requests, storage, sheets, answers, captioning),
                album_sheets=sheets,
                picture_edits=PictureEdits(requests, storage, answers, queue, configured=False),
                guests=Guests(requests, storage, of_chats(settings), Throttle(), Refusals(), on=True),
                settings=settings,
                queue=queue,
                metrics=BotMetrics(),
                refusals=Refusals(),
            )

            async def settle(update_id: int, again: bool) -> None:
                await requests.settle(job_id(bot.id, update_id), again=again)

            processor = Processor(
                dispatcher, bot, inbox, i18n, settle, partial(asked_for, bot), storage, max_attempts=3
            )
            try:
                yield Part(inbox, processor)
            finally:
                await processor.drain(0.0)
                await waiting.close()
    finally:
        await bot.session.close()


async def updates_of(server: FakeTelegram, messages: list[Message]) -> list[dict[str, object]]:
    return [server._pending[server.update_id(message)] for message in messages]


@pytest.mark.slow
async def test_two_processes_that_receive_half_of_an_album_each_answer_it_once(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.answers.album_plans.QUIET", 4.0)
    queue = FakeQueue(see)
    with RedisServer(tmp_path / "redis", aof=False) as redis:
        async with part(server, queue, tmp_path, redis) as one, part(server, queue, tmp_path, redis) as two:
            album = await ann.send_album(PHOTOS)
            for number, update in enumerate(await updates_of(server, album)):
                await (two if number % 2 else one).receive(update)
            answer = await ann.next_message()
            async with asyncio.timeout(60):
                while await one.inbox.waiting():
                    await asyncio.sleep(0.02)
    assert answer["text"] == lines(*range(1, 11))
    assert replied(answer) == album[0]["message_id"]
    assert len(ann.bot_messages()) == 1
    assert not queue.admitted


@pytest.mark.slow
async def test_an_album_whose_first_process_dies_is_answered_by_the_other(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.answers.album_plans.QUIET", 4.0)
    queue = closed_queue(see)
    with RedisServer(tmp_path / "redis", aof=False) as redis:
        async with part(server, queue, tmp_path, redis) as two:
            async with part(server, queue, tmp_path, redis) as one:
                album = await ann.send_album(PHOTOS[:4])
                for number, update in enumerate(await updates_of(server, album)):
                    await (two if number % 2 else one).receive(update)
                await eventually(lambda: len(queue.jobs) == 4)
                await one.inbox.stopped()
            queue.open.set()
            for entry in await two.inbox.reclaim(3):  # as it does every few seconds
                two.processor.start(entry, again=True)
            answer = await ann.next_message()
            async with asyncio.timeout(60):
                while await two.inbox.waiting():
                    await asyncio.sleep(0.02)
    assert answer["text"] == lines(1, 2, 3, 4)
    assert len(ann.bot_messages()) == 1
    assert not queue.admitted
