"""Kinds of files that people send, and what is right for each: `picture_kinds.py` and `clip_kinds.py` list them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

CAPTIONED, MOMENTS = "captioned", "moments"


@dataclass(frozen=True)
class Kind:
    """One kind of file. `check` raises AssertionError where its pixels, times or shape are not what they should be."""

    name: str
    make: Callable[[], bytes]
    right: str  # CAPTIONED, MOMENTS, or the kind of an error
    check: Callable[[bytes], None] | None = None
