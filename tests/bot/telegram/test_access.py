"""A bot that serves its list alone: messages, buttons, groups, administrators."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.fake_queue import FakeQueue, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.pictures import PHOTO


@pytest.fixture
def bob(server: FakeTelegram) -> Person:
    return server.person("Bob")


async def test_administrators_are_served_though_they_are_not_on_the_list(
    server: FakeTelegram, ann: Person, bob: Person, tmp_path: Path
) -> None:
    allowed, admins = frozenset({bob.id}), frozenset({ann.id})
    async with running_bot(server, FakeQueue(), tmp_path, allowed_ids=allowed, admin_ids=admins):
        for person in (ann, bob):
            await person.send_photo(PHOTO)
            assert (await person.next_message())["text"].startswith("a cat")


async def test_a_bot_with_administrators_alone_is_open_to_all(
    server: FakeTelegram, ann: Person, bob: Person, tmp_path: Path
) -> None:
    async with running_bot(server, FakeQueue(), tmp_path, admin_ids=frozenset({ann.id})):
        await bob.send_photo(PHOTO)
        assert (await bob.next_message())["text"].startswith("a cat")


async def test_a_group_on_the_list_may_use_the_bot_there_and_its_members_nowhere_else(
    server: FakeTelegram, ann: Person, bob: Person, tmp_path: Path
) -> None:
    friends, others = server.group("Friends", ann), server.group("Others", ann)
    async with running_bot(server, FakeQueue(), tmp_path, allowed_ids=frozenset({friends.id})):
        await bob.send_photo(PHOTO, "@captions_test_bot", chat=others)
        await bob.send_photo(PHOTO, "@captions_test_bot", chat=friends)
        assert (await friends.next_message())["text"].startswith("a cat")
        await bob.send_text("/start")
        assert "closed circle" in (await bob.next_message())["text"]
    assert others.bot_messages() == []


async def test_a_closed_bot_refuses_a_stranger_once_a_minute(
    server: FakeTelegram, ann: Person, bob: Person, tmp_path: Path
) -> None:
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path, allowed_ids=frozenset({ann.id})):
        for number, command in enumerate(("/start", "/settings", "/stats", "hello")):
            stranger = server.person(f"Stranger {number}")
            await stranger.send_text(command)
            answer = await stranger.next_message()
            assert "not on its list. Please ask whoever runs it" in answer["text"]
            assert "reply_markup" not in answer
        await bob.send_album([PHOTO] * 10)  # and only one for all that comes in a minute
        assert "not on its list" in (await bob.next_message())["text"]
        last = await bob.send_text("hello?")
        await eventually(lambda: server.confirmed(last))
        await ann.send_photo(PHOTO)
        await ann.next_message()
    assert len(bob.bot_messages()) == 1
    assert len(queue.jobs) == 1
