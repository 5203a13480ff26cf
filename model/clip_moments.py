"""Clip in, its most dissimilar moments out.

Three steps that can be taken apart, so that a server may put frames of clips and photos into one batch:

    open_clip ──▶ prepare(frames) ──▶ describe(captioner, batch) ──▶ find_clip_moments(all of them)
                  pixels, a thread      the network                    NumPy

`watch` takes all of them: decoding and preparing run on a thread beside the network, a few frames ahead of it.
Nothing but small JPEGs is kept of the frames.
"""

from __future__ import annotations

import io
import os
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.captioner import Captioner
from model.media.clips import ClipLimits, Frame, open_clip
from model.media.images import encode_jpeg
from model.network.encoder import to_square
from model.novelty import FrameFeatures, Look, find_moments, look

BATCH: Final = 8

T = TypeVar("T")


@dataclass(frozen=True)
class PreparedFrame:
    """A frame ready for the network."""

    time: float  # seconds
    square: npt.NDArray[np.uint8]  # what the encoder sees, (size, size, 3)
    look: Look
    jpeg: bytes  # the frame itself


@dataclass(frozen=True)
class FrameDescription:
    """What the network found of a frame; nothing of its pixels."""

    time: float  # seconds
    text: str
    confidence: float
    vision: npt.NDArray[np.float32]  # (C,) pooled encoder features


@dataclass(frozen=True)
class DescribedFrame:
    """A frame after the network."""

    found: FrameDescription
    look: Look
    jpeg: bytes


@dataclass(frozen=True)
class Moment:
    """One frame of a clip's account."""

    time: float  # seconds
    text: str  # its greedy caption
    confidence: float
    score: float  # in [0, 1], how unlike the rest of the clip
    chosen: bool
    jpeg: bytes

    def image(self, side: int | None = None) -> Image.Image:
        """The frame, or a thumbnail whose longer side is `side`."""
        return _decode(self.jpeg, side)


@dataclass(frozen=True)
class Moments:
    """What happens in a clip."""

    duration: float  # seconds
    frames: tuple[Moment, ...]  # all that were looked at, in the order of time
    variedness: float  # in [0, 1]
    still: bool  # one shot in which little changes

    @property
    def moments(self) -> tuple[Moment, ...]:
        """The chosen frames."""
        return tuple(frame for frame in self.frames if frame.chosen)


def prepare(frames: Iterable[Frame], size: int) -> Iterator[PreparedFrame]:
    """The work on frames' pixels. size: of the encoder's square, pixels."""
    picture = Image.new("RGB", (0, 0))  # the same for all frames: fresh memory costs more than the copy
    for frame in frames:
        pixels = np.ascontiguousarray(frame.image)
        if picture.size != pixels.shape[1::-1]:
            picture = Image.new("RGB", pixels.shape[1::-1])
        picture.frombytes(pixels)
        yield PreparedFrame(frame.time, to_square(pixels, size), look(pixels), encode_jpeg(picture))


def describe(captioner: Captioner, batch: Sequence[PreparedFrame]) -> list[DescribedFrame]:
    """Caption a batch of frames."""
    if not batch:
        return []
    features = captioner.encode(captioner.stack([frame.square for frame in batch]))
    captions = [captions.greedy for captions in captioner.caption_features(features, samples=0)]
    vision = captioner.pooled(features)
    return [
        DescribedFrame(
            FrameDescription(frame.time, caption.text, caption.confidence, vision[row]),
            frame.look,
            frame.jpeg,
        )
        for row, (frame, caption) in enumerate(zip(batch, captions, strict=True))
    ]


def find_clip_moments(frames: Sequence[DescribedFrame], duration: float, *, count: int | None = None) -> Moments:
    """Choose among a clip's frames. count: how many; None: as many as differ. Raises ValueError for no frames."""
    features = FrameFeatures(
        times=[frame.found.time for frame in frames],
        vision=np.stack([frame.found.vision for frame in frames]) if frames else np.empty((0, 1), np.float32),
        looks=[frame.look for frame in frames],
    )
    novelty = find_moments(features, count=count)
    return Moments(
        duration=duration,
        frames=tuple(
            Moment(
                frame.found.time,
                frame.found.text,
                frame.found.confidence,
                float(novelty.scores[i]),
                i in novelty.chosen,
                frame.jpeg,
            )
            for i, frame in enumerate(frames)
        ),
        variedness=novelty.variedness,
        still=novelty.still,
    )


def watch(
    captioner: Captioner,
    source: bytes | str | os.PathLike[str],
    *,
    limits: ClipLimits | None = None,
    batch: int = BATCH,
    progress: Callable[[int, int], None] | None = None,
) -> Moments:
    """The moments of a clip; `progress` hears of frames done and to come. Raises what `open_clip` and `Clip` raise."""
    size = captioner.encoder.config.image_size
    described: list[DescribedFrame] = []
    with open_clip(source, limits) as clip, closing(_ahead(prepare(clip, size), 2 * batch)) as ahead:
        for frames in in_batches(ahead, batch):
            described += describe(captioner, frames)
            if progress is not None:
                progress(len(described), len(clip.times))
        duration = clip.duration
    return find_clip_moments(described, duration)


def in_batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The same items, `size` at a time; the last may be fewer."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _ahead(items: Iterable[T], most: int) -> Generator[T]:
    """The same items, made on a thread that is at most `most` of them ahead; its error is raised here."""
    made: queue.Queue[Any] = queue.Queue(most)
    over, stop = object(), threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                made.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(over)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=make, name="frames", daemon=True)
    thread.start()
    try:
        while (item := made.get()) is not over:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()


def _decode(jpeg: bytes, side: int | None) -> Image.Image:
    with Image.open(io.BytesIO(jpeg)) as file:
        if side is not None:
            file.draft("RGB", (side, side))
        image = file.convert("RGB")
    if side is not None:
        image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return image
