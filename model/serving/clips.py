"""A clip in the worker's hands: its frames, a batch at a time, the next one decoded beside the network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from model.moments import BATCH, PreparedFrame, prepare
from model.video import ClipLimits, open_clip


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

    Raises what `model.video.open_clip` and its clips raise.
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
