"""The real program behind a webhook: it answers, shows its health, stops gracefully, and says what is wrong."""

from __future__ import annotations

import socket
from pathlib import Path

import aiohttp
import pytest

from tests.support.fake_telegram import FakeTelegram
from tests.support.program import PATIENCE, Program, running
from tests.support.redis_server import free_port

pytestmark = pytest.mark.slow


async def test_a_photo_is_answered_and_the_health_endpoint_says_so(tmp_path: Path, photo_files: list[Path]) -> None:
    port = free_port()
    async with FakeTelegram() as telegram:
        own = {"WEBHOOK_URL": f"http://127.0.0.1:{port}/captions", "WEBHOOK_PORT": str(port)}
        program = Program.bot(telegram, tmp_path, **own)
        ann = telegram.person("Ann")
        async with running(program):
            photo = await ann.send_photo(photo_files[0].read_bytes())
            answer = await telegram.until(lambda: telegram.sent(ann.id, "sendPhoto") or None, PATIENCE)
            assert answer is not None
            assert answer[0].result["reply_to_message"]["message_id"] == photo["message_id"]
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/health") as response:
                assert response.status == 200
                assert (await response.json())["workers"] == 1
            assert await program.stop() == 0
        assert telegram.webhook["url"] == own["WEBHOOK_URL"]  # what comes meanwhile waits at Telegram
        assert telegram.violations == []
    log = program.log.read_text()
    assert telegram.webhook["secret_token"] not in log
    assert telegram.token.partition(":")[2] not in log


async def test_a_port_in_use_ends_it_with_a_clear_line(tmp_path: Path) -> None:
    async with FakeTelegram() as telegram:
        with socket.create_server(("0.0.0.0", 0)) as taken:
            port = taken.getsockname()[1]
            own = {"WEBHOOK_URL": f"http://127.0.0.1:{port}/captions", "WEBHOOK_PORT": str(port)}
            program = Program.bot(telegram, tmp_path, **own)
            await program.start()
            assert program.process is not None
            assert await program.process.wait() == 2
    [line] = [line for line in program.log.read_text().splitlines() if line.startswith("error: ")]
    assert f"WEBHOOK_PORT {port} cannot be used" in line
