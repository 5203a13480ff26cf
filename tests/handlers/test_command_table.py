"""The one table of commands: its handlers, its menus by language and kind of chat, and what is printed of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bot.replies.profile import COMMANDS
from handlers import create_routers
from handlers.command_table import registered
from tests.conftest import ROOT
from tests.support.fake_queue import FakeQueue, running_bot
from tests.support.fake_telegram import Chat, FakeTelegram, Person

NAMES = [row.name for row in COMMANDS]


def test_each_command_of_the_table_has_one_handler_and_no_other_command_has_any() -> None:
    assert sorted(name for name, _ in registered(create_routers())) == sorted(NAMES)


@pytest.mark.slow
def test_the_table_is_printed_with_menus_handlers_and_both_languages() -> None:
    printed = subprocess.run([sys.executable, "-m", "handlers"], cwd=ROOT, capture_output=True, text=True, check=True)
    head, *rows = [line.split("\t") for line in printed.stdout.splitlines()]
    assert head == ["command", "menus", "handler", "en", "ru"]
    assert [row[0] for row in rows] == [f"/{name}" for name in NAMES]
    found = {row[0]: row for row in rows}
    assert found["/sample"][1:3] == ["private chats, groups", "handlers.commands.sample"]
    assert found["/forget"][1] == "private chats"
    assert found["/stats"][1] == "administrators of the bot"
    assert found["/start"][1] == "no menu"
    for row in rows:
        assert row[3].isascii()
        assert any("а" <= letter <= "я" for letter in row[4])


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_what_the_menus_offer_is_understood_where_they_offer_it(
    server: FakeTelegram, tmp_path: Path, language: str, unpaced: None
) -> None:
    admin, person = (server.person(name, language_code=language) for name in ("Ann", "Bob"))
    group = server.group("Cats", person)
    chats: list[tuple[dict[str, object], Person, Chat | None]] = [
        ({"type": "default"}, person, None),
        ({"type": "all_group_chats"}, person, group),
        ({"type": "chat", "chat_id": admin.id}, admin, None),
    ]
    code = "" if language == "en" else language

    def menus() -> list[list[dict[str, str]]] | None:
        keys = [f"{json.dumps(scope, sort_keys=True)}/{code}" for scope, _, _ in chats]
        return [server.commands[key] for key in keys] if all(key in server.commands for key in keys) else None

    async with running_bot(server, FakeQueue(), tmp_path, admin_ids=frozenset({admin.id})):
        shown = await server.until(menus, 60)
        assert shown is not None
        for (_, asks, chat), menu in zip(chats, shown, strict=True):
            for command in menu:
                await asks.send_text(f"/{command['command']}", chat=chat)
                said = await (chat or asks).next_message()
                assert "/help" not in said.get("text", "") or command["command"] == "help", command
