"""What the network found → what is handed in: captions, sheets, timelines."""

from __future__ import annotations

from collections.abc import Sequence

from model.captioner import Caption, CaptionSet
from model.heatmap import draw_sheet, encode_jpeg
from model.moments import DescribedFrame, find_clip_moments
from model.serving.jobs import ClipFrame, ClipResult, Job, JobResult, WireCaption
from model.serving.network import Picture
from model.timeline import draw_timeline


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


def compose_clip(job: Job, frames: Sequence[DescribedFrame], duration: float) -> ClipResult:
    """The answer to a clip: every frame's caption, its moments as pictures, and the timeline."""
    clip = find_clip_moments(frames, duration, count=job.moments)
    return ClipResult(
        duration=round(clip.duration, 3),
        frames=tuple(ClipFrame(round(f.time, 3), f.text, round(f.score, 4), f.chosen) for f in clip.frames),
        variedness=round(clip.variedness, 4),
        still=clip.still,
        pictures=tuple(moment.jpeg for moment in clip.moments),
        timeline=encode_jpeg(draw_timeline(clip)),
    )
