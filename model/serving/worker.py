"""The worker: takes whatever waits, captions it in one batch, draws the sheets beside the next batch.

    take → decode pictures (threads) → ready → network (one thread) → draw and hand in (threads)

Three tasks, joined by a list of decoded pictures: while the network runs one batch, the next is being decoded and
the last one's sheets are being drawn. There is no timed window: a lone picture goes through at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from model.captioner import Caption, Captioner, CaptionSet, Precision
from model.config import DecoderKind
from model.errors import CaptionError, JobFailed
from model.heatmap import draw_sheet, encode_jpeg
from model.images import open_image, to_square
from model.sampling import Sampling
from model.serving.jobs import Job, JobFailure, JobResult, WireCaption
from model.serving.queue import JobConsumer, Lease

log = logging.getLogger(__name__)

T = TypeVar("T")


class Captioners:
    """The decoders of one weights folder over one encoder, each loaded when first asked for."""

    def __init__(self, weights: Path, device: str, model: DecoderKind, precision: Precision = "auto") -> None:
        """Loads the encoder and the decoder named by `model`. Raises what `Captioner.load` raises."""
        self.weights = weights
        first = Captioner.load(weights, device, model=model, precision=precision)
        self._loaded: dict[str, Captioner] = {model: first}
        self.encoder = first

    def __getitem__(self, model: str) -> Captioner:
        if model not in self._loaded:
            self._loaded[model] = self.encoder.beside(self.weights, cast(DecoderKind, model))
        return self._loaded[model]


@dataclass(frozen=True)
class Picture:
    """A job whose picture has been decoded."""

    lease: Lease
    photo: Image.Image
    square: npt.NDArray[np.uint8]  # what the encoder sees, (size, size, 3)

    @property
    def job(self) -> Job:
        return self.lease.job


def caption_batch(captioners: Captioners, pictures: Sequence[Picture]) -> list[CaptionSet | Exception]:
    """Caption pictures that may differ in model and sampling: the encoder runs once over all of them.

    When the batch fails (a picture that upsets the network, memory that runs out), its halves are tried apart, so
    that in the end only what fails alone has an exception for a result.
    """
    try:
        return _caption_together(captioners, pictures)
    except Exception as error:
        if captioners.encoder.device.type == "cuda":
            torch.cuda.synchronize()  # raises if the device itself is lost: then this process must end
            torch.cuda.empty_cache()
        if len(pictures) == 1:
            return [error]
        log.warning("a batch of %d failed (%s); trying its halves", len(pictures), type(error).__name__)
    middle = len(pictures) // 2
    return caption_batch(captioners, pictures[:middle]) + caption_batch(captioners, pictures[middle:])


def _caption_together(captioners: Captioners, pictures: Sequence[Picture]) -> list[CaptionSet | Exception]:
    squares = torch.from_numpy(np.stack([picture.square for picture in pictures])).permute(0, 3, 1, 2)
    features = captioners.encoder.encode(squares)
    groups: dict[tuple[str, int, Sampling], list[int]] = {}
    for row, picture in enumerate(pictures):
        groups.setdefault((picture.job.model, picture.job.samples, picture.job.sampling), []).append(row)
    results: dict[int, CaptionSet | Exception] = {}
    for (model, samples, sampling), rows in groups.items():
        captions = captioners[model].caption_features(
            features[rows], samples=samples, sampling=sampling, seed=[pictures[row].job.seed for row in rows]
        )
        results |= dict(zip(rows, captions, strict=True))
    return [results[row] for row in range(len(pictures))]


def compose(picture: Picture, captions: CaptionSet) -> JobResult:
    """The answer to a job: its captions, and the sheet if one is asked for and the model looks at regions."""
    sheet = None
    if picture.job.sheet and captions.greedy.attention is not None:
        sheet = encode_jpeg(draw_sheet(picture.photo, captions.greedy.words, captions.greedy.attention))
    return JobResult(
        greedy=_wire(captions.greedy), samples=tuple(_wire(sample) for sample in captions.samples), sheet=sheet
    )


def _wire(caption: Caption) -> WireCaption:
    return WireCaption(caption.text, round(caption.confidence, 4))


class Worker:
    """Serves one queue until `stop` is set; then finishes what the network holds and hands back the rest."""

    def __init__(self, consumer: JobConsumer, captioners: Captioners, *, max_batch: int = 16, threads: int = 4) -> None:
        self.consumer = consumer
        self.captioners = captioners
        self.max_batch = max_batch
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pixels")
        self._device = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._decoding: dict[asyncio.Task[None], Lease] = {}
        self._ready: list[Picture] = []
        self._changed = asyncio.Condition()
        self._answers: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event) -> None:
        intake = asyncio.create_task(self._intake())
        network = asyncio.create_task(self._network())
        stopped = asyncio.create_task(stop.wait())
        tasks: set[asyncio.Task[Any]] = {intake, network, stopped}
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*self._answers)
        undone = [*(picture.lease for picture in self._ready), *self._decoding.values()]
        for decoding in list(self._decoding):
            decoding.cancel()
        await self.consumer.give_back([lease.job.id for lease in undone])
        self._device.shutdown()
        self._pool.shutdown()
        for task in done - {stopped}:
            task.result()  # raises what ended it

    async def _intake(self) -> None:
        """Keep at most one batch of pictures decoded or being decoded, each ready as soon as it is."""
        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: self._room() > 0)
            for lease in await self.consumer.take(self._room()):
                decoding = asyncio.create_task(self._decode(lease))
                self._decoding[decoding] = lease

    def _room(self) -> int:
        return self.max_batch - len(self._ready) - len(self._decoding)

    async def _decode(self, lease: Lease) -> None:
        """Decode one picture, or hand in why it cannot be decoded."""
        size = self.captioners.encoder.encoder.config.image_size

        def decode() -> Picture:
            photo = open_image(lease.media)
            return Picture(lease, photo, to_square(photo, size))

        try:
            picture = await self._in_thread(self._pool, decode)
        except Exception as error:
            picture = None
            await self._fail(lease.job, error)
        async with self._changed:
            task = asyncio.current_task()
            assert task is not None
            del self._decoding[task]
            if picture is not None:
                self._ready.append(picture)
            self._changed.notify_all()

    async def _network(self) -> None:
        while True:
            if len(self._answers) > self.max_batch:  # sheets are drawn more slowly than captions come
                await asyncio.wait(self._answers, return_when=asyncio.FIRST_COMPLETED)
                continue
            async with self._changed:
                await self._changed.wait_for(lambda: self._ready)
                batch, self._ready = self._ready, []  # at most max_batch, see _room
                self._changed.notify_all()
            forward = self._in_thread(self._device, partial(caption_batch, self.captioners, batch))
            try:
                results = await asyncio.shield(forward)
            except asyncio.CancelledError:
                self._answer(batch, await forward)
                raise
            self._answer(batch, results)

    def _answer(self, batch: Sequence[Picture], results: Sequence[CaptionSet | Exception]) -> None:
        for picture, captions in zip(batch, results, strict=True):
            task = asyncio.create_task(self._hand_in(picture, captions))
            self._answers.add(task)
            task.add_done_callback(self._answers.discard)

    async def _hand_in(self, picture: Picture, captions: CaptionSet | Exception) -> None:
        try:
            if isinstance(captions, Exception):
                raise captions
            result = await self._in_thread(self._pool, lambda: compose(picture, captions))
        except Exception as error:
            await self._fail(picture.job, error)
        else:
            await self.consumer.finish(picture.job.id, result)

    async def _fail(self, job: Job, error: Exception) -> None:
        if not isinstance(error, CaptionError):
            log.error("job %s failed", job.id, exc_info=error)
            error = JobFailed(f"{type(error).__name__}: {error}")
        else:
            log.info("job %s: %s", job.id, error.kind)
        await self.consumer.fail(job.id, JobFailure(error.kind, str(error)))

    @staticmethod
    def _in_thread(pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(pool, work)
