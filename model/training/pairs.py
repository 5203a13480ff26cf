"""English captions and their translations, and which of them are held out."""

import csv
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.network.vocabulary import tokenize
from model.training.data import DataError, load_captions

# Words that near-duplicates differ in: "a dog is running" and "dog running" are never in different parts.
_LIGHT: Final = frozenset(["a", "an", "the", "is", "are"])
# Shares of the groups that are for tests, and for validation; a group with a sentence of the network counts as such.
TEST: Final = {"reference": 0.03, "network": 0.15}
VALIDATION: Final = {"reference": 0.02, "network": 0.12}


@dataclass(frozen=True)
class Pair:
    origin: str  # who wrote the English: reference (a person) or network; self: the Russian is this translator's
    english: str  # as `tokenize` has it
    russian: str


def load_pairs(path: Path) -> list[Pair]:
    """The pairs of a table with the columns origin, english, russian, apart by tabs. Raises DataError."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE, strict=True)
            return [Pair(row["origin"], row["english"], row["russian"]) for row in rows]
    except (OSError, KeyError, csv.Error, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a table of origin, english and russian ({error!r})") from error


def content(english: str) -> str:
    """What near-duplicates have in common: their words without articles and copulas, in any order."""
    return " ".join(sorted({word for word in tokenize(english) if word not in _LIGHT}))


def split_pairs(pairs: Sequence[Pair], photos: Iterable[Sequence[str]] = ()) -> dict[str, list[Pair]]:
    """The parts train, val and test, by the hash of a group's first content.

    photos: for each photo its captions. Sentences of one content, and captions of one photo, are one group, and all
    of a group is in one part.
    """
    known = {content(pair.english) for pair in pairs}
    parent = {each: each for each in known}

    def root(each: str) -> str:
        while parent[each] != each:
            parent[each] = parent[parent[each]]
            each = parent[each]
        return each

    for captions in photos:
        first, *others = [root(each) for each in map(content, captions) if each in known] or [""]
        for other in others:
            low, high = sorted([root(first), root(other)])
            parent[high] = low
    by_network = {root(content(pair.english)) for pair in pairs if pair.origin == "network"}
    parts: dict[str, list[Pair]] = {"train": [], "val": [], "test": []}
    for pair in pairs:
        group = root(content(pair.english))
        origin = "network" if group in by_network else "reference"
        share = int.from_bytes(hashlib.sha256(group.encode()).digest()[:4], "big") / 2**32
        test = TEST[origin]
        part = "test" if share < test else "val" if share < test + VALIDATION[origin] else "train"
        parts[part].append(pair)
    return parts


def photos_of(folders: Iterable[Path]) -> list[Sequence[str]]:
    """The captions of each photo of these data sets. Raises DataError."""
    return [captions for folder in folders for captions in load_captions(folder)]
