"""How well the moments of a clip are found, beside other ways to choose them: `python -m benchmarks.novelty`.

Video files of ten kinds with a known truth are made from stills (see `benchmarks.synthetic_clips`). Each method gets
the file, or what our reader and the network make of it. By kind of clip:

* coverage: the share of a clip's scenes that have a moment;
* redundancy: the share of moments whose scene had one already;
* junk: the share of moments that are black, blown out, blurred, half dissolved or cut off by an edit list.

Over all kinds, with 95 % bootstrap intervals over the clips, also the error in number, how far the time that a method
tells is from when a player shows that picture, and CPU seconds per second of clip, reading included.

Ours and shot detectors find the number themselves; the others get the number that ours found. The thresholds come
from `--tune`, on one half of the stills and other seeds; the report is of the other half. Install
`requirements-benchmarks.txt` for the shot detectors. Run it with GOMP_SPINCOUNT=1000, as `start.py` does.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import synthetic_clips
from benchmarks.shot_detectors import Answer, detectors, representative
from benchmarks.synthetic_clips import (
    JUNK,
    KINDS,
    WINDOW,
    Half,
    Kind,
    Truth,
    find_lookalikes,
    find_stills,
    half,
    thumbnail,
    write_clip,
    write_script,
)
from model.captioner import Captioner
from model.clip_moments import BATCH, describe, prepare
from model.media.clips import open_clip
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.network.config import Precision
from model.novelty import FrameFeatures, Look, Tuning, distances, find_moments, gate, unit
from tests.support.priority import keep_ordinary

SEEDS: Final[dict[Half, int]] = {"tune": 0, "report": 40_000}
WORD_WEIGHTS: Final = (0.05, 0.1, 0.2, 0.3, 1.0)
GOALS: Final = {"coverage": 0.95, "redundancy": 0.05, "junk": 0.01}
FIGURES: Final = ("coverage", "redundancy", "junk", "count error", "time error")
OURS: Final = "ours"

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Chosen = Sequence[int]


@dataclass(frozen=True)
class Shown:
    """Chosen or looked-at frames, judged."""

    scenes: npt.NDArray[np.int64]  # (N,) or JUNK
    errors: npt.NDArray[np.float64]  # (N,) seconds
    cpu: float  # seconds

    def only(self, chosen: Chosen, cpu: float) -> Shown:
        return Shown(self.scenes[list(chosen)], self.errors[list(chosen)], cpu)


@dataclass(frozen=True)
class Example:
    """A clip, what our reader and the network make of it, and its truth."""

    kind: str
    path: Path
    truth: Truth
    features: FrameFeatures
    words: Floats  # (N, E) mean word embedding of each frame's caption
    frames: Shown  # all that our reader takes; CPU seconds to read them
    network: float  # CPU seconds to describe them
    seed: int


@dataclass(frozen=True)
class Method:
    """A way to choose among the frames that our reader takes: (example, number of moments) → frames."""

    name: str
    choose: Callable[[Example, int], Chosen]
    describes: bool = True  # needs the network


def judge(truth: Truth, answer: Answer) -> Shown:
    found = [truth.find(at, picture) for at, picture in answer.picks]
    return Shown(np.array([scene for scene, _ in found]), np.array([error for _, error in found]), answer.cpu)


class Described:
    """Examples by kind and number. Clips, what the network says of them and what detectors find is kept in a folder."""

    def __init__(self, weights: Path, precision: Precision, stills: Sequence[Path], which: Half, cache: Path) -> None:
        self.weights = weights
        self.precision = precision
        self.stills = stills
        self.seed = SEEDS[which]
        self.lookalikes = find_lookalikes(stills)
        names = "\n".join(path.name for path in stills).encode() + Path(synthetic_clips.__file__).read_bytes()
        self.cache = cache / f"{fingerprint(weights / ENCODER_FILE)[:12]}-{zlib.crc32(names):08x}"
        self.cache.mkdir(parents=True, exist_ok=True)
        self._captioner: Captioner | None = None

    def example(self, kind: Kind, number: int, window: float = WINDOW) -> Example:
        seed = self.seed + number
        path = self.cache / f"{kind.name}-{window:g}-{seed}{kind.suffix}"
        made = self._kept(path, "truth", lambda: self._write(kind, seed, window, path))
        truth = Truth(made["times"], made["scenes"], made["thumbnails"], float(made["seconds"]))
        found = self._kept(path, "frames", lambda: self._describe(path))
        looks = [Look(*row) for row in zip(*found["looks"].T.tolist(), found["grids"], strict=True)]
        features = FrameFeatures(found["times"].tolist(), found["vision"], looks)
        frames = judge(
            truth, Answer(list(zip(features.times, found["thumbnails"], strict=True)), float(found["reading"]))
        )
        return Example(kind.name, path, truth, features, found["words"], frames, float(found["network"]), seed)

    def detected(self, example: Example, name: str, detect: Callable[[Path], Answer]) -> Shown:
        def run() -> dict[str, Any]:
            shown = judge(example.truth, detect(example.path))
            return {"scenes": shown.scenes, "errors": shown.errors, "cpu": shown.cpu}

        found = self._kept(example.path, name.replace(", ", "-"), run)
        return Shown(found["scenes"], found["errors"], float(found["cpu"]))

    def _kept(self, path: Path, name: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        file = path.with_name(f"{path.stem}-{name}.npz")
        if not file.is_file():
            np.savez(file, **make())
        with np.load(file) as arrays:
            return dict(arrays)

    def _write(self, kind: Kind, seed: int, window: float, path: Path) -> dict[str, Any]:
        truth = write_clip(write_script(kind, seed, self.stills, self.lookalikes, window), path)
        return dataclasses.asdict(truth)

    def _describe(self, path: Path) -> dict[str, Any]:
        if self._captioner is None:
            self._captioner = Captioner.load(self.weights, precision=self.precision)
        captioner = self._captioner
        started = time.process_time()
        with open_clip(path) as clip:
            frames = list(clip)
        prepared = list(prepare(frames, captioner.encoder.config.image_size))
        read = time.process_time()
        described = [
            frame
            for start in range(0, len(prepared), BATCH)
            for frame in describe(captioner, prepared[start : start + BATCH])
        ]
        return {
            "reading": read - started,
            "network": time.process_time() - read,
            "times": [frame.time for frame in prepared],
            "vision": np.stack([frame.found.vision for frame in described]),
            "words": np.stack([word_vector(captioner, frame.found.text) for frame in described]),
            "looks": [[p.look.brightness, p.look.contrast, p.look.sharpness, p.look.streaks] for p in prepared],
            "grids": np.stack([frame.look.thumbnail for frame in prepared]),
            "thumbnails": np.stack([thumbnail(frame.image) for frame in frames]),
        }


def word_vector(captioner: Captioner, text: str) -> Floats:
    """The mean embedding of a caption's words, (E,); zeros for a caption without words."""
    weight = captioner.decoder.embedding.weight.detach()
    tokens = captioner.vocabulary.encode(text)
    vector = weight[torch.tensor(tokens)].mean(dim=0) if tokens else weight.new_zeros(weight.shape[1])
    return np.asarray(vector.float().cpu().numpy())


# The references


def k_means(example: Example, count: int, tuning: Tuning, tries: int = 10) -> Chosen:
    """Lloyd's algorithm from k-means++ seeds, the best of several, over the frames that our gate lets through."""
    points = unit(example.features.vision)
    kept = np.flatnonzero(gate(example.features, distances(points), tuning))
    data = points[kept].astype(np.float64)
    count = min(count, len(kept))
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


def rolling(example: Example, count: int) -> Chosen:
    """The frames farthest from the mean of all before them, without a gate."""
    points = unit(example.features.vision)
    means = np.cumsum(points, axis=0)[:-1] / np.arange(1, len(points))[:, None]
    away = np.concatenate([[0.0], np.linalg.norm(points[1:] - means, axis=1)])
    return sorted(np.argsort(-away, kind="stable")[:count].tolist())


def uniform(example: Example, count: int) -> Chosen:
    """Frames at equal distances."""
    frames = len(example.features.times)
    return [int((k + 0.5) * frames / count) for k in range(min(frames, count))]


def at_random(example: Example, count: int) -> Chosen:
    frames = len(example.features.times)
    return sorted(np.random.default_rng(example.seed).choice(frames, min(frames, count), replace=False).tolist())


def methods(tuning: Tuning) -> list[Method]:
    return [
        Method("k-means, gated", lambda e, n: k_means(e, n, tuning)),
        Method("rolling", rolling),
        Method("uniform", uniform, describes=False),
        Method("random", at_random, describes=False),
    ]


def with_words(features: FrameFeatures, words: Floats, weight: float) -> FrameFeatures:
    """Features whose squared distance is (1 - weight) |Δ vision|² + weight |Δ caption|², each of unit length."""
    joined = np.concatenate([(1 - weight) ** 0.5 * unit(features.vision), weight**0.5 * unit(words)], axis=1)
    return dataclasses.replace(features, vision=joined)


# Figures


def figures(shown: Shown, scenes: int) -> tuple[float, ...]:
    """FIGURES of one clip that has so many scenes."""
    good = shown.scenes[shown.scenes != JUNK]
    distinct, count = len(set(good.tolist())), len(shown.scenes)
    return (
        distinct / scenes,
        (len(good) - distinct) / count,
        (count - len(good)) / count,
        float(abs(count - scenes)),
        float(shown.errors.mean()),
    )


def interval(values: npt.NDArray[np.float64], draws: int = 2000) -> tuple[float, float, float]:
    """Mean, and its 95 % bootstrap interval."""
    picks = np.random.default_rng(0).integers(len(values), size=(draws, len(values)))
    low, high = np.percentile(values[picks].mean(axis=1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def ours(example: Example, tuning: Tuning, count: int | None = None) -> Shown:
    started = time.process_time()
    chosen = find_moments(example.features, count=count, tuning=tuning).chosen
    spent = time.process_time() - started
    return example.frames.only(chosen, example.frames.cpu + example.network + spent)


def choices(examples: Sequence[Example], described: Described, tuning: Tuning) -> dict[str, list[Shown]]:
    """What each method shows of each clip; those that find no number get ours."""
    shown: dict[str, list[Shown]] = {OURS: [ours(e, tuning) for e in examples]}
    counts = [len(s.scenes) for s in shown[OURS]]
    for name, detect in detectors().items():
        shown[name] = [described.detected(e, name, detect) for e in _told(examples, name)]
    shown["thumbnail filter"] = [
        judge(e.truth, representative(e.path, n)) for e, n in zip(examples, counts, strict=True)
    ]
    return shown | given(examples, counts, tuning)


def given(examples: Sequence[Example], counts: Sequence[int], tuning: Tuning) -> dict[str, list[Shown]]:
    """What the methods show that get the number of moments."""
    shown = dict[str, list[Shown]]()
    for method in methods(tuning):
        shown[method.name] = []
        for example, count in zip(examples, counts, strict=True):
            started = time.process_time()
            chosen = method.choose(example, count)
            spent = time.process_time() - started + example.frames.cpu + example.network * method.describes
            shown[method.name].append(example.frames.only(chosen, spent))
    return shown


def _told(examples: Sequence[Example], what: str) -> Iterable[Example]:
    for number, example in enumerate(examples, 1):
        print(f"\r{what}: {number} of {len(examples)} clips ", end="", file=sys.stderr, flush=True)
        yield example
    print(file=sys.stderr)


def report(examples: Sequence[Example], described: Described, tuning: Tuning) -> None:
    shown = choices(examples, described, tuning)
    tables = {name: _table(found, examples) for name, found in shown.items()}
    kinds = list(dict.fromkeys(e.kind for e in examples))
    of_kind: dict[str, Mask] = {kind: np.array([e.kind == kind for e in examples]) for kind in kinds}
    of_kind["all"] = np.ones(len(examples), np.bool_)
    for column, figure in enumerate(FIGURES[:3]):
        print(f"\n{figure}\n")
        _row(["kind", *tables])
        _row(["---"] * (1 + len(tables)))
        for kind, mask in of_kind.items():
            _row([kind, *(f"{table[mask, column].mean():.3f}" for table in tables.values())])
    seconds = sum(e.truth.seconds for e in examples)
    print("\nall kinds\n")
    _row(["method", *FIGURES, "CPU s / s of clip"])
    _row(["---"] * (2 + len(FIGURES)))
    for name, table in tables.items():
        cells = [_cell(table[:, column]) for column in range(len(FIGURES))]
        _row([name, *cells, f"{sum(s.cpu for s in shown[name]) / seconds:.3f}"])
    reading, network = (
        sum(values) / seconds for values in ([e.frames.cpu for e in examples], [e.network for e in examples])
    )
    print(f"\nof ours, reading takes {reading:.3f} and the network {network:.3f} CPU s per second of clip")
    print("\nthe true number of scenes given\n")
    _row(["method", *FIGURES[:3]])
    _row(["---"] * 4)
    counts = [e.truth.count for e in examples]
    known = {
        OURS: [ours(e, tuning, n) for e, n in zip(examples, counts, strict=True)],
        **given(examples, counts, tuning),
    }
    for name, found in known.items():
        table = _table(found, examples)
        _row([name, *(_cell(table[:, column]) for column in range(3))])
    verdict(tables, of_kind)


def _table(shown: Sequence[Shown], examples: Sequence[Example]) -> npt.NDArray[np.float64]:
    """(clips, FIGURES)."""
    return np.array([figures(s, e.truth.count) for s, e in zip(shown, examples, strict=True)])


def _cell(values: npt.NDArray[np.float64]) -> str:
    mean, low, high = interval(values)
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


def _row(cells: Iterable[str]) -> None:
    print("| " + " | ".join(cells) + " |")


def words(examples: Sequence[Example], tuning: Tuning) -> None:
    """What captions add: the mean word embedding in the distance, by its weight, each with its best threshold."""
    _row(["weight", "threshold", *FIGURES[:4]])
    _row(["---"] * 6)
    for weight in (0.0, *WORD_WEIGHTS):
        joined = [dataclasses.replace(e, features=with_words(e.features, e.words, weight)) for e in examples]
        best = min(_THRESHOLDS, key=lambda value: loss(joined, dataclasses.replace(tuning, threshold=value)))
        table = _table([ours(e, dataclasses.replace(tuning, threshold=best)) for e in joined], examples)
        _row([f"{weight:g}", f"{best:g}", *(_cell(table[:, column]) for column in range(4))])


def verdict(tables: Mapping[str, npt.NDArray[np.float64]], of_kind: Mapping[str, Mask]) -> None:
    """The goals, and where a shot detector is ahead."""
    print()
    for column, (figure, goal) in enumerate(GOALS.items()):
        for kind, mask in of_kind.items():
            mean = tables[OURS][mask, column].mean()
            if mean < goal if figure == "coverage" else mean > goal:
                print(f"{kind}: {figure} {mean:.3f}, the goal is {goal}")
            for name in detectors():
                behind = tables[name][mask, column].mean() - mean
                behind *= 1 if figure == "coverage" else -1
                if behind > 0.02:
                    print(f"{kind}: {figure} behind {name} by {behind:.3f}")


_THRESHOLDS: Final[Sequence[float]] = np.arange(0.30, 0.701, 0.025).round(3).tolist()


def tune(examples: Sequence[Example]) -> Tuning:
    """Fit the thresholds by coordinate descent; of equally good values, the middle one of the widest run.

    But the largest distance to other moments: what people film varies more within a scene than stills do. It is fitted
    before cuts are looked at, for it says what is new within a shot; here a shot never leaves its still. Of distances
    across a cut the smallest: what changes within the shots is a second measure.
    """
    limits: dict[str, Sequence[float]] = {
        "threshold": _THRESHOLDS,
        "soft": [0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5],
        "blurred": [0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6],
        "mixed": [0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9],
        "flat": [8.0, 10.0, 12.0, 14.0, 16.0, 18.0],
        "faint": [3.0, 4.0, 6.0, 8.0, 10.0],
    }
    cuts: dict[str, Sequence[float]] = {
        "cut": [0.3, 0.325, 0.35, 0.375, 0.4, 0.425, 0.45, 0.475, 0.5],
        "apart": [1.0, 1.25, 1.5, 1.75, 2.0, 2.25, 2.5],
    }
    tuning = Tuning(cut=2.0)  # none
    for grids in (limits, limits, cuts, cuts):
        for name, grid in grids.items():
            losses = [loss(examples, dataclasses.replace(tuning, **{name: value})) for value in grid]
            good = [i for i, value in enumerate(losses) if value <= min(losses) + 1e-9]
            runs = [
                [i for _, i in run] for _, run in itertools.groupby(enumerate(good), key=lambda pair: pair[1] - pair[0])
            ]
            widest = max(runs, key=len)
            best = widest[{"threshold": -1, "cut": 0}.get(name, len(widest) // 2)]
            tuning = dataclasses.replace(tuning, **{name: grid[best]})
            print(
                f"{name:10} {getattr(tuning, name):6}  loss {min(losses):.4f}  equally good: {[grid[i] for i in good]}"
            )
    unrelated = np.concatenate([_between(e) for e in examples])
    return dataclasses.replace(tuning, far=round(float(np.median(unrelated)), 2))


def loss(examples: Sequence[Example], tuning: Tuning) -> float:
    """What coverage and precision lack, and a tenth of the error in number, meaned over the clips."""
    coverage, redundancy, junk, count, _ = _table([ours(e, tuning) for e in examples], examples).mean(axis=0)
    return float(1 - coverage + redundancy + junk + 0.1 * count)


def _between(example: Example) -> Floats:
    apart = distances(unit(example.features.vision))
    scene = example.frames.scenes
    return np.asarray(apart[(scene[:, None] != scene[None]) & (scene[:, None] != JUNK) & (scene[None] != JUNK)])


def main() -> int:
    keep_ordinary()  # the AV1 encoder does not
    parser = argparse.ArgumentParser(prog="python -m benchmarks.novelty", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--stills", type=Path, metavar="DIR", help="default: held-out splits under DATASETS_DIR, or ours"
    )
    parser.add_argument("--clips", type=int, default=6, help="of each kind")
    parser.add_argument("--kinds", nargs="+", choices=[kind.name for kind in KINDS], help="default: all")
    parser.add_argument(
        "--window", type=float, nargs="+", default=[WINDOW], help="least parts of a still in view; less is harder"
    )
    parser.add_argument("--tune", action="store_true", help="fit the thresholds, on the other half of the stills")
    parser.add_argument("--weights", type=Path, default=Path("weights"))
    parser.add_argument("--precision", choices=get_args(Precision), default="auto")
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir()) / "novelty-clips")
    options = parser.parse_args()
    which: Half = "tune" if options.tune else "report"
    stills = half(find_stills(options.stills), which)
    described = Described(options.weights, options.precision, stills, which, options.cache)
    kinds = [kind for kind in KINDS if options.kinds is None or kind.name in options.kinds]
    examples = []
    wanted = list(itertools.product(kinds, range(options.clips), options.window))
    for kind, number, window in wanted:
        examples.append(described.example(kind, number, window))
        print(f"\r{len(examples)} of {len(wanted)} clips", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    print(
        f"{len(examples)} clips, {sum(e.truth.seconds for e in examples):.0f} s, from {len(stills)} stills ({which} "
        f"half); {sum(len(e.truth.times) for e in examples)} frames, of which ours looked at "
        f"{sum(len(e.features.times) for e in examples)}"
    )
    for kind in kinds:
        print(f"* {kind.name}: {kind.what}")
    if options.tune:
        tuning = tune(examples)
        print(tuning)
        words(examples, tuning)
    else:
        report(examples, described, Tuning())
    return 0


if __name__ == "__main__":
    sys.exit(main())
