"""Several photos of one person are answered in the order in which they were sent; nobody else waits for that."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from model.errors import DamagedImage
from model.serving.jobs import Outcome
from tests.support.conversation import replied
from tests.support.fake_queue import FakeQueue, captions, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.pictures import PHOTO, SHEET
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.usefixtures("unpaced")


class Jumbled(FakeQueue):
    """Results come in any order; those of `held` jobs never."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.chance, self.held = random.Random(1), set[str]()

    async def wait(self, job_id: str, progress: Callable[[float], None] | None = None) -> Outcome:
        if job_id in self.held:
            await asyncio.Event().wait()
        await asyncio.sleep(self.chance.uniform(0.0, 0.3))
        return await super().wait(job_id, progress)


@pytest.fixture
def queue() -> Jumbled:
    return Jumbled(lambda job, media: captions(sheet=SHEET))


@pytest.fixture
async def bot(server: FakeTelegram, queue: Jumbled, tmp_path: Path) -> AsyncIterator[None]:
    async with running_bot(server, queue, tmp_path, grace=0.1):
        yield


def job_of(server: FakeTelegram, photo: Message) -> str:
    return f"{server.bot['id']}-{server.update_id(photo)}"


def answered(person: Person) -> list[int]:
    """The messages that were answered, in the order of the answers."""
    return [replied(each) for each in person.bot_messages()]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["sqlite", "redis"])
async def test_photos_of_many_people_are_answered_in_their_order(
    server: FakeTelegram, queue: Jumbled, tmp_path: Path, redis_server: RedisServer, engine: str
) -> None:
    """Some are damaged, and some answers are late: Telegram wants to be asked again."""
    redis_server.call("FLUSHALL")
    changes: dict[str, Any] = {"redis_url": SecretStr(redis_server.url)} if engine == "redis" else {}
    damaged = set[str]()
    queue.outcome = lambda job, media: DamagedImage("x") if job.id in damaged else captions(sheet=SHEET)
    people = [server.person(f"Person {number}") for number in range(20)]
    async with running_bot(server, queue, tmp_path, **changes):
        server.faults.add("sendPhoto", "delay", probability=0.2, seconds=0.2)
        server.faults.add("sendPhoto", "500", probability=0.1)
        server.faults.add("download", "500", probability=0.1)
        sent = {person.id: [await person.send_photo(PHOTO) for _ in range(5)] for person in people}
        damaged.update(job_of(server, photos[2]) for photos in sent.values())
        await eventually(lambda: all(len(person.bot_messages()) == 5 for person in people), 120)
    for person in people:
        assert answered(person) == [photo["message_id"] for photo in sent[person.id]]


@pytest.mark.usefixtures("bot")
async def test_what_is_cancelled_or_cannot_be_had_holds_up_nothing(
    server: FakeTelegram, queue: Jumbled, ann: Person
) -> None:
    queue.outcome = lambda job, media: ConnectionError("the queue went away") if job.id in lost else captions()
    photos = [await ann.send_photo(PHOTO) for _ in range(3)]
    lost = {job_of(server, photos[0])}
    await eventually(lambda: len(answered(ann)) == 2)
    assert answered(ann) == [photo["message_id"] for photo in photos[1:]]
    lost.clear()  # tried again
    await eventually(lambda: len(answered(ann)) == 3)


@pytest.mark.usefixtures("bot")
async def test_other_people_and_other_things_do_not_wait(
    server: FakeTelegram, queue: Jumbled, ann: Person, olga: Person
) -> None:
    group = server.group("Cats", ann)
    first = await ann.send_photo(PHOTO)
    queue.held.add(job_of(server, first))
    later = await ann.send_photo(PHOTO)
    await eventually(lambda: job_of(server, later) in queue.results)
    await olga.send_photo(PHOTO)
    await olga.next_message()
    await ann.send_photo(PHOTO, "@captions_test_bot", chat=group)
    await group.next_message()
    await ann.send_text("/sample 1", reply_to=later)
    assert replied(await ann.next_message()) != first["message_id"]
    assert len(ann.bot_messages()) == 1
    assert job_of(server, first) in queue.admitted
    await ann.send_text("/cancel")  # both, for neither is being sent
    assert "2" in (await ann.next_message())["text"]


@pytest.mark.usefixtures("bot")
async def test_a_photo_sent_after_an_album_is_answered_after_it(
    queue: Jumbled, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.answers.album_plans.QUIET", 0.3)
    monkeypatch.setattr("bot.answers.albums.STEP", 0.05)
    album = await ann.send_album([PHOTO] * 3)
    photo = await ann.send_photo(PHOTO)
    await eventually(lambda: len(ann.bot_messages()) == 2)
    assert answered(ann) == [album[0]["message_id"], photo["message_id"]]


@pytest.mark.usefixtures("bot")
async def test_an_album_that_nobody_sent_to_the_bot_holds_up_nothing(
    server: FakeTelegram, queue: Jumbled, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.answers.album_plans.SILENCE", 3600.0)
    group = server.group("Cats", ann)
    await ann.send_album([PHOTO] * 3, chat=group)
    await ann.send_photo(PHOTO, "@captions_test_bot", chat=group)
    await group.next_message()
