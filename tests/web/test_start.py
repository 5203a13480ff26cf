"""`start.py web` as a process of its own: what it refuses to do, and Redis away."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import ROOT
from tests.support.program import Program, environment, running
from tests.support.redis_server import RedisServer, free_port
from tests.support.web import PATIENCE, answered, at


async def open_requests(client: httpx.AsyncClient, wanted: int) -> None:
    """Wait until so many are open in the queue."""
    async with asyncio.timeout(PATIENCE):
        while f"\ncaption_queue_open_requests {wanted}.0\n" not in (await client.get("/metrics")).text:
            await asyncio.sleep(0.1)


def web(*, timeout: float = 120, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "start.py"), "web"]
    return subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, check=False, timeout=timeout
    )


@pytest.mark.slow
def test_other_machines_are_let_in_only_with_a_token(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "192.0.2.1"):
        done = web(DATA_DIR=str(tmp_path), WEB_HOST=host)
        assert done.returncode == 2
        assert "WEB_TOKEN" in done.stderr
    secret = "short-and-secret"[:15]
    done = web(DATA_DIR=str(tmp_path), WEB_TOKEN=secret)
    assert done.returncode == 2
    assert "WEB_TOKEN" in done.stderr
    assert secret not in done.stderr


@pytest.mark.slow
async def test_it_waits_for_a_redis_that_is_away_and_says_so(tmp_path: Path) -> None:
    redis, port = RedisServer(tmp_path / "redis"), free_port()
    program = Program(tmp_path, "web", WEB_PORT=str(port), REDIS_URL=redis.url)
    async with running(program), at(port) as client:

        async def ask() -> httpx.Response:
            return await client.post("/v1/captions", content=b"photo", headers={"content-type": "image/jpeg"})

        try:
            for _ in range(2):
                await answered(client, program, lambda health: health.status_code == 503)
                refused = await ask()
                assert refused.status_code == 503
                assert refused.json()["error"]["kind"] == "unavailable"
                assert "retry-after" in refused.headers
                await asyncio.to_thread(redis.start)
                await answered(client, program, lambda health: health.status_code == 200)
                asking = asyncio.create_task(ask())  # there is no worker: it waits
                await open_requests(client, 1)
                asking.cancel()  # it hangs up
                await open_requests(client, 0)
                await asyncio.to_thread(redis.kill)
            assert await program.stop() == 0
        finally:
            await asyncio.to_thread(redis.kill)
