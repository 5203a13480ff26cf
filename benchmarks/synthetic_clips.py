"""Video files with a known truth, made from stills: which scene each frame shows, or that it is junk.

Within a scene the camera pans, zooms and trembles over its still, the exposure drifts, and there is noise. Scenes
follow each other by cuts or dissolves; some come back, some look like others; here and there the picture is black,
blown out or blurred for a moment. What happens, and how it is encoded, depends on the kind of clip. Everything follows
from a seed.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, Literal

import av
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

RATE: Final = 25.0  # frames a second
SIZE: Final = (320, 240)
THUMBNAIL: Final = (32, 24)
JUNK: Final = -1
WINDOW: Final = 0.7
LONGEST: Final = 7.0  # seconds, of a shot; the shortest has one
PHOTOS: Final = Path(__file__).resolve().parent.parent / "tests" / "photos"
_TICKS: Final = 12_800  # a second
_STILL_SIDE: Final = 640  # pixels: larger stills are made smaller

Half = Literal["tune", "report"]
Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Kind:
    """What happens in clips of a kind, and how they are encoded. Pairs are ranges."""

    name: str
    what: str
    scenes: tuple[int, int] = (3, 6)
    single: float = 0.0  # share of clips of one scene
    dissolves: float = 0.0  # share of changes that are not cuts
    faults: float = 0.0  # a second: black, blown out or blurred for 0.08–0.5 s
    recurring: float = 0.0  # chance that a scene comes back, once
    lookalikes: float = 0.0  # chance that a scene looks like the one before
    tremor: tuple[float, float] = (0.0, 0.01)  # shares of the picture
    suffix: str = ".mp4"
    codec: str = "libx264"
    interlaced: bool = False
    uneven: bool = False  # frames at changing distances
    trimmed: bool = False  # an edit list cuts off what comes before and after


_MIXED: Final[dict[str, Any]] = {
    "single": 0.25,
    "dissolves": 0.35,
    "faults": 0.1,
    "recurring": 0.15,
    "lookalikes": 0.2,
}
KINDS: Final = (
    Kind("cuts", "scenes one after the other"),
    Kind("dissolves", "each scene dissolves into the next, for 0.3–1.5 s", dissolves=1.0),
    Kind("flashes", "a flash, a black or a blurred moment about every three seconds", single=0.2, faults=0.35),
    Kind("recurring", "two to four scenes, each of which comes back", scenes=(2, 4), recurring=1.0),
    Kind("near-duplicates", "each scene has the colours and the layout of the one before", lookalikes=1.0),
    Kind("handheld", "few scenes, an unsteady hand", scenes=(1, 3), single=0.2, tremor=(0.02, 0.05)),
    Kind("vfr", "of everything, 4–60 frames a second, and standstills", uneven=True, **_MIXED),
    Kind("av1", "of everything, AV1", codec="libsvtav1", **_MIXED),
    Kind("interlaced", "of everything, MPEG-2", suffix=".mpg", codec="mpeg2video", interlaced=True, **_MIXED),
    Kind("trimmed", "of everything, an edit list cuts off both ends", trimmed=True, **_MIXED),
)


@dataclass(frozen=True)
class Truth:
    """What each frame of a file shows. Pictures are compared by small copies of them."""

    times: npt.NDArray[np.float64]  # (N,) seconds, as a player shows them
    scenes: npt.NDArray[np.int64]  # (N,) or JUNK
    thumbnails: Pixels  # (N, 24, 32, 3)
    seconds: float

    @property
    def count(self) -> int:
        return len(set(self.scenes.tolist()) - {JUNK})

    def find(self, time: float, picture: Pixels) -> tuple[int, float]:
        """The scene on a thumbnail, and how far `time` is from a moment that looks like it."""
        away = self.thumbnails.astype(np.float32) - picture.astype(np.float32)
        apart = np.sqrt((away**2).mean(axis=(1, 2, 3)))
        alike = np.flatnonzero(apart <= apart.min() + 0.5)
        best = alike[np.abs(self.times[alike] - time).argmin()]
        return int(self.scenes[best]), float(abs(self.times[best] - time))


def thumbnail(image: Pixels) -> Pixels:
    """(H, W, 3) → (24, 32, 3)."""
    return np.asarray(Image.fromarray(image).resize(THUMBNAIL, Image.Resampling.BOX))


@dataclass(frozen=True)
class Shot:
    """A still as the camera goes over it. Windows are (centre x, centre y, size), in shares of the still."""

    scene: int
    still: Path
    start: float
    end: float
    window: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]  # at the start and at the end
    drift: float
    phase: float
    dissolve: float  # seconds, into it; 0: a cut


@dataclass(frozen=True)
class Script:
    """A whole clip."""

    kind: Kind
    seed: int
    shots: tuple[Shot, ...]
    faults: tuple[tuple[float, float, str], ...]  # from, to, what is wrong
    tremor: float
    noise: float
    quality: int
    shown: tuple[float, float]  # from, to


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


def write_script(
    kind: Kind, seed: int, stills: Sequence[Path], lookalikes: dict[Path, Path], window: float = WINDOW
) -> Script:
    """Make up a clip. lookalikes: for each still the most similar other one. window: the least share of a still's
    width and height that the camera sees; the smaller, the more a scene varies."""
    rng = np.random.default_rng((seed, zlib.crc32(kind.name.encode())))
    scenes = 1 if rng.random() < kind.single else int(rng.integers(kind.scenes[0], kind.scenes[1] + 1))
    cast: list[Path] = []
    while len(cast) < min(scenes + 2 * kind.trimmed, len(stills)):
        similar = cast and rng.random() < kind.lookalikes
        still = lookalikes[cast[-1]] if similar else stills[int(rng.integers(len(stills)))]
        if still in cast:
            still = next(still for still in rng.permutation(np.array(stills, object)).tolist() if still not in cast)
        cast.append(still)
    hidden = cast[-2:] if kind.trimmed and len(cast) > 2 else []
    order = list(range(len(cast) - len(hidden)))
    for scene in range(len(order)):
        if len(order) > 1 and rng.random() < kind.recurring:
            places = [p for p in range(1, len(order) + 1) if scene not in order[p - 1 : p + 1]]
            order.insert(int(rng.choice(places or [len(order)])), scene)
    names = (
        [(JUNK, hidden[0]), *((k, cast[k]) for k in order), (JUNK, hidden[1])]
        if hidden
        else [(k, cast[k]) for k in order]
    )
    at, shots = 0.0, list[Shot]()
    for scene, still in names:
        length = round(float(np.exp(rng.uniform(0, np.log(LONGEST)))) * RATE) / RATE
        first = _window(rng, window)
        last = _window(rng, window) if rng.random() < 0.7 else first
        longest = min(1.5, length / 2, shots[-1].end - shots[-1].start) if shots else 0.0
        smooth = JUNK not in (scene, shots[-1].scene if shots else JUNK)
        dissolve = float(rng.uniform(0.3, 1.5)) if rng.random() < kind.dissolves else 0.0
        shots.append(
            Shot(
                scene,
                still,
                at,
                at + length,
                (first, last),
                drift=float(rng.uniform(0, 0.25)),
                phase=float(rng.uniform(0, 2 * np.pi)),
                dissolve=min(dissolve, longest) if smooth and longest > 0.3 else 0.0,
            )
        )
        at += length
    faults, next_one = list[tuple[float, float, str]](), 0.0
    while kind.faults and (next_one := next_one + float(rng.exponential(1 / kind.faults))) < at:
        until = next_one + float(rng.uniform(0.08, 0.5))
        if any(shot.start + shot.dissolve + 0.5 <= next_one and until <= shot.end - 0.5 for shot in shots):
            faults.append((next_one, until, str(rng.choice(["black", "flash", "flash", "blur"]))))
    return Script(
        kind,
        seed,
        tuple(shots),
        tuple(faults),
        tremor=float(rng.uniform(*kind.tremor)),
        noise=float(rng.uniform(0, 6)),
        quality=int(rng.integers(18, 33)),
        shown=(shots[0].end, shots[-1].start) if hidden else (0.0, at),
    )


def _window(rng: np.random.Generator, least: float) -> npt.NDArray[np.float64]:
    size = rng.uniform(least, 0.95)
    return np.array([*rng.uniform(size / 2, 1 - size / 2, 2), size])


def write_clip(script: Script, path: Path) -> Truth:
    """Render a clip and encode it. path: with the suffix of its kind."""
    kind = script.kind
    times = _instants(script)
    pictures = _pictures(script, times)
    truth = list[tuple[float, int, Pixels]]()
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(kind.codec, rate=Fraction(RATE), options=_options(script))
        (stream.width, stream.height), stream.pix_fmt = SIZE, "yuv420p"
        base = Fraction(1, round(RATE) if kind.interlaced else _TICKS)
        stream.codec_context.time_base = base
        for time in times[:: 2 if kind.interlaced else 1]:
            image, scene = next(pictures)
            if kind.interlaced:
                image = image.copy()
                image[1::2] = next(pictures)[0][1::2]
            truth.append((time - script.shown[0], scene, thumbnail(image)))
            frame = av.VideoFrame.from_ndarray(image).reformat(format="yuv420p")
            frame.pts, frame.time_base = round(time / base), base
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    if kind.trimmed:
        _trim(path, *script.shown)
    return Truth(
        np.array([time for time, _, _ in truth]),
        np.array([scene for _, scene, _ in truth]),
        np.stack([picture for _, _, picture in truth]),
        script.shown[1] - script.shown[0],
    )


def _options(script: Script) -> dict[str, str]:
    if script.kind.codec == "mpeg2video":
        return {"flags": "+ildct+ilme", "top": "1", "b": "3M", "maxrate": "6M", "bufsize": "2M"}
    if script.kind.codec == "libsvtav1":
        return {"preset": "11", "crf": str(script.quality + 8)}
    return {"preset": "superfast", "crf": str(script.quality), "bf": "0"}


def _instants(script: Script) -> list[float]:
    """When there are pictures: of interlaced clips, fields."""
    rate = 2 * RATE if script.kind.interlaced else RATE
    end = script.shots[-1].end
    if not script.kind.uneven:
        return [index / rate for index in range(round(end * rate))]
    rng = np.random.default_rng((script.seed, 2))
    times, step = [0.0], 1 / RATE
    while times[-1] + step < end:
        times.append(round((times[-1] + step) * 1000) / 1000)
        draw = rng.random()
        if draw < 0.03:
            step = float(np.exp(rng.uniform(np.log(1 / 60), np.log(1 / 4))))
        stop = draw > 0.995
        if stop and times[-1] + 1 < end:
            times.append(times[-1] + 0.8)
    return times


def _trim(path: Path, start: float, end: float) -> None:
    """Put into the file's edit list what is shown of it (ISO/IEC 14496-12, 8.6.6)."""
    data = bytearray(path.read_bytes())
    at = data.index(b"elst") + 12
    ticks = int.from_bytes(data[data.index(b"mdhd") + 16 :][:4], "big")
    data[at : at + 8] = round(1000 * (end - start)).to_bytes(4, "big") + round(start * ticks).to_bytes(4, "big")
    path.write_bytes(data)


def _pictures(script: Script, times: Sequence[float]) -> Iterator[tuple[Pixels, int]]:
    """What the camera records at these times, and the scene on it."""
    rng = np.random.default_rng((script.seed, 1))
    stills = {shot.still: _load(shot.still) for shot in script.shots}
    grain = rng.normal(0, script.noise, (2 * SIZE[1], 2 * SIZE[0], 3)).astype(np.float32)
    hand, before_that = np.zeros(3), 0.0
    for time in times:
        keep = np.exp(-(time - before_that) / 0.25)  # an Ornstein–Uhlenbeck process, of a quarter of a second
        hand = hand * keep + rng.normal(0, 1, 3) * (1 - keep**2) ** 0.5
        before_that = time
        now = next(k for k, shot in enumerate(script.shots) if time < shot.end - 1e-6 or k == len(script.shots) - 1)
        shot = script.shots[now]
        scene, shake = shot.scene, script.tremor * hand * (1, 1, 0.5)
        picture = _look(shot, stills[shot.still], time, shake)
        share = (time - shot.start) / shot.dissolve if shot.dissolve else 1.0
        if share < 1:  # the shot before, its last window held, shines through
            before = script.shots[now - 1]
            picture = picture * share + _look(before, stills[before.still], before.end, shake) * (1 - share)
            scene = before.scene if share < 0.2 else scene if share > 0.8 else JUNK
        fault = next(((start, what) for start, end, what in script.faults if start <= time < end), None)
        left, top = (int(rng.integers(SIZE[axis])) for axis in (0, 1))
        noise = grain[top : top + SIZE[1], left : left + SIZE[0]]
        yield _recorded(picture, noise, fault), scene if fault is None else JUNK


def _load(path: Path) -> Image.Image:
    with Image.open(path) as file:
        still = file.convert("RGB")
    still.thumbnail((_STILL_SIDE, _STILL_SIDE))
    return still


def _look(shot: Shot, still: Image.Image, time: float, shake: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """What the camera sees: (H, W, 3) in 0–255."""
    part = (time - shot.start) / (shot.end - shot.start)
    x, y, size = shot.window[0] * (1 - part) + shot.window[1] * part + shake
    size = min(1.0, size)
    left, top = np.clip(np.array([x, y]) - size / 2, 0, 1 - size).tolist()
    box = (left * still.width, top * still.height, (left + size) * still.width, (top + size) * still.height)
    pixels = np.asarray(still.resize(SIZE, Image.Resampling.BILINEAR, box=box), dtype=np.float32)
    return np.asarray(pixels * np.float32(1 + shot.drift * np.sin(shot.phase + 0.7 * time)))


def _recorded(
    picture: npt.NDArray[np.float32], noise: npt.NDArray[np.float32], fault: tuple[float, str] | None
) -> Pixels:
    """After what goes wrong in the camera. fault: since when (which tells how badly), and what."""
    start, what = fault or (0.0, "")
    badly = np.random.default_rng(round(1000 * start)).random()
    if what == "black":
        picture = picture * np.float32(0.05 * badly)
    elif what == "flash":
        share = np.float32(0.75 + 0.2 * badly)
        picture = picture * (1 - share) + 255 * share
    pixels = np.clip(picture + noise + 0.5, 0, 255).astype(np.uint8)
    if what == "blur":
        return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(5 + 5 * badly)))
    return np.asarray(pixels)


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
