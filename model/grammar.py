"""Whether neighbouring Russian words agree. Free of torch.

A form's cells are its possible cases and genders (the plural counts as one): a noun and the adjective before it must
share one, a preposition must find a case that it governs, and after two to four stands a genitive. What is not in the
table, and forms that may be other parts of speech, are not judged.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

CASES: Final = ("nomn", "gent", "datv", "accs", "ablt", "loct")
GENDERS: Final = ("masc", "femn", "neut", "plur")
_SINGULAR: Final = ("masc", "femn", "neut")
_GOVERNS: Final = {
    "gent": "из от до у без для около возле вокруг мимо напротив среди вдоль против с со",
    "datv": "к ко по",
    "accs": "в во на с со по через под за о об сквозь",
    "ablt": "с со над под перед за между",
    "loct": "в во на по о об при",
}


def mask(cases: Sequence[str], genders: Sequence[str] = GENDERS) -> int:
    """Cells as bits."""
    return sum(1 << (CASES.index(case) * len(GENDERS) + GENDERS.index(gender)) for case in cases for gender in genders)


_PREPOSITIONS: Final = {
    word: mask([case for case, governing in _GOVERNS.items() if word in governing.split()])
    for word in " ".join(_GOVERNS.values()).split()
}
_WITH: Final = ("рядом", "вместе")  # after these "с" governs what "над" does
_GENITIVE: Final = mask(["gent"], _SINGULAR)
_GENITIVES: Final = mask(["gent"], ["plur"])
_NUMERALS: Final = {
    "два": mask(["gent"], ["masc", "neut"]),
    "две": mask(["gent"], ["femn"]),
    "три": _GENITIVE,
    "четыре": _GENITIVE,
}


@dataclass(frozen=True)
class Grammar:
    """Cells of the forms that can only be adjectives, and of those that can only be nouns."""

    adjectives: Mapping[str, int]
    nouns: Mapping[str, int]
    others: frozenset[str] = frozenset()  # all other forms that the translator was trained on; none: not known

    def failures(self, text: str) -> list[str]:
        """What is wrong, a line each, such as "agreement: красном дверь" or "unknown form: дверев".

        A compound is not judged as a form: the translator makes good ones ("рыже-белая").
        """
        wrong = [f"unknown form: {word}" for word in text.replace(",", "").split() if not self._known(word)]
        before = ""
        counted = False  # whether a word since the last comma is two, three or four
        words = text.split()
        for word, following in itertools.pairwise(words):
            counted = not word.endswith(",") and (counted or word in _NUMERALS)
            with_ = before in _WITH and word in ("с", "со")
            before = word
            if not word.endswith(",") and not self._agree("над" if with_ else word, following.rstrip(","), counted):
                wrong.append(f"agreement: {word} {following.rstrip(',')}")
        return wrong

    def _known(self, word: str) -> bool:
        known = word in self.others or word in self.nouns or word in self.adjectives
        return known or "-" in word or not self.others

    def _agree(self, word: str, following: str, counted: bool) -> bool:
        noun, adjective = self.nouns.get(following), self.adjectives.get(following)
        cells = noun or adjective
        if cells is None:
            return True
        if (governed := _PREPOSITIONS.get(word)) is not None:
            return bool(cells & governed)
        if word in _NUMERALS:
            return noun is None or bool(noun & _NUMERALS[word])
        if (own := self.adjectives.get(word)) is None:
            return True
        return bool(cells & own) or (counted and bool(own & _GENITIVES and cells & _GENITIVE))

    def to_text(self) -> str:
        """A line a form."""
        kinds = (("a", self.adjectives), ("n", self.nouns), ("o", dict.fromkeys(self.others, 0)))
        return "\n".join(f"{kind} {word} {cells:x}" for kind, forms in kinds for word, cells in sorted(forms.items()))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Raises ValueError."""
        forms: dict[str, dict[str, int]] = {"a": {}, "n": {}, "o": {}}
        for line in text.splitlines():
            kind, word, cells = line.split(" ")
            if kind not in forms:
                raise ValueError(f"not a form: {line}")
            forms[kind][word] = int(cells, 16)
        return cls(forms["a"], forms["n"], frozenset(forms["o"]))


NO_GRAMMAR: Final = Grammar({}, {})
