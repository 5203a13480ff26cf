"""Kinds of words, and the first phrase of a caption."""

from __future__ import annotations

import numpy as np
import pytest

from model.calibration import Logistic
from model.captions import Caption
from model.words import first_phrase


@pytest.mark.parametrize(
    ("caption", "phrase"),
    [
        ("a cat lying on a blanket", "a cat"),
        ("two brown dogs and a cat in the snow", "two brown dogs and a cat"),
        ("a group of people standing in front of a building", "a group of people"),
        ("a man sits", "a man"),
        ("a tall building with a clock", "a tall building"),
        ("there is a cat", "there is a cat"),
        ("on a", "on a"),
        ("", ""),
    ],
)
def test_the_first_phrase_names_something(caption: str, phrase: str) -> None:
    words = caption.split()
    assert " ".join(words[: first_phrase(words)]) == phrase


def test_only_a_doubtful_caption_with_a_likely_beginning_is_cut_short() -> None:
    words = ("a", "cat", "on", "a", "blanket")
    likely, unlikely = [-0.1, -0.2, -3.0, -3.0, -3.0], [-1.0, -1.0, -1.0, -1.0, -1.0]

    def beginning(log_probs: list[float], confidence: float) -> tuple[str, ...]:
        fit = Logistic(0.0, 0.0, float(np.log(confidence / (1 - confidence))))
        return Caption(words, np.array(log_probs, np.float32), None, fit).beginning

    assert beginning(likely, 0.2) == ("a", "cat")
    assert beginning(likely, 0.4) == ()
    assert beginning(unlikely, 0.2) == ()
