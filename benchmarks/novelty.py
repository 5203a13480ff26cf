"""How well the moments of a clip are found: `python -m benchmarks.novelty`.

Clips with a known truth are made from stills (see `benchmarks.synthetic_clips`), described by the encoder and the
captioner, and given to each method. Reported, with 95 % bootstrap intervals over the clips:

* coverage: the share of a clip's scenes that have a moment;
* redundancy: the share of moments whose scene had one already;
* junk: the share of moments that are black, blown out, blurred or half dissolved;
* count: how far the number of moments is from the number of scenes.

Ours finds the number itself; the others stand beside it twice, with the number that ours found, and with the true
one. The thresholds come from `--tune`, on one half of the stills; the report is of the other half. Then the speed
of a whole clip, decoding beside captioning, against the slower of the two alone; run it with GOMP_SPINCOUNT=1000, as
`start.py` does, or waiting threads of the network take the cores that decoding needs.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.synthetic_clips import (
    JUNK,
    PHOTOS,
    RATE,
    WINDOW,
    Half,
    Script,
    find_lookalikes,
    find_stills,
    half,
    render,
    write_script,
)
from model.captioner import Captioner, Precision
from model.clip_moments import BATCH, describe, prepare, watch
from model.media.clips import Frame, open_clip
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.novelty import FrameFeatures, Tuning, descriptors, distances, find_moments, gate, look

SEEDS: Final[dict[Half, int]] = {"tune": 0, "report": 10_000}
ENCODED_EVERY: Final = 6  # each sixth clip goes through a real video file
_ENCODED_RATE: Final = 10.0  # frames a second of those

Chosen = Sequence[int]


@dataclass(frozen=True)
class Example:
    """A described clip and its truth."""

    features: FrameFeatures
    scene: npt.NDArray[np.int64]  # (N,), JUNK for what shows none
    scenes: int
    seconds: float
    seed: int


@dataclass(frozen=True)
class Method:
    """A way to choose: (example, number of moments or None to find it) → frames."""

    name: str
    choose: Callable[[Example, int | None], Chosen]
    finds_number: bool = False


def frames_of(script: Script, *, encoded: bool) -> tuple[list[Frame], list[int]]:
    """The frames of a clip and their scenes, rendered, or written to a video file and decoded again."""
    if not encoded:
        rendered = list(render(script))
        return [Frame(f.time, f.image) for f in rendered], [f.scene for f in rendered]
    truth = list(render(script, _ENCODED_RATE))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        write_video(path, (f.image for f in truth), _ENCODED_RATE)
        with open_clip(path) as clip:
            frames = list(clip)
    return frames, [truth[min(len(truth) - 1, round(f.time * _ENCODED_RATE))].scene for f in frames]


def write_video(path: Path, images: Iterator[npt.NDArray[np.uint8]], rate: float) -> None:
    first = next(images)
    with av.open(str(path), "w") as file:
        stream = file.add_stream("mpeg4", rate=Fraction(rate), options={"qscale": "3"})
        stream.height, stream.width = first.shape[:2]
        for image in itertools.chain([first], images):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        file.mux(stream.encode(None))


class Described:
    """Examples by seed; what the network says of each clip is kept in a folder."""

    def __init__(
        self,
        weights: Path,
        precision: Precision,
        stills: Sequence[Path],
        which: Half,
        cache: Path,
        window: float = WINDOW,
    ) -> None:
        self.weights = weights
        self.precision = precision
        self.stills = stills
        self.seed = SEEDS[which]
        self.cache = cache
        self.window = window
        names = "\n".join(path.name for path in stills).encode()
        self.key = f"{fingerprint(weights / ENCODER_FILE)[:12]}-{zlib.crc32(names):08x}"
        self.key += "" if window == WINDOW else f"-{window:g}"
        self.lookalikes = find_lookalikes(stills)
        self._captioner: Captioner | None = None

    def example(self, number: int) -> Example:
        seed = self.seed + number
        script = write_script(seed, self.stills, self.lookalikes, self.window)
        frames, scene = frames_of(script, encoded=number % ENCODED_EVERY == ENCODED_EVERY - 1)
        file = self.cache / f"{self.key}-{seed}.npz"
        if file.is_file():
            arrays = np.load(file)
            vision, words = arrays["vision"], arrays["words"]
        else:
            vision, words = self._describe(frames)
            self.cache.mkdir(parents=True, exist_ok=True)
            np.savez(file, vision=vision, words=words)
        features = FrameFeatures([f.time for f in frames], vision, words, [look(f.image) for f in frames])
        return Example(features, np.array(scene), script.scenes, script.duration, seed)

    def _describe(self, frames: Sequence[Frame]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        if self._captioner is None:
            self._captioner = Captioner.load(self.weights, precision=self.precision)
        size = self._captioner.encoder.config.image_size
        described = [
            frame
            for start in range(0, len(frames), 2 * BATCH)
            for frame in describe(self._captioner, [prepare(f, size) for f in frames[start : start + 2 * BATCH]])
        ]
        return np.stack([f.found.vision for f in described]), np.stack([f.found.words for f in described])


# The references


def k_means(example: Example, count: int | None, tuning: Tuning, tries: int = 10) -> Chosen:
    """Lloyd's algorithm from k-means++ seeds, the best of several, over the frames that our gate lets through."""
    points = descriptors(example.features, tuning.words)
    kept = np.flatnonzero(gate(example.features, distances(points), tuning))
    data = points[kept].astype(np.float64)
    count = min(count or 1, len(kept))
    rng = np.random.default_rng(example.seed)
    best: tuple[float, list[int]] = (np.inf, [])
    for _ in range(tries):
        centres = data[[int(rng.integers(len(data)))]]
        while len(centres) < count:
            far = _squares(data, centres).min(axis=1)
            share = far / far.sum() if far.sum() > 0 else None
            centres = np.concatenate([centres, data[[int(rng.choice(len(data), p=share))]]])
        for _ in range(50):
            owner = _squares(data, centres).argmin(axis=1)
            moved = np.stack([data[owner == k].mean(0) if (owner == k).any() else centres[k] for k in range(count)])
            if np.allclose(moved, centres):
                break
            centres = moved
        away = _squares(data, centres)
        best = min(best, (float(away.min(axis=1).sum()), away.argmin(axis=0).tolist()))
    return sorted({int(kept[i]) for i in best[1]})


def _squares(data: npt.NDArray[np.float64], centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(((data[:, None] - centres[None]) ** 2).sum(axis=2))


def rolling(example: Example, count: int | None, tuning: Tuning) -> Chosen:
    """The frames farthest from the mean of all before them, without a gate."""
    points = descriptors(example.features, tuning.words)
    means = np.cumsum(points, axis=0)[:-1] / np.arange(1, len(points))[:, None]
    away = np.concatenate([[0.0], np.linalg.norm(points[1:] - means, axis=1)])
    return sorted(np.argsort(-away, kind="stable")[: count or 1].tolist())


def uniform(example: Example, count: int | None) -> Chosen:
    """Frames at equal distances."""
    frames, wanted = len(example.features.times), count or 1
    return [int((k + 0.5) * frames / wanted) for k in range(min(frames, wanted))]


def at_random(example: Example, count: int | None) -> Chosen:
    frames = len(example.features.times)
    return sorted(np.random.default_rng(example.seed).choice(frames, min(frames, count or 1), replace=False).tolist())


def methods(tuning: Tuning) -> list[Method]:
    captions = dataclasses.replace(tuning, words=1.0)
    vision = dataclasses.replace(tuning, words=0.0)
    ours = Method("ours", lambda e, n: find_moments(e.features, count=n, tuning=tuning).chosen, True)
    return [
        ours,
        Method("vision only", lambda e, n: find_moments(e.features, count=n, tuning=vision).chosen, True),
        Method("caption only", lambda e, n: find_moments(e.features, count=n, tuning=captions).chosen, True),
        Method("k-means, gated", lambda e, n: k_means(e, n, tuning)),
        Method("rolling", lambda e, n: rolling(e, n, tuning)),
        Method("uniform", uniform),
        Method("random", at_random),
    ]


# Figures


def figures(example: Example, chosen: Chosen) -> tuple[float, float, float, float]:
    """Coverage, redundancy, junk and count error of one clip."""
    shown = example.scene[list(chosen)]
    good = shown[shown != JUNK]
    distinct = len(set(good.tolist()))
    return (
        distinct / example.scenes,
        (len(good) - distinct) / len(shown),
        float((shown == JUNK).mean()),
        float(abs(len(shown) - example.scenes)),
    )


def interval(values: npt.NDArray[np.float64], draws: int = 2000) -> tuple[float, float, float]:
    """Mean, and its 95 % bootstrap interval."""
    picks = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def report(examples: Sequence[Example], tuning: Tuning) -> None:
    found = [len(find_moments(e.features, tuning=tuning).chosen) for e in examples]
    seconds = sum(e.seconds for e in examples)
    blocks: list[tuple[str, list[int | None]]] = [
        ("each finds the number itself", [None] * len(examples)),
        ("the number that ours found", list(found)),
        ("the true number of scenes", [e.scenes for e in examples]),
    ]
    head = "".join(f"{name:>22}" for name in ("coverage", "redundancy", "junk", "count error"))
    rows: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
    for title, numbers in blocks:
        print(f"\n{title}\n{'method':16}{head}{'ms / s of clip':>16}")
        for method in methods(tuning):
            if numbers[0] is None and not method.finds_number:
                continue
            started = time.perf_counter()
            chosen = [method.choose(e, n) for e, n in zip(examples, numbers, strict=True)]
            spent = time.perf_counter() - started
            table = np.array([figures(e, c) for e, c in zip(examples, chosen, strict=True)])  # (clips, 4)
            rows[title, method.name] = table
            cells = "".join(f"{_cell(table[:, k]):>22}" for k in range(4))
            print(f"{method.name:16}{cells}{1000 * spent / seconds:16.2f}")
    print("\nours less gated k-means, pair by pair")
    for title, _ in blocks[1:]:
        gap = rows[title, "ours"] - rows[title, "k-means, gated"]
        print(f"{title:28}" + "".join(f"{_cell(gap[:, k]):>22}" for k in range(3)))


def _cell(values: npt.NDArray[np.float64]) -> str:
    mean, low, high = interval(values)
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def tune(examples: Sequence[Example]) -> Tuning:
    """Fit the thresholds by coordinate descent; of equally good values, the middle one of the widest run.

    But the largest distance to other moments: what people film varies more within a scene than stills do.
    """
    grids: dict[str, Sequence[float]] = {
        "threshold": np.arange(0.30, 0.701, 0.025).round(3).tolist(),
        "words": [0.0, 0.05, 0.1, 0.15, 0.2, 0.3],
        "soft": [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5],
        "blurred": [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6],
        "mixed": [0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7],
        "flat": [8.0, 10.0, 12.0, 14.0, 16.0, 18.0],
    }
    tuning = Tuning()
    for _ in range(2):
        for name, grid in grids.items():
            losses = [loss(examples, dataclasses.replace(tuning, **{name: value})) for value in grid]
            good = [i for i, value in enumerate(losses) if value <= min(losses) + 1e-9]
            runs = [
                [i for _, i in run] for _, run in itertools.groupby(enumerate(good), key=lambda pair: pair[1] - pair[0])
            ]
            widest = max(runs, key=len)
            best = widest[-1 if name == "threshold" else len(widest) // 2]
            tuning = dataclasses.replace(tuning, **{name: grid[best]})
            print(
                f"{name:10} {getattr(tuning, name):6}  loss {min(losses):.4f}  equally good: {[grid[i] for i in good]}"
            )
    unrelated = np.concatenate([_between(e, tuning) for e in examples])
    return dataclasses.replace(tuning, far=round(float(np.median(unrelated)), 2))


def loss(examples: Sequence[Example], tuning: Tuning) -> float:
    """What coverage and precision lack, and a tenth of the error in number, meaned over the clips."""
    table = np.array([figures(e, find_moments(e.features, tuning=tuning).chosen) for e in examples])
    coverage, redundancy, junk, count = table.mean(axis=0)
    return float(1 - coverage + redundancy + junk + 0.1 * count)


def _between(example: Example, tuning: Tuning) -> npt.NDArray[np.float32]:
    apart = distances(descriptors(example.features, tuning.words))
    scene = example.scene
    return np.asarray(apart[(scene[:, None] != scene[None]) & (scene[:, None] != JUNK) & (scene[None] != JUNK)])


# Speed


def synthetic_720p(path: Path, seconds: int = 30) -> None:
    """A 720p clip of the project's own photos, panned over, 25 frames a second."""
    photos = [Image.open(file).convert("RGB").resize((1600, 900)) for file in sorted(PHOTOS.glob("*.jpg"))]
    pixels = [np.asarray(photo) for photo in photos]

    def images() -> Iterator[npt.NDArray[np.uint8]]:
        for index in range(seconds * 25):
            shot, into = divmod(index, seconds * 25 // len(pixels) + 1)
            yield pixels[shot][into % 180 : into % 180 + 720, into % 320 : into % 320 + 1280]

    write_video(path, images(), 25.0)


def speed(weights: Path, precision: Precision, repeats: int) -> None:
    captioner = Captioner.load(weights, precision=precision)
    size = captioner.encoder.config.image_size
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip.mp4")
        synthetic_720p(path)

        def decode() -> list[Any]:
            with open_clip(path) as clip:
                return [prepare(frame, size) for frame in clip]

        prepared = decode()

        def caption() -> None:
            for start in range(0, len(prepared), BATCH):
                describe(captioner, prepared[start : start + BATCH])

        caption()
        work: dict[str, Callable[[], object]] = {
            "decoding alone": decode,
            "captioning alone": caption,
            "together": lambda: watch(captioner, path),
        }
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(repeats):  # in turns, so that whatever else the machine does falls on all
            for name, run in work.items():
                started = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - started)
    print(f"\na 30 s 720p clip, {len(prepared)} frames of it, median of {repeats}, {captioner.dtype}")
    medians = {name: float(np.median(values)) for name, values in times.items()}
    for name, value in medians.items():
        print(f"{name:18} {value:6.2f} s, {1000 * value / 30:.0f} ms a second of clip")
    slower = max(medians["decoding alone"], medians["captioning alone"])
    print(f"together / the slower alone: {medians['together'] / slower:.2f}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.novelty", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--stills", type=Path, metavar="DIR", help="default: held-out splits under DATASETS_DIR, or ours"
    )
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--window", type=float, default=WINDOW, help="least part of a still in view; less is harder")
    parser.add_argument("--tune", action="store_true", help="fit the thresholds, on the other half of the stills")
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "novelty-features")
    parser.add_argument("--repeats", type=int, default=3, help="of the timing; 0: none")
    options = parser.parse_args()
    which: Half = "tune" if options.tune else "report"
    stills = half(find_stills(options.stills), which)
    described = Described(options.weights, options.precision, stills, which, options.cache, options.window)
    examples = []
    for number in range(options.clips):
        examples.append(described.example(number))
        print(f"\r{number + 1} of {options.clips} clips", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    frames = sum(len(e.features.times) for e in examples)
    junk = sum(int((e.scene == JUNK).sum()) for e in examples)
    print(
        f"{options.clips} clips from {len(stills)} stills ({which} half), {frames} frames at {RATE:g} a second, "
        f"{junk} of them junk; {sum(e.scenes == 1 for e in examples)} clips of one scene"
    )
    if options.tune:
        print(tune(examples))
        return 0
    report(examples, Tuning())
    if options.repeats:
        speed(options.weights, options.precision, options.repeats)
    return 0


if __name__ == "__main__":
    sys.exit(main())
