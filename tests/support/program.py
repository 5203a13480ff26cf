"""`python start.py` as processes of a test's own, to be started, stopped and killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tests.conftest import ROOT
from tests.support.fake_telegram import TOKEN, FakeTelegram

PATIENCE = 300.0  # seconds; a loaded machine of two cores loads the network slowly
SETTINGS = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)


def environment(**values: str) -> dict[str, str]:
    """With no setting but `values`, whatever a developer has in .env.

    In fp32: each process would time what is fastest, and on a crowded machine two may differ.
    """
    return {**os.environ, **dict.fromkeys(SETTINGS, ""), "DEVICE": "cpu", "PRECISION": "fp32", **values}


class Program:
    """`python start.py ARGUMENTS`, in a process group of its own so that all of it can be killed at once."""

    def __init__(self, data: Path, *arguments: str, **settings: str) -> None:
        self.log = data / f"{'-'.join(arguments) or 'log'}"
        self._arguments = arguments
        self._environment = environment(DATA_DIR=str(data), **settings)
        self.process: asyncio.subprocess.Process | None = None

    @classmethod
    def bot(cls, server: FakeTelegram, data: Path, *arguments: str, **settings: str) -> Program:
        return cls(data, *arguments, BOT_TOKEN=TOKEN, TELEGRAM_API_URL=server.url, **settings)

    async def start(self) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable,
                str(ROOT / "start.py"),
                *self._arguments,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )

    def worker_pids(self) -> list[int]:
        """Of the worker that the bot started, if it runs."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def runs(self) -> bool:
        return self.process is not None and self.process.returncode is None

    async def kill(self) -> None:
        """SIGKILL all of its processes at the same instant."""
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        assert self.process is not None
        if self.process.returncode is None:
            self.process.terminate()
        try:
            return await asyncio.wait_for(self.process.wait(), 120)
        except TimeoutError:
            await self.kill()
            raise


@contextlib.asynccontextmanager
async def running(*programs: Program) -> AsyncIterator[None]:
    """All of them, stopped at the end; their logs are shown with a failing test."""
    for program in programs:
        await program.start()
    try:
        yield
    finally:
        for program in programs:
            await program.stop()
            print(f"== {program.log.name}", program.log.read_text(), sep="\n")
