"""Clips with a known truth, made from stills: which scene each frame shows, or that it is junk.

Within a scene the camera pans, zooms and trembles over its still, the exposure drifts, there is noise, and every
frame goes through JPEG. Scenes follow each other by cuts or dissolves, some come back later, some look like their
predecessor; here and there a frame is black, blown out or blurred. Everything follows from a seed.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

RATE: Final = 2.0  # frames a second, as model.media.clips takes them
SIZE: Final = (320, 240)
JUNK: Final = -1
WINDOW: Final = 0.7
PHOTOS: Final = Path(__file__).resolve().parent.parent / "tests" / "photos"

Half = Literal["tune", "report"]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TrueFrame:
    time: float
    image: Pixels  # (H, W, 3) RGB
    scene: int  # or JUNK


@dataclass(frozen=True)
class Shot:
    """A still as the camera goes over it. Windows are (centre x, centre y, size), in shares of the still."""

    scene: int
    still: Path
    start: float
    end: float
    window: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # at the start and at the end
    tremor: float
    drift: float
    phase: float


@dataclass(frozen=True)
class Script:
    """A whole clip."""

    seed: int
    shots: tuple[Shot, ...]
    dissolves: tuple[float, ...]  # seconds, into each shot; 0: a cut
    junk: dict[int, str]  # frame index at RATE → what is wrong with it
    noise: float
    quality: int

    @property
    def duration(self) -> float:
        return self.shots[-1].end

    @property
    def scenes(self) -> int:
        return len({shot.scene for shot in self.shots})


def find_stills(folder: Path | None) -> list[Path]:
    """Pictures never trained on: a folder's, or those of the held-out splits under DATASETS_DIR, or our own few."""
    if folder is not None:
        return sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp"))
    stills: list[Path] = []
    for index in sorted(Path(os.environ.get("DATASETS_DIR", "datasets")).glob("*/dataset*.json")):
        for image in json.loads(index.read_text())["images"]:
            path = index.parent / "images" / image["filename"]
            if image["split"] in ("val", "test", "dev") and path.is_file():
                stills.append(path)
    return sorted(stills) or sorted(PHOTOS.glob("*.jpg"))


def half(stills: Sequence[Path], which: Half) -> list[Path]:
    """The half to tune on or the half to report on: a still belongs to one of them by its name, for good."""
    chosen = [path for path in stills if zlib.crc32(path.name.encode()) % 2 == (which == "report")]
    if not chosen:
        raise ValueError(f"there are no stills for the half {which!r}")
    return chosen


def write_script(seed: int, stills: Sequence[Path], lookalikes: dict[Path, Path], window: float = WINDOW) -> Script:
    """Make up a clip. lookalikes: for each still the most similar other one. window: the least share of a still's
    width and height that the camera sees; the smaller, the more a scene varies."""
    rng = np.random.default_rng(seed)
    scenes = 1 if rng.random() < 0.25 else int(rng.integers(3, 9))
    cast: list[Path] = []
    while len(cast) < min(scenes, len(stills)):
        still = lookalikes[cast[-1]] if cast and rng.random() < 0.2 else stills[int(rng.integers(len(stills)))]
        if still not in cast:
            cast.append(still)
        elif rng.random() < 0.2:
            cast.extend(still for still in stills if still not in cast and len(cast) < scenes)
    order = list(range(len(cast)))
    if len(cast) > 2 and rng.random() < 0.4:  # A-B-A
        order.insert(int(rng.integers(2, len(order) + 1)), order[0])
    at, shots, dissolves = 0.0, list[Shot](), list[float]()
    for place, scene in enumerate(order):
        length = round(float(np.exp(rng.uniform(0, np.log(20)))) * RATE) / RATE
        moves = rng.random() < 0.7
        first = _window(rng, window)
        last = _window(rng, window) if moves else first
        shots.append(
            Shot(
                scene,
                cast[scene],
                at,
                at + length,
                (first, last),
                tremor=float(rng.uniform(0, 0.015)),
                drift=float(rng.uniform(0, 0.25)),
                phase=float(rng.uniform(0, 2 * np.pi)),
            )
        )
        longest = min(1.5, length / 2, shots[-2].end - shots[-2].start if place else 0.0)
        dissolves.append(float(rng.uniform(0.3, 1.5)) if place and rng.random() < 0.35 and longest > 0.5 else 0.0)
        dissolves[-1] = min(dissolves[-1], longest)
        at += length
    junk = {
        index: str(rng.choice(["black", "flash", "blur"]))
        for index in range(round(at * RATE))
        if rng.random() < 0.05 and _neighbours_agree(shots, (index + 0.5) / RATE)
    }
    return Script(
        seed, tuple(shots), tuple(dissolves), junk, noise=float(rng.uniform(0, 6)), quality=int(rng.integers(40, 91))
    )


def _window(rng: np.random.Generator, least: float) -> npt.NDArray[np.float64]:
    size = rng.uniform(least, 0.95)
    return np.array([*rng.uniform(size / 2, 1 - size / 2, 2), size])


def _neighbours_agree(shots: Sequence[Shot], at: float) -> bool:
    """Junk falls only where the scene is seen beside it: a scene must be there to be found."""
    return any(shot.start + 0.5 <= at <= shot.end - 0.5 for shot in shots)


def render(script: Script, rate: float = RATE) -> Iterator[TrueFrame]:
    """The frames of a clip at an even rate, each in the middle of its part of a second."""
    rng = np.random.default_rng((script.seed, 1))
    stills = {shot.still: _load(shot.still) for shot in script.shots}
    for index in range(round(script.duration * rate)):
        time = (index + 0.5) / rate
        now = next(k for k, shot in enumerate(script.shots) if time < shot.end)
        shot, scene = script.shots[now], script.shots[now].scene
        picture = _look(shot, stills[shot.still], time, rng)
        share = (time - shot.start) / script.dissolves[now] if script.dissolves[now] else 1.0
        if share < 1:  # the shot before, its last window held, shines through
            before = script.shots[now - 1]
            picture = picture * share + _look(before, stills[before.still], before.end, rng) * (1 - share)
            scene = before.scene if share < 0.2 else scene if share > 0.8 else JUNK
        fault = script.junk.get(int(time * RATE))
        yield TrueFrame(time, _recorded(picture, fault, script, rng), scene if fault is None else JUNK)


def _load(path: Path) -> Image.Image:
    with Image.open(path) as file:
        return file.convert("RGB")


def _look(shot: Shot, still: Image.Image, time: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """What the camera sees: (H, W, 3) in 0–255."""
    part = (time - shot.start) / (shot.end - shot.start)
    x, y, size = shot.window[0] * (1 - part) + shot.window[1] * part
    left, top = np.clip(np.array([x, y]) + rng.normal(0, shot.tremor, 2) - size / 2, 0, 1 - size).tolist()
    box = (left * still.width, top * still.height, (left + size) * still.width, (top + size) * still.height)
    pixels = np.asarray(still.resize(SIZE, Image.Resampling.BICUBIC, box=box), dtype=np.float64)
    return np.asarray(pixels * (1 + shot.drift * np.sin(shot.phase + 0.7 * time)))


def _recorded(picture: npt.NDArray[np.float64], fault: str | None, script: Script, rng: np.random.Generator) -> Pixels:
    """After what goes wrong in the camera, and after JPEG."""
    if fault == "black":
        picture = picture * rng.uniform(0, 0.05)
    elif fault == "flash":
        share = rng.uniform(0.75, 0.95)
        picture = picture * (1 - share) + 255 * share
    picture = picture + rng.normal(0, script.noise, picture.shape)
    image = Image.fromarray(np.clip(picture + 0.5, 0, 255).astype(np.uint8))
    if fault == "blur":
        image = image.filter(ImageFilter.GaussianBlur(rng.uniform(5, 10)))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=script.quality)
    return np.asarray(Image.open(out).convert("RGB"))


def find_lookalikes(stills: Sequence[Path]) -> dict[Path, Path]:
    """For each still the nearest other one, by colours and layout (an 8 × 8 thumbnail)."""
    tiny = np.stack(
        [np.asarray(_load(p).resize((8, 8), Image.Resampling.BOX), dtype=np.float32).ravel() for p in stills]
    )
    if len(stills) < 2:
        return {path: path for path in stills}
    squares = (tiny**2).sum(axis=1)
    distances = squares[:, None] + squares[None] - 2 * tiny @ tiny.T
    np.fill_diagonal(distances, np.inf)
    return {path: stills[int(row.argmin())] for path, row in zip(stills, distances, strict=True)}
