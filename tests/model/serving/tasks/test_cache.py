"""For how long and how much a worker keeps, and when not at all."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from model.clip_moments import FrameDescription
from model.serving.tasks.cache import FEATURE_BYTES, Cache


def grid(value: float = 0.0) -> Tensor:
    return torch.full((64, 1280), value, dtype=torch.bfloat16)


FRAME = FrameDescription(1.5, "a dog", 0.5, np.zeros(4, np.float32))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_features_are_cached_for_an_hour_and_up_to_a_bound() -> None:
    clock = Clock()
    cache = Cache(feature_bytes=2 * grid().nbytes, clock=clock)
    for number in range(3):
        cache.keep_features("chat", str(number), grid(number), put=clock.now)
    assert [cache.features("chat", str(number)) is None for number in range(3)] == [True, False, False]
    clock.now += 3599
    assert cache.features("chat", "2") is not None  # looked at, and no younger for it
    clock.now += 1
    assert cache.features("chat", "2") is None
    assert FEATURE_BYTES // grid().nbytes > 1500


def test_what_was_in_line_when_its_chat_was_forgotten_is_not_cached() -> None:
    clock = Clock()
    cache = Cache(clock=clock)
    cache.keep_features("chat", "p", grid(), put=clock.now)
    cache.keep_frames("chat", "attention", b"digest", [FRAME], put=clock.now)
    cache.keep_features("other", "p", grid(), put=clock.now)
    clock.now += 10
    cache.forget(["chat", "never heard of"])
    assert cache.features("chat", "p") is None
    assert cache.frames("chat", "attention", b"digest") == {}
    assert cache.features("other", "p") is not None
    clock.now += 5
    cache.keep_features("chat", "p", grid(), put=clock.now - 6)  # it was in work meanwhile
    cache.keep_frames("chat", "attention", b"digest", [FRAME], put=clock.now - 6)
    assert cache.features("chat", "p") is None
    assert cache.frames("chat", "attention", b"digest") == {}
    cache.keep_features("chat", "p", grid(), put=clock.now - 4)  # it came afterwards
    assert cache.features("chat", "p") is not None


def test_nothing_of_a_frames_pixels_is_cached() -> None:
    cache = Cache()
    cache.keep_frames("chat", "attention", b"digest", [FRAME], put=1e9)
    assert cache.frames("chat", "attention", b"digest") == {1.5: FRAME}
    assert {field.name for field in dataclasses.fields(FrameDescription)} == {*("time", "text", "confidence", "vision")}
