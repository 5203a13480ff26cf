"""Videos through OpenCV's FFmpeg: quietly, and held to one local file and one demuxer. Free of torch.

A video is read twice: first its packets' timestamps alone (milliseconds of work), so that frames can be spread evenly
over the clip's real time whatever its frame rate, then its pictures.

OpenCV does not look at whether FFmpeg converted a decoded frame to RGB. FFmpeg 8 refuses to for interlaced frames; then
OpenCV hands out a buffer that nobody wrote, with what that memory held before: pictures of somebody else's clip. All
that tells is a line in FFmpeg's log, so `_retrieve` listens to that, and a frame of which it hears an error is dropped.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import mmap
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.errors import ClipsUnavailable, DamagedClip, NotAClip
from model.media.formats import Video
from model.media.frames import LONG_SIDE, Budget, Clip, ClipLimits, Frame, choose_frames

_MAX_STRETCH: Final = 8  # a sample aspect ratio beyond 1:8 or 8:1 is a fault of the file
_UNREADABLE_RUN: Final = 64  # broken packets in a row, after which nothing better is expected
_GLOBALS: Final = threading.Lock()  # FFmpeg's options travel in the environment, and it has one log for all
_LOG_ERROR: Final = 16  # FFmpeg's AV_LOG_ERROR; what is worse is less
_OPTIONS: Final = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
_SOUND: Final = {"mov": (rb"soun", rb"vide"), "matroska": (rb"A_[A-Z]", rb"V_[A-Z]"), "avi": (rb"auds", rb"vids")}


@functools.cache
def opencv() -> ModuleType:
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


class _Log:
    """The log of the FFmpeg that OpenCV uses. One for the process, as FFmpeg's threads may call it at any time."""

    def __init__(self, module: str) -> None:
        """module: OpenCV's. Names are looked up in what it is linked to: the right FFmpeg, if a process has several."""
        library = ctypes.CDLL(module)
        self._set, self._default = library.av_log_set_callback, library.av_log_default_callback
        self._set.restype, self._set.argtypes = None, [ctypes.c_void_p]
        kind = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
        self._callback = kind(self._hear)
        self._thread, self._errors = 0, 0

    def _hear(self, _context: int, level: int, _format: int, _arguments: int) -> None:
        # The byte above the level is a colour. Decoders log on threads of their own, and so do other clips.
        if level & 0xFF <= _LOG_ERROR and threading.get_ident() == self._thread:
            self._errors += 1

    def errors(self, work: Callable[[], None]) -> int:
        """Do `work`; how many errors FFmpeg told on this thread meanwhile."""
        with _GLOBALS:
            self._thread, self._errors = threading.get_ident(), 0
            self._set(ctypes.cast(self._callback, ctypes.c_void_p))
            try:
                work()
            finally:
                self._set(ctypes.cast(self._default, ctypes.c_void_p))
            return self._errors


@functools.cache
def _log() -> _Log:
    """Raises ClipsUnavailable where it cannot be listened to, for then it cannot be told what was decoded."""
    cv2 = opencv()
    try:
        return _Log(str(getattr(cv2, "_native", cv2).__file__))
    except (OSError, AttributeError) as error:
        raise ClipsUnavailable(f"clips cannot be read here, for OpenCV's FFmpeg hides its log ({error})") from error


@contextlib.contextmanager
def on_disk(source: bytes | str | os.PathLike[str]) -> Iterator[str]:
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
    cv2 = opencv()
    options = [cv2.CAP_PROP_FORMAT, -1] if packets else []
    with _GLOBALS:  # opening sets the log, too
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


def open_video(path: str, container: Video, limits: ClipLimits, budget: Budget, cleanup: contextlib.ExitStack) -> Clip:
    cv2 = opencv()
    _log()  # or nothing is decoded
    capture = _capture(path, container, cleanup)
    if capture is None:
        if _sound_only(path, container):
            raise NotAClip("there is sound in it, but no pictures")
        raise DamagedClip("the clip cannot be opened: it is damaged, or of a kind that is not read here")
    limits.check_pixels(int(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
    rate = float(capture.get(cv2.CAP_PROP_FPS))
    rate = rate if 0.1 <= rate <= 1000.0 else 25.0
    stamps = _packet_times(path, container, limits, budget)
    if len(stamps) < 2:  # no timestamps: those of an even frame rate
        count = int(min(max(1.0, capture.get(cv2.CAP_PROP_FRAME_COUNT)), limits.seconds * rate + 1))
        stamps = [index / rate for index in range(count)]
    origin = stamps[0]
    stamps = [stamp - origin for stamp in stamps]
    duration = stamps[-1] + (stamps[-1] / (len(stamps) - 1) if len(stamps) > 1 else 1 / rate)  # the last: as the others
    limits.check_seconds(duration)
    wanted = [stamps[index] for index in choose_frames(stamps, duration)]
    frames = _video_frames(cv2, capture, wanted, stamps, origin, limits, budget)
    return Clip(duration, wanted, frames, budget)


def _packet_times(path: str, container: Video, limits: ClipLimits, budget: Budget) -> list[float]:
    """When the pictures of a video are shown, in seconds, ascending; nothing is decoded."""
    cv2 = opencv()
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
            limits.check_seconds(stamps[-1] - stamps[0])
    return sorted(set(stamps))


def _video_frames(
    cv2: ModuleType,
    capture: Any,
    wanted: list[float],
    stamps: list[float],
    origin: float,
    limits: ClipLimits,
    budget: Budget,
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
        pixels = _retrieve(cv2, capture)
        if pixels is None:
            continue
        limits.check_pixels(pixels.shape[1], pixels.shape[0])
        while next_one < len(wanted) and wanted[next_one] <= at + least / 2:
            next_one += 1
        yield Frame(at, _displayed(cv2, pixels, stretch))


def _retrieve(cv2: ModuleType, capture: Any) -> npt.NDArray[np.uint8] | None:
    """The grabbed frame, BGR; None if it was not converted, whatever `VideoCapture.retrieve` says.

    An array filled beforehand would not tell: OpenCV overwrites it with the buffer that FFmpeg left as it was.
    """
    valid, pixels = False, None

    def retrieve() -> None:
        nonlocal valid, pixels
        with contextlib.suppress(cv2.error):
            valid, pixels = capture.retrieve()

    return pixels if not _log().errors(retrieve) and valid else None


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
