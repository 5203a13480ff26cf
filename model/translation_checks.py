"""What a translation must not lose or invent: numbers, colours and negations. Free of torch.

A word of the table is covered where the translation has a word that begins with one of its stems. The stems were
checked against the training pairs; see docs/russian.md.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

_WORD: Final = re.compile(r"[а-яё]+")  # "светло-коричневый" is two words here


def _table(text: str) -> dict[str, tuple[str, ...]]:
    """Lines of English words, a colon, and Russian stems; a stem in brackets is a whole word."""
    table: dict[str, tuple[str, ...]] = {}
    for line in text.strip().splitlines():
        words, stems = line.split(":")
        table |= {word: tuple(stems.split()) for word in words.split()}
    return table


NUMBERS: Final = _table("""
    two both: два две двух двум двумя двое дво двоих дву оба обе обеи обои пара
    three: три трёх трех трем трём троих трое трой
    four: четыр четвер четвёр
    five: пять пяти пятер
    six: шесть шести шестер
    seven: семь семи семер
    eight: восемь восьм
    nine: девят
    ten: десят
    eleven: одиннадцат
    twelve: двенадцат дюжин
""")
COLOURS: Final = _table("""
    black: чёрн черн
    white: бел
    red: красн рыж
    blue: син голуб
    green: зелён зелен
    yellow: жёлт желт
    brown: коричнев кар бур шатен рус
    orange: оранжев рыж апельсин
    pink: розов
    purple: фиолетов лилов пурпур
    gray grey: сер сед
    tan beige: беж рыж коричнев загор загар песочн
    golden gold: золот
    silver: серебр серый
    blond blonde: блонд свет белокур белобрыс
""")
NEGATIONS: Final = _table("""
    no not without nobody nothing none never isn't aren't doesn't don't can't: без не ни нет никого ничего никто никогда
""")
TABLES: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "number": NUMBERS,
    "colour": COLOURS,
    "negation": NEGATIONS,
}


def failures(english: Sequence[str], russian: str) -> list[str]:
    """What is wrong, a line each, such as "colour: red"; empty where all checks pass.

    english: the words of the caption.
    """
    parts = [part for word in english for part in word.split("-")] + list(english)
    found = _WORD.findall(russian.lower())
    return [
        f"{name}: {word}"
        for name, table in TABLES.items()
        for word in dict.fromkeys(parts)
        if word in table and not any(said.startswith(table[word]) for said in found)
    ]
