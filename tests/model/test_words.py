"""Kinds of words, and the first phrase of a caption."""

from __future__ import annotations

import numpy as np
import pytest

from model.calibration import Logistic
from model.captions import Caption
from model.words import phrase_ends


@pytest.mark.parametrize(
    ("caption", "phrase"),
    [
        ("a cat lying on a blanket", "a cat"),
        ("two brown dogs and a cat in the snow", "two brown dogs and a cat"),
        ("a group of people standing in front of a building", "a group of people"),
        ("a man sits", "a man"),
        ("a tall building with a clock", "a tall building"),
        ("there is a cat", "there is a cat"),
        ("a large living room with a table", "a large living room"),
        ("a man in a red racing car on a track", "a man"),
        ("a man water skiing behind a boat", "a man water skiing"),
        ("on a", "on a"),
        ("", ""),
    ],
)
def test_the_first_phrase_names_something(caption: str, phrase: str) -> None:
    words = caption.split()
    assert " ".join(words[: phrase_ends(words)[0]]) == phrase


@pytest.mark.parametrize(
    "caption",
    ["a man | in a red racing car | on a track", "a man | riding a wave | on a surfboard", "a man | is sitting"],
)
def test_phrases_end_where_the_rest_can_be_left_out(caption: str) -> None:
    phrases = caption.split(" | ")
    ends = [len(" ".join(phrases[: i + 1]).split()) for i in range(len(phrases))]
    assert phrase_ends(caption.replace("|", "").split()) == ends


def test_a_caption_without_words_has_no_beginning() -> None:
    assert Caption((), np.zeros(0, np.float32), None).beginning == ()


LIKELY, EVEN, UNLIKELY = -0.2, -0.69, -1.0


@pytest.mark.parametrize(
    ("confidence", "cat", "blanket", "table", "said"),
    [
        (0.2, LIKELY, LIKELY, LIKELY, "a cat"),
        (0.2, UNLIKELY, LIKELY, LIKELY, ""),
        (0.2, UNLIKELY, UNLIKELY, UNLIKELY, "a cat"),
        (0.4, LIKELY, LIKELY, LIKELY, ""),
        (0.4, LIKELY, LIKELY, EVEN, ""),
        (0.4, LIKELY, LIKELY, UNLIKELY, "a cat on a blanket"),
        (0.4, LIKELY, UNLIKELY, LIKELY, ""),
        (0.4, LIKELY, UNLIKELY, UNLIKELY, "a cat"),
        (0.4, UNLIKELY, UNLIKELY, UNLIKELY, "a cat"),
        (0.5, UNLIKELY, UNLIKELY, UNLIKELY, ""),
    ],
)
def test_of_a_doubtful_caption_the_doubtful_end_goes(
    confidence: float, cat: float, blanket: float, table: float, said: str
) -> None:
    words = ("a", "cat", "on", "a", "blanket", "by", "a", "table")
    log_probs = np.array([-1.0, cat, -3.0, -3.0, blanket, -3.0, -3.0, table], np.float32)
    fit = Logistic(0.0, 0.0, float(np.log(confidence / (1 - confidence))))
    assert " ".join(Caption(words, log_probs, None, fit).beginning) == said
