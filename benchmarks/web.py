"""What the HTTP API costs beside a worker that is asked directly: `python -m benchmarks.web`.

1, 8 and 32 clients each send a photo, wait for its captions (with attention, as JSON) and send the next. In turns with
them as many callers put the same jobs into the same kind of queue without HTTP: that is the worker's own ceiling. The
workers' device is simulated (20 ms and 1 ms an item); `--real` takes the real network instead. The limits of the web
on requests a second are lifted. On two cores with nothing else on them it takes about two minutes; other work on them
counts: client, web and worker together need 4 to 5 ms of processor time a photo.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import aiohttp

import start
from benchmarks.serving.people import Run, real_photos, small_photo
from benchmarks.serving.processes import CpuTimes, Device, children, environment, read_batches, running
from benchmarks.serving.report import Figure, Part, percentile
from model.serving.client import Client
from model.serving.embedded.process import EmbeddedWorker
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import Job
from model.serving.limits import Rate
from model.serving.queue import JobProducer, Limits
from model.serving.redis.producer import RedisQueue
from model.serving.tasks.photo import PhotoTask
from tests.support.redis_server import RedisServer, free_port
from web.app import create_app, serve
from web.settings import WebSettings

CLIENTS: Final = (1, 8, 32)
LIMITS: Final = Limits(1000, 1000)
TASK: Final = PhotoTask(beam=10, sheet=False, details=True)  # what POST /v1/captions asks for without options
ENGINES: Final = ("embedded", "redis")
NAMES: Final = {"embedded": "embedded", "redis": "Redis"}

Ask = Callable[[bytes], Awaitable[None]]


async def run_web(port: int, worker: Sequence[str], redis: str | None) -> int:
    """The web as `start.py web` runs it, on another worker and without its limits on requests a second."""
    settings = WebSettings(port=port, limits=LIMITS, rate=Rate(0.0, 1))
    stop = start.stop_signal()
    async with queue_of(worker, redis, f"web-{os.getpid()}") as queue:
        app = create_app(settings, queue)
        start.spare_imports()
        await serve(app, settings, stop)
    return 0


@contextlib.asynccontextmanager
async def queue_of(worker: Sequence[str], redis: str | None, name: str) -> AsyncIterator[JobProducer]:
    """An embedded queue with its worker, or the one in Redis; with a worker alive."""
    if redis is not None:
        remote = RedisQueue(redis, name, limits=LIMITS)
        await remote.open()
        while not (await remote.status()).workers:
            await asyncio.sleep(0.1)
        yield remote
        await remote.close()
        return
    if worker[-1] == "--embedded":
        worker = [*worker, str(os.getpid())]  # it ends with its parent
    local = LocalQueue(limits=LIMITS)
    working = asyncio.create_task(EmbeddedWorker(local, worker, dict(os.environ)).run())
    while not local.workers_alive():
        await asyncio.sleep(0.1)
    yield local
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


def direct(queue: JobProducer) -> Ask:
    """Asks the worker without HTTP."""
    client, numbers = Client(queue), itertools.count()

    async def ask(photo: bytes) -> None:
        async def fetch(_: AsyncExitStack) -> bytes:
            return photo

        number = next(numbers)
        job = Job(f"direct-{os.getpid()}-{number}", 1, TASK)
        await client.run(job, fetch)
        await queue.forget(job.id)

    return ask


def over_http(session: aiohttp.ClientSession, port: int) -> Ask:
    async def ask(photo: bytes) -> None:
        url, headers = f"http://127.0.0.1:{port}/v1/captions", {"Content-Type": "image/jpeg"}
        async with session.post(url, data=photo, headers=headers) as response:
            body = await response.read()
            assert response.status == 200, body

    return ask


async def closed_loop(ask: Ask, photos: Sequence[bytes], clients: int, count: int) -> Run:
    """Each client asks again when it has its answer."""
    numbers = iter(range(count))
    latencies: list[float] = []

    async def go_on() -> None:
        for number in numbers:
            began = time.monotonic()
            await ask(photos[number % len(photos)])
            latencies.append(time.monotonic() - began)

    began = time.monotonic()
    await asyncio.gather(*(go_on() for _ in range(clients)))
    return Run(latencies, time.monotonic() - began)


@contextlib.contextmanager
def quietly(log: Path) -> Iterator[None]:
    """What this process and its children say on standard error goes into the log."""
    kept = os.dup(2)
    with log.open("ab") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


async def up(port: int) -> None:
    async with aiohttp.ClientSession() as session, asyncio.timeout(120):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                response = await session.get(f"http://127.0.0.1:{port}/health")
                if response.status == 200 and (await response.json())["workers"]:
                    return
            await asyncio.sleep(0.1)


async def measure(engine: str, folder: Path, part: Part, options: argparse.Namespace) -> None:
    folder.mkdir(parents=True)
    log, device, port = folder / "log", Device(), free_port()
    photos = real_photos() if options.real else [small_photo()]
    async with AsyncExitStack() as stack:
        stack.enter_context(quietly(log))
        redis = stack.enter_context(RedisServer(folder / "redis")) if engine == "redis" else None
        url = None if redis is None else redis.url

        def worker(name: str) -> list[str]:
            if options.real:
                return [sys.executable, "start.py", "worker", *([] if url else ["--embedded"])]
            return [*device.worker(folder / name, url), "--attention"]

        settings = {"DATA_DIR": str(folder / "data"), "REDIS_URL": url or "", "DEVICE": options.real or ""}
        command = [sys.executable, "-m", "benchmarks.web", "--serve", str(port)]
        pids: dict[str, int] = {}
        if redis is not None:
            process = stack.enter_context(running(worker("batches"), settings, log))
            pids |= {"worker": process.pid, "redis": redis.pid}
            command += ["--redis", redis.url]
        else:
            command += ["--", *worker("web")]
        pids["web"] = stack.enter_context(running(command, settings, log)).pid
        os.environ.update(environment(**settings))
        queue = await stack.enter_async_context(queue_of(worker("direct"), url, f"direct-{os.getpid()}"))
        await up(port)
        if redis is None:
            [pids["worker"]] = children(pids["web"])
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        ways = {"directly": direct(queue), "over HTTP": over_http(session, port)}
        for ask in ways.values():
            await closed_loop(ask, photos, 8, 8 if options.real else 100)
        for clients in CLIENTS:
            count = options.photos * (1 if clients == 1 else 4)
            runs: dict[str, list[Run]] = {way: [] for way in ways}
            cpu: dict[str, list[float]] = {way: [] for way in ways}
            batches: dict[str, list[int]] = {way: [] for way in ways}
            for _ in range(options.rounds):
                for way, ask in ways.items():
                    times = CpuTimes({way: pids["web"] if way == "over HTTP" else os.getpid()})
                    began = time.monotonic()
                    runs[way].append(await closed_loop(ask, photos, clients, count))
                    cpu[way].append(times.describe(count)[0])
                    batches[way] += [
                        len(batch.jobs)
                        for batch in read_batches(*(folder / name for name in ("web", "direct", "batches")))
                        if batch.began >= began
                    ]
            report(part, engine, clients, runs, cpu, batches)


def report(
    part: Part,
    engine: str,
    clients: int,
    runs: dict[str, list[Run]],
    cpu: dict[str, list[float]],
    batches: dict[str, list[int]],
) -> None:
    p95, rate = {}, {}
    for way, each in runs.items():
        times = [1000 * seconds for run in each for seconds in run.latencies]
        rate[way] = len(times) / sum(run.seconds for run in each)
        percentiles = [percentile(times, percent) for percent in (50, 95, 99)]
        p95[way] = percentiles[1]
        size = f"{statistics.mean(batches[way]):.1f}" if batches[way] else ""
        row: list[str | float] = [
            clients,
            len(times),
            rate[way],
            *percentiles,
            f"{statistics.mean(cpu[way]):.2f}",
            size,
        ]
        part.rows.append([f"{NAMES[engine]}, {way}", *row])
    ratio = rate["over HTTP"] / rate["directly"]
    name = f"{NAMES[engine]}, {clients} clients"
    part.figures.append(Figure(f"of the ceiling, {name}", ratio, at_least=0.85 if clients == 8 else None))
    if clients == 1:
        above = p95["over HTTP"] - p95["directly"]
        part.figures.append(Figure(f"p95 above the direct call, {name}", above, "ms", at_most=10))


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.web", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--real", nargs="?", const="cpu", metavar="DEVICE", help="the real network (on cpu)")
    parser.add_argument("--photos", type=int, default=100, help="of one client in a round; of more, four times as many")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", choices=ENGINES, action="append")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the logs there")
    parser.add_argument("--serve", type=int, metavar="PORT", help=argparse.SUPPRESS)
    parser.add_argument("--redis", help=argparse.SUPPRESS)
    parser.add_argument("worker", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        return asyncio.run(run_web(options.serve, options.worker, options.redis))
    part = Part(
        "web: photos a second and ms", ["", "clients", "photos", "/s", "p50", "p95", "p99", "CPU ms each", "batch"]
    )
    part.notes.append("CPU: of the web process, or of the direct caller. Batch: photos in one run of the device.")
    print(f"cores {os.cpu_count()}, load {os.getloadavg()[0]:.1f}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for engine in options.engine or ENGINES:
            asyncio.run(measure(engine, (options.keep or Path(folder)) / engine, part, options))
    part.print()
    if options.json is not None:
        options.json.write_text(json.dumps(part.as_json(), indent=2), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
