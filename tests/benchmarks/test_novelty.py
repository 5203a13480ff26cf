from __future__ import annotations

import numpy as np

from benchmarks.novelty import Example, at_random, rolling, uniform
from model.novelty import FrameFeatures, Tuning, look


def test_references_take_as_many_frames_as_are_wanted() -> None:
    scenes = np.repeat(np.eye(3, 8, dtype=np.float32), 10, axis=0)  # ten frames of each of three
    looks = [look(np.zeros((8, 8, 3), np.uint8))] * 30
    features = FrameFeatures(list(np.arange(30.0)), scenes, np.ones((30, 4), np.float32), looks)
    example = Example(features, np.arange(30) // 10, scenes=3, seconds=30.0, seed=3)
    assert 10 in rolling(example, 3, Tuning())  # the first of the second scene is the farthest from all before it
    assert uniform(example, 3) == [5, 15, 25]
    assert len(at_random(example, 5)) == 5
    assert at_random(example, 5) == at_random(example, 5)
