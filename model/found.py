"""Photos that were found by words, and the vectors by which they are. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
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
