"""Find the moments of a clip: its frames, a batch at a time, the next one decoded beside the network."""

from __future__ import annotations

import asyncio
import hashlib
import io
import math
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Final

from model.drawing.labels import ENGLISH, Labels
from model.serving.tasks.base import Language, Result, Task, Tools, WireTranslation

if TYPE_CHECKING:
    from model.captions import Translation
    from model.clip_moments import DescribedFrame, PreparedFrame
    from model.media.clips import ClipLimits
    from model.serving.tasks.cache import Described

MOST_STRETCHED: Final = 19  # Telegram takes photos up to 20 times as long as wide
SMALLEST: Final = 32  # pixels


@dataclass(frozen=True)
class ClipFrame:
    """One frame that was looked at."""

    time: float  # seconds from the clip's start
    text: str
    score: float  # in [0, 1], how unlike the rest of the clip
    chosen: bool  # a moment
    translation: WireTranslation | None = None  # where `ClipTask.language` asks for it


@dataclass(frozen=True)
class ClipResult(Result):
    """The moments of a clip."""

    duration: float  # seconds
    frames: tuple[ClipFrame, ...]
    variedness: float  # in [0, 1]
    still: bool  # one shot in which little changes
    pictures: tuple[bytes, ...]  # the chosen frames, in the order of time, as JPEG files
    timeline: bytes  # a JPEG file

    @property
    def moments(self) -> tuple[ClipFrame, ...]:
        return tuple(frame for frame in self.frames if frame.chosen)


@dataclass(frozen=True)
class ClipTask(Task):
    NAME: ClassVar[str] = "clip"
    LINE: ClassVar[str] = "clip"
    SECONDS: ClassVar[float] = 900.0
    ONE_AT_A_TIME: ClassVar[bool] = True
    RESULT: ClassVar[type[Result]] = ClipResult

    model: str = "attention"
    moments: int | None = None  # None: as many as differ
    keep: bool = True  # whether workers may keep what they find, for another choice of moments
    labels: Labels = ENGLISH  # what is written on the timeline
    language: Language = "en"  # ru: each caption with its translation

    async def work(self, media: bytes, tools: Tools) -> ClipResult:
        digest = await tools.pixels(lambda: hashlib.sha256(media).digest())
        known = tools.cache.frames(tools.place, self.model, digest)
        described: list[DescribedFrame] = []
        duration = 0.0
        async with aclosing(_batches(media, tools)) as batches:
            async for batch in batches:
                described += await _describe(self.model, batch.frames, known, tools)
                duration = batch.duration
                await tools.progress(len(described) / batch.expected)
        described.sort(key=lambda frame: frame.found.time)
        if self.keep:
            tools.cache.keep_frames(tools.place, self.model, digest, [frame.found for frame in described], tools.put)
        translations: Mapping[str, Translation] = {}
        if self.language == "ru":
            texts = list(dict.fromkeys(frame.found.text for frame in described))
            translations = await tools.network(partial(tools.models.translate, texts), 1)
        return await tools.pixels(partial(_compose, self, described, duration, translations))


async def _describe(
    model: str, frames: Sequence[PreparedFrame], known: Described, tools: Tools
) -> list[DescribedFrame]:
    """These frames described; those that are `known`, by their times, do not go through the network again."""
    from model.clip_moments import DescribedFrame

    new = [frame for frame in frames if frame.time not in known]
    described = await tools.network(partial(tools.models.describe, model, new), len(new)) if new else []
    return described + [
        DescribedFrame(known[frame.time], frame.look, frame.jpeg) for frame in frames if frame.time in known
    ]


@dataclass(frozen=True)
class FrameBatch:
    """Some consecutive frames of a clip."""

    frames: list[PreparedFrame]
    expected: int  # of the whole clip; a damaged one yields fewer
    duration: float  # of the clip, seconds


async def _batches(media: bytes, tools: Tools) -> AsyncGenerator[FrameBatch]:
    """The frames of a clip, prepared for the network, one batch ahead.

    Raises what `model.media.clips.open_clip` and its clips raise.
    """
    with closing(_decode(media, tools.models.image_size, tools.clip_limits)) as decoding:
        ahead = asyncio.ensure_future(tools.pixels(partial(next, decoding, None)))
        try:
            while (found := await asyncio.shield(ahead)) is not None:
                ahead = asyncio.ensure_future(tools.pixels(partial(next, decoding, None)))
                yield found
        finally:
            await asyncio.wait([ahead])  # a generator cannot be closed while it runs


def _decode(media: bytes, size: int, limits: ClipLimits) -> Generator[FrameBatch]:
    from model.clip_moments import BATCH, in_batches, prepare
    from model.media.clips import open_clip

    with open_clip(media, limits) as clip:
        for frames in in_batches(prepare(clip, size), BATCH):
            yield FrameBatch(frames, len(clip.times), clip.duration)


def _compose(
    task: ClipTask, frames: Sequence[DescribedFrame], duration: float, translations: Mapping[str, Translation]
) -> ClipResult:
    """Every frame's caption, the moments as pictures, and the timeline."""
    from model.clip_moments import find_clip_moments
    from model.drawing.timeline import draw_timeline
    from model.media.images import encode_jpeg

    clip = find_clip_moments(frames, duration, count=task.moments)
    return ClipResult(
        duration=round(clip.duration, 3),
        frames=tuple(
            ClipFrame(
                round(f.time, 3), f.text, round(f.score, 4), f.chosen, WireTranslation.of(translations.get(f.text))
            )
            for f in clip.frames
        ),
        variedness=round(clip.variedness, 4),
        still=clip.still,
        pictures=tuple(_for_album(moment.jpeg) for moment in clip.moments),
        timeline=encode_jpeg(draw_timeline(clip, task.labels)),
    )


def _for_album(jpeg: bytes) -> bytes:
    """The same picture, or on a larger ground where Telegram would refuse it: too long for its width, or tiny."""
    from PIL import Image

    from model.drawing.style import BACKGROUND
    from model.media.images import encode_jpeg

    with Image.open(io.BytesIO(jpeg)) as picture:
        width, height = picture.size
        least = max(SMALLEST, math.ceil(max(width, height) / MOST_STRETCHED))
        if min(width, height) >= least:
            return jpeg
        ground = Image.new("RGB", (max(width, least), max(height, least)), BACKGROUND)
        ground.paste(picture, ((ground.width - width) // 2, (ground.height - height) // 2))
    return encode_jpeg(ground)
