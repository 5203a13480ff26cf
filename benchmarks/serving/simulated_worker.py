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

from model.captions import Caption, CaptionSet, NearWords, Translation
from model.clip_moments import DescribedFrame, PreparedFrame
from model.drawing.heatmap import sheet_file
from model.found import Found, Kept, Vector
from model.serving.embedded.process import connect_to_parent
from model.serving.redis.consumer import RedisConsumer
from model.serving.tasks.base import Findings, Picture
from model.serving.worker.worker import Worker
from model.tagging.answers import Ranking, Tag

log = logging.getLogger(__name__)


GRID = (8, 8)


def _caption(text: str, attention: bool) -> Caption:
    words = tuple(text.split())
    maps = np.random.default_rng(len(text)).dirichlet(np.ones(64), len(words)).astype(np.float32)
    return Caption(words, np.full(len(words), -0.5, np.float32), maps.reshape(len(words), *GRID) if attention else None)


def _captions(attention: bool) -> CaptionSet:
    """As many words as the network's have."""
    places = ("chair", "table", "bed", "floor", "grass")
    return CaptionSet(
        _caption("a cat is sitting on a white chair", attention),
        tuple(_caption(f"a cat is sitting on the {place}", attention) for place in places),
        _caption("a white cat is sitting on a chair", attention) if attention else None,
    )


class SimulatedNetwork:
    """A `Network` that sleeps. Each batch is a line of `batches`: when it began, when it was over, its jobs' ids."""

    image_size = 8

    def __init__(self, batch_seconds: float, item_seconds: float, batches: Path, attention: bool) -> None:
        """attention: with a beam's caption and attention, as the web asks for them."""
        self._captions = _captions(attention)
        self._batch_seconds = batch_seconds
        self._item_seconds = item_seconds
        self._batches = batches.open("a", encoding="utf-8")

    def caption(self, pictures: Sequence[Picture]) -> list[Findings | Exception]:
        began = time.monotonic()
        time.sleep(self._batch_seconds + self._item_seconds * len(pictures))
        line = json.dumps([began, time.monotonic(), [picture.job_id for picture in pictures]])
        self._batches.write(f"{line}\n")
        self._batches.flush()
        return [Findings(self._captions)] * len(pictures)

    def translate(self, captions: Sequence[str]) -> dict[str, Translation]:
        return {}

    def features(self, square: npt.NDArray[np.uint8]) -> Tensor:
        raise NotImplementedError("only captions are simulated")

    def tags(self, features: Tensor, tags: Sequence[str]) -> list[Tag]:
        raise NotImplementedError("only captions are simulated")

    def rank(self, features: Tensor, texts: Sequence[str]) -> Ranking:
        raise NotImplementedError("only captions are simulated")

    def vector(self, features: Tensor) -> Vector:
        raise NotImplementedError("only captions are simulated")

    def find(self, text: str, kept: Sequence[Kept], vectors: bytes) -> Found:
        raise NotImplementedError("only captions are simulated")

    def describe(self, model: str, frames: Sequence[PreparedFrame]) -> list[DescribedFrame]:
        raise NotImplementedError("only captions are simulated")

    def encode(self, squares: Sequence[npt.NDArray[np.uint8]]) -> npt.NDArray[np.float32]:
        raise NotImplementedError("only captions are simulated")

    def near_words(self, model: str, word: str, count: int) -> NearWords:
        raise NotImplementedError("only captions are simulated")

    sheet = staticmethod(sheet_file)


async def serve(options: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    network = SimulatedNetwork(options.batch_ms / 1000, options.item_ms / 1000, options.batches, options.attention)
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
    parser.add_argument("--attention", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    asyncio.run(serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
