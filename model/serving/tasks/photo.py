"""What the network found → what is handed in: captions, sheets, timelines."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import Final

from PIL import Image

from model.captions import Caption, Step
from model.clip_moments import DescribedFrame, find_clip_moments
from model.drawing.heatmap import draw_sheet
from model.drawing.style import BACKGROUND, encode_png
from model.drawing.timeline import draw_timeline
from model.drawing.word_chart import draw_chart
from model.media.images import encode_jpeg
from model.serving.jobs import ClipFrame, ClipResult, Job, JobResult, WeighedWord, WireCaption
from model.serving.worker.network import Findings, Picture

MOST_STRETCHED: Final = 19  # Telegram takes photos up to 20 times as long as wide
SMALLEST: Final = 32  # pixels


def compose(picture: Picture, found: Findings) -> JobResult:
    """The answer to a job: its captions, the chart if one is asked for, and so with the sheet if the model looks at
    regions and the photo is there.
    """
    sheet = chart = None
    captions, main, labels = found.captions, found.captions.main, picture.job.labels
    if picture.job.chart:
        chart = encode_png(draw_chart(main.steps, labels))
    if picture.job.sheet and picture.photo is not None and main.attention is not None:
        sheet = encode_jpeg(draw_sheet(picture.photo, main.words, main.attention, labels))
    return JobResult(
        greedy=_wire(captions.greedy),
        samples=tuple(_wire(sample) for sample in captions.samples),
        sheet=sheet,
        best=None if captions.best is None else _wire(captions.best),
        chart=chart,
        weighed=tuple(map(_weighed, main.steps)) if picture.job.chart else (),
        other=None if found.other is None else _wire(found.other),
    )


def _wire(caption: Caption) -> WireCaption:
    return WireCaption(caption.text, round(caption.confidence, 4))


def _weighed(step: Step) -> WeighedWord:
    """Not rounded, so that the same figures are on the chart and below it."""
    others = ((word, p) for word, p in step.likeliest if word != step.word)
    return WeighedWord(step.word, step.probability, tuple(others))


def compose_clip(job: Job, frames: Sequence[DescribedFrame], duration: float) -> ClipResult:
    """The answer to a clip: every frame's caption, its moments as pictures, and the timeline."""
    clip = find_clip_moments(frames, duration, count=job.moments)
    return ClipResult(
        duration=round(clip.duration, 3),
        frames=tuple(ClipFrame(round(f.time, 3), f.text, round(f.score, 4), f.chosen) for f in clip.frames),
        variedness=round(clip.variedness, 4),
        still=clip.still,
        pictures=tuple(_for_album(moment.jpeg) for moment in clip.moments),
        timeline=encode_jpeg(draw_timeline(clip, job.labels)),
    )


def _for_album(jpeg: bytes) -> bytes:
    """The same picture, or on a larger ground where Telegram would refuse it: too long for its width, or tiny."""
    with Image.open(io.BytesIO(jpeg)) as picture:
        width, height = picture.size
        least = max(SMALLEST, math.ceil(max(width, height) / MOST_STRETCHED))
        if min(width, height) >= least:
            return jpeg
        ground = Image.new("RGB", (max(width, least), max(height, least)), BACKGROUND)
        ground.paste(picture, ((ground.width - width) // 2, (ground.height - height) // 2))
    return encode_jpeg(ground)
