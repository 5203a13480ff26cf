"""Clip → timed frames, streamed: untrusted bytes, with limits checked before work is done. Free of torch.

Videos are decoded by PyAV (`model.media.video`), animated pictures by Pillow, here. Of a clip, about two frames a
second are taken, fewer of a long one. Transparency is flattened on white.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from model.errors import ClipTooLarge, DamagedClip, EmptyFile, NotAClip, OutOfMemory
from model.media.formats import (
    HEAD,
    Animation,
    animation_container,
    animation_timing,
    unread_clip,
    video_container,
    without_large_extras,
)
from model.media.frames import LONG_SIDE, Budget, Clip, ClipLimits, Frame, choose_frames
from model.media.images import upright_rgb
from model.media.memory import DECODING
from model.media.video import on_disk, open_video

__all__ = ["Clip", "ClipLimits", "Frame", "open_clip"]

MOST_PADDED: Final = 4  # times what arrived of a file that breaks off
# Bytes a pixel of a frame that decoders keep, measured by tests/model/media/test_memory.py.
_ANIMATED: Final[dict[Animation, int]] = {"gif": 24, "webp": 24, "png": 24, "avif": 24}


@contextlib.contextmanager
def open_clip(source: bytes | str | os.PathLike[str], limits: ClipLimits | None = None) -> Iterator[Clip]:
    """Open a clip, from memory or from disk: mp4, mov, 3gp, mkv, webm, avi, wmv, flv, ts, mpg, ogv, dv; animated GIF,
    WebP, PNG, AVIF.

    >>> with open_clip("clip.mp4") as clip:
    ...     for frame in clip:
    ...         print(frame.time, frame.image.shape)

    It waits for room in memory beside whatever else is being decoded, and has it while the block runs.
    Raises EmptyFile, NotAClip, UnreadClip, DamagedClip, ClipTooLarge, ClipTooLong, ClipTooSlow, OutOfMemory;
    ClipsUnavailable where PyAV cannot be loaded; OSError for a path that cannot be read.
    """
    limits = limits or ClipLimits()
    budget = Budget(limits.decoding)
    if isinstance(source, bytes):
        size, head = len(source), source[:HEAD]
    else:
        with open(source, "rb") as file:
            head = file.read(HEAD)
            size = os.fstat(file.fileno()).st_size
    if not size:
        raise EmptyFile("the file is empty")
    if size > limits.bytes:
        raise ClipTooLarge(f"{size:,} bytes are more than {limits.bytes:,}")
    try:
        with contextlib.ExitStack() as cleanup:
            if (container := video_container(head)) is not None:
                yield open_video(cleanup.enter_context(on_disk(source)), container, limits, budget, cleanup)
            elif (kind := animation_container(head)) is not None:
                data = source if isinstance(source, bytes) else Path(source).read_bytes()
                yield _open_animation(data, kind, limits, budget, cleanup)
            else:
                raise unread_clip(head) or NotAClip("not a clip in a format that is read here")
    except MemoryError as error:
        raise OutOfMemory(f"no memory for the clip: {error}") from error


def _open_animation(
    data: bytes, kind: Animation, limits: ClipLimits, budget: Budget, cleanup: contextlib.ExitStack
) -> Clip:
    timing = animation_timing(data, kind)
    if len(timing.durations) < 2:
        raise NotAClip("a still picture, or the first of an animation whose rest is missing")
    limits.check_pixels(*timing.size, animated=True)
    ends = np.cumsum(timing.durations)
    duration = float(ends[-1])
    limits.check_seconds(duration)
    stamps = [0.0, *ends[:-1].tolist()]
    chosen = choose_frames(stamps, duration)
    if kind == "webp":  # its decoder refuses a file that breaks off
        data = data[:4] + (timing.end - 8).to_bytes(4, "little") + data[8 : timing.end]
    elif kind == "avif" and len(data) < timing.end <= MOST_PADDED * len(data):  # and so does this one's
        data += bytes(timing.end - len(data))
    elif kind == "png":
        data = without_large_extras(data)
    with budget.pause():
        cost = _ANIMATED[kind] * timing.size[0] * timing.size[1] + len(data)
        cleanup.enter_context(DECODING.hold(cost, lasting=True))
    frames = _animation_frames(data, kind, stamps, chosen, limits, budget)
    return Clip(duration, [stamps[i] for i in chosen], frames, budget, cost)


def _animation_frames(
    data: bytes, kind: Animation, stamps: list[float], chosen: list[int], limits: ClipLimits, budget: Budget
) -> Iterator[Frame]:
    wanted = set(chosen)
    with contextlib.ExitStack() as cleanup:
        try:
            file = cleanup.enter_context(Image.open(io.BytesIO(data), formats=[kind.upper()]))
            # A PNG may begin with a picture for those who see no more.
            first = int(getattr(file, "default_image", False))
        except MemoryError:
            raise
        except Exception as error:  # decoders of damaged files raise nearly anything
            raise DamagedClip(f"the animation cannot be opened: {error}") from error
        limits.check_pixels(*file.size, animated=True)  # a container may say less than its decoder
        for index in range(chosen[-1] + 1):
            budget.check()
            try:
                file.seek(first + index)
                file.load()
                image = upright_rgb(file, reduced=True) if index in wanted else None
            except MemoryError:
                raise
            except Exception:
                return
            if image is not None:
                image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
                yield Frame(stamps[index], np.asarray(image))
