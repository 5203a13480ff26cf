"""Health checks: what processes show of themselves, and what `start.py health` makes of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast
from unittest.mock import AsyncMock

import pytest
from aiogram import Bot
from aiogram.exceptions import TelegramConflictError, TelegramNetworkError
from aiogram.methods import GetMe

from bot.errors import Conflict
from bot.telegram.polling import poll
from bot.telegram.session import GetRawUpdates
from model.serving.health import FOLDER, STALE, UNWELL, WELL, Deadline, Sign, birth_of, examine, heartbeat, host
from tests.conftest import ROOT
from tests.support.clock import eventually


def sign(**changes: object) -> Sign:
    """Of this very process, a moment ago."""
    now = Sign("bot", host(), os.getpid(), birth_of(os.getpid()), time.monotonic(), time.time())
    return dataclasses.replace(now, **changes)  # type: ignore[arg-type]


def leave(folder: Path, *signs: Sign) -> Path:
    folder.mkdir(exist_ok=True)
    for number, one in enumerate(signs):
        (folder / f"{number}.json").write_text(json.dumps(dataclasses.asdict(one)))
    return folder


async def until_written(folder: Path, files: int = 1) -> None:
    await eventually(lambda: len(list(folder.glob("*.json"))) >= files)


async def test_a_process_is_well_while_it_beats_and_gone_when_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "new" / FOLDER
    async with heartbeat(folder, "worker", every=0.01):
        await until_written(folder)
        assert examine(folder) == (WELL, f"well: worker {os.getpid()}")
    status, why = examine(folder)
    assert status == UNWELL
    assert "no process" in why
    assert list(folder.iterdir()) == []


async def test_a_hung_event_loop_shows(tmp_path: Path) -> None:
    async with heartbeat(tmp_path, "bot", every=0.01):
        await until_written(tmp_path)
        status, why = examine(tmp_path, now=time.monotonic() + STALE + 1)
    assert status == UNWELL
    assert f"bot {os.getpid()}: no sign of life for 3" in why


async def test_a_process_judges_itself(tmp_path: Path) -> None:
    now = 1000.0
    forward = Deadline("in one forward pass", 60, clock=lambda: now)
    forward.set()
    async with heartbeat(tmp_path, "worker", [forward], every=0.01):
        await until_written(tmp_path)
        assert examine(tmp_path)[0] == WELL
        now += 61
        await eventually(lambda: examine(tmp_path)[0] != WELL)
        assert "in one forward pass for 61 s (at most 60)" in examine(tmp_path)[1]
        forward.clear()
        await eventually(lambda: examine(tmp_path)[0] != UNWELL)


def test_a_deadline_that_is_set_again_begins_anew() -> None:
    now = 0.0
    contact = Deadline("no answer from Telegram", 10, clock=lambda: now)
    now = 100.0
    assert contact.missed() is None  # never set
    contact.set()
    now = 110.0
    assert contact.missed() is None
    contact.set()
    now = 120.0
    assert contact.missed() is None
    now = 120.5
    assert contact.missed() == "no answer from Telegram for 10 s (at most 10)"


async def test_the_bot_is_told_of_each_answer_of_telegram_and_of_no_failure() -> None:
    """So that its deadline is missed when none comes."""
    heard: list[int] = []
    server_answers: list[Any] = [[], [{"update_id": 7}], TelegramNetworkError(GetMe(), "no"), []]

    async def telegram(method: GetRawUpdates, request_timeout: int) -> list[dict[str, Any]]:
        answer = server_answers.pop(0) if server_answers else TelegramConflictError(method, "another one")
        if isinstance(answer, Exception):
            raise answer
        return cast(list[dict[str, Any]], answer)

    processor = AsyncMock()
    processor.record.return_value = []
    with pytest.raises(Conflict):
        await poll(cast(Bot, telegram), processor, ["message"], heard.append)
    assert heard == [0, 1, 0]


def test_dead_processes_and_other_machines_are_passed_over(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave(
        tmp_path,
        sign(pid=ended.pid, beat=0.0),
        sign(host="elsewhere", problem="broken"),
        sign(birth="another process had this number", problem="broken"),
    )
    (tmp_path / "half.json").write_text('{"role": "bo')
    assert examine(tmp_path)[0] == UNWELL
    leave(tmp_path, sign(role="worker"))
    assert examine(tmp_path) == (WELL, f"well: worker {os.getpid()}")


def test_one_ill_process_is_enough_and_a_missing_role_too(tmp_path: Path) -> None:
    leave(tmp_path, sign(), sign(role="worker", problem="in one forward pass for 300 s"))
    assert examine(tmp_path) == (UNWELL, f"worker {os.getpid()}: in one forward pass for 300 s")
    assert examine(tmp_path, "bot")[0] == WELL
    (tmp_path / "1.json").unlink()
    assert examine(tmp_path)[0] == WELL
    assert examine(tmp_path, "worker")[0] == UNWELL


async def test_a_start_removes_what_killed_processes_left(tmp_path: Path) -> None:
    leave(tmp_path, sign(birth="killed"), sign(host="removed container", time=0.0), sign(host="elsewhere"))
    async with heartbeat(tmp_path, "bot", every=0.01):
        await until_written(tmp_path, 2)
        await eventually(lambda: len(list(tmp_path.glob("*.json"))) <= 2)
    assert [file.name for file in tmp_path.iterdir()] == ["2.json"]


async def test_a_folder_that_cannot_be_written_harms_nobody_but_shows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FOLDER).write_text("a file in its place")
    async with heartbeat(tmp_path / FOLDER, "bot", every=0.001):
        await eventually(lambda: caplog.records)
        await asyncio.sleep(0.02)
    assert [record.name for record in caplog.records].count("model.serving.health") == 1  # not one a beat
    assert examine(tmp_path / FOLDER)[0] == UNWELL


def test_the_command_says_why_and_imports_little(tmp_path: Path) -> None:
    leave(tmp_path / FOLDER, sign())
    code = (
        "import sys, start\n"
        "status = start.main(['health', *sys.argv[1:]])\n"
        "heavy = {'torch', 'numpy', 'PIL', 'aiogram', 'aiohttp', 'redis', 'prometheus_client'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "sys.exit(status)"
    )
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(tmp_path)}
    for role, status, why in (("bot", 0, "well: bot"), ("worker", 1, "no worker runs here")):
        done = subprocess.run(
            [sys.executable, "-c", code, role], cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert (done.returncode, done.stderr) == (status, "")
        assert done.stdout.startswith(why)
        assert done.stdout.count("\n") == 1
