"""Kinds of words, and the first phrase of a caption."""

from __future__ import annotations

import numpy as np
import pytest

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
    [
        "a man | in a red racing car | on a track",
        "a man | riding a wave | on a surfboard",
        "a man | is sitting",
        "a man | is sitting | on a hill",
        "a cup of coffee | sitting on a table | by a window",
        "a cat | sitting",
        "a man | with one hand | resting on a table",
        "sitting on a bench | with a dog",
    ],
)
def test_phrases_end_where_the_rest_can_be_left_out(caption: str) -> None:
    phrases = caption.split(" | ")
    ends = [len(" ".join(phrases[: i + 1]).split()) for i in range(len(phrases))]
    assert phrase_ends(caption.replace("|", "").split()) == ends


def test_a_caption_without_words_has_no_beginning() -> None:
    assert Caption((), np.zeros(0, np.float32), None).beginning == ()


YES, EVEN, NO = 0.9, 0.4, 0.39


@pytest.mark.parametrize(
    ("cat", "blanket", "table", "said"),
    [
        (YES, YES, YES, ""),
        (YES, YES, EVEN, ""),
        (YES, YES, NO, "a cat on a blanket"),
        (YES, NO, YES, ""),
        (YES, NO, NO, "a cat"),
        (NO, NO, NO, "a cat"),
        (NO, YES, YES, ""),
    ],
)
def test_what_is_not_believed_at_the_end_of_a_caption_is_not_said_first(
    cat: float, blanket: float, table: float, said: str
) -> None:
    words = ("a", "cat", "on", "a", "blanket", "by", "a", "table")
    beliefs = (0.1, cat, 0.1, 0.1, blanket, 0.1, 0.1, table)  # function words are nobody's claim
    log_probs = np.full(8, -1.0, np.float32)
    assert " ".join(Caption(words, log_probs, None, beliefs=beliefs).beginning) == said
    assert Caption(words, log_probs, None).beginning == ()
