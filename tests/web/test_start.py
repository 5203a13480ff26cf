"""`start.py web` as a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import PHOTOS, ROOT
from tests.support.program import PATIENCE, Program, environment, running

PORT = 18_431


def web(*, timeout: float = 120, **settings: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "start.py"), "web"]
    return subprocess.run(
        command, env=environment(**settings), capture_output=True, text=True, check=False, timeout=timeout
    )


def test_other_machines_are_let_in_only_with_a_token(tmp_path: Path) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        done = web(DATA_DIR=str(tmp_path), WEB_HOST=host)
        assert done.returncode == 2
        assert "WEB_TOKEN" in done.stderr
    secret = "short-and-secret"[:15]
    done = web(DATA_DIR=str(tmp_path), WEB_TOKEN=secret)
    assert done.returncode == 2
    assert "WEB_TOKEN" in done.stderr
    assert secret not in done.stderr


@pytest.mark.slow
async def test_a_photo_is_captioned_as_in_the_terminal(tmp_path: Path) -> None:
    photos = sorted(PHOTOS.glob("*.jpg"))
    program = Program(tmp_path, "web", WEB_PORT=str(PORT))
    async with running(program), httpx.AsyncClient(base_url=f"http://127.0.0.1:{PORT}", timeout=PATIENCE) as client:
        async with asyncio.timeout(PATIENCE):
            while True:
                try:
                    if (await client.get("/health")).json()["workers"]:
                        break
                except httpx.ConnectError:
                    assert program.runs()
                await asyncio.sleep(0.1)
        found: list[dict[str, Any]] = []
        for photo in photos:
            response = await client.post("/v1/captions?seed=7", files={"file": (photo.name, photo.read_bytes())})
            assert response.status_code == 200
            found += response.json()["photos"]
        assert await program.stop() == 0
    terminal = subprocess.run(
        [sys.executable, str(ROOT / "start.py"), "caption", *map(str, photos), "--seed", "7", "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    said = [json.loads(line) for line in terminal.stdout.splitlines()]
    for here, there in zip(found, said, strict=True):
        for name in ("greedy", "best"):
            assert here[name]["text"] == there[name]["text"]
            assert here[name]["confidence"] == pytest.approx(there[name]["confidence"], abs=0.01)
        assert [each["text"] for each in here["samples"]] == [each["text"] for each in there["samples"]]
