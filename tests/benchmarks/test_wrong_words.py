"""What captions say that no reference says."""

from __future__ import annotations

from benchmarks.wrong_words import compare


def split(*captions: str) -> list[list[str]]:
    return [caption.split() for caption in captions]


def test_people_count_only_where_the_references_agree_on_their_sex() -> None:
    captions = split("a man runs", "a man and a woman", "a person runs", "a man sits")
    references = [
        split("a woman runs", "a girl jogging"),  # wrong
        split("a woman stands", "a lady in red"),  # says woman, too: not counted as wrong
        split("a woman runs"),  # names no sex: not among those that could be wrong
        split("a man with a woman"),  # both: leaves it open
    ]
    found = compare(captions, references)
    assert found["women called men"] == "1 of 2, 50.0%"
    assert found["men called women"] == "none"


def test_a_colour_that_one_of_the_references_says_was_seen() -> None:
    found = compare(split("a grey dog", "a red ball"), [split("a dog", "a gray dog"), split("a blue ball", "a ball")])
    assert found["colours that no reference says"] == "1 of 2, 50.0%"


def test_captions_said_again_and_again_show() -> None:
    found = compare(split("a dog", "a dog", "two dogs"), [split("a dog"), split("a cat"), split("three dogs")])
    assert found["different captions"] == "2 of 3, 66.7%"
    assert found["the commonest caption"] == "“a dog”, 2 times"
    assert found["numbers that no reference says"] == "1 of 1, 100.0%"
