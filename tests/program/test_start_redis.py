"""The bot and a worker as processes of their own, sharing a real Redis; each of the three is killed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.fake_telegram import TOKEN, FakeTelegram
from tests.support.program import PATIENCE, environment
from tests.support.redis_server import RedisServer

pytestmark = pytest.mark.slow


async def start(part: str, log: Path, settings: dict[str, str]) -> asyncio.subprocess.Process:
    command = [sys.executable, str(ROOT / "start.py"), part]
    with log.open("ab") as file:
        return await asyncio.create_subprocess_exec(
            *command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=settings
        )


async def test_what_was_accepted_is_answered_once_whatever_is_killed(
    tmp_path: Path, photo_files: list[Path], small_weights: str
) -> None:
    log = tmp_path / "log"
    server = RedisServer(tmp_path / "redis", password="hush")
    async with FakeTelegram() as telegram:
        common = {"REDIS_URL": server.url, "LOG_FORMAT": "json", "DATA_DIR": str(tmp_path / "data")}
        for_bot = environment(BOT_TOKEN=TOKEN, TELEGRAM_API_URL=telegram.url, **common)
        for_worker = environment(BOT_TOKEN="not a token, and not to be read", WEIGHTS_DIR=small_weights, **common)
        ann = telegram.person("Ann")
        sent = [await ann.send_photo(file.read_bytes()) for file in photo_files[:4]]
        bot = worker = await start("bot", log, for_bot)  # before Redis is there
        await asyncio.to_thread(server.start)
        try:
            assert await telegram.until(lambda: all(map(telegram.confirmed, sent)) or None, PATIENCE)
            bot.kill()
            await bot.wait()
            await asyncio.to_thread(server.restart)
            bot = await start("bot", log, for_bot)
            worker = await start("worker", log, for_worker)
            assert await telegram.until(lambda: telegram.sent(ann.id, "sendPhoto") or None, PATIENCE)
            worker.kill()
            await worker.wait()
            sent.append(await ann.send_photo(photo_files[4].read_bytes()))
            worker = await start("worker", log, for_worker)
            await telegram.until(lambda: len(telegram.sent(ann.id, "sendPhoto")) >= 5 or None, PATIENCE)
            await asyncio.sleep(1)  # for a sixth, which must not come
            replied = [call.result["reply_to_message"]["message_id"] for call in telegram.sent(ann.id, "sendPhoto")]
            assert sorted(replied) == sorted(message["message_id"] for message in sent)
            for process in (worker, bot):
                process.terminate()
                assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
            assert telegram.violations == []
        finally:
            for process in (bot, worker):
                if process.returncode is None:
                    process.kill()
                    await process.wait()
            server.kill()
            print(log.read_text())
    text = log.read_text()
    assert TOKEN.partition(":")[2] not in text
    assert "hush" not in text
    assert not list(tmp_path.rglob("*.sqlite3"))
