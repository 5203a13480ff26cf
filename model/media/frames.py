"""What is taken of a clip, and how much work it may be. Free of torch, av and Pillow."""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from model.errors import ClipTooLarge, ClipTooLong, ClipTooSlow, DamagedClip, OutOfMemory
from model.media.memory import refused

LONG_SIDE: Final = 1280  # pixels, of the frames handed out
RATE: Final = 2.0  # frames a second
MOST_FRAMES: Final = 120
FEWEST_FRAMES: Final = 8  # of a clip shorter than four seconds, if it has as many


@dataclass(frozen=True)
class ClipLimits:
    """What is decoded at most; beyond it there is a typed error."""

    bytes: int = 512 * 1024 * 1024
    seconds: float = 300.0  # of the clip
    frames: int = 500_000  # of a video
    pixels: int = 40_000_000  # a frame; 8K has 33 million
    animated_pixels: int = (
        17_000_000  # a frame of an animated picture, of which decoders keep several; 4K has 8 million
    )
    decoding: float = 90.0  # seconds of work on the clip, waiting for who takes the frames not counted

    def check_pixels(self, width: int, height: int, *, animated: bool = False) -> None:
        """Raises ClipTooLarge. animated: it is a picture that moves, not a video."""
        most = min(self.pixels, self.animated_pixels) if animated else self.pixels
        if width * height > most:
            raise ClipTooLarge(f"frames of {width} x {height} are more than {most:,} pixels")

    def check_seconds(self, seconds: float) -> None:
        """Raises ClipTooLong."""
        if seconds > self.seconds:
            raise ClipTooLong(f"the clip is longer than {self.seconds:g} s")


@dataclass(frozen=True)
class Frame:
    """One frame, upright, its longer side LONG_SIDE pixels at most."""

    time: float  # seconds from the clip's start
    image: npt.NDArray[np.uint8]  # (H, W, 3) RGB


def choose_frames(
    stamps: Sequence[float],
    duration: float,
    *,
    rate: float = RATE,
    most: int = MOST_FRAMES,
    fewest: int = FEWEST_FRAMES,
) -> list[int]:
    """The indices of the frames that are on show at evenly spread instants, `rate` a second.

    stamps: when each frame appears, ascending seconds; the last is on show until `duration`. The clip is cut into
    equal parts and the frame in the middle of each is taken, so a frame that is shown long is taken once.
    """
    if not stamps:
        return []
    parts = min(most, max(fewest, round(duration * rate)))
    middles = ((part + 0.5) * duration / parts for part in range(parts))
    return sorted({max(0, bisect_right(stamps, middle) - 1) for middle in middles})


class Budget:
    """Seconds of work; `pause` while somebody else works."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._spent = 0.0
        self._since = time.monotonic()

    def check(self) -> None:
        """Raises ClipTooSlow when it is used up."""
        if self._spent + time.monotonic() - self._since > self.seconds:
            raise ClipTooSlow(f"the clip takes more than {self.seconds:g} s to decode")

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        self._spent += time.monotonic() - self._since
        try:
            yield
        finally:
            self._since = time.monotonic()


class Clip:
    """An opened clip: iterate once for its frames, in the order of time. Made by `open_clip`."""

    def __init__(self, duration: float, times: list[float], frames: Iterator[Frame], budget: Budget, cost: int) -> None:
        self.duration = duration  # seconds
        self.times = times  # of the frames that are wanted; a damaged clip yields fewer
        self._frames = frames
        self._budget = budget
        self._cost = cost  # bytes that its decoder takes

    def __iter__(self) -> Iterator[Frame]:
        """Raises DamagedClip if not one frame can be read, ClipTooLarge, ClipTooSlow, and OutOfMemory."""
        found, fault = 0, DamagedClip("not one frame of the clip can be read")
        try:
            for frame in self._frames:
                found += 1
                with self._budget.pause():
                    yield frame
        except DamagedClip as error:
            fault = error
        if found < len(self.times) and refused(self._cost):
            raise OutOfMemory(f"no memory for {len(self.times) - found} frames of the clip") from fault
        if not found:
            raise fault
