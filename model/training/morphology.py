"""Cells of Russian forms, from the dictionary of `pymorphy3` (pip install pymorphy3), which nothing else here needs."""

from collections.abc import Iterable
from typing import Any, Final

from model.grammar import CASES, GENDERS, Grammar, mask
from model.training.data import DataError

_CASES: Final = {"gen1": "gent", "gen2": "gent", "acc2": "accs", "loc1": "loct", "loc2": "loct", "voct": "nomn"}
# Captions have no names, no imperatives ("синей!") and no comparatives such as "синей" for "синее".
_UNSEEN: Final = frozenset(["Name", "Surn", "Patr", "Geox", "Orgn", "Trad", "Abbr", "impr", "V-ej"])
RARE: Final = 0.03  # share of the readings as a noun, below which a form is not taken for it
# Adjectives that govern a noun of another case ("полный воды"), or that stand for one ("одна из них").
_GOVERNING: Final = frozenset(
    ["полный", "похожий", "противоположный", "один", "другой", "весь", "сам", "этот", "тот", "который"]
)


def grammar_of(words: Iterable[str]) -> Grammar:
    """The grammar of these forms. Raises DataError where pymorphy3 is not installed."""
    try:
        import pymorphy3
    except ImportError as error:
        raise DataError("the grammar of Russian forms needs a dictionary: pip install pymorphy3") from error
    analyzer = pymorphy3.MorphAnalyzer()
    words = set(words)
    adjectives: dict[str, int] = {}
    nouns: dict[str, int] = {}
    for word in sorted(words):
        last = word.rsplit("-", 1)[-1]
        readings = _likely([p for p in analyzer.parse(last) if not _UNSEEN & set(p.tag.grammemes)])
        parts = {reading.tag.POS for reading in readings}
        known = all(reading.is_known for reading in readings)
        if not known or any(reading.normal_form in _GOVERNING for reading in readings):
            continue
        adjective = [reading for reading in readings if reading.tag.POS == "ADJF"]
        if adjective and parts <= {"ADJF", "NOUN"} and 2 * _share(adjective) > _share(readings):
            adjectives[word] = _cells(adjective)
        elif parts == {"NOUN"}:
            nouns[word] = _cells(readings)
    others = frozenset(words) - adjectives.keys() - nouns.keys()
    return Grammar(adjectives, nouns, others)


def _likely(readings: Iterable[Any]) -> list[Any]:
    """The readings without those as a noun that the form hardly ever is ("поле": a flap of a coat)."""
    words: dict[tuple[str, str], list[Any]] = {}
    for reading in readings:
        words.setdefault((reading.normal_form, reading.tag.POS), []).append(reading)
    least = RARE * sum(map(_share, words.values()))
    kept = [each for (_, part), each in words.items() if part != "NOUN" or _share(each) >= least]
    return [reading for each in kept for reading in each]


def _share(readings: Iterable[Any]) -> float:
    """How often the form is read in one of these ways, of all times."""
    return sum(float(reading.score) for reading in readings)


def _cells(readings: Iterable[Any]) -> int:
    cells = 0
    for reading in readings:
        tag = reading.tag
        if "Fixd" in tag.grammemes:  # it has one form for all cases
            return mask(CASES)
        genders = [tag.gender] if tag.gender else [*GENDERS[:3]]
        if tag.number == "plur":
            genders = ["plur"]
        elif "ms-f" in tag.grammemes or "Ms-f" in tag.grammemes:
            genders = [*GENDERS[:2]]
        cells |= mask([_CASES.get(tag.case, tag.case)], genders)
    return cells
