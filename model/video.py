"""Clip → timed frames, streamed: untrusted bytes, with limits checked before work is done. Free of torch.

Videos are decoded by OpenCV's FFmpeg, animated pictures by Pillow. Of a clip, about two frames a second are taken,
fewer of a long one. Videos are read twice: first their packets' timestamps alone (milliseconds), so that frames can
be spread evenly over the clip's real time whatever its frame rate, then their pictures.

Transparency is flattened on white for animated pictures; what FFmpeg decodes arrives without it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import mmap
import os
import re
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.container import HEAD, Animation, Video, animation_container, animation_timing, video_container
from model.errors import (
    ClipsUnavailable,
    ClipTooLarge,
    ClipTooLong,
    ClipTooSlow,
    DamagedClip,
    EmptyFile,
    NotAClip,
)
from model.images import upright_rgb

LONG_SIDE: Final = 1280  # pixels, of the frames handed out
RATE: Final = 2.0  # frames a second
MOST_FRAMES: Final = 120
FEWEST_FRAMES: Final = 8  # of a clip shorter than four seconds, if it has as many
_MAX_STRETCH: Final = 8  # a sample aspect ratio beyond 1:8 or 8:1 is a fault of the file
_UNREADABLE_RUN: Final = 64  # broken packets in a row, after which nothing better is expected
_OPENING: Final = threading.Lock()  # FFmpeg's options travel in the environment
_OPTIONS: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_SOUND: Final = {"mov": (rb"soun", rb"vide"), "matroska": (rb"A_[A-Z]", rb"V_[A-Z]"), "avi": (rb"auds", rb"vids")}


@dataclass(frozen=True)
class ClipLimits:
    """What is decoded at most; beyond it there is a typed error."""

    bytes: int = 512 * 1024 * 1024
    seconds: float = 300.0  # of the clip
    pixels: int = 40_000_000  # a frame; 8K has 33 million
    decoding: float = 120.0  # seconds of work on the clip, waiting for who takes the frames not counted


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


class _Budget:
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

    def __init__(self, duration: float, times: list[float], frames: Iterator[Frame], budget: _Budget) -> None:
        self.duration = duration  # seconds
        self.times = times  # of the frames that are wanted; a damaged clip yields fewer
        self._frames = frames
        self._budget = budget

    def __iter__(self) -> Iterator[Frame]:
        """Raises DamagedClip if not one frame can be read, ClipTooLarge and ClipTooSlow."""
        found = False
        for frame in self._frames:
            found = True
            with self._budget.pause():
                yield frame
        if not found:
            raise DamagedClip("not one frame of the clip can be read")


@contextlib.contextmanager
def open_clip(source: bytes | str | os.PathLike[str], limits: ClipLimits | None = None) -> Iterator[Clip]:
    """Open a clip (mp4, mov, mkv, webm, avi; animated GIF, WebP, PNG), from memory or from disk.

    >>> with open_clip("clip.mp4") as clip:
    ...     for frame in clip:
    ...         print(frame.time, frame.image.shape)

    Raises EmptyFile, NotAClip, DamagedClip, ClipTooLarge, ClipTooLong, ClipTooSlow; ClipsUnavailable where OpenCV
    cannot be loaded; OSError for a path that cannot be read.
    """
    limits = limits or ClipLimits()
    budget = _Budget(limits.decoding)
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
    if (container := video_container(head)) is not None:
        with _on_disk(source) as path, contextlib.ExitStack() as cleanup:
            yield _open_video(path, container, limits, budget, cleanup)
    elif (kind := animation_container(head)) is not None:
        yield _open_animation(source if isinstance(source, bytes) else Path(source).read_bytes(), kind, limits, budget)
    else:
        raise NotAClip("not a clip in a format that is read here")


# Animated pictures


def _open_animation(data: bytes, kind: Animation, limits: ClipLimits, budget: _Budget) -> Clip:
    timing = animation_timing(data, kind)
    if len(timing.durations) < 2:
        raise NotAClip("a still picture, or the first of an animation whose rest is missing")
    _check_pixels(*timing.size, limits)
    ends = np.cumsum(timing.durations)
    duration = float(ends[-1])
    _check_seconds(duration, limits)
    stamps = [0.0, *ends[:-1].tolist()]
    chosen = choose_frames(stamps, duration)
    if kind == "webp":  # its decoder refuses a file that breaks off
        data = data[:4] + (timing.end - 8).to_bytes(4, "little") + data[8 : timing.end]
    return Clip(duration, [stamps[i] for i in chosen], _animation_frames(data, kind, stamps, chosen, budget), budget)


def _animation_frames(
    data: bytes, kind: Animation, stamps: list[float], chosen: list[int], budget: _Budget
) -> Iterator[Frame]:
    wanted = set(chosen)
    with contextlib.ExitStack() as cleanup:
        try:
            file = cleanup.enter_context(Image.open(io.BytesIO(data), formats=[kind.upper()]))
            first = int(
                getattr(file, "default_image", False)
            )  # a PNG may begin with a picture for those who see no more
        except Exception as error:  # decoders of damaged files raise nearly anything
            raise DamagedClip(f"the animation cannot be opened: {error}") from error
        for index in range(chosen[-1] + 1):
            budget.check()
            try:
                file.seek(first + index)
                file.load()
                image = upright_rgb(file.copy()) if index in wanted else None
            except Exception:
                return
            if image is not None:
                image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.BICUBIC, reducing_gap=2.0)
                yield Frame(stamps[index], np.asarray(image))


# Videos


@functools.cache
def _opencv() -> ModuleType:
    """OpenCV, quiet. Raises ClipsUnavailable."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # as FFmpeg's AV_LOG_QUIET
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
    try:
        import cv2
    except ImportError as error:
        raise ClipsUnavailable(
            f"clips cannot be read here, for OpenCV does not load ({error}); "
            "on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0 libxcb1"
        ) from error
    return cv2


@contextlib.contextmanager
def _on_disk(source: bytes | str | os.PathLike[str]) -> Iterator[str]:
    """An absolute path (so that it cannot be taken for an address) under which FFmpeg finds the clip."""
    if not isinstance(source, bytes):
        yield os.path.abspath(source)
    elif hasattr(os, "memfd_create") and os.path.isdir("/proc/self/fd"):
        with open(os.memfd_create("clip"), "wb") as file:
            file.write(source)
            file.flush()
            yield f"/proc/self/fd/{file.fileno()}"
    else:
        with tempfile.TemporaryDirectory(prefix="clip-") as folder:
            path = Path(folder, "clip")
            path.write_bytes(source)
            yield str(path)


def _capture(path: str, container: Video, cleanup: contextlib.ExitStack, *, packets: bool = False) -> Any:
    """A cv2.VideoCapture held to one file and one demuxer, or None. packets: read packets, decode nothing."""
    cv2 = _opencv()
    options = [cv2.CAP_PROP_FORMAT, -1] if packets else []
    with _OPENING:
        before = os.environ.get(_OPTIONS)
        os.environ[_OPTIONS] = f"protocol_whitelist;file|format_whitelist;{container}"
        try:
            capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, options)
        except cv2.error:
            return None
        finally:
            if before is None:
                del os.environ[_OPTIONS]
            else:
                os.environ[_OPTIONS] = before
    cleanup.callback(capture.release)
    return capture if capture.isOpened() else None


def _open_video(
    path: str, container: Video, limits: ClipLimits, budget: _Budget, cleanup: contextlib.ExitStack
) -> Clip:
    cv2 = _opencv()
    capture = _capture(path, container, cleanup)
    if capture is None:
        if _sound_only(path, container):
            raise NotAClip("there is sound in it, but no pictures")
        raise DamagedClip("the clip cannot be opened: it is damaged, or of a kind that is not read here")
    _check_pixels(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)), limits)
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    rate = rate if 0.1 <= rate <= 1000.0 else 25.0
    stamps = _packet_times(path, container, limits, budget)
    if len(stamps) < 2:  # no timestamps: those of an even frame rate
        count = int(min(max(1.0, capture.get(cv2.CAP_PROP_FRAME_COUNT)), limits.seconds * rate + 1))
        stamps = [index / rate for index in range(count)]
    origin = stamps[0]
    stamps = [stamp - origin for stamp in stamps]
    duration = stamps[-1] + (stamps[-1] / (len(stamps) - 1) if len(stamps) > 1 else 1 / rate)  # the last: as the others
    _check_seconds(duration, limits)
    wanted = [stamps[index] for index in choose_frames(stamps, duration)]
    frames = _video_frames(cv2, capture, wanted, stamps, origin, limits, budget)
    return Clip(duration, wanted, frames, budget)


def _packet_times(path: str, container: Video, limits: ClipLimits, budget: _Budget) -> list[float]:
    """When the pictures of a video are shown, in seconds, ascending; nothing is decoded."""
    cv2 = _opencv()
    stamps: list[float] = []
    failures = 0
    with contextlib.ExitStack() as cleanup:
        capture = _capture(path, container, cleanup, packets=True)
        while capture is not None and failures <= _UNREADABLE_RUN:
            budget.check()
            if not capture.grab():
                failures += 1
                continue
            failures = 0
            stamps.append(float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000)
            _check_seconds(stamps[-1] - stamps[0], limits)
    return sorted(set(stamps))


def _video_frames(
    cv2: ModuleType,
    capture: Any,
    wanted: list[float],
    stamps: list[float],
    origin: float,
    limits: ClipLimits,
    budget: _Budget,
) -> Iterator[Frame]:
    """Decode on, and hand out the first frame at or after each wanted time. Times count from `origin`."""
    last, failures, next_one, grabbed = -1.0, 0, 0, 0
    least = float(np.diff(stamps).min()) if len(stamps) > 1 else 1.0
    stretch = _stretch(cv2, capture)
    while next_one < len(wanted):
        budget.check()
        try:
            valid = capture.grab()
        except cv2.error:
            valid = False
        if not valid:
            failures += 1
            if failures > _UNREADABLE_RUN:
                return
            continue
        failures = 0
        at = max(0.0, float(capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000 - origin)
        if at <= last:  # a container without timestamps of its own
            at = stamps[grabbed] if grabbed < len(stamps) and stamps[grabbed] > last else last + least
        last = at
        grabbed += 1
        if at < wanted[next_one] - least / 2:
            continue
        try:
            valid, pixels = capture.retrieve()
        except cv2.error:
            valid = False
        if not valid:
            continue
        _check_pixels(pixels.shape[1], pixels.shape[0], limits)
        while next_one < len(wanted) and wanted[next_one] <= at + least / 2:
            next_one += 1
        yield Frame(at, _displayed(cv2, pixels, stretch))


def _stretch(cv2: ModuleType, capture: Any) -> tuple[float, float]:
    """How much wider and higher a frame is shown than it is stored: the sample aspect ratio, turned with the frame."""
    across, down = capture.get(cv2.CAP_PROP_SAR_NUM), capture.get(cv2.CAP_PROP_SAR_DEN)
    ratio = across / down if across > 0 and down > 0 else 1.0
    if not 1 / _MAX_STRETCH <= ratio <= _MAX_STRETCH:
        ratio = 1.0
    turned = int(capture.get(cv2.CAP_PROP_ORIENTATION_META)) % 180 == 90
    return (1.0, ratio) if turned else (ratio, 1.0)


def _displayed(cv2: ModuleType, pixels: npt.NDArray[np.uint8], stretch: tuple[float, float]) -> npt.NDArray[np.uint8]:
    """BGR as decoded → RGB of the displayed shape, not larger than LONG_SIDE."""
    width, height = pixels.shape[1] * stretch[0], pixels.shape[0] * stretch[1]
    scale = min(1.0, LONG_SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if size != (pixels.shape[1], pixels.shape[0]):
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _sound_only(path: str, container: Video) -> bool:
    """Whether a file that holds no readable video names a sound track and no video track."""
    sound, video = _SOUND[container]
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return re.search(sound, data) is not None and re.search(video, data) is None


def _check_pixels(width: int, height: int, limits: ClipLimits) -> None:
    if width * height > limits.pixels:
        raise ClipTooLarge(f"frames of {width} x {height} are more than {limits.pixels:,} pixels")


def _check_seconds(seconds: float, limits: ClipLimits) -> None:
    if seconds > limits.seconds:
        raise ClipTooLong(f"the clip is longer than {limits.seconds:g} s")
