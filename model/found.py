"""Photos that were found by words, and the vectors by which they are. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

NAME_BYTES: Final = 8  # of the name before each vector, where several travel together
MOST_FOUND: Final = 5


@dataclass(frozen=True)
class Vector:
    """A photo in the joint space. Its length means nothing: only directions are compared."""

    model: str  # that made it, as `Finder.model`
    values: bytes  # (S,) int8


@dataclass(frozen=True)
class Kept:
    """Vectors that one model made, in a row: each a name of `NAME_BYTES` and `size` values."""

    model: str
    count: int
    size: int


def numbered(place: int) -> str:
    """A name for what has no other: the place of a photo among several. `int(name, 16)` is the place again."""
    return place.to_bytes(NAME_BYTES, "big").hex()


def packed(vectors: Mapping[str, Vector]) -> tuple[tuple[Kept, ...], bytes]:
    """What there is, and the vectors in one piece, as they travel. vectors: by names, in hexadecimal digits."""

    def made(name: str) -> tuple[str, int]:
        return vectors[name].model, len(vectors[name].values)

    kept, parts = [], list[bytes]()
    for (model, size), names in groupby(sorted(vectors, key=made), made):
        before = len(parts)
        parts += [bytes.fromhex(name) + vectors[name].values for name in names]
        kept.append(Kept(model, len(parts) - before, size))
    return tuple(kept), b"".join(parts)


@dataclass(frozen=True)
class Hit:
    """A photo that fits. `probability`: that most of what was asked for is in it."""

    name: str  # hexadecimal digits of the name before its vector
    probability: float


@dataclass(frozen=True)
class Found:
    """What fits a text, the best first: nothing, where nothing fits well."""

    hits: tuple[Hit, ...]
    unknown: tuple[str, ...] = ()  # words of the text that are not known
    understood: bool = True  # at least one is
    compared: int = 0  # photos; those of other models are not
