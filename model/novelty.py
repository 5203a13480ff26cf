"""The most dissimilar frames of a clip. NumPy only.

1. Gate: blurred and broken frames, dissolves, single frames that interrupt a scene, and frames that are dark or flat
   for a short time are no moments.
2. Distance: Euclidean between unit-length pooled encoder features. It is absolute, so that one threshold tells a change
   of scene from a camera that moves.
3. Shots: a cut lies between two frames that are far apart. Two shots that are nowhere alike, far apart for how little
   changes within each, are two scenes: their frames count as no nearer than the threshold.
4. Selection: greedy farthest-point traversal (Gonzalez 1985): always the frame farthest from those taken, until none
   is farther than the threshold. No frame is left that is unlike every moment.
5. Each moment is shown by the sharpest of the frames in its midst.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Levels = npt.NDArray[np.uint16]

MOST_MOMENTS: Final = 10
_LOOK_SIDE: Final = 128  # pixels, about: where sharpness is measured
_THUMBNAIL: Final = (12, 16)  # rows, columns
_STREAK_BLOCK: Final = 16  # pixels
_STREAKED_JUMP: Final = 8
_SLACK: Final = 0.1  # of the threshold: frames that differ less are equals
_DISTINCT: Final = 0.9  # of the threshold: moments that differ less would look the same


@dataclass(frozen=True)
class Look:
    """Statistics of a frame's pixels, for the gate. Levels are 0–255."""

    brightness: float  # mean
    contrast: float  # standard deviation
    sharpness: float  # standard deviation of the Laplacian
    streaks: float  # share of the picture that changes across but not downwards, as where a decoder lost its way
    thumbnail: Floats  # (12, 16, 3)


@dataclass(frozen=True)
class FrameFeatures:
    """Features of a clip's N frames, in the order of time."""

    times: Sequence[float]  # seconds
    vision: Floats  # (N, C) pooled encoder features
    looks: Sequence[Look]


@dataclass(frozen=True)
class Tuning:
    """Fitted by `python -m benchmarks.novelty --tune`; distances are in [0, 2]."""

    threshold: float = 0.525  # frames farther from every moment than this are a moment of their own
    cut: float = 0.375  # two frames in a row that are farther apart than this are of two shots
    change: float = (
        6.0  # mean difference of their pixels, in levels, at least: a keyframe that sharpens a picture is no cut
    )
    apart: float = 1.75  # distance of two scenes, of the largest distance within either
    far: float = 0.8  # as unlike as two unrelated photos: a score of 1
    dark: float = 16.0  # brightness
    flat: float = 14.0  # contrast
    faint: float = 6.0  # contrast, of shots that last
    lasting: float = 0.9  # seconds from the first frame of a shot to its last
    blurred: float = 0.4  # sharpness, of the sharpest alike frame beside it
    soft: float = 0.25  # sharpness, and sharpness for its contrast, of the clip's median
    mixed: float = 0.75  # what is left of a frame when it is taken for a dissolve of its neighbours
    streaked: float = 0.06  # streaks, and several times more than is usual in the clip
    shortest_shot: float = 1.1  # seconds; of frames farther apart, one alone may be a shot


@dataclass(frozen=True)
class Novelty:
    """The moments of a clip, and the figures that led to them."""

    chosen: tuple[int, ...]  # in the order of time
    scores: Floats  # (N,) in [0, 1]: mean squared distance from the clip's frames; 0 where the gate holds one back
    usable: npt.NDArray[np.bool_]  # (N,)
    variedness: float  # in [0, 1]: the mean score
    still: bool  # one shot in which little changes


def look(image: npt.NDArray[np.uint8]) -> Look:
    """Measure a frame. image: (H, W, 3) RGB."""
    skip = max(1, max(image.shape) // (4 * _LOOK_SIDE))  # large frames are measured on a grid of their pixels
    rgb = image[::skip, ::skip].transpose(2, 0, 1).astype(np.uint16, order="C")
    luma = rgb[1] + rgb[1]  # in quarters of a level
    luma += rgb[0]
    luma += rgb[2]
    height, width = luma.shape
    step = max(1, max(height, width) // _LOOK_SIDE)
    grey = _block_means(luma, max(1, height // step), max(1, width // step)) / 4
    if min(grey.shape) > 2:
        centre = grey[1:-1, 1:-1]
        edges = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * centre
    else:
        edges = np.zeros(1, np.float32)
    thumbnail = np.stack([_block_means(channel, *_THUMBNAIL) for channel in rgb], axis=-1)
    return Look(float(grey.mean()), float(grey.std()), float(edges.std()), _streaks(luma), thumbnail)


def _streaks(luma: Levels) -> float:
    """luma: (H, W) in quarters of a level."""
    rows, columns = luma.shape[0] // _STREAK_BLOCK, luma.shape[1] // _STREAK_BLOCK
    if rows < 2 or columns < 2:
        return 0.0
    changes = [np.diff(luma.view(np.int16), axis=axis) for axis in (1, 0)]
    across, down = (_block_means(np.abs(each, out=each).view(np.uint16), rows, columns) for each in changes)
    return float(((across > 4 * down) & (across > 4)).mean())


def _block_means(image: Levels, rows: int, columns: int) -> Floats:
    """Levels, (H, W), reduced to (rows, columns): means of blocks. Small images are repeated.

    The lines of a block are summed in 16 bits, which hold 64 times the highest luma.
    """
    (down, tall), (across, wide) = _parts(image.shape[0], rows), _parts(image.shape[1], columns)
    strips = np.empty((rows, image.shape[1]), np.uint16)
    for strip, start, lines in zip(strips, down.tolist(), tall.tolist(), strict=True):
        np.add.reduce(image[start : start + lines], axis=0, out=strip)
    sums = np.add.reduceat(strips, across, axis=1, dtype=np.float32)
    return np.asarray(sums / np.outer(tall, wide), dtype=np.float32)


@functools.lru_cache(64)
def _parts(side: int, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Where so many parts of a side begin, and how long they are: at least 1."""
    starts = np.linspace(0, side, count, endpoint=False).astype(np.intp)
    return starts, np.maximum(np.diff(starts, append=side), 1)


def unit(rows: Floats) -> Floats:
    """The same directions, (N, C), each of length 1."""
    rows = rows.astype(np.float32)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


def distances(points: Floats) -> Floats:
    """Euclidean, (N, N)."""
    squares = (points**2).sum(axis=1)
    squared = squares[:, None] + squares[None] - 2 * points @ points.T
    return np.asarray(np.sqrt(np.maximum(0.0, squared)), dtype=np.float32)


def gate(features: FrameFeatures, apart: Floats, tuning: Tuning) -> npt.NDArray[np.bool_]:
    """Which frames may be moments, (N,); all of them where none would be left. apart: (N, N) distances."""
    looks, count = features.looks, len(features.looks)
    plain = np.array([x.brightness >= tuning.dark and x.contrast >= tuning.flat for x in looks], dtype=np.bool_)
    plain |= _lasting(features, apart, tuning)
    usable = plain.copy()
    step = float(np.median(np.diff(features.times))) if count > 1 else 0.0
    crisp = np.array([x.sharpness / max(x.contrast, 1.0) for x in looks])
    sharp = np.array([x.sharpness for x in looks])
    usual, usually_crisp = (float(np.median(x[plain])) if plain.any() else 0.0 for x in (sharp, crisp))
    for i in range(count):
        beside = [
            j for j in range(max(0, i - 2), min(count, i + 3)) if j != i and plain[j] and apart[i, j] < tuning.threshold
        ]
        sharpest = max((looks[j].sharpness for j in beside), default=0.0)
        soft = sharp[i] < tuning.soft * usual and crisp[i] < tuning.soft * usually_crisp
        usable[i] &= sharp[i] >= tuning.blurred * sharpest and not soft
    for i in range(1, count - 1):
        before, after = _neighbours(plain, i)
        if before is None or after is None or step > tuning.shortest_shot:
            continue
        away = min(apart[i, before], apart[i, after])
        if apart[before, after] < tuning.threshold:
            usable[i] &= away < tuning.threshold  # else it interrupts one scene
        else:
            mixture = _mixture(looks[before].thumbnail, looks[i].thumbnail, looks[after].thumbnail)
            usable[i] &= mixture > tuning.mixed
    usable &= ~_broken(np.array([x.streaks for x in looks]), apart, tuning)
    return usable if usable.any() else np.ones(count, dtype=np.bool_)


def _lasting(features: FrameFeatures, apart: Floats, tuning: Tuning) -> npt.NDArray[np.bool_]:
    """Frames of shots that last: what is dim or pale for long is a scene, and no flash and no fault."""
    count, lasting, start = len(features.times), np.zeros(len(features.times), dtype=np.bool_), 0
    shows = [x.contrast >= tuning.faint for x in features.looks]
    for i in range(1, count + 1):
        if i < count and shows[i] and shows[i - 1] and apart[i - 1, i] < tuning.threshold:
            continue
        lasting[start:i] = features.times[i - 1] - features.times[start] >= tuning.lasting
        start = i
    return lasting


def _broken(streaks: npt.NDArray[np.float64], apart: Floats, tuning: Tuning) -> npt.NDArray[np.bool_]:
    """Frames that the decoder made up after damage: a run of streaks inside a scene, or from somewhere to the end.

    Streaks alone do not show it: blinds, books and columns have them.
    """
    count = len(streaks)
    marked = streaks > max(tuning.streaked, _STREAKED_JUMP * float(np.median(streaks)))
    broken = np.zeros(count, dtype=np.bool_)
    start = None
    for i in range(count + 1):
        if i < count and marked[i]:
            start = i if start is None else start
        elif start is not None:
            inside = start > 0 and (i == count or apart[start - 1, i] < tuning.threshold)
            broken[start:i] = inside and apart[start - 1, start] >= tuning.threshold
            start = None
    return broken


def _neighbours(plain: npt.NDArray[np.bool_], i: int) -> tuple[int | None, int | None]:
    """The nearest frames on either side, not more than two away, that are neither dark nor flat."""
    before = next((j for j in (i - 1, i - 2) if j >= 0 and plain[j]), None)
    after = next((j for j in (i + 1, i + 2) if j < len(plain) and plain[j]), None)
    return before, after


def _mixture(before: Floats, frame: Floats, after: Floats) -> float:
    """The error of explaining a frame as a dissolve of its neighbours: 0 is a perfect dissolve, 1 or more is none.

    The least-squares share of `after` is kept within a dissolve's range, and the residual compared with the
    distance to the nearer neighbour.
    """
    way, gone = (after - before).ravel(), (frame - before).ravel()
    share = float(np.clip(gone @ way / (way @ way + 1e-6), 0.15, 0.85))
    nearer = min(float(np.linalg.norm(gone)), float(np.linalg.norm(after - frame)))
    return float(np.linalg.norm(gone - share * way)) / (nearer + 1e-6)


def part_scenes(apart: Floats, looks: Sequence[Look], tuning: Tuning, *, single: bool) -> Floats:
    """Distances, (N, N), of frames in the order of time, of which those between two scenes are not below the threshold.

    Scenes alike in colours and layout are nearer to each other than the two ends of one long pan; a cut between them
    tells them apart, and that both last. A scene that comes back after a cut is like what it was somewhere.
    single: whether one frame may be a shot.
    """
    thumbnails = np.stack([look.thumbnail for look in looks])
    changes = np.abs(np.diff(thumbnails, axis=0)).mean(axis=(1, 2, 3))
    cuts = (apart.diagonal(1) >= tuning.cut) & (changes >= tuning.change)
    starts = np.flatnonzero(np.concatenate([[True], cuts]))
    lengths = np.diff([*starts, len(apart)])
    nearest = np.minimum.reduceat(np.minimum.reduceat(apart, starts, axis=0), starts, axis=1)  # (shots, shots)
    within = np.maximum.reduceat(np.maximum.reduceat(apart, starts, axis=0), starts, axis=1).diagonal()
    parted = nearest >= np.maximum(tuning.cut, tuning.apart * np.maximum(within[:, None], within[None]))
    lasts = (lengths > 1) | single
    parted &= lasts[:, None] & lasts[None]
    shot = np.repeat(np.arange(len(starts)), lengths)
    return np.where(parted[np.ix_(shot, shot)], np.maximum(apart, tuning.threshold), apart)


def farthest_points(apart: Floats, count: int, threshold: float) -> list[int]:
    """Greedy farthest-point traversal over (N, N) distances, from the frame that is nearest to all.

    Stops at `count` points, or when no frame is `threshold` away from those taken.
    """
    taken = [int(apart.sum(axis=1).argmin())]
    nearest = apart[taken[0]].copy()  # to the points taken
    while len(taken) < count:
        farthest = int(nearest.argmax())
        if nearest[farthest] < threshold or farthest in taken:
            break
        taken.append(farthest)
        nearest = np.minimum(nearest, apart[farthest])
    return taken


def _representatives(taken: Sequence[int], apart: Floats, sharpness: Floats, slack: float) -> list[int]:
    """For each point taken, the sharpest of the frames in the midst of those that are nearest to it.

    That is the middle half of them, and those not more than `slack` farther out than the innermost.
    """
    owner = apart[:, taken].argmin(axis=1)
    owner[list(taken)] = range(len(taken))
    result = []
    for place in range(len(taken)):
        members = np.flatnonzero(owner == place)
        spread = apart[np.ix_(members, members)].mean(axis=1)
        middle = members[spread <= max(np.median(spread), spread.min() + slack)]
        result.append(int(middle[sharpness[middle].argmax()]))
    return result


def _distinct(shown: Sequence[int], apart: Floats, least: float) -> list[int]:
    """Drop frames closer than `least` to an earlier one: a scene's two ends may have similar middles."""
    result: list[int] = []
    for frame in shown:
        if all(apart[frame, other] >= least for other in result):
            result.append(frame)
    return result


def find_moments(features: FrameFeatures, *, count: int | None = None, tuning: Tuning | None = None) -> Novelty:
    """Choose the moments of a clip.

    count: how many; None: as many as differ, 1 to MOST_MOMENTS. Raises ValueError for no frames, or a count below 1.
    """
    tuning = tuning or Tuning()
    frames = len(features.times)
    if not frames or (count is not None and count < 1):
        raise ValueError(f"{frames} frames, {count} moments: both must be at least 1")
    apart = distances(unit(features.vision))
    usable = gate(features, apart, tuning)
    kept = np.flatnonzero(usable)
    step = float(np.median(np.diff(features.times))) if frames > 1 else 0.0
    looks = [features.looks[i] for i in kept.tolist()]
    inner = part_scenes(apart[np.ix_(kept, kept)], looks, tuning, single=step > tuning.shortest_shot)
    found = farthest_points(inner, MOST_MOMENTS, tuning.threshold)
    unlike = np.minimum(1.0, (apart[:, kept] / tuning.far) ** 2).mean(axis=1)
    scores = np.where(usable, unlike, 0.0).astype(np.float32)
    taken = found if count is None else farthest_points(inner, min(frames, count), 0.0)
    sharpness = np.array([look.sharpness for look in looks], dtype=np.float32)
    shown = _representatives(taken, inner, sharpness, _SLACK * tuning.threshold)
    if count is None:
        shown = _distinct(shown, inner, _DISTINCT * tuning.threshold)
    return Novelty(
        chosen=tuple(sorted(int(kept[i]) for i in shown)),
        scores=scores,
        usable=usable,
        variedness=float(scores[kept].mean()),
        still=len(found) == 1,
    )
