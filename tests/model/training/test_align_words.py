"""Russian words aligned with English ones, of captions and their translations."""

from __future__ import annotations

from model.tagging.lists import ALIGNED, Words, dictionary
from model.training.align_words import aligned, lines_of, understood
from model.training.pairs import Pair

SENTENCES = [
    ("a dog on grass", "собака на траве"),
    ("a dog on sand", "собака на песке"),
    ("a cat on sand", "кошка на песке"),
    ("a cat on grass", "кошка на траве"),
    ("a man and a dog", "мужчина и собака"),
    ("a man and a cat", "мужчина и кошка"),
    ("a traffic light on sand", "светофор на песке"),
    ("a traffic light on grass", "светофор на траве"),
    ("a man and a traffic light", "мужчина и светофор"),
]
PAIRS = [Pair("reference", english, russian) for english, russian in SENTENCES for _ in range(3)]
KNOWN = frozenset(["dog", "cat", "man", "grass", "sand", "on", "and", "traffic", "light"])


def test_words_that_go_together_are_aligned() -> None:
    found = aligned(PAIRS, KNOWN)
    right = {"собака": "dog", "кошка": "cat", "траве": "grass", "песке": "sand", "светофор": "traffic light"}
    assert right.items() <= found.items()
    assert "собака" not in aligned(PAIRS, KNOWN - {"dog"})  # what the network does not know means nothing
    assert aligned(PAIRS, KNOWN, least=100) == {}


def test_they_are_written_as_dictionaries_are() -> None:
    assert lines_of({"кошку": "cat", "кошка": "cat", "пёс": "dog"}) == ["cat = кошка, кошку", "dog = пёс"]


def test_the_dictionary_that_ships_is_sound_and_understands_captions() -> None:
    entries = dictionary(ALIGNED)
    assert len(entries) > 1500
    forms = [form for entry in entries for form in entry.russian]
    assert len(set(forms)) == len(forms) > 3000
    shipped = [entry for name in ("default", "russian", ALIGNED) for entry in dictionary(name)]
    words = Words(word for entry in shipped for word in entry.name.split() if word != "on")
    assert words.meaning("воздушный змей над океаном").known[:1] == ("kite",)
    assert words.meaning("велосипедисты едут on a дороге").unknown == ("on", "a")  # English may stand among Russian
    known, right, met = understood([Pair("reference", "a skier on a mountain", "лыжник на горе")], words)
    assert (known, right) == (1.0, 1.0) or met > 0.5
