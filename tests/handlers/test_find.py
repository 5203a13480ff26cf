"""Conversations about /find: what people find of their own photos, what nobody else does, and what is kept for it."""

from __future__ import annotations

import base64
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from babel.dates import format_date
from pydantic import SecretStr

from bot.chat_settings import ChatSettings
from bot.storage.notes import DAY
from bot.storage.sqlite_chats import SqliteStorage
from model.errors import JobCancelled
from model.found import NAME_BYTES, Found, Hit, Vector
from model.serving.jobs import Job, Outcome
from model.serving.redis.connection import connect
from model.serving.tasks.find import FindResult, FindTask
from model.serving.tasks.photo import PhotoTask
from tests.support.conversation import DELETE, buttons, menu_of, press, tampered, words
from tests.support.fake_queue import FakeQueue, eventually, last, running_bot, worked
from tests.support.fake_telegram import Chat, FakeTelegram, Message, Person
from tests.support.jobs import photo_of
from tests.support.pictures import picture
from tests.support.records import everything, keep
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.usefixtures("unpaced")

BOT = "@captions_test_bot"
ON = ChatSettings(history=True)
DOG, CAT = picture(64, 40), picture(64, 50)
SEEN = {DOG: b"dog!", CAT: b"cat!"}  # the vectors of these photos


def model(job: Job, media: bytes) -> Outcome:
    """A photo has a vector where one is asked for; /find finds those of its last word. It does not know "xyzzy"."""
    if not isinstance(job.task, FindTask):
        vector = Vector("now", SEEN[media]) if photo_of(job).vector and media else None
        return replace(worked(job), vector=vector)
    said = job.task.text.split()
    unknown = tuple(word for word in said if word == "xyzzy")
    if len(unknown) == len(said):
        return FindResult(Found((), unknown, understood=False))
    hits, compared, at = [], 0, 0
    for kept in job.task.kept:
        step = NAME_BYTES + kept.size
        rows = [media[start : start + step] for start in range(at, at + kept.count * step, step)]
        at += len(rows) * step
        if kept.model == "now":
            compared += len(rows)
            hits += [row[:NAME_BYTES].hex() for row in rows if row[NAME_BYTES:].startswith(said[-1].encode()[:3])]
    assert at == len(media)
    sure = (0.85, 0.5, 0.2, 0.2, 0.2)
    return FindResult(Found(tuple(map(Hit, hits, sure)), unknown, compared=compared))


@pytest.fixture
def queue() -> FakeQueue:
    return FakeQueue(model)


@contextlib.asynccontextmanager
async def bot(
    server: FakeTelegram, queue: FakeQueue, folder: Path, *people: Person, **changes: Any
) -> AsyncIterator[None]:
    """The bot; these people have history on."""
    for person in people:
        await keep(folder, person.id, ON)
    async with running_bot(server, queue, folder, **changes):
        yield


async def sent(person: Person, photo: bytes = DOG, chat: Chat | None = None, **more: Any) -> Message:
    """The answer to a photo."""
    await person.send_photo(photo, BOT if chat is not None else None, chat=chat, **more)
    return await (chat or person).next_message()


async def find(person: Person, query: str = "a dog", chat: Chat | None = None, to: Message | None = None) -> Message:
    """What is said to /find, behind the pictures."""
    await person.send_text(f"/find {query}".rstrip(), chat=chat, reply_to=to)
    while "text" not in (said := await (chat or person).next_message()):
        pass
    return said


def vectors_in(folder: Path) -> int:
    return everything(folder).count('"values"')


@pytest.mark.parametrize(
    ("language", "well", "probably", "nothing"),
    [
        ("en", "fits well", "probably fits", "Nothing fits “a cat” well: I looked at the 3 photos"),
        ("ru", "подходит хорошо", "вероятно, подходит", "К «a cat» ничего хорошо не подходит: я просмотрел 3 "),
    ],
)
async def test_people_switch_it_on_and_find_their_photos(
    server: FakeTelegram, queue: FakeQueue, tmp_path: Path, language: str, well: str, probably: str, nothing: str
) -> None:
    person = server.person("P", language_code=language)
    async with bot(server, queue, tmp_path):
        await sent(person)  # before it is on
        assert not photo_of(last(queue)).vector
        off = await find(person)
        [switch] = buttons(off)
        await press(person, off, switch)
        empty = await find(person)
        assert buttons(empty) == []
        photos = [await sent(person), await sent(person)]
        await sent(person, CAT)
        before = len(person.bot_messages())
        said = await find(person)
        lines = words(said)
        assert lines[0] == "a dog"
        caption, date = "a cat on a sofa", format_date(datetime.now(UTC), "long", locale=language)
        assert lines[1:] == [f"1. {caption} · {date} · {well}", f"2. {caption} · {date} · {probably}"]
        album = person.bot_messages()[before:-1]
        shown = {each["photo"][-1]["file_id"] for each in album}
        assert shown == {each["reply_to_message"]["photo"][-1]["file_id"] for each in photos}
        assert [each["caption"] for each in album] == [line.partition(". ")[2] for line in lines[1:]]
        await press(person, said, buttons(said)[0])  # deletes the answer, not the photos
        await eventually(lambda: len(person.bot_messages()) == before)
        assert len(words(await find(person))) == 3
        queue.outcome = lambda job, media: FindResult(Found((), compared=3))
        assert words(await find(person, "a cat"))[0].startswith(nothing)


@pytest.mark.parametrize(
    ("query", "english", "russian"),
    [
        ("", "What shall I look for?", "Что искать?"),
        ("🐶 🏖", "I find photos by words only.", "Я ищу фотографии только по словам."),
        ("x" * 10_000, "That is too long to look for: it may have at most 200", "Это слишком длинно для поиска"),
        ("a dog " * 16, "That is too long to look for", "Это слишком длинно для поиска"),
        ("xyzzy xyzzy", "I know none of these words: xyzzy", "Я не знаю ни одного из этих слов: xyzzy"),
    ],
)
async def test_what_cannot_be_looked_for_has_words_of_its_own(
    server: FakeTelegram, queue: FakeQueue, tmp_path: Path, query: str, english: str, russian: str
) -> None:
    people = server.person("Ann"), server.person("Ольга", language_code="ru")
    async with bot(server, queue, tmp_path, *people):
        for person, begins in zip(people, (english, russian), strict=True):
            await sent(person)
            assert words(await find(person, query))[0].startswith(begins)
        assert len([job for job in queue.jobs.values() if isinstance(job.task, FindTask)]) in (0, 2)


async def test_replies_are_understood(server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path) -> None:
    async with bot(server, queue, tmp_path, ann):
        answer = await sent(ann)
        assert "by words, not by another picture" in words(await find(ann, "", to=answer))[0]
        photo = await ann.send_photo(CAT, "/find")
        assert "by words, not by another picture" in (await ann.next_message())["text"]
        text = await ann.send_text("/help")
        await ann.next_message()
        assert words(await find(ann, "", to=text))[0].startswith("What shall I look for?")
        said = await find(ann, "a dog", to=photo)
        assert words(said)[0] == "a dog"
        await ann.send_text("/sample 2", reply_to=ann.bot_messages()[-2])  # the picture that was found
        assert len(words(await ann.next_message())) >= 2
        assert photo_of(last(queue)).picture == answer["reply_to_message"]["photo"][-1]["file_unique_id"]


async def test_unknown_words_and_photos_of_an_earlier_model_are_named(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    async with bot(server, queue, tmp_path, ann):
        queue.outcome = lambda job, media: replace(worked(job), vector=Vector("before", b"dog"))
        await sent(ann)
        queue.outcome = model
        assert words(await find(ann)) == [
            "1 older photo was looked at by an earlier model, and cannot be compared; send it again to have it found."
        ]
        await sent(ann)
        lines = words(await find(ann, "xyzzy <b> dog"))
        assert lines[0] == "xyzzy <b> dog"
        assert [line[:12] for line in lines[2:]] == ["Words that I", "1 older phot"]


async def test_pictures_that_telegram_does_not_take_leave_the_words(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    async with bot(server, queue, tmp_path, ann):
        await sent(ann)
        server.faults.add("sendPhoto", "too_old", times=1)
        assert words(await find(ann))[-1].startswith("I could not send these photos again")


async def test_in_groups_people_find_what_they_sent_themselves(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    bob, eve = server.person("Bob"), server.person("Eve")
    group = server.group("Dogs", ann, bob)
    async with bot(server, queue, tmp_path, ann, bob):
        await sent(ann)  # in private
        ours = await sent(ann, chat=group)
        await sent(bob, CAT, chat=group)
        await sent(eve, chat=group)
        assert not photo_of(last(queue)).vector
        question = ours["reply_to_message"]
        await bob.send_text(f"/caption{BOT}", chat=group, reply_to=group.messages[question["message_id"]])
        await group.next_message()
        assert not photo_of(last(queue)).vector  # Ann sent it
        assert vectors_in(tmp_path) == 3
        found = await find(ann, chat=group)
        assert len(words(found)) == 2
        assert str(await press(eve, found, DELETE)).startswith("Only the person who asked")
        assert found["message_id"] in group.messages
        assert words(await find(bob, chat=group))[0].startswith("Nothing fits “a dog” well: I looked at the 1 photo ")
        off = await find(eve, chat=group)
        assert off["text"].endswith("You can do that in our private chat.")
        [[button]] = off["reply_markup"]["inline_keyboard"]
        assert button["url"] == "https://t.me/captions_test_bot?start=history"
        menu = await menu_of(ann)
        await press(ann, menu, "History: on")  # in all chats
        assert vectors_in(tmp_path) == 1
        await press(ann, menu, "History: off")
        assert "no photo of yours in this chat yet" in (await find(ann, chat=group))["text"]


async def test_nobody_finds_the_photos_of_others(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bob = server.person("Bob")
    async with bot(server, queue, tmp_path, ann, bob):
        await sent(ann)
        assert "no photo of yours" in (await find(bob, "marked dog"))["text"]
        await sent(bob, CAT)
        assert words(await find(bob, "marked dog"))[0].startswith("Nothing fits")
        menu = await menu_of(bob)
        await tampered(bob, menu, "ad:key:1")
        await tampered(ann, await find(ann, "marked dog"), f"ad:forged:{bob.id}")
        await eventually(lambda: "marked" not in everything(tmp_path).casefold())
        assert vectors_in(tmp_path) == 2
    assert "marked" not in caplog.text.casefold()


@pytest.mark.parametrize("mark", ["has_media_spoiler", "has_protected_content"])
async def test_covered_and_protected_photos_are_never_kept(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, mark: str
) -> None:
    group = server.group("Dogs", ann)
    async with bot(server, queue, tmp_path, ann):
        for chat in (None, group):
            await ann.send_photo(DOG, BOT, chat=chat, **{mark: True})  # type: ignore[arg-type]
            await (chat or ann).next_message()
            await ann.send_text(f"/caption{BOT}", chat=chat, reply_to=(chat or ann).messages[1])
            await (chat or ann).next_message()
        await ann.send_album([DOG, CAT], has_media_spoiler=True) if mark == "has_media_spoiler" else None
        await ann.send_document(DOG, "a.jpg", "image/jpeg")  # it could not be sent as a photo
        await ann.next_message()
        photos = [job.task for job in queue.jobs.values() if isinstance(job.task, PhotoTask)]
        assert len(photos) >= 5
        assert not any(task.vector for task in photos)
        assert vectors_in(tmp_path) == 0
        assert "no photo of yours" in (await find(ann))["text"]


async def test_photos_of_albums_are_found_until_their_answer_is_deleted(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.answers.album_plans.QUIET", 0.3)
    async with bot(server, queue, tmp_path, ann):
        alone = await sent(ann)
        await ann.send_album([DOG, CAT, DOG])
        together = await ann.next_message()
        assert len(words(await find(ann))) == 4
        await press(ann, together, DELETE)
        await eventually(lambda: vectors_in(tmp_path) == 1)
        await press(ann, alone, DELETE)
        await eventually(lambda: vectors_in(tmp_path) == 0)


async def test_what_is_in_work_when_history_is_switched_off_is_not_kept(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    queue.open.clear()
    async with bot(server, queue, tmp_path, ann):
        await ann.send_photo(DOG)
        await eventually(lambda: queue.jobs)
        menu = await menu_of(ann)
        await press(ann, menu, "History: on")
        queue.open.set()
        await ann.next_message()
        await press(ann, menu, "History: off")
        assert vectors_in(tmp_path) == 0


async def test_what_is_forgotten_while_it_is_looked_for_is_not_shown(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    async with bot(server, queue, tmp_path, ann):
        answer = await sent(ann)
        queue.open.clear()
        await ann.send_text("/find a dog")
        await eventually(lambda: isinstance(last(queue).task, FindTask))
        await press(ann, answer, DELETE)
        await eventually(lambda: vectors_in(tmp_path) == 0)
        queue.open.set()
        assert words(await ann.next_message())[0].startswith("Nothing fits")


async def forget(person: Person, chat: Chat | None = None) -> None:
    question = await menu_of(person, "/forget", chat)
    await press(person, question, DELETE)
    await (chat or person).wait_for(lambda m: "really" in m.get("text", ""))
    await press(person, question, "🗑 Yes, delete it")
    await (chat or person).wait_for(lambda m: "I have deleted" in m.get("text", ""))


@pytest.mark.parametrize("engine", ["sqlite", "redis"])
@pytest.mark.parametrize("where", ["private", "group, by its administrator", "group, by a member"])
async def test_forget_leaves_no_vector(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, engine: str, where: str, request: Any
) -> None:
    """Searched for byte by byte in the file or in all values of Redis."""
    changes: dict[str, Any] = {}
    if engine == "redis":
        redis: RedisServer = request.getfixturevalue("redis_server")
        changes["redis_url"] = SecretStr(redis.url)
        client: Any = connect(redis.url)
        await client.flushall()
    group = server.group("Dogs", ann)
    eve = server.person("Eve")
    person = eve if where.endswith("member") else ann
    secret = base64.b64encode(SEEN[DOG])

    async def stored() -> bytes:
        if engine == "sqlite":
            return b"".join(path.read_bytes() for path in tmp_path.glob("bot.sqlite3*"))
        found = b""
        async for key in client.scan_iter():
            found += (await client.dump(key) or b"") + key
        return bytes(found)

    async with running_bot(server, queue, tmp_path, **changes):
        await press(person, await menu_of(person), "History: off")
        await sent(person, chat=group)
        if where == "private":
            await sent(person)
        assert secret in await stored()
        await forget(person, None if where == "private" else group)
    left = await stored()
    assert secret not in left
    assert b"vector" not in left
    if engine == "redis":
        await client.aclose()


async def test_five_thousand_photos_are_kept_for_a_year(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here five: tests/bot/storage/test_chats.py has them all."""
    monkeypatch.setattr("bot.storage.sqlite_chats.MOST_IN_ROOM", 5)
    now = [1_800_000_000.0]
    monkeypatch.setattr(SqliteStorage.__init__, "__defaults__", (lambda: now[0],))
    async with bot(server, queue, tmp_path, ann, admin_ids=frozenset({ann.id})):
        await sent(ann, CAT)
        for _ in range(5):
            now[0] += 60
            await sent(ann)
        assert words(await find(ann, "a cat"))[0].startswith("Nothing fits “a cat” well: I looked at the 5 photos")
        assert len(words(await find(ann))) == 6
        now[0] += 364 * DAY
        assert len(words(await find(ann))) == 6
        now[0] += 1.1 * DAY
        assert "no photo of yours" in (await find(ann))["text"]


async def test_it_is_cancelled_and_counted_like_other_requests(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    async with bot(server, queue, tmp_path, ann, admin_ids=frozenset({ann.id})):
        await sent(ann)
        await find(ann)
        await eventually(lambda: not queue.admitted)
        queue.open.clear()
        await ann.send_text("/find a dog")
        await eventually(lambda: len(queue.jobs) == 3)
        await ann.send_text("/cancel")
        assert (await ann.next_message())["text"].startswith("Cancelled: 1")
        queue.outcome = lambda job, media: JobCancelled("cancelled")
        queue.open.set()
        await eventually(lambda: not queue.admitted)
        await ann.send_text("/stats")
        report = (await ann.next_message())["text"]
    assert "Photos found by words: 1" in report
