"""The worker: takes whatever waits, captions it in one batch, draws the sheets beside the next batch.

    take → decode pictures (threads) → ready → network (one thread) → draw and hand in (threads)

While the network runs one batch, the next is being decoded and the last one's sheets are being drawn. There is no
timed window: a lone picture goes through at once. Each line of the queue has an intake and room of its own, so that
what fills one lane does not keep the other's pictures from the next batch.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar, cast

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

JOB_SECONDS: Final = 120.0  # a picture that takes longer hangs
LINES: Final = ("photo", "photo-bulk")
HEARTBEAT: Final = 2.0  # seconds; also how soon a cancelled job is dropped


@dataclass(frozen=True)
class Picture:
    """A job whose picture has been decoded."""

    lease: Lease
    photo: Image.Image
    square: npt.NDArray[np.uint8]  # what the encoder sees, (size, size, 3)

    @property
    def job(self) -> Job:
        return self.lease.job


class Network(Protocol):
    """What a worker runs its batches through."""

    @property
    def image_size(self) -> int:
        """The side of the squares that `Picture.square` holds, in pixels."""

    def caption(self, pictures: Sequence[Picture]) -> list[CaptionSet | Exception]:
        """The captions of each picture, or why it has none. Called on one thread."""


class Captioners:
    """The decoders of one weights folder over one encoder, each loaded when first asked for; a `Network`."""

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

    @property
    def image_size(self) -> int:
        return self.encoder.encoder.config.image_size

    def caption(self, pictures: Sequence[Picture]) -> list[CaptionSet | Exception]:
        """As `Network.caption`: the pictures may differ in model and sampling, the encoder runs once over all.

        When the batch fails (a picture that upsets the network, memory that runs out), its halves are tried apart, so
        that in the end only what fails alone has an exception for a result.
        """
        try:
            return self._together(pictures)
        except Exception as error:
            if self.encoder.device.type == "cuda":
                torch.cuda.synchronize()  # raises if the device itself is lost: then this process must end
                torch.cuda.empty_cache()
            if len(pictures) == 1:
                return [error]
            log.warning("a batch of %d failed (%s); trying its halves", len(pictures), type(error).__name__)
        middle = len(pictures) // 2
        return self.caption(pictures[:middle]) + self.caption(pictures[middle:])

    def _together(self, pictures: Sequence[Picture]) -> list[CaptionSet | Exception]:
        squares = torch.from_numpy(np.stack([picture.square for picture in pictures])).permute(0, 3, 1, 2)
        features = self.encoder.encode(squares)
        groups: dict[tuple[str, int, Sampling], list[int]] = {}
        for row, picture in enumerate(pictures):
            groups.setdefault((picture.job.model, picture.job.samples, picture.job.sampling), []).append(row)
        results: dict[int, CaptionSet | Exception] = {}
        for (model, samples, sampling), rows in groups.items():
            captions = self[model].caption_features(
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


class WorkerHung(Exception):
    """The network has been at one batch for longer than any batch takes. Its thread cannot be stopped: exit."""


@dataclass(eq=False)
class _Held:
    """A job in this worker's hands, from its delivery to its end."""

    lease: Lease
    line: str
    taken: float
    picture: Picture | None = None  # once it is decoded
    begun: bool = False  # the network has had it


def choose(quick: Sequence[T], bulk: Sequence[T], most: int, turn: int) -> list[T]:
    """The next batch, of at most `most`. The quick lane goes first, but a quarter is the bulk lane's.

    `turn`: the number of the batch; where batches are too small to be shared, every fourth is the bulk lane's.
    """
    quarter = most // 4 if most >= 4 else most * (turn % 4 == 3)
    chosen = bulk[: max(quarter, most - len(quick))]
    return [*quick[: most - len(chosen)], *chosen]


class Worker:
    """Serves one queue until `stop` is set; then finishes what the network holds and hands back the rest."""

    def __init__(
        self,
        consumer: JobConsumer,
        network: Network,
        *,
        max_batch: int = 16,
        threads: int = 4,
        job_seconds: float = JOB_SECONDS,
    ) -> None:
        """A job held for longer than `job_seconds` is left to other workers."""
        self.consumer = consumer
        self.network = network
        self.max_batch = max_batch
        self.job_seconds = job_seconds
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="pixels")
        self._device = ThreadPoolExecutor(1, thread_name_prefix="network")
        self._held: dict[str, _Held] = {}
        self._network_began: float | None = None  # the batch it is at
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()  # decoding, and drawing and handing in
        self._answering = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Raises WorkerHung, and whatever the queue raises."""
        tasks: set[asyncio.Task[Any]] = {
            *(asyncio.create_task(self._intake(line)) for line in LINES),
            *map(asyncio.create_task, (self._run_network(), self._keep_leases(), self._watch_network())),
            asyncio.create_task(stop.wait()),
        }
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended_by = next((error for task in done if (error := task.exception()) is not None), None)
        if isinstance(ended_by, WorkerHung):
            raise ended_by
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self.consumer.give_back(list(self._held))
        self._device.shutdown()
        self._pool.shutdown()
        if ended_by is not None:
            raise ended_by

    # -- from the queue to the network

    async def _intake(self, line: str) -> None:
        """Keep at most one batch of a line's pictures decoded or being decoded, each ready as soon as it is."""

        def room() -> int:
            return self.max_batch - sum(held.line == line and not held.begun for held in self._held.values())

        while True:
            async with self._changed:
                await self._changed.wait_for(lambda: room() > 0)
            for lease in await self.consumer.take(line, room()):
                held = self._held[lease.job.id] = _Held(lease, line, time.monotonic())
                self._spawn(self._decode(held))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _decode(self, held: _Held) -> None:
        """Decode one picture, or hand in why it cannot be decoded."""
        size = self.network.image_size

        def decode() -> Picture:
            photo = open_image(held.lease.media)
            return Picture(held.lease, photo, to_square(photo, size))

        try:
            held.picture = await self._in_thread(self._pool, decode)
        except Exception as error:
            await self._fail(held, error)
        async with self._changed:
            self._changed.notify_all()

    async def _run_network(self) -> None:
        for turn in itertools.count():
            async with self._changed:
                # Sheets may be drawn more slowly than captions come.
                await self._changed.wait_for(lambda: self._ready() and self._answering <= self.max_batch)
                quick, bulk = ([held for held in self._ready() if held.line == line] for line in LINES)
                batch = choose(quick, bulk, self.max_batch, turn)
                for held in batch:
                    held.begun = True
                self._changed.notify_all()
            self._network_began = time.monotonic()
            pictures = [held.picture for held in batch if held.picture is not None]
            forward = self._in_thread(self._device, partial(self.network.caption, pictures))
            try:
                results = await asyncio.shield(forward)
            except asyncio.CancelledError:
                self._answer(batch, await forward)
                raise
            self._network_began = None
            self._answer(batch, results)

    def _ready(self) -> list[_Held]:
        return [held for held in self._held.values() if held.picture is not None and not held.begun]

    # -- from the network to the queue

    def _answer(self, batch: Sequence[_Held], results: Sequence[CaptionSet | Exception]) -> None:
        self._answering += len(batch)
        for held, captions in zip(batch, results, strict=True):
            self._spawn(self._hand_in(held, captions))

    async def _hand_in(self, held: _Held, captions: CaptionSet | Exception) -> None:
        assert held.picture is not None
        picture = held.picture
        try:
            if isinstance(captions, Exception):
                raise captions
            result = await self._in_thread(self._pool, lambda: compose(picture, captions))
        except Exception as error:
            await self._fail(held, error)
        else:
            await self.consumer.finish(held.lease.job.id, result)
            self._held.pop(held.lease.job.id, None)
        async with self._changed:
            self._answering -= 1
            self._changed.notify_all()

    async def _fail(self, held: _Held, error: Exception) -> None:
        job = held.lease.job
        if not isinstance(error, CaptionError):
            log.error("job %s failed", job.id, exc_info=error)
            error = JobFailed(f"{type(error).__name__}: {error}")
        else:
            log.info("job %s: %s", job.id, error.kind)
        await self.consumer.fail(job.id, JobFailure(error.kind, str(error)))
        self._held.pop(job.id, None)

    # -- beside them

    async def _keep_leases(self) -> None:
        """Extend the leases of all that is held, but not for ever, and drop what is this worker's no more."""
        while True:
            await asyncio.sleep(min(HEARTBEAT, self.consumer.lease_seconds / 3))
            latest = time.monotonic() - self.job_seconds
            fresh = [job_id for job_id, held in self._held.items() if held.taken > latest]
            overdue = self._held.keys() - fresh
            if overdue:
                log.error("%d jobs took over %.0f s and are left to other workers", len(overdue), self.job_seconds)
            kept = await self.consumer.extend(fresh)
            for job_id in {*fresh, *overdue} - set(kept):
                self._held.pop(job_id, None)
            async with self._changed:
                self._changed.notify_all()

    async def _watch_network(self) -> None:
        while True:
            await asyncio.sleep(HEARTBEAT)
            if self._network_began is not None and time.monotonic() - self._network_began > self.job_seconds:
                raise WorkerHung(f"the network has been at one batch for over {self.job_seconds:.0f} s")

    @staticmethod
    def _in_thread(pool: ThreadPoolExecutor, work: Callable[[], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(pool, work)
