"""Bots, workers and Redis as processes: started, measured through /proc, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from benchmarks.serving.people import Telegram, one_by_one, real_photos, small_photo
from tests.support.redis_server import RedisServer

Engine: TypeAlias = Literal["bare", "embedded", "redis"]

ROOT: Final = Path(__file__).resolve().parent.parent.parent
SETTINGS: Final = re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(encoding="utf-8"), re.MULTILINE)
READY: Final = "the worker is ready"
START_SECONDS: Final = 120.0
WARM_UP: Final = 20  # photos


@dataclass(frozen=True)
class Device:
    """What a batch takes on the simulated device; `max_batch` of them at most at once."""

    batch_ms: float = 20.0
    item_ms: float = 1.0
    max_batch: int = 16

    @property
    def rate(self) -> float:
        """Items a second in full batches."""
        return 1000 * self.max_batch / (self.batch_ms + self.item_ms * self.max_batch)

    def worker(self, batches: Path, redis: str | None) -> list[str]:
        times = ["--batch-ms", str(self.batch_ms), "--item-ms", str(self.item_ms)]
        where = ["--max-batch", str(self.max_batch), "--batches", str(batches)]
        address = [] if redis is None else ["--redis", redis]
        return module("simulated_worker", *times, *where, *address)


@dataclass(frozen=True)
class Batch:
    """One run of the simulated device; times by `time.monotonic`, which all processes share."""

    began: float
    ended: float
    jobs: list[str]


def read_batches(*files: Path) -> list[Batch]:
    lines = [line for file in files if file.exists() for line in file.read_text(encoding="utf-8").splitlines()]
    return sorted((Batch(*json.loads(line)) for line in lines), key=lambda batch: batch.began)


def module(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.serving.{name}", *arguments]


def environment(**settings: str) -> dict[str, str]:
    """With no setting but these, whatever .env says."""
    return {**os.environ, **dict.fromkeys(SETTINGS, ""), "PYTHONPATH": str(ROOT), **settings}


@contextmanager
def running(command: list[str], settings: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of this project, asked to end when the block does."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(**settings), stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    try:
        yield process
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


# -- what /proc tells


def cpu_seconds(pid: int) -> float:
    """Of all its threads, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> float:
    """MiB."""
    [kilobytes] = re.findall(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(kilobytes) / 1024


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def loaded(pid: int, packages: Iterable[str]) -> list[str]:
    """Which of these packages' compiled parts a process has loaded."""
    maps = Path(f"/proc/{pid}/maps").read_text()
    return [package for package in packages if f"/site-packages/{package}/" in maps]


class CpuTimes:
    """How much processor time each of some processes takes."""

    def __init__(self, pids: dict[str, int]) -> None:
        self._pids = pids
        self._began = time.monotonic()
        self._before = {name: cpu_seconds(pid) for name, pid in pids.items()}

    def describe(self, jobs: int) -> tuple[float, str]:
        """Since the beginning: milliseconds a job of all together, and by process, with the share of a core."""
        elapsed = time.monotonic() - self._began
        taken = {name: cpu_seconds(pid) - self._before[name] for name, pid in self._pids.items()}
        each = [f"{name} {1000 * seconds / jobs:.2f} ({seconds / elapsed:.0%})" for name, seconds in taken.items()]
        return 1000 * sum(taken.values()) / jobs, ", ".join(each)


# -- all that serves people


@dataclass
class Stack:
    """A bot, its workers, its Redis, and the people who use it."""

    engine: Engine
    telegram: Telegram
    photos: list[bytes]
    bot: int = 0  # process ids
    workers: list[int] = field(default_factory=list)
    redis: RedisServer | None = None
    batches: Path = Path()

    @property
    def pids(self) -> dict[str, int]:
        numbered = {"worker" if not at else f"worker {at + 1}": pid for at, pid in enumerate(self.workers)}
        server = {} if self.redis is None else {"redis": self.redis.pid}
        return {"telegram": os.getpid(), "bot": self.bot, **numbered, **server}


@asynccontextmanager
async def serving(
    engine: Engine, folder: Path, device: Device | None = None, *, paced: bool = False, real: str | None = None
) -> AsyncIterator[Stack]:
    """Everything started and warm.

    `paced`: with Telegram's limits on messages a second, as shipped. `real`: the real worker, on this device.
    """
    device = device or Device()
    folder.mkdir(parents=True)
    batches, log = folder / "batches", folder / "log"
    async with Telegram() as telegram:
        processes = contextlib.ExitStack()
        try:
            redis = processes.enter_context(RedisServer(folder / "redis")) if engine == "redis" else None
            settings = {
                "BOT_TOKEN": telegram.token,
                "TELEGRAM_API_URL": telegram.url,
                "DATA_DIR": str(folder / "data"),
                "REDIS_URL": "" if redis is None else redis.url,
                "DEVICE": real or "",
            }
            stack = Stack(engine, telegram, real_photos() if real else [small_photo()], redis=redis, batches=batches)
            worker: list[str] = []
            if engine != "bare":
                url = None if redis is None else redis.url
                worker = [sys.executable, "start.py", "worker"] if real else device.worker(batches, url)
            if redis is not None:
                stack.workers = [processes.enter_context(running(worker, settings, log)).pid]
            command = _bot_command(engine, device, worker, paced=paced, real=real is not None)
            stack.bot = processes.enter_context(running(command, settings, log)).pid
            await telegram.polled()
            if engine != "bare":
                await _ready(log)
            if engine == "embedded":
                stack.workers = children(stack.bot)
            await one_by_one(telegram, stack.photos, WARM_UP)
            yield stack
        finally:
            await asyncio.to_thread(processes.close)  # beside the server, of which bots take leave


def _bot_command(engine: Engine, device: Device, worker: list[str], *, paced: bool, real: bool) -> list[str]:
    if engine == "bare":
        return module("bare_loop", "--device-ms", str(device.batch_ms + device.item_ms))
    if paced and engine == "redis":
        return [sys.executable, "start.py", "bot"]
    if paced and real:
        return [sys.executable, "start.py"]
    options = [] if paced else ["--unpaced"]
    return module("bot", *options, *(["--", *worker] if engine == "embedded" and not real else []))


async def _ready(log: Path) -> None:
    """Returns when a worker says so. Raises TimeoutError."""
    until = time.monotonic() + START_SECONDS
    while READY not in log.read_text(encoding="utf-8"):
        if time.monotonic() > until:
            raise TimeoutError(f"no worker is ready; see {log}")
        await asyncio.sleep(0.05)
