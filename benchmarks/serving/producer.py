"""Jobs put into a queue without Telegram, so many always open; run as a process.

Says "begin" when the first jobs are over and all goes at its pace, and "end" with the figures before the last ones.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from contextlib import AsyncExitStack
from typing import Any

from benchmarks.serving.people import small_photo
from benchmarks.serving.report import percentile
from model.serving.client import Client
from model.serving.embedded.process import EmbeddedWorker
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import Job
from model.serving.queue import JobProducer
from model.serving.redis.producer import RedisQueue
from model.serving.tasks.photo import PhotoTask


def say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


async def produce(queue: JobProducer, count: int, warm_up: int, in_flight: int) -> None:
    media, client = small_photo(), Client(queue)
    numbers = iter(range(warm_up + count + in_flight))
    latencies: list[float] = []
    began = 0.0

    async def fetch(_: AsyncExitStack) -> bytes:
        return media

    async def one_after_the_other() -> None:
        nonlocal began
        for number in numbers:
            job = Job(f"job-{number}", number, PhotoTask(sheet=False))
            put = time.monotonic()
            await client.run(job, fetch)
            await queue.forget(job.id)
            latencies.append(time.monotonic() - put)
            if len(latencies) == warm_up:
                began = time.monotonic()
                say("begin")
            elif len(latencies) == warm_up + count:
                measured = latencies[warm_up:]
                p50, p95 = percentile(measured, 50), percentile(measured, 95)
                say("end", seconds=time.monotonic() - began, jobs=count, p50=p50, p95=p95)

    await asyncio.gather(*(one_after_the_other() for _ in range(in_flight)))


async def run(options: argparse.Namespace) -> None:
    if options.redis is not None:
        queue = RedisQueue(options.redis, f"producer-{os.getpid()}")
        await queue.open()
        while (await queue.status()).workers < options.workers:
            await asyncio.sleep(0.1)
        await produce(queue, options.count, options.warm_up, options.in_flight)
        await queue.close()
        return
    local = LocalQueue()
    working = asyncio.create_task(EmbeddedWorker(local, options.worker, dict(os.environ)).run())
    while not local.workers_alive():
        await asyncio.sleep(0.1)
    await produce(local, options.count, options.warm_up, options.in_flight)
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.producer")
    parser.add_argument("--redis", metavar="URL")
    parser.add_argument("--workers", type=int, default=1, help="wait for so many, on Redis")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--warm-up", type=int, required=True)
    parser.add_argument("--in-flight", type=int, required=True)
    parser.add_argument("worker", nargs="*", help="the command of the embedded worker")
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
