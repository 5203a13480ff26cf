"""Inline mode: what a person finds of their own photos, and what nobody else does."""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bot.chat_settings import ChatSettings
from bot.storage.sqlite_chats import SqliteStorage
from model.serving.tasks.photo import WireCaption
from tests.support.conversation import answered, buttons, menu_of, press, tampered, words
from tests.support.fake_queue import FakeQueue, captions, closed_queue, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.pictures import PHOTO
from tests.support.records import everything, keep, kept, waiting_in

FORGOTTEN = "History: off. What I remembered of your photos is deleted."


def found(answer: dict[str, Any]) -> list[str]:
    """The captions of what is offered, as they would be sent."""
    return [each["sent"]["caption"] for each in answer["results"]]


async def shown(queue: FakeQueue, person: Person, caption: str) -> Message:
    """A photo of which the bot says this."""
    queue.outcome = lambda job, media: captions(greedy=caption)
    await answered(person)
    return next(each for each in reversed(person.messages.values()) if not each["from"]["is_bot"])


@pytest.mark.parametrize(
    ("language", "off", "on", "switch", "empty", "other"),
    [
        ("en", "History: off", "History: on", "Switch history on", "Nothing here yet", "None of your photos"),
        ("ru", "История: нет", "История: да", "Включите историю", "Здесь пока пусто", "Ни в одном описании"),
    ],
)
async def test_people_find_their_own_photos_once_they_switched_history_on(
    server: FakeTelegram,
    queue: FakeQueue,
    unpaced: None,
    language: str,
    off: str,
    on: str,
    switch: str,
    empty: str,
    other: str,
) -> None:
    person = server.person("P", language_code=language)
    await shown(queue, person, "a horse in a field")  # before it is on
    answer = await server.inline(person, "")
    assert (answer["results"], answer["is_personal"], answer["cache_time"]) == ([], True, 0)
    assert answer["button"]["text"].startswith(switch)
    await person.send_text(f"/start {answer['button']['start_parameter']}")
    menu = await person.next_message()
    assert await press(person, menu, off) == on
    assert (await server.inline(person, ""))["button"]["text"].startswith(empty)
    dog = await shown(queue, person, "a brown dog <runs> on the grass")
    await shown(queue, person, "a dog and a cat")
    answer = await server.inline(person, "")
    assert found(answer) == ["a dog and a cat", "a brown dog <runs> on the grass"]
    assert answer["results"][1]["sent"]["photo"] == dog["photo"]
    assert "button" not in answer
    assert found(await server.inline(person, "DOG br")) == ["a brown dog <runs> on the grass"]
    assert (await server.inline(person, "horse"))["button"]["text"].startswith(other)
    assert (await server.inline(person, "og"))["results"] == []
    forgotten = {"en": "What I remembered of your photos is deleted.", "ru": "То, что я помнил о ваших фото, удалено."}
    assert await press(person, menu, on) == f"{off}. {forgotten[language]}"
    assert await press(person, menu, off) == on
    assert (await server.inline(person, ""))["button"]["text"].startswith(empty)  # switched off, all was forgotten


async def test_nobody_finds_the_photos_of_others(
    server: FakeTelegram, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bob = server.person("Marked-Bob")
    for person in (ann, bob):
        await keep(tmp_path, person.id, ChatSettings(history=True))
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path):
        await shown(queue, ann, "a dog of ann")
        await shown(queue, bob, "a dog of bob")
        assert found(await server.inline(bob, "dog")) == ["a dog of bob"]
        assert found(await server.inline(server.person("Eve"), "dog")) == []
        query = server.new_query()
        forged = {"id": query, "from": bob.user, "query": "marked-query", "offset": "-1"}
        server.push("inline_query", forged)
        number = server.push("inline_query", forged | {"id": "forged", "offset": "9" * 70})
        await eventually(lambda: server.confirmed(number) and server.inline_answers.get(query))
        assert server.inline_answers[query]["results"] == []
        await eventually(lambda: "marked" not in everything(tmp_path).casefold())
    assert "marked" not in caplog.text.casefold()


async def test_photos_of_an_album_are_found_and_its_files_and_covered_photos_are_not(
    server: FakeTelegram, ann: Person, tmp_path: Path, unpaced: None
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(history=True))
    numbers = itertools.count(1)
    queue = FakeQueue(lambda job, media: captions(greedy=f"dog {next(numbers)}"))
    async with running_bot(server, queue, tmp_path):
        photos = await ann.send_album([PHOTO, PHOTO])
        await ann.next_message()
        for photo in photos:
            number = {"message_id": photo["message_id"] + 100, "media_group_id": "2", "has_media_spoiler": True}
            server.push("message", photo | server.store_photo(PHOTO) | number)
        for name in ("a.png", "b.png"):
            await ann.send_document(PHOTO, name, "image/png", media_group_id="3")
        for _ in range(2):
            await ann.next_message()
        await eventually(lambda: not waiting_in(tmp_path))
        results = (await server.inline(ann, "dog"))["results"]
        assert [each["sent"]["photo"] for each in results] == [photo["photo"] for photo in photos]


async def test_what_was_doubtful_is_not_found_as_a_fact(
    server: FakeTelegram, ann: Person, tmp_path: Path, unpaced: None
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(history=True))
    doubtful = replace(captions(), greedy=WireCaption("a man holding a gun", 0.05, "a man"))
    async with running_bot(server, FakeQueue(lambda job, media: doubtful), tmp_path):
        answer = await answered(ann)
        assert words(answer)[0] == "perhaps: a man"
        assert found(await server.inline(ann, "man")) == ["perhaps: a man"]


async def test_what_is_in_work_when_history_is_switched_off_is_not_kept(
    server: FakeTelegram, ann: Person, tmp_path: Path, unpaced: None
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(history=True))
    queue = closed_queue()
    async with running_bot(server, queue, tmp_path):
        await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
        menu = await menu_of(ann)
        assert await press(ann, menu, "History: on") == FORGOTTEN
        queue.open.set()
        await ann.next_message()
        assert await press(ann, menu, "History: off") == "History: on"
        assert (await server.inline(ann, ""))["results"] == []


@pytest.mark.parametrize("slow", ["keep_settings", "note_all"])
async def test_what_is_written_while_history_is_switched_off_is_not_kept(
    server: FakeTelegram, ann: Person, tmp_path: Path, unpaced: None, monkeypatch: pytest.MonkeyPatch, slow: str
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(history=True))
    queue = closed_queue()
    began, go_on = asyncio.Event(), asyncio.Event()
    work = getattr(SqliteStorage, slow)

    async def held(self: SqliteStorage, chat_id: int, what: Any) -> None:
        if slow == "keep_settings" or what[0].key.startswith("history:"):
            began.set()
            await go_on.wait()
        await work(self, chat_id, what)

    async with running_bot(server, queue, tmp_path):
        await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
        menu = await menu_of(ann)
        monkeypatch.setattr(SqliteStorage, slow, held)
        if slow == "keep_settings":  # the answer comes while the press is in work
            await ann.press(menu, "History: on")
            await began.wait()
            queue.open.set()
            await ann.next_message()
            await eventually(lambda: "'history:" in everything(tmp_path))
        else:
            queue.open.set()
            await began.wait()
            assert await press(ann, menu, "History: on") == FORGOTTEN
        go_on.set()
        await eventually(lambda: not waiting_in(tmp_path))
    assert not (await kept(tmp_path, ann.id)).history
    assert "'history:" not in everything(tmp_path)


async def test_forget_deletes_the_history_and_the_consent(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    await keep(tmp_path, ann.id, ChatSettings(history=True))
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path):
        await shown(queue, ann, "a dog of ann")
        await eventually(lambda: "a dog of ann" in everything(tmp_path))
        await ann.send_text("/forget")
        question = await ann.next_message()
        await press(ann, question, "🗑 Delete")
        await ann.wait_for(lambda m: "really" in m.get("text", ""))
        await press(ann, question, "🗑 Yes, delete it")
        await ann.wait_for(lambda m: "I have deleted" in m.get("text", ""))
        assert (await server.inline(ann, ""))["button"]["text"].startswith("Switch history on")
    assert "a dog of ann" not in everything(tmp_path)
    assert await kept(tmp_path, ann.id) == ChatSettings()


@pytest.mark.parametrize("mark", ["has_media_spoiler", "has_protected_content"])
async def test_covered_and_protected_photos_are_never_kept(
    server: FakeTelegram, ann: Person, tmp_path: Path, mark: str
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(history=True))
    queue = FakeQueue(lambda job, media: captions(greedy="a covered dog"))
    async with running_bot(server, queue, tmp_path):
        message = ann.new_message(ann.user, server.store_photo(PHOTO) | {mark: True}, None, None)
        server.push("message", message)
        await ann.next_message()
        await ann.send_text("/caption", reply_to=message)
        await ann.next_message()
        await ann.send_document(PHOTO, "a.png", "image/png")  # it could not be sent as a photo
        await ann.next_message()
        assert (await server.inline(ann, ""))["results"] == []
    assert '"history:' not in everything(tmp_path)
    assert "'history:" not in everything(tmp_path)


async def test_in_groups_there_is_no_history(server: FakeTelegram, ann: Person, tmp_path: Path, unpaced: None) -> None:
    group = server.group("Cats", ann)
    await keep(tmp_path, ann.id, ChatSettings(history=True))
    queue = FakeQueue(lambda job, media: captions(greedy="a dog"))
    async with running_bot(server, queue, tmp_path):
        menu = await menu_of(ann, "/settings", group)
        assert not [label for label in buttons(menu) if "History" in label]
        assert "History" not in menu["text"]
        assert "no such choice" in str(await tampered(ann, menu, "set:set:history:1"))
        await answered(ann, "@captions_test_bot", group)
        assert (await server.inline(ann, ""))["results"] == []
    assert not (await kept(tmp_path, group.id)).history


@pytest.mark.slow
async def test_more_than_fit_come_page_by_page(
    server: FakeTelegram, ann: Person, tmp_path: Path, unpaced: None
) -> None:
    await keep(tmp_path, ann.id, ChatSettings(history=True))
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path, admin_ids=frozenset({ann.id})):  # without limits
        message = await shown(queue, ann, "a dog")
        for _ in range(50):
            again = ann.new_message(ann.user, server.store_photo(PHOTO), None, None)
            server.push("message", again)
        await eventually(lambda: everything(tmp_path).count("'history:") == 51)
        first = await server.inline(ann, "dog")
        assert len(first["results"]) == 50
        second = await server.inline(ann, "dog", first["next_offset"])
        assert [each["sent"]["photo"] for each in second["results"]] == [message["photo"]]
        assert "next_offset" not in second or second["next_offset"] == ""


async def test_a_reset_of_all_settings_says_that_the_history_is_deleted(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    menu = await menu_of(ann)
    await press(ann, menu, "History: off")
    await shown(queue, ann, "a dog")
    expected = "All settings are back to their defaults. What I remembered of your photos is deleted."
    assert await press(ann, menu, "↺ Reset all") == expected
    assert await press(ann, menu, "↺ Reset all") == "All settings are back to their defaults."
    assert (await server.inline(ann, ""))["results"] == []
