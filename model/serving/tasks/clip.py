"""A clip in the worker's hands: its frames, a batch at a time, the next one decoded beside the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from concurrent.futures import Executor
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial

from model.clip_moments import BATCH, DescribedFrame, PreparedFrame, prepare
from model.media.clips import ClipLimits, open_clip
from model.serving.worker.cache import Described


@dataclass(frozen=True)
class FrameBatch:
    """Some consecutive frames of a clip."""

    frames: list[PreparedFrame]
    expected: int  # of the whole clip; a damaged one yields fewer
    duration: float  # of the clip, seconds


async def frame_batches(
    media: bytes, size: int, limits: ClipLimits, pool: Executor, *, batch: int = BATCH
) -> AsyncGenerator[FrameBatch]:
    """The frames of a clip, prepared for squares of `size` pixels in threads of `pool`, one batch ahead.

    Raises what `model.media.clips.open_clip` and its clips raise.
    """
    loop = asyncio.get_running_loop()
    with closing(_decode(media, size, limits, batch)) as decoding:
        ahead = loop.run_in_executor(pool, partial(next, decoding, None))
        try:
            while (found := await asyncio.shield(ahead)) is not None:
                ahead = loop.run_in_executor(pool, partial(next, decoding, None))
                yield found
        finally:
            await asyncio.wait([ahead])  # a generator cannot be closed while it runs


async def describe_clip(
    batches: AsyncGenerator[FrameBatch],
    known: Described,
    describe: Callable[[list[PreparedFrame]], Awaitable[list[DescribedFrame]]],
    progress: Callable[[float], Awaitable[None]],
) -> tuple[list[DescribedFrame], float]:
    """All frames of a clip in the order of time, described, and its duration in seconds.

    `known`: frames that need not go through the network again, by their times. `progress` hears of the done share.
    """
    described: list[DescribedFrame] = []
    duration = 0.0
    async with aclosing(batches) as batches:
        async for batch in batches:
            if new := [frame for frame in batch.frames if frame.time not in known]:
                described += await describe(new)
            described += [
                DescribedFrame(known[frame.time], frame.look, frame.jpeg)
                for frame in batch.frames
                if frame.time in known
            ]
            duration = batch.duration
            await progress(len(described) / batch.expected)
    return sorted(described, key=lambda frame: frame.found.time), duration


def _decode(media: bytes, size: int, limits: ClipLimits, batch: int) -> Generator[FrameBatch]:
    with open_clip(media, limits) as clip:
        frames: list[PreparedFrame] = []
        for frame in clip:
            frames.append(prepare(frame, size))
            if len(frames) == batch:
                yield FrameBatch(frames, len(clip.times), clip.duration)
                frames = []
        if frames:
            yield FrameBatch(frames, len(clip.times), clip.duration)
