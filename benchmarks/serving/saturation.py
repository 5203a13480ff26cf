"""The parts of the benchmark about the queue itself: how fast it is, and what it keeps."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections import defaultdict
from contextlib import ExitStack
from typing import Any, Final

import redis

from benchmarks.serving.parts import ENGINES, NAMES, Scale
from benchmarks.serving.people import saturating
from benchmarks.serving.processes import (
    ROOT,
    CpuTimes,
    Device,
    Engine,
    Stack,
    children,
    environment,
    module,
    read_batches,
    resident,
    running,
    serving,
)
from benchmarks.serving.report import Figure, Part
from tests.support.redis_server import RedisServer

IN_FLIGHT: Final = 64  # jobs for each worker
PEOPLE: Final = 200  # few enough photos of each that the limit on one person's is not reached
GROWTH: Final = 10.0  # MiB over 2,000 photos that are noise of the allocator


async def queue(scale: Scale) -> Part:
    limit = Device().rate
    part = Part(
        f"queue: {IN_FLIGHT} jobs of 40 kB always open for each worker; a device's own limit is {limit:.0f}/s",
        [
            "",
            "workers",
            "jobs/s",
            "of the limit",
            "device busy",
            "mean batch",
            "p50 ms",
            "p95 ms",
            "CPU ms each",
            "by process",
        ],
        notes=["By process: processor time in ms a job, and the share of a core. The embedded queue has one worker."],
    )
    rates = {}
    setups: list[tuple[Engine, int]] = [("embedded", 1), ("redis", 1), ("redis", 2)]
    for engine, workers in setups:
        row, rates[engine, workers] = await _saturate(scale, engine, workers)
        part.rows.append(row)
    for engine in ENGINES:
        part.figures.append(
            Figure(f"share of the device's limit, {NAMES[engine]}", rates[engine, 1] / limit, at_least=0.9)
        )
    part.figures.append(Figure("two workers / one, Redis", rates["redis", 2] / rates["redis", 1], at_least=1.9))
    return part


async def _saturate(scale: Scale, engine: Engine, workers: int) -> tuple[list[Any], float]:
    """A row of the table, and the jobs a second."""
    device, folder = Device(), scale.folder / f"queue-{engine}-{workers}"
    folder.mkdir(parents=True)
    files = [folder / f"batches-{number}" for number in range(workers)]
    load = ["--count", str(scale(3000, 800) * workers), "--warm-up", "300", "--in-flight", str(IN_FLIGHT * workers)]
    pids: dict[str, int] = {}
    with ExitStack() as processes:
        if engine == "redis":
            server = processes.enter_context(RedisServer(folder / "redis"))
            pids["redis"] = server.pid
            for number, file in enumerate(files):
                worker = running(device.worker(file, server.url), {}, folder / "log")
                pids[f"worker {number + 1}"] = processes.enter_context(worker).pid
            command = module("producer", "--redis", server.url, "--workers", str(workers), *load)
        else:
            command = module("producer", *load, "--", *device.worker(files[0], None))
        with (folder / "log").open("ab") as log:
            producer = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log
            )
        assert producer.stdout is not None
        json.loads(await producer.stdout.readline())  # it goes at its pace
        pids["producer"] = producer.pid
        if engine == "embedded":
            [pids["worker 1"]] = children(producer.pid)
        before, times = [len(read_batches(file)) for file in files], CpuTimes(pids)
        result = json.loads(await producer.stdout.readline())
        cpu = times.describe(result["jobs"])
        batches = [batch for file, skip in zip(files, before, strict=True) for batch in read_batches(file)[skip:]]
        await producer.wait()
    busy = sum(batch.ended - batch.began for batch in batches) / result["seconds"] / workers
    rate = result["jobs"] / result["seconds"]
    mean = sum(len(batch.jobs) for batch in batches) / len(batches)
    share = f"{rate / device.rate / workers:.0%}"
    latencies = [1000 * result["p50"], 1000 * result["p95"]]
    return [NAMES[engine], workers, rate, share, f"{min(busy, 1):.0%}", mean, *latencies, *cpu], rate


async def memory(scale: Scale) -> Part:
    count, warm_up = scale(2000, 300), 200
    part = Part(
        f"memory: MiB resident before and after {count} photos of {PEOPLE} people (after {warm_up} to warm up)",
        ["", "process", "before", "after", "difference"],
    )
    for real in [None] if scale.real is None else [None, scale.real]:
        for engine in ENGINES:
            name = NAMES[engine] + (", real" if real else "")
            folder = scale.folder / f"memory-{engine}-{real or 'simulated'}"
            async with serving(engine, folder, real=real) as stack:
                await _grow(part, stack, name, count, warm_up)
    return part


async def _grow(part: Part, stack: Stack, name: str, count: int, warm_up: int) -> None:
    people = [stack.telegram.asker() for _ in range(PEOPLE)]

    async def answer(photos: int) -> None:
        await saturating(stack.telegram, stack.photos, photos, 32, people)
        await asyncio.sleep(1.0)  # what is answered is acknowledged

    await answer(warm_up)
    before = {process: resident(pid) for process, pid in stack.pids.items()}
    await answer(count)
    for process, pid in stack.pids.items():
        if process == "telegram":  # it keeps all calls, as tests want it to
            continue
        growth = resident(pid) - before[process]
        part.rows.append([name, process, before[process], resident(pid), growth])
        if process != "redis":
            part.figures.append(Figure(f"growth of the {process}, {name}", growth, "MiB", at_most=GROWTH))
    if stack.redis is not None:
        left = keys_left(stack.redis.url)
        part.notes += [f"left in Redis ({name}): {kind}: {what}" for kind, what in sorted(left.items())]
        part.figures.append(Figure(f"keys and entries of jobs left, {name}", _of_jobs(left), at_most=0))


def keys_left(url: str) -> dict[str, str]:
    """By kind (numbers and names of processes left out): how many keys, and how many entries or bytes in all."""
    client: Any = redis.Redis.from_url(url)
    sizes = {
        b"string": client.strlen,
        b"hash": client.hlen,
        b"list": client.llen,
        b"set": client.scard,
        b"zset": client.zcard,
        b"stream": client.xlen,
    }
    kinds: dict[str, list[int]] = defaultdict(list)
    for key in client.scan_iter(count=1000):
        kind = client.type(key)
        name = re.sub(r"(:told:|:note:-?\d+:[\w-]+:).*", r"\1*", key.decode())
        name = re.sub(r"(?<=[:{-])\d+(?=[:}-]|$)", "*", name)
        kinds[f"{kind.decode()} {name}"].append(int(sizes[kind](key)))
    client.close()
    return {
        name: f"{len(found)} keys, {sum(found)} {'bytes' if name.startswith('string') else 'entries'}"
        for name, found in kinds.items()
    }


def _of_jobs(left: dict[str, str]) -> int:
    """How many keys there are that a job should have taken with it, and entries of lines."""
    total = 0
    for kind, what in left.items():
        keys, entries = (int(number) for number in re.findall(r"\d+", what))
        if ":line:" in kind:
            total += entries
        elif re.search(r"\}:(job|media|reply):|\}:(requests|people|jobs|open)$", kind):
            total += keys
    return total
