"""Lists as people write them, in English and Russian, and what is wrong with those that cannot be used."""

from __future__ import annotations

import pytest

from model.tagging.lists import (
    DESCRIPTIONS,
    LONGEST,
    MOST_TAGS,
    ListError,
    Words,
    dictionary,
    in_russian,
    names,
    parse_descriptions,
    parse_tags,
)

KNOWN = ("dog", "dogs", "a", "on", "grass", "sofa", "couch", "bed", "beds", "two", "black", "hot")


def test_the_dictionaries_that_ship_are_sound() -> None:
    default, forms = names("default"), [form for entry in dictionary("default") for form in entry.forms]
    assert 290 <= len(default) <= 340
    assert len(set(forms)) == len(forms)  # no word means two tags
    assert len(names("hotel")) == 15
    assert all(entry.russian for name in ("default", "hotel", "russian") for entry in dictionary(name))
    assert in_russian("dog") == "собака"
    assert in_russian("xylophone") == "xylophone"


@pytest.mark.parametrize("text", ["sofa, two beds, балкон", "sofa;two  beds;\nбалкон,,", "sofa | two beds\nбалкон"])
def test_tags_may_stand_between_commas_semicolons_bars_and_on_lines(text: str) -> None:
    assert parse_tags(text).items == ("sofa", "two beds", "балкон")


def test_what_is_there_more_than_once_counts_once_and_is_named() -> None:
    found = parse_descriptions("a dog, on grass\nA dog on grass!\na cat\n\na cat | a bird")
    assert found.items == ("a dog, on grass", "a cat", "a bird")
    assert found.repeated == ("a dog, on grass", "a cat")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "none"),
        (" | \n|", "none"),
        ("a dog", "one"),
        ("a dog | A dog. | a  dog", "same"),
        ("|".join(f"dog number {n}" for n in range(DESCRIPTIONS[1] + 1)), "too_many"),
        ("|".join(f"dog number {n}" for n in range(500)), "too_many"),
        ("a cat | " + "a" * (LONGEST + 1), "too_long"),
        ("x" * 10_000, "too_long"),
        ("a cat | " + "a dog " * 16, "too_long"),
        ("a cat | 🐶", "no_words"),
        ("a cat | собака on grass", "mixed"),
    ],
)
def test_a_list_that_cannot_be_used_says_why(text: str, fault: str) -> None:
    with pytest.raises(ListError) as caught:
        parse_descriptions(text)
    assert caught.value.fault == fault
    assert len(str(caught.value)) < 120


def test_one_tag_is_a_list_and_no_more_than_fifty_are() -> None:
    assert parse_tags("sofa").items == ("sofa",)
    assert parse_tags("sofa, sofa").items == ("sofa",)
    with pytest.raises(ListError, match="51 items"):
        parse_tags(",".join(f"sofa {n}" for n in range(MOST_TAGS + 1)))


@pytest.mark.parametrize(
    ("text", "words", "unknown"),
    [
        ("A black dog", "a black dog", ()),
        ("a xylophone on a dodo", "a xylophone on a dodo", ("xylophone", "dodo")),
        ("Собака", "dog", ()),
        ("собаку", "dog", ()),  # another case
        ("чёрная собака на траве", "black dog on grass", ()),
        ("две собаки", "two dogs", ()),
        ("ДВЕ КРОВАТИ", "two beds", ()),
        ("ксилофон на диване", "on couch", ("ксилофон",)),
        ("хот-дог", "hot dog", ()),
    ],
)
def test_russian_is_looked_up_and_what_is_not_known_is_named(text: str, words: str, unknown: tuple[str, ...]) -> None:
    meaning = Words(KNOWN).meaning(text)
    assert meaning.unknown == unknown
    assert " ".join(meaning.words) == words
