"""What Telegram shows of the bot: set in both languages, and only when it is not so already."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.fake_queue import FakeQueue, running_bot
from tests.support.fake_telegram import Call, FakeTelegram

IN_GROUPS = ["caption", "sample", "colours", "tags", "choose", "find", "settings", "cancel", "help"]
ALL = [*IN_GROUPS[:7], "language", "cancel", "help", "privacy", "forget"]


def changes(server: FakeTelegram) -> list[Call]:
    return [call for call in server.calls if call.method.startswith("setMy")]


def questions(server: FakeTelegram) -> list[Call]:
    return [call for call in server.calls if call.method.startswith("getMy") and call.ok]


def menu(server: FakeTelegram, language: str, **scope: object) -> list[str]:
    key = f"{json.dumps(scope, sort_keys=True)}/{language}"
    return [command["command"] for command in server.commands[key]]


async def test_menus_and_descriptions_are_in_both_languages(server: FakeTelegram, tmp_path: Path) -> None:
    ann = server.person("Ann")
    async with running_bot(server, FakeQueue(), tmp_path, admin_ids=frozenset({ann.id})):
        await server.until(lambda: len(changes(server)) >= 10 or None, 60)
    assert server.violations == []
    for language in ("", "ru"):
        assert menu(server, language, type="default") == ALL
        assert menu(server, language, type="all_group_chats") == IN_GROUPS
        assert menu(server, language, type="chat", chat_id=ann.id) == [*ALL, "stats"]
    assert len(server.commands) == 6
    assert server.profile["description/"].startswith("Send me a photo")
    assert server.profile["description/ru"].startswith("Пришлите мне фото")
    assert server.profile["short_description/"].startswith("I say in words")
    assert server.profile["short_description/ru"].startswith("Описываю словами")
    [first] = [each for key, menu in server.commands.items() for each in menu[:1] if key == '{"type": "default"}/ru']
    assert first["description"].startswith("Описать картинку")


async def test_a_restart_changes_nothing(server: FakeTelegram, tmp_path: Path) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        assert await server.until(lambda: len([each for each in changes(server) if each.ok]) == 8 or None, 60)
    asked = len(questions(server))
    async with running_bot(server, FakeQueue(), tmp_path):
        assert await server.until(lambda: len(questions(server)) == 2 * asked or None, 60)
    assert len(changes(server)) == 8
    server.profile["description/ru"] = "Как было давно"
    async with running_bot(server, FakeQueue(), tmp_path):
        await server.until(lambda: len(changes(server)) >= 9 or None, 60)
    assert changes(server)[-1].params["language_code"] == "ru"


async def test_an_administrator_who_never_wrote_is_no_obstacle(
    server: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ann = server.person("Ann")
    server.faults.add("setMyCommands", "too_old", times=1, chat_id=None)
    async with running_bot(server, FakeQueue(), tmp_path, admin_ids=frozenset({ann.id})):
        await server.until(lambda: len(changes(server)) >= 10 or None, 60)
        await ann.send_text("/start")
        await ann.next_message()
    assert len([call for call in changes(server) if call.ok]) == 9
    assert "menu of commands could not be set" in caplog.text


async def test_a_failure_only_warns(server: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ann = server.person("Ann")
    server.faults.add("getMyDescription", "blocked")
    async with running_bot(server, FakeQueue(), tmp_path):
        await ann.send_text("/start")
        await ann.next_message()
        await server.until(lambda: "shows of the bot could not be set" in caplog.text or None, 60)
    assert changes(server) == []
