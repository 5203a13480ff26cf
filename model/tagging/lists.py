"""Lists of tags and of descriptions: the dictionaries that ship, and what people write. Free of torch.

A dictionary has a tag a line, with its other forms and its Russian names; see `default.txt`. What people write may be
English or Russian: `Words` finds the tag or the English words that are meant.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from model.network.vocabulary import tokenize

FOLDER: Final = Path(__file__).parent
ALIGNED: Final = "aligned"  # the dictionary that `model.training.align_words` makes
Shipped: TypeAlias = Literal["default", "hotel"]
SHIPPED: Final[tuple[Shipped, ...]] = get_args(Shipped)
MOST_TAGS: Final = 50  # of a list of one's own
DESCRIPTIONS: Final = (2, 50)  # that are ranked
LONGEST: Final = 200  # characters of a tag or a description
MOST_WORDS: Final = 30  # of one
ARTICLES: Final = frozenset(("a", "an", "the"))
NUMBERS: Final = frozenset(("two", "three", "four", "several", "many"))
SEPARATORS: Final = re.compile(r"[,;|\n]")
BETWEEN_DESCRIPTIONS: Final = re.compile(r"[|\n]")
CYRILLIC: Final = re.compile(r"[а-яё]", re.IGNORECASE)
LATIN: Final = re.compile(r"[a-z]", re.IGNORECASE)
ENDINGS: Final = re.compile(
    r"(?<=...)(?:иями|ями|ами|ого|его|ому|ему|ыми|ими|ая|яя|ое|ее|ые|ие|ый|ий|ой|ей|ую|юю|ых|их|ым|им|ом|ем|ам|ям|ах|ях"
    r"|ов|ев|а|я|о|е|ы|и|у|ю|ь|й)$"
)

ListFault: TypeAlias = Literal["none", "one", "too_many", "too_long", "no_words", "mixed", "same"]


class ListError(ValueError):
    """A list that cannot be used. `fault` says why; `item` and `count`: what it is about, where it is about any."""

    def __init__(self, fault: ListFault, item: str = "", count: int = 0) -> None:
        super().__init__(_MESSAGES[fault].format(item=item[:60], count=count))
        self.fault: ListFault = fault
        self.item = item
        self.count = count


_MESSAGES: Final[dict[ListFault, str]] = {
    "none": "there is nothing in the list",
    "one": "there is only “{item}”: write at least two",
    "too_many": "there are {count} items, and 50 are the most",
    "too_long": "“{item}…” is longer than 200 characters or 30 words",
    "no_words": "“{item}” has no words",
    "mixed": "“{item}” mixes two languages: write each in one",
    "same": "all {count} are the same: “{item}”",
}


@dataclass(frozen=True)
class Entry:
    """A tag of a dictionary. `forms`: all that mean it, the name first; `russian`: its names in Russian."""

    forms: tuple[str, ...]
    russian: tuple[str, ...]

    @property
    def name(self) -> str:
        return self.forms[0]


@functools.cache
def dictionary(name: str) -> tuple[Entry, ...]:
    """The entries of a file of this folder: default, hotel, russian (words that are no tags), or aligned."""
    lines = (FOLDER / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    entries = [line.partition("=") for line in lines if line.strip() and not line.startswith("#")]
    return tuple(Entry(_commas(english), _commas(russian)) for english, _, russian in entries)


def _commas(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def names(name: Shipped) -> tuple[str, ...]:
    """The tags of a dictionary that ships, in English."""
    return tuple(entry.name for entry in dictionary(name))


def in_russian(tag: str) -> str:
    """The Russian name of a tag of the dictionaries that ship; any other as it is."""
    return _russian_names().get(tag, tag)


@functools.cache
def _russian_names() -> dict[str, str]:
    return {entry.name: entry.russian[0] for name in SHIPPED for entry in dictionary(name)}


@dataclass(frozen=True)
class Parsed:
    """What was written, each item once; `repeated`: items that were there more than once."""

    items: tuple[str, ...]
    repeated: tuple[str, ...] = ()


def parse_tags(text: str) -> Parsed:
    """Tags between commas, semicolons, bars or line ends. Raises ListError."""
    return distinct(SEPARATORS.split(text), least=1, most=MOST_TAGS)


def parse_descriptions(text: str) -> Parsed:
    """Descriptions between bars or line ends. Raises ListError."""
    return checked_descriptions(BETWEEN_DESCRIPTIONS.split(text))


def checked_descriptions(texts: Iterable[str]) -> Parsed:
    """Raises ListError."""
    return distinct(texts, least=DESCRIPTIONS[0], most=DESCRIPTIONS[1])


def distinct(texts: Iterable[str], *, least: int, most: int) -> Parsed:
    """Each of the texts once, without those that are empty. Raises ListError."""
    written = [" ".join(text.split()) for text in texts]
    written = [text for text in written if text]
    if not written:
        raise ListError("none")
    if len(written) > most:
        raise ListError("too_many", count=len(written))
    found: dict[str, str] = {}
    repeated: dict[str, str] = {}
    for text in written:
        words = _checked_words(text)
        if CYRILLIC.search(text) and LATIN.search(text):
            raise ListError("mixed", text)
        key = " ".join(words)
        if key in found:
            repeated.setdefault(key, found[key])
        found.setdefault(key, text)
    if len(found) < least:
        only = next(iter(found.values()))
        raise ListError("same", only, len(written)) if repeated else ListError("one", only)
    return Parsed(tuple(found.values()), tuple(repeated.values()))


def checked_query(text: str) -> str:
    """What photos are looked for by, with single spaces. Raises ListError: too_long, or no_words."""
    text = " ".join(text.split())
    _checked_words(text)
    return text


def _checked_words(text: str) -> list[str]:
    """The words of one text. Raises ListError."""
    words = tokenize(text)
    if len(text) > LONGEST or len(words) > MOST_WORDS:
        raise ListError("too_long", text)
    if not words:
        raise ListError("no_words", text)
    return words


@dataclass(frozen=True)
class Meaning:
    """What a text means to the network: words of its language, and those of the text that it does not know."""

    words: tuple[str, ...]
    unknown: tuple[str, ...] = ()
    known: tuple[str, ...] = ()  # the words that it knows


class Words:
    """Understands what people write by the words that the network knows."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = frozenset(known)

    def meaning(self, text: str) -> Meaning:
        """English words are taken as they are; Russian ones are looked up, the longest phrases first."""
        words = tokenize(text)
        english = _from_russian(words) if CYRILLIC.search(text) else [(word, word) for word in words]
        unknown = [said for said, word in english if word is None or not self._known.issuperset(word.split())]
        meant = tuple(part for _, word in english for part in (word or "").split())
        known = tuple(word for word in meant if word in self._known)
        return Meaning(meant, tuple(dict.fromkeys(unknown)), known)


def _from_russian(words: Sequence[str]) -> list[tuple[str, str | None]]:
    """Pairs of what was said and its English, None where it is not known."""
    known, place = _russian_index(), 0
    found: list[tuple[str, str | None]] = []
    while place < len(words):
        for length in range(min(4, len(words) - place), 0, -1):
            said = words[place : place + length]
            entry = known.get(" ".join(said)) or known.get(" ".join(map(_stem, said)))
            if entry is not None:
                break
        english = None if entry is None else entry.name
        if entry is not None and found and found[-1][1] in NUMBERS:
            english = next((form for form in entry.forms[1:] if form.endswith("s")), english)
        if english is not None and found and english == found[-1][1]:  # two words that mean one, such as a kite
            english = ""
        if entry is None and not CYRILLIC.search(said[0]):  # English among Russian
            english = said[0]
        found.append((" ".join(said), english))
        place += len(said)
    return found


@functools.cache
def _russian_index() -> dict[str, Entry]:
    """By the Russian names as they are written, and by their stems where nothing is written so."""
    entries = [entry for name in ("default", "russian", "hotel", ALIGNED) for entry in dictionary(name)]
    spelt = [(" ".join(tokenize(name)), entry) for entry in entries for name in entry.russian]
    index: dict[str, Entry] = {}
    for name, entry in [*spelt, *((" ".join(map(_stem, name.split())), entry) for name, entry in spelt)]:
        index.setdefault(name, entry)
    return index


def _stem(word: str) -> str:
    return ENDINGS.sub("", word.replace("ё", "е"))
