"""The parts of the benchmark that go through the loopback Bot API, and the start."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.serving.people import Run, Telegram, at_rate, one_by_one, saturating
from benchmarks.serving.processes import (
    ROOT,
    CpuTimes,
    Device,
    Engine,
    Stack,
    cpu_seconds,
    environment,
    loaded,
    read_batches,
    running,
    serving,
)
from benchmarks.serving.report import Figure, Part, percentile
from tests.support.redis_server import RedisServer

ENGINES: Final[tuple[Engine, ...]] = ("embedded", "redis")
ALL: Final[tuple[Engine, ...]] = ("bare", *ENGINES)
NAMES: Final = {"bare": "bare aiogram loop", "embedded": "embedded", "redis": "Redis"}
FORBIDDEN: Final = ("torch", "torchvision", "numpy", "PIL", "av")  # in the bot's process


@dataclass(frozen=True)
class Scale:
    """How much is measured. `real`: the device for the real network, None: without."""

    folder: Path
    quick: bool = False
    real: str | None = None

    def __call__(self, count: int, quick: int) -> int:
        return quick if self.quick else count


def _milliseconds(latencies: list[float]) -> list[float]:
    return [1000 * percentile(latencies, percent) for percent in (50, 95, 99)]


async def overhead(scale: Scale) -> Part:
    rounds, each = scale(12, 3), 20
    latencies: dict[Engine, list[float]] = {engine: [] for engine in ALL}
    async with AsyncExitStack() as stacks:
        served = {
            engine: await stacks.enter_async_context(serving(engine, scale.folder / f"overhead-{engine}", paced=True))
            for engine in ALL
        }
        for _ in range(rounds):
            for engine, stack in served.items():
                latencies[engine] += await one_by_one(stack.telegram, stack.photos, each)
    part = Part(
        f"overhead: one photo in flight, {rounds * each} times in turns of {each}; ms from photo to answer",
        ["", "p50", "p95", "p99"],
    )
    bare = _milliseconds(latencies["bare"])
    for engine in ALL:
        times = _milliseconds(latencies[engine])
        part.rows.append([NAMES[engine], *times])
        if engine != "bare":
            part.figures += [
                Figure(f"p50 above the bare loop, {NAMES[engine]}", times[0] - bare[0], "ms"),
                Figure(f"p95 above the bare loop, {NAMES[engine]}", times[1] - bare[1], "ms", at_most=15),
            ]
    return part


def _of_load(title: str) -> Part:
    columns = ["asked/s", "photos", "answered/s", "p50", "p95", "p99", "mean batch", "max", "of the device"]
    return Part(
        f"{title}; latency in ms",
        ["", *columns, "CPU ms each", "by process"],
        notes=[
            "paced: with Telegram's limit of 30 messages a second, as shipped; the others send as fast as it is taken.",
            "By process: processor time in ms a photo, and the share of a core; telegram is server and people together",
        ],
    )


async def load(scale: Scale) -> Part:
    """Each row in the same processes as the one before."""
    part = _of_load("load: photos of many people as they come (Poisson)")
    steps = [(20.0, scale(300, 60)), (50.0, scale(500, 100)), (100.0, scale(600, 150))]
    for engine in ENGINES:
        async with serving(engine, scale.folder / f"load-{engine}-paced", paced=True) as stack:
            for rate, count in [(5.0, scale(100, 20)), (20.0, scale(300, 60))]:
                await _load_row(part, stack, f"{NAMES[engine]}, paced", rate, count)
        async with serving(engine, scale.folder / f"load-{engine}") as stack:
            for rate, count in steps:
                await _load_row(part, stack, NAMES[engine], rate, count)
    if scale.real is not None:
        for engine in ENGINES:
            async with serving(engine, scale.folder / f"load-{engine}-real", paced=True, real=scale.real) as stack:
                for rate in (1.0, 3.0, 8.0):
                    await _load_row(part, stack, f"{NAMES[engine]}, real", rate, scale(60, 15))
    return part


async def ceiling(scale: Scale) -> Part:
    """The engines in turns, with a device that takes all that waits: as the bare loop's pause, it holds nobody up."""
    part = _of_load("ceiling: 64 photos of as many people always unanswered")
    device = Device(batch_ms=21.0, item_ms=0.0, max_batch=64)
    rates: dict[Engine, list[float]] = {engine: [] for engine in ALL}
    seconds: dict[Engine, float] = dict.fromkeys(ALL, 0.0)  # of the bot's process
    async with AsyncExitStack() as stacks:
        served = {
            engine: await stacks.enter_async_context(serving(engine, scale.folder / f"ceiling-{engine}", device))
            for engine in ALL
        }
        for _ in range(scale(3, 1)):
            for engine in ALL:
                began = cpu_seconds(served[engine].bot)
                run = await _load_row(part, served[engine], NAMES[engine], None, scale(2000, 200), device)
                rates[engine].append(run.rate)
                seconds[engine] += cpu_seconds(served[engine].bot) - began
    for engine in ENGINES:
        ratio = statistics.mean(rates[engine]) / statistics.mean(rates["bare"])
        part.figures.append(Figure(f"ceiling against the bare loop's, {NAMES[engine]}", ratio, at_least=0.6))
        part.figures.append(
            Figure(f"as to the processor time of the bot alone, {NAMES[engine]}", seconds["bare"] / seconds[engine])
        )
    return part


async def _load_row(
    part: Part, stack: Stack, name: str, rate: float | None, count: int, device: Device | None = None
) -> Run:
    before = len(read_batches(stack.batches))
    times = CpuTimes(stack.pids)
    if rate is None:
        run = await saturating(stack.telegram, stack.photos, count, 64)
    else:
        run = await at_rate(stack.telegram, stack.photos, rate, count)
    cpu = times.describe(count)
    sizes = [len(batch.jobs) for batch in read_batches(stack.batches)[before:]]
    limit = (device or Device()).rate
    batches = [statistics.mean(sizes), max(sizes), f"{run.rate / limit:.0%}"] if sizes else ["-"] * 3
    asked = "ceiling" if rate is None else f"{rate:g}"
    part.rows.append([name, asked, count, run.rate, *_milliseconds(run.latencies), *batches, *cpu])
    return run


async def start(scale: Scale) -> Part:
    """The bot is timed by its first getUpdates, the import by the end of its process."""
    repeats = scale(9, 3)
    bots, imports = [], []
    found: set[str] = set()
    folder = scale.folder / "start"
    folder.mkdir(parents=True)
    with RedisServer(folder / "redis") as redis:
        for _ in range(repeats + 1):
            began = time.monotonic()
            subprocess.run([sys.executable, "-c", "import aiogram"], cwd=ROOT, env=environment(), check=True)
            imports.append(time.monotonic() - began)
            async with Telegram() as telegram:
                settings = {
                    "BOT_TOKEN": telegram.token,
                    "TELEGRAM_API_URL": telegram.url,
                    "REDIS_URL": redis.url,
                    "DATA_DIR": str(folder / "data"),
                }
                began = time.monotonic()
                with running([sys.executable, "start.py", "bot"], settings, folder / "log") as process:
                    await telegram.polled()
                    bots.append(time.monotonic() - began)
                    found.update(loaded(process.pid, FORBIDDEN))
    part = Part(f"start: median of {repeats}, in turns, after one to warm up", ["", "s"])
    bot, bare = statistics.median(bots[1:]), statistics.median(imports[1:])
    part.rows += [["import aiogram", f"{bare:.3f}"], ["start.py bot, to its first getUpdates", f"{bot:.3f}"]]
    part.figures += [
        Figure("bot / import", bot / bare, at_most=1.5),
        Figure(f"of {', '.join(FORBIDDEN)}: in the bot's process", len(found), at_most=0),
    ]
    part.notes += [f"loaded, and should not be: {', '.join(sorted(found))}"] if found else []
    return part


async def fairness(scale: Scale) -> Part:
    """A slow device and small batches, so that the fifty take a dozen batches and all wait when the one comes."""
    device = Device(batch_ms=200, item_ms=10, max_batch=4)
    part = Part(
        "fairness: one photo sent while another person's fifty wait (batches of 4, 240 ms each)",
        ["", "round", "left of the fifty", "batches begun since, its own included", "FIFO's"],
    )
    for engine in ENGINES:
        worst = 0
        async with serving(engine, scale.folder / f"fairness-{engine}", device) as stack:
            for number in range(scale(2, 1)):
                left, batch = await _overtake(stack)
                part.rows.append([NAMES[engine], number + 1, left, batch, -(-left // device.max_batch) + 1])
                worst = max(worst, batch)
        part.figures.append(Figure(f"batch in which it is answered, {NAMES[engine]}", worst, at_most=2))
    return part


async def _overtake(stack: Stack) -> tuple[int, int]:
    """How many of the fifty had not begun when the single photo came, and which batch from then on had it."""
    telegram, [photo] = stack.telegram, stack.photos
    many, single = telegram.asker(), telegram.asker()
    earlier = read_batches(stack.batches)
    before = sum(len(batch.jobs) for batch in earlier)
    fifty = [await many.ask(photo) for _ in range(50)]
    while len(read_batches(stack.batches)) < len(earlier) + 3:  # by then all are in line
        await asyncio.sleep(0.02)
    message, came, answered = await single.ask(photo)
    own = f"{telegram.bot['id']}-{telegram.update_id(message)}"
    await answered
    for _, _, each in fifty:
        await each
    batches = read_batches(stack.batches)
    begun = sum(len(batch.jobs) for batch in batches if batch.began < came) - before
    since = [batch for batch in batches if batch.began >= came]
    return 50 - begun, 1 + next(at for at, batch in enumerate(since) if own in batch.jobs)
