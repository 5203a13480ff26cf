"""Jobs that say that workers know their picture: it is sent only where they do not."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from bot.storage.sqlite import Database
from bot.storage.sqlite_chats import SqliteStorage
from model.errors import EmptyFile, FeaturesGone
from model.serving.jobs import Job
from model.serving.tasks.photo import PhotoResult, PhotoTask
from tests.support.conversation import all_answered, downloads
from tests.support.fake_queue import FakeQueue, captions, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.jobs import photo_of
from tests.support.pictures import PHOTO
from tests.support.records import waiting_in


@pytest.fixture(autouse=True)
def asked_as_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos are asked about as if they had been answered before."""
    monkeypatch.setattr("bot.service.jobs.PhotoTask", functools.partial(PhotoTask, known=True))


def gone(job: Job, media: bytes) -> PhotoResult | Exception:
    return captions() if media else FeaturesGone("not here")


async def test_a_known_picture_is_not_downloaded(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path):
        await all_answered(server, ann, [await ann.send_photo(PHOTO)])
    assert downloads(server) == 0
    assert queue.most_bytes == 0


async def test_a_picture_that_is_known_no_more_is_sent(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = FakeQueue(gone)
    async with running_bot(server, queue, tmp_path, max_queue=1, max_per_user=1):
        await all_answered(server, ann, [await ann.send_photo(PHOTO)])
        await eventually(lambda: not waiting_in(tmp_path))
    assert downloads(server) == 1
    [job] = queue.jobs.values()  # under its first id
    assert not photo_of(job).known
    assert not queue.admitted


@pytest.mark.parametrize("when", ["before", "after"])
async def test_it_is_answered_once_though_the_bot_ends_meanwhile(
    server: FakeTelegram, ann: Person, tmp_path: Path, when: str
) -> None:
    """The queue has the job, without its picture or with it, and the next process asks about it."""

    def last(job: Job, media: bytes) -> PhotoResult | Exception:
        queue.open.clear()
        return gone(job, media)

    queue = FakeQueue(last)
    if when == "before":
        queue.open.clear()
    async with running_bot(server, queue, tmp_path, grace=0.0):
        photo = await ann.send_photo(PHOTO)
        await eventually(lambda: any(photo_of(job).known is (when == "before") for job in queue.jobs.values()))
    assert downloads(server) == (when == "after")
    assert waiting_in(tmp_path)
    queue.outcome = gone
    queue.open.set()
    async with running_bot(server, queue, tmp_path):
        await all_answered(server, ann, [photo])
        await eventually(lambda: not waiting_in(tmp_path))
    assert downloads(server) == 1
    assert not queue.admitted


async def test_a_job_without_its_picture_is_answered_though_the_next_process_does_not_know_it_as_known(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    """An hour may be over, or all forgotten."""

    def as_workers_do(job: Job, media: bytes) -> PhotoResult | Exception:
        return captions() if media else FeaturesGone("not here") if photo_of(job).known else EmptyFile("it is empty")

    queue = FakeQueue(as_workers_do)
    async with running_bot(server, queue, tmp_path, grace=0.0):
        photo = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [photo])
        await eventually(lambda: not waiting_in(tmp_path))
        queue.open.clear()
        sample = await ann.send_text("/sample")
        await eventually(lambda: len(queue.jobs) == 2)
    database = await Database.open(tmp_path)
    storage = SqliteStorage(database, server.bot["id"])
    for key in await storage.notes(ann.id, "known:"):
        await storage.forget_note(ann.id, key)
    await database.close()
    queue.open.set()
    async with running_bot(server, queue, tmp_path):
        await all_answered(server, ann, [photo, sample])
        await eventually(lambda: not waiting_in(tmp_path))
    assert ann.bot_messages()[-1]["text"].startswith("a cat sits")
    assert not queue.admitted
