"""What decoders may take together, and what they do take."""

from __future__ import annotations

import io
import math
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from model.media.memory import MIB, MemoryBudget
from tests.support import clips
from tests.support.processes import run_python

pillow_heif.register_heif_opener()  # to write HEIC

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux says how much a process took")


class Decoders:
    """Threads that hold room until they are told to end."""

    def __init__(self, budget: MemoryBudget) -> None:
        self.budget = budget
        self.holding: list[str] = []
        self._ends: dict[str, threading.Event] = {}
        self._threads: list[threading.Thread] = []

    def begin(self, name: str, size: int, *, lasting: bool = False) -> None:
        """Returns when it holds its room, or waits for it."""
        end, asked = self._ends.setdefault(name, threading.Event()), threading.Event()

        def hold() -> None:
            asked.set()
            with self.budget.hold(size, lasting=lasting):
                self.holding.append(name)
                end.wait()
            self.holding.remove(name)

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        self._threads.append(thread)
        asked.wait()
        self.until(lambda: name in self.holding or self.budget.let_in(thread.ident or 0) == math.inf)

    def end(self, name: str) -> None:
        self._ends[name].set()
        self.until(lambda: name not in self.holding)

    def until(self, true: Callable[[], bool]) -> None:
        while not true():
            threading.Event().wait(0.001)


def test_room_is_given_out_in_order() -> None:
    decoders = Decoders(MemoryBudget(10, 4))
    for name, size in (("a", 6), ("large", 8), ("small", 1)):
        decoders.begin(name, size)
    assert decoders.holding == ["a"]  # the small one does not overtake
    decoders.end("a")
    decoders.until(lambda: len(decoders.holding) == 2)
    assert sorted(decoders.holding) == ["large", "small"]
    decoders.begin("alone", 99)
    decoders.end("large")
    assert decoders.holding == ["small"]
    decoders.end("small")
    decoders.until(lambda: decoders.holding == ["alone"])
    decoders.end("alone")
    assert decoders.budget.most == 10


def test_clips_leave_room_for_pictures() -> None:
    decoders = Decoders(MemoryBudget(10, 4))
    decoders.begin("clip", 4, lasting=True)
    decoders.begin("another clip", 1, lasting=True)
    decoders.begin("picture", 6)
    assert decoders.holding == ["clip", "picture"]
    decoders.end("clip")
    decoders.until(lambda: "another clip" in decoders.holding)


def test_a_clip_that_needs_more_than_the_share_of_clips_is_counted_in_full() -> None:
    decoders = Decoders(MemoryBudget(10, 4))
    decoders.begin("picture", 3)
    decoders.begin("large clip", 7, lasting=True)
    decoders.begin("clip", 1, lasting=True)
    decoders.begin("another picture", 1)
    assert decoders.holding == ["picture", "large clip"]
    decoders.end("picture")
    decoders.until(lambda: "another picture" in decoders.holding)
    decoders.end("large clip")
    decoders.until(lambda: "clip" in decoders.holding)


def test_who_waits_for_a_clip_keeps_no_smaller_pictures_waiting() -> None:
    decoders = Decoders(MemoryBudget(10, 4))
    decoders.begin("clip", 3, lasting=True)
    decoders.begin("large", 8)
    decoders.begin("another clip", 1, lasting=True)
    decoders.begin("small", 1)
    assert decoders.holding == ["clip", "small"]
    decoders.begin("medium", 6)
    assert decoders.holding == ["clip", "small", "medium"]
    decoders.end("clip")
    decoders.begin("later", 1)
    assert decoders.holding == ["small", "medium"]  # the large one waits for pictures now, and is next
    decoders.end("medium")
    decoders.until(lambda: "large" in decoders.holding)


def test_who_waits_and_is_interrupted_keeps_nothing() -> None:
    budget = MemoryBudget(10, 4)

    class Interrupted(Exception):
        pass

    def interrupt(_: Callable[[], bool]) -> bool:
        raise Interrupted

    with budget.hold(10):
        patched = pytest.MonkeyPatch()
        patched.setattr(budget._changed, "wait_for", interrupt)
        with pytest.raises(Interrupted), budget.hold(5):
            pass
        patched.undo()
    with budget.hold(10):
        pass


SIZE = (6000, 4000)
MEASURE = """
import re, sys
from pathlib import Path
from model.errors import CaptionError
from model.media.clips import open_clip
from model.media.images import open_image
from model.media.memory import DECODING
import av, numpy, pillow_heif

def status(name):
    return int(re.search(name + r":\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024

def work(data):
    if sys.argv[2] == "clip":
        with open_clip(data) as clip:
            assert list(clip)
    else:
        open_image(data)

work(Path(sys.argv[3]).read_bytes())  # libraries are loaded
data = Path(sys.argv[1]).read_bytes()
Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now
DECODING.most = 0
before = status("VmRSS")
work(data)
print(status("VmHWM") - before, DECODING.most)
"""


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def large(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    y, x = (np.arange(side, dtype=np.uint16) for side in reversed(size))
    if mode == "I;16":
        return Image.fromarray(np.tile(x * 10, (size[1], 1)))
    pixels = np.empty((size[1], size[0], 4), np.uint8)
    pixels[..., 0] = pixels[..., 3] = x // 24
    pixels[..., 1] = (y // 16)[:, None]
    pixels[..., 2] = (y[:, None] + x) // 40
    return Image.fromarray(pixels).convert(mode) if mode == "RGBA" else Image.fromarray(pixels[..., :3]).convert(mode)


def pictures(kind: str) -> bytes:
    frames = [large("RGB", (4000, 3000)).transpose(Image.Transpose(number)) for number in (0, 1, 3)]
    options: dict[str, Any] = {"AVIF": {"speed": 10}, "WEBP": {"lossless": True, "method": 0}}.get(kind, {})
    return clips.animation(frames, [500] * 3, kind, **options)


def clip(folder: Path, codec: str, layout: str) -> bytes:
    frame = np.asarray(large("RGB", (3840, 2160)))
    options = {"preset": "ultrafast"}
    if codec == "libx265":  # as many pictures for reference as without a preset: a decoder keeps all of them
        options["x265-params"] = "log-level=none:ref=3:bframes=4"
    return clips.video(
        folder / "clip.mp4", [np.roll(frame, 40 * n, 1) for n in range(12)], codec=codec, layout=layout, options=options
    )


FILES: dict[str, Callable[[Path], bytes]] = {
    "jpeg": lambda _: encode(large(), "JPEG"),
    "progressive": lambda _: encode(large(), "JPEG", progressive=True, subsampling=0),
    "png": lambda _: encode(large("RGBA"), "PNG", compress_level=1),
    "grey": lambda _: encode(large("I;16"), "PNG", compress_level=1),
    "webp": lambda _: encode(large(), "WEBP", method=0),
    "lossless": lambda _: encode(large(), "WEBP", lossless=True, method=0, quality=0),
    "webp-clear": lambda _: encode(large("RGBA"), "WEBP", method=0),
    "webp-small": lambda _: encode(large("RGB", (3000, 2600)), "WEBP", method=0),
    "gif": lambda _: encode(large("P"), "GIF"),
    "tiff": lambda _: encode(large(), "TIFF", compression="tiff_lzw"),
    "strip": lambda _: encode(large(), "TIFF", compression="tiff_lzw", tiffinfo={278: SIZE[1]}),
    "avif": lambda _: encode(large(), "AVIF", speed=10),
    "avif-clear": lambda _: encode(large("RGBA"), "AVIF", speed=10),
    "heic": lambda _: encode(large("RGB", (4000, 2600)), "HEIF", quality=30, enc_params={"preset": "ultrafast"}),
    "clip-gif": lambda _: pictures("GIF"),
    "clip-webp": lambda _: pictures("WEBP"),
    "clip-png": lambda _: pictures("PNG"),
    "clip-avif": lambda _: pictures("AVIF"),
    "clip-h264": lambda folder: clip(folder, "libx264", "yuv420p"),
    "clip-hevc": lambda folder: clip(folder, "libx265", "yuv420p10le"),
}


@pytest.fixture
def large_file(name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of this name, made by the first test of any test process that needs it."""
    folder = tmp_path_factory.getbasetemp()
    file = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / f"large-{name}"
    if not file.exists():
        (tmp_path / "large").write_bytes(FILES[name](tmp_path))
        (tmp_path / "large").rename(file)
    return file


def small_file(folder: Path, kind: str) -> str:
    """The name of a file that a process decodes first."""
    small = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "green")]
    (folder / "small").write_bytes(clips.animation(small, [500] * 3) if kind == "clip" else encode(small[0], "PNG"))
    return str(folder / "small")


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_what_a_decoder_takes_is_counted(tmp_path: Path, large_file: Path, name: str) -> None:
    """The peak of a process that decodes one file is not above what the budget was told, nor far below it."""
    kind = name.partition("-")[0]
    peak, counted = map(int, run_python(MEASURE, str(large_file), kind, small_file(tmp_path, kind)).split())
    print(f"{name}: {peak / MIB:.0f} MiB taken, {counted / MIB:.0f} MiB counted")
    assert peak <= counted
    assert peak >= counted / 4 - 64 * MIB


STARVED = """
import resource, sys, re
from pathlib import Path
from model.errors import MediaError, OutOfMemory
from model.media.clips import open_clip
from model.media.images import open_image
import av, numpy, pillow_heif

def read(data):
    if sys.argv[1] == "clip":
        with open_clip(data) as clip:
            return len(list(clip)) / len(clip.times)
    open_image(data)
    return 1.0

def limit(room):
    most = resource.RLIM_INFINITY if room is None else taken + len(data) + room * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))

read(Path(sys.argv[3]).read_bytes())
taken = int(re.search(r"VmSize:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
data = Path(sys.argv[2]).read_bytes()
for room in (8, 16, 32, 64, 128, 256, 512, 1024):
    limit(room)
    try:
        share = read(data)
    except OutOfMemory:
        print("out of memory")
    else:
        assert share == 1, f"{share} of it was read with {room} MiB"
        print("read")
        break
limit(None)
assert read(data) == 1
limit(4096)
try:
    share = read(data[: len(data) // 30])
except MediaError:  # never an error of ours
    share = 0
print("damaged" if share < 1 else "whole")
"""


def test_decoders_are_loaded_before_the_first_file() -> None:
    """One that Pillow cannot load for want of memory is not installed, as far as Pillow knows, ever after."""
    loaded = "from model.media.images import FORMATS; from PIL import Image; print(set(FORMATS) - set(Image.OPEN))"
    assert run_python(loaded) == "set()\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in FILES if name not in ("grey", "strip", "clip-gif", "clip-png")])
def test_a_decoder_without_memory_does_not_blame_the_file(tmp_path: Path, large_file: Path, name: str) -> None:
    kind = name.partition("-")[0]
    *starved, read, damaged = run_python(STARVED, kind, str(large_file), small_file(tmp_path, kind)).splitlines()
    assert set(starved) <= {"out of memory"}
    assert starved or name == "jpeg"
    assert (read, damaged) == ("read", "damaged")
