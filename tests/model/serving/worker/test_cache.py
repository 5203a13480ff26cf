"""For how long and how much a worker keeps, and when not at all."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from model.clip_moments import FrameDescription
from model.serving.jobs import Job
from model.serving.worker.cache import FEATURE_BYTES, Kept
from model.serving.worker.recent import Recent


def of(place: str, picture: str = "p") -> Job:
    return Job("1", 1, place=place, picture=picture)


def grid(value: float = 0.0) -> Tensor:
    return torch.full((64, 1280), value, dtype=torch.bfloat16)


FRAME = FrameDescription(1.5, "a dog", 0.5, np.zeros(4, np.float32), np.zeros(3, np.float32))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_recent_values_are_few_and_not_old() -> None:
    now = 0.0
    recent: Recent[str, str] = Recent(2, seconds=10, clock=lambda: now)
    for name in ("a", "b"):
        recent.keep(name, name.upper())
    assert recent.get("a") == "A"
    recent.keep("c", "C")
    assert (recent.get("a"), recent.get("b"), recent.get("c")) == ("A", None, "C")
    now = 10.0
    assert recent.get("a") is None
    assert len(recent) == 0


def test_recent_values_are_no_larger_together_than_they_may_be() -> None:
    recent: Recent[str, bytes] = Recent(10, size=len)
    recent.keep("a", b"12345")
    recent.keep("b", b"1234")
    recent.keep("a", b"123")  # in its own place
    recent.keep("c", b"123")
    assert (recent.get("b"), recent.get("a"), recent.get("c")) == (b"1234", b"123", b"123")
    recent.keep("d", b"1")
    assert recent.get("b") is None
    recent.forget(lambda key: key == "a")
    assert (recent.get("a"), len(recent)) == (None, 2)
    recent.keep("e", b"123456")
    assert len(recent) == 3
    recent.keep("huge", bytes(11))
    assert len(recent) == 0


def test_features_are_kept_for_an_hour_and_up_to_a_bound() -> None:
    clock = Clock()
    kept = Kept(feature_bytes=2 * grid().nbytes, clock=clock)
    for number in range(3):
        kept.keep_features(of("chat", str(number)), grid(number), put=clock.now)
    assert [kept.features(of("chat", str(number))) is None for number in range(3)] == [True, False, False]
    clock.now += 3599
    assert kept.features(of("chat", "2")) is not None  # looked at, and no younger for it
    clock.now += 1
    assert kept.features(of("chat", "2")) is None
    assert FEATURE_BYTES // grid().nbytes > 1500


def test_what_was_in_line_when_its_chat_was_forgotten_is_not_kept() -> None:
    clock = Clock()
    kept = Kept(clock=clock)
    kept.keep_features(of("chat"), grid(), put=clock.now)
    kept.keep_frames(of("chat"), b"digest", [FRAME], put=clock.now)
    kept.keep_features(of("other"), grid(), put=clock.now)
    clock.now += 10
    kept.forget(["chat", "never heard of"])
    assert kept.features(of("chat")) is None
    assert kept.frames(of("chat"), b"digest") == {}
    assert kept.features(of("other")) is not None
    clock.now += 5
    kept.keep_features(of("chat"), grid(), put=clock.now - 6)  # it was in work meanwhile
    kept.keep_frames(of("chat"), b"digest", [FRAME], put=clock.now - 6)
    assert kept.features(of("chat")) is None
    assert kept.frames(of("chat"), b"digest") == {}
    kept.keep_features(of("chat"), grid(), put=clock.now - 4)  # it came afterwards
    assert kept.features(of("chat")) is not None


def test_nothing_of_a_frames_pixels_is_kept() -> None:
    kept = Kept()
    kept.keep_frames(of("chat"), b"digest", [FRAME], put=1e9)
    assert kept.frames(of("chat"), b"digest") == {1.5: FRAME}
    assert {field.name for field in dataclasses.fields(FrameDescription)} == {
        *("time", "text", "confidence", "vision", "words")
    }
