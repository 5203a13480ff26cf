"""Typography of Russian captions."""

import pytest

from model.typography import euphonic, typeset


@pytest.mark.parametrize(
    ("text", "like", "shown"),
    [
        ("кошка в шляпе", "a cat in a hat", "кошка в\xa0шляпе"),
        ("кот — это кот, а пёс–пёс", "a cat", "кот\xa0— это кот, а\xa0пёс–пёс"),
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


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("кухня с столом и стульями", "кухня со столом и стульями"),
        ("мужчина с слоном", "мужчина со слоном"),
        ("мужчина с собакой, с зонтом", "мужчина с собакой, с зонтом"),
        ("вас столько", "вас столько"),
    ],
)
def test_with_is_easy_to_say(text: str, said: str) -> None:
    assert euphonic(text) == said
