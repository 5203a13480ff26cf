"""What it costs to read clips: `python -m benchmarks.clips`.

1. Our reader (`model.media.clips`, which is PyAV) and OpenCV's capture take the same frames of the same files: two a
   second, RGB, not larger than 1,280 pixels. CPU seconds and wall clock, by codec.
2. Decoding beside captioning of a 30 s 720p clip, against the slower of the two alone.

All are run in turns, so that whatever else the machine does falls on all; medians are printed. OpenCV comes with
`requirements-benchmarks.txt`. Run it with GOMP_SPINCOUNT=1000, as `start.py` does, or waiting threads of the network
take the cores that decoding needs.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import av
import numpy as np
from PIL import Image

from benchmarks.synthetic_clips import PHOTOS, Pixels
from model.captioner import Captioner
from model.clip_moments import BATCH, describe, prepare, watch
from model.media.clips import open_clip
from model.media.frames import LONG_SIDE, choose_frames
from model.network.config import Precision
from tests.support.priority import keep_ordinary

RATE: Final = 25  # frames a second
_PQ: Final = (16, 9, 9)  # transfer characteristic, primaries and matrix of HDR10 (H.273)


@dataclass(frozen=True)
class Sort:
    """A way to encode a clip."""

    name: str
    size: tuple[int, int]
    seconds: int
    codec: str
    options: Mapping[str, str]
    colours: tuple[int, int, int] | None = None


_X265: Final = {"preset": "ultrafast", "crf": "26", "x265-params": "log-level=none"}
SORTS: Final = (
    Sort("720p H.264", (1280, 720), 30, "libx264", {"preset": "veryfast"}),
    Sort("1080p HEVC", (1920, 1080), 10, "libx265", _X265),
    Sort("1080p HEVC, HDR (PQ)", (1920, 1080), 10, "libx265", _X265, _PQ),
    Sort("720p AV1", (1280, 720), 10, "libsvtav1", {"preset": "12", "crf": "40"}),
)


def write_clip(path: Path, sort: Sort) -> None:
    """Our test photos, panned over."""
    width, height = sort.size
    large = (width * 5 // 4, height * 5 // 4)
    photos = [np.asarray(Image.open(f).convert("RGB").resize(large)) for f in sorted(PHOTOS.glob("*.jpg"))]
    frames = sort.seconds * RATE
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(sort.codec, rate=RATE, options=dict(sort.options))
        stream.width, stream.height = sort.size
        stream.pix_fmt = "yuv420p10le" if sort.colours else "yuv420p"
        if sort.colours:
            context = stream.codec_context
            context.color_trc, context.color_primaries, context.colorspace = sort.colours
        for index in range(frames):
            shot, into = divmod(index, frames // len(photos) + 1)
            top, left = into % (height // 4), into % (width // 4)
            pixels = np.ascontiguousarray(photos[shot][top : top + height, left : left + width])
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels).reformat(format=stream.pix_fmt)))
        file.mux(stream.encode(None))


def read(path: Path) -> int:
    """How many frames our reader hands out."""
    with open_clip(path) as clip:
        return sum(1 for _ in clip)


def capture(path: Path) -> Iterator[Pixels]:
    """The same frames through OpenCV: every frame is decoded, those that are wanted are converted."""
    import cv2

    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    rate, count = video.get(cv2.CAP_PROP_FPS) or RATE, int(video.get(cv2.CAP_PROP_FRAME_COUNT))
    wanted = set(choose_frames([index / rate for index in range(count)], count / rate))
    for index in range(count):
        if not video.grab():
            break
        if index in wanted:
            found, image = video.retrieve()
            if found:
                scale = min(1.0, LONG_SIDE / max(image.shape[:2]))
                if scale < 1:
                    image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
                yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    video.release()


@dataclass(frozen=True)
class Cost:
    """Medians."""

    cpu: float  # seconds
    wall: float  # seconds


def measure(work: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Cost]:
    """Each once to warm up, then in turns."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in work}
    for turn in range(repeats + 1):
        for name, run in work.items():
            cpu, wall = time.process_time(), time.perf_counter()
            run()
            if turn:
                spent[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {name: Cost(*np.median(rows, axis=0).tolist()) for name, rows in spent.items()}


def readers(folder: Path, repeats: int) -> None:
    head = ["clip", "frames", "ours: CPU s", "wall s", "OpenCV: CPU s", "wall s", "CPU, ours / OpenCV", "wall"]
    print(f"| {' | '.join(head)} |\n|{' --- |' * len(head)}")
    for sort in SORTS:
        path = folder / "clip.mp4"
        write_clip(path, sort)
        work: dict[str, Callable[[], object]] = {"ours": lambda path=path: read(path)}  # type: ignore[misc]
        others = sum(1 for _ in capture(path)) if importlib.util.find_spec("cv2") else 0
        if others:
            work["OpenCV"] = lambda path=path: sum(1 for _ in capture(path))  # type: ignore[misc]
        costs = measure(work, repeats)
        ours = costs["ours"]
        row = [f"{sort.name}, {sort.seconds} s", str(read(path)), f"{ours.cpu:.2f}", f"{ours.wall:.2f}"]
        if others:
            its = costs["OpenCV"]
            row += [f"{its.cpu:.2f}", f"{its.wall:.2f}", f"{ours.cpu / its.cpu:.2f}", f"{ours.wall / its.wall:.2f}"]
        else:
            row += ["reads no frame", "", "", ""]
        print(f"| {' | '.join(row)} |", flush=True)


def beside(folder: Path, weights: Path, precision: Precision, repeats: int) -> None:
    captioner = Captioner.load(weights, precision=precision)
    size = captioner.encoder.config.image_size
    path = folder / "clip.mp4"
    write_clip(path, SORTS[0])

    def decode() -> list[Any]:
        with open_clip(path) as clip:
            return list(prepare(clip, size))

    prepared = decode()

    def caption() -> None:
        for start in range(0, len(prepared), BATCH):
            describe(captioner, prepared[start : start + BATCH])

    costs = measure(
        {"decoding alone": decode, "captioning alone": caption, "together": lambda: watch(captioner, path)}, repeats
    )
    print(f"\na 30 s 720p clip, {len(prepared)} frames of it, median of {repeats}, {captioner.arithmetic}")
    for name, cost in costs.items():
        print(f"{name:18} {cost.wall:6.2f} s, CPU {cost.cpu:6.2f} s")
    slower = max(costs["decoding alone"].wall, costs["captioning alone"].wall)
    print(f"together / the slower alone: {costs['together'].wall / slower:.2f}")


def main() -> int:
    keep_ordinary()  # the AV1 encoder does not
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clips", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--precision", choices=get_args(Precision), default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--part", choices=["readers", "beside", "both"], default="both")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.part != "beside":
            readers(Path(folder), options.repeats)
        if options.part != "readers":
            beside(Path(folder), options.weights, options.precision, options.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
