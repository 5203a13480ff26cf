"""Typography of Russian captions."""

import pytest

from model.typography import typeset


@pytest.mark.parametrize(
    ("text", "like", "shown"),
    [
        ("кошка в шляпе", "a cat in a hat", "кошка в\xa0шляпе"),
        ("и в воде", "and in water", "и\xa0в\xa0воде"),
        ("собака бежит", "A dog runs", "Собака бежит"),
        ("собака бежит", " a dog runs", "собака бежит"),
        ("мяч для бейсбола", "a ball", "мяч для\xa0бейсбола"),
        ("хот-дог, ёж и щенок-в", "hot dog", "хот-дог, ёж и\xa0щенок-в"),
        ("", "A", ""),
    ],
)
def test_short_words_stay_with_the_next(text: str, like: str, shown: str) -> None:
    assert typeset(text, like=like) == shown
