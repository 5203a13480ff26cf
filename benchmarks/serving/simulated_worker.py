"""A worker whose device takes the time of a network and computes nothing; run as a process.

`python -m benchmarks.serving.simulated_worker --redis URL`, or without an address as the child of a bot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from torch import Tensor

from model.captioner import Caption, CaptionSet
from model.clip_moments import DescribedFrame, PreparedFrame
from model.serving.embedded.process import connect_to_parent
from model.serving.redis.consumer import RedisConsumer
from model.serving.tasks.base import Findings, Picture
from model.serving.worker.worker import Worker
from model.tagging.answers import Ranking, Tag

log = logging.getLogger(__name__)


def _caption(text: str) -> Caption:
    words = tuple(text.split())
    return Caption(words, np.full(len(words), -0.5, np.float32), None)


CAPTIONS = CaptionSet(
    _caption("a cat is sitting on a white chair"),
    tuple(_caption(f"a cat is sitting on the {place}") for place in ("chair", "table", "bed", "floor", "grass")),
)


class SimulatedNetwork:
    """A `Network` that sleeps. Each batch is a line of `batches`: when it began, when it was over, its jobs' ids."""

    image_size = 8

    def __init__(self, batch_seconds: float, item_seconds: float, batches: Path) -> None:
        self._batch_seconds = batch_seconds
        self._item_seconds = item_seconds
        self._batches = batches.open("a", encoding="utf-8")

    def caption(self, pictures: Sequence[Picture]) -> list[Findings | Exception]:
        began = time.monotonic()
        time.sleep(self._batch_seconds + self._item_seconds * len(pictures))
        line = json.dumps([began, time.monotonic(), [picture.job_id for picture in pictures]])
        self._batches.write(f"{line}\n")
        self._batches.flush()
        return [Findings(CAPTIONS)] * len(pictures)

    def features(self, square: npt.NDArray[np.uint8]) -> Tensor:
        raise NotImplementedError("only captions are simulated")

    def tags(self, features: Tensor, tags: Sequence[str]) -> list[Tag]:
        raise NotImplementedError("only captions are simulated")

    def rank(self, features: Tensor, texts: Sequence[str]) -> Ranking:
        raise NotImplementedError("only captions are simulated")

    def describe(self, model: str, frames: Sequence[PreparedFrame]) -> list[DescribedFrame]:
        raise NotImplementedError("only pictures are simulated")


async def serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    network = SimulatedNetwork(options.batch_ms / 1000, options.item_ms / 1000, options.batches)
    if options.redis is None:
        pipe = await connect_to_parent()
        log.info("the worker is ready")
        await Worker(pipe, network, max_batch=options.max_batch).run(stop)
        await pipe.close()
        return
    consumer = RedisConsumer(options.redis, f"simulated-{os.getpid()}")
    await consumer.open()
    log.info("the worker is ready")
    await Worker(consumer, network, max_batch=options.max_batch).run(stop)
    await consumer.close()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.simulated_worker")
    parser.add_argument("--redis", metavar="URL")
    parser.add_argument("--batch-ms", type=float, required=True)
    parser.add_argument("--item-ms", type=float, required=True)
    parser.add_argument("--max-batch", type=int, required=True)
    parser.add_argument("--batches", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
