"""What goes wrong between the bot and its queue, and what people see of it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from bot.answers.status import Rhythm
from bot.dead_letters import dead
from bot.telegram.session import RetryMiddleware
from model.errors import JobCancelled, JobCrashed
from model.serving.jobs import Job
from model.serving.queue import JobLost
from model.serving.tasks.photo import PhotoResult
from tests.support.conversation import all_answered, downloads
from tests.support.fake_queue import FakeQueue, captions, closed_queue, eventually, running_bot, settings_for
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.jobs import make_job
from tests.support.pictures import PHOTO
from tests.support.records import opened, waiting_in


async def test_a_picture_that_brings_workers_down_is_said_kept_and_tried_again_by_hand(
    server: FakeTelegram, ann: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    monkeypatch.setattr("bot.telegram.processing.RECLAIM_SECONDS", 0.1)
    settings = settings_for(server, tmp_path)
    queue = FakeQueue(lambda job, media: JobCrashed("brought down a worker 3 times"))
    async with running_bot(server, queue, tmp_path):
        photo = await ann.send_photo(PHOTO, "my secret words")
        assert "several times" in (await ann.next_message())["text"]
        await eventually(lambda: not waiting_in(tmp_path))
        assert not queue.admitted
        assert await dead(settings, "list", None, as_json=True) == 0
        [line] = capsys.readouterr().out.splitlines()
        letter = json.loads(line)
        assert (letter["id"], letter["attempts"]) == (server.update_id(photo), 3)
        assert "brought down a worker" in letter["reason"]
        assert "secret" not in line
        assert "Ann" not in line
        queue.outcome = lambda job, media: captions()
        assert await dead(settings, "retry", {letter["id"]}) == 0
        answer = await ann.next_message()
        assert answer["text"].startswith("a cat")
        assert answer["reply_to_message"]["message_id"] == photo["message_id"]
        await eventually(lambda: not waiting_in(tmp_path))
    assert await dead(settings, "retry", {letter["id"]}) == 1
    assert await dead(settings, "list", None, as_json=True) == 0
    assert capsys.readouterr().out.splitlines() == ["1 to be tried again", "0 to be tried again"]


async def test_what_brought_the_bot_down_too_often_is_kept_and_leaves_nothing_in_the_queue(
    server: FakeTelegram, ann: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path):
        await ann.send_text("hello")
        await ann.next_message()
    number = server.update_id(await ann.send_photo(PHOTO))
    with opened(tmp_path) as connection:
        row = (number, json.dumps(server._pending[number]))
        connection.execute("INSERT INTO updates VALUES (424242, ?, unixepoch(), 6, 0, ?)", row)
    queue.admitted[f"424242-{number}"] = make_job("left over", ann.id)
    async with running_bot(server, queue, tmp_path, max_attempts=3):
        assert "several times" in (await ann.next_message())["text"]
        await eventually(lambda: not waiting_in(tmp_path))
        assert not queue.admitted
    assert await dead(settings_for(server, tmp_path), "list", {number}) == 0
    assert "brought the bot down 6 times" in capsys.readouterr().out


async def test_a_job_that_the_queue_lost_is_put_again(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = FakeQueue()
    losses = 2

    def outcome(job: Job, media: bytes) -> PhotoResult | Exception:
        nonlocal losses
        losses -= 1
        if losses >= 0:
            queue.admitted.clear()  # a Redis that forgot everything
            return JobLost(job.id)
        return captions()

    queue.outcome = outcome
    async with running_bot(server, queue, tmp_path, max_queue=1):
        photo = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [photo])
        await eventually(lambda: not waiting_in(tmp_path))
    assert downloads(server) == 3
    assert not queue.admitted


async def test_a_queue_that_loses_everything_is_tried_later_and_not_all_the_time(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    lost = iter(range(3))
    queue = FakeQueue(lambda job, media: captions() if next(lost, None) is None else JobLost(job.id))
    async with running_bot(server, queue, tmp_path):
        photo = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [photo])
    assert downloads(server) == 4


async def test_a_stop_leaves_the_job_in_the_queue_and_the_next_start_takes_its_result(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = closed_queue()
    async with running_bot(server, queue, tmp_path, grace=0.1):
        photo = await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
    assert len(queue.admitted) == 1
    queue.open.set()
    async with running_bot(server, queue, tmp_path):
        await all_answered(server, ann, [photo])
        await eventually(lambda: not queue.admitted)
    assert downloads(server) == 1


@pytest.mark.slow
async def test_an_answer_that_could_not_be_delivered_is_not_computed_again(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.app.RetryMiddleware", partial(RetryMiddleware, patience=0.1))
    computed = []
    queue = FakeQueue(lambda job, media: computed.append(job.id) or captions())  # type: ignore[func-returns-value]
    fault = server.faults.add("sendMessage", "500", times=3)
    async with running_bot(server, queue, tmp_path):
        photo = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [photo])
        await eventually(lambda: not waiting_in(tmp_path))
    assert fault.fired == 3
    assert len(computed) == 1
    assert downloads(server) == 1
    assert not queue.admitted


async def test_what_nobody_wants_any_more_gets_no_answer(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = FakeQueue(lambda job, media: JobCancelled("forgotten"))
    async with running_bot(server, queue, tmp_path):
        await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs and not waiting_in(tmp_path))
    assert ann.bot_messages() == []


async def test_a_full_queue_says_so_before_it_downloads_anything(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = closed_queue()
    async with running_bot(server, queue, tmp_path, grace=0.1, max_queue=1):
        await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
        await ann.send_photo(PHOTO)
        assert "more to do than I can hold" in (await ann.next_message())["text"]
    assert downloads(server) == 1


async def test_a_notice_that_a_kill_left_behind_is_deleted_at_the_next_start(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = closed_queue(alive=0)
    async with running_bot(server, queue, tmp_path, grace=0.1, rhythm=Rhythm(after=0.1)):
        photo = await ann.send_photo(PHOTO)
        assert "waits in line" in (await ann.next_message())["text"]
        server.faults.add("deleteMessage", "500", times=1)
        monkeypatch.setattr("bot.answers.status.CLEANUP", 0.0)  # as if it had been killed
    assert len(ann.bot_messages()) == 1
    queue.alive = 1
    async with running_bot(server, queue, tmp_path):
        await eventually(lambda: not ann.bot_messages())
        queue.open.set()
        await all_answered(server, ann, [photo])


async def test_the_person_is_told_when_to_come_back(server: FakeTelegram, tmp_path: Path) -> None:
    olga = server.person("Ольга", language_code="ru")
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path, grace=0.1, max_per_user=1):
        for _ in range(2):
            await olga.send_photo(PHOTO)
            await olga.next_message()
            await eventually(lambda: not queue.admitted)
        queue.open.clear()
        await olga.send_photo(PHOTO)
        await eventually(lambda: len(queue.jobs) == 3)
        await olga.send_photo(PHOTO)
        text = (await olga.next_message())["text"]
    assert text == "У меня в работе уже 1 ваш запрос. Попробуйте, пожалуйста, ещё раз примерно через 5 секунд."
