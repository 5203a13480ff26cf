"""The real bot with a simulated worker for a child, or without Telegram's limits on messages; run as a process.

`python -m benchmarks.serving.bot [--unpaced] [COMMAND OF A WORKER …]`; with REDIS_URL set it has no child,
and without a command the real one.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

import start
from bot import app
from bot.config import Settings
from bot.logs import configure_logging
from bot.telegram.pacing import Pacer
from handlers import create_routers
from model.serving.embedded.process import EmbeddedWorker
from model.serving.embedded.queue import LocalQueue
from model.serving.limits import Rate
from model.serving.queue import Limits


class Unpaced(Pacer):
    """Sends as fast as the server takes it. A status has the room that it has where answers reach the limit: none."""

    def __init__(self) -> None:
        at_once = Rate(0.0)
        super().__init__(private=at_once, group=at_once, over_all=at_once)

    def has_spare(self, chat: int) -> bool:
        return False


async def run_embedded(settings: Settings, worker: Sequence[str]) -> int:
    """As `start.run_embedded`, with another worker."""
    start.spare_imports()
    stop = start.stop_signal()
    queue = LocalQueue(max_attempts=settings.max_attempts, limits=Limits(settings.max_queue, settings.max_per_user))
    working = asyncio.create_task(EmbeddedWorker(queue, worker, dict(os.environ)).run())
    try:
        return await app.run_bot(settings, queue, create_routers(), stop)
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.bot")
    parser.add_argument("--unpaced", action="store_true", help="send as fast as the server takes it")
    parser.add_argument("worker", nargs="*")
    options = parser.parse_args()
    settings = start.load_settings()
    configure_logging(settings)
    if options.unpaced:
        setattr(app, "Pacer", Unpaced)  # noqa: B010
    if settings.redis_url is not None:
        return asyncio.run(start.run_redis(settings))
    return asyncio.run(run_embedded(settings, options.worker) if options.worker else start.run_embedded(settings))


if __name__ == "__main__":
    sys.exit(main())
