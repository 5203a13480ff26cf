"""What a translation may not lose, invent or repeat."""

import pytest

from model.translation_checks import failures


@pytest.mark.parametrize(
    ("english", "russian"),
    [
        ("two dogs run", "две собаки бегут"),
        ("a two-year-old boy", "двухлетний мальчик"),
        ("two brown-haired girls", "две девочки с каштановыми волосами"),
        ("a black and white cat", "чёрно-белая кошка"),
        ("a man in a light blue shirt", "мужчина в светло-голубой рубашке"),
        ("an orange fruit", "апельсин"),
        ("a red-haired woman without shoes", "рыжая женщина без обуви"),
        ("there is no water in the pool", "в бассейне нет воды"),
        ("the dog is not wet", "собака не мокрая"),
        ("a polar bear by a bunk bed", "белый медведь у двухъярусной кровати"),
        ("a player wears number 25", "игрок под номером двадцать пять"),
        ("a surfer in the middle of a wave", "сёрфер в середине волны"),  # "середина" is not grey
        ("people on a beach", "люди на пляже, люди на песке"),
    ],
)
def test_a_good_translation_passes(english: str, russian: str) -> None:
    assert failures(english.split(), russian) == []


@pytest.mark.parametrize(
    ("english", "russian", "wrong"),
    [
        ("two dogs run", "собаки бегут", "lost number: two"),
        ("two dogs run", "три собаки бегут", "lost number: two"),
        ("three dogs", "три собаки и две кошки", "invented number: две"),
        ("a man in a red shirt", "мужчина в рубашке", "lost colour: red"),
        ("a man in a red shirt", "мужчина в синей рубашке", "invented colour: синей"),
        ("a grey dog in the middle", "собака в середине", "lost colour: grey"),
        ("a man without a shirt", "мужчина в рубашке", "lost negation: without"),
        ("a dog", "собака собака", "repeated: собака"),
        ("a man on a bike", "мужчина на велосипеде на велосипеде", "repeated: на велосипеде"),
        ("a dog on a wii", "собака на wii", "letters"),
    ],
)
def test_what_is_wrong_is_named(english: str, russian: str, wrong: str) -> None:
    assert wrong in failures(english.split(), russian)
