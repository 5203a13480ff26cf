"""The typeface of what is written on pictures."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Final

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

CYRILLIC: Final = Path(__file__).parent / "fonts" / "DejaVuSans-subset.ttf"  # Pillow's own has none
_FIRST: Final = "\u0400"
_LAST: Final = "\u04ff"


def font(size: int, text: str = "") -> Font:
    """For a text, `size` pixels high."""
    return _font(size, any(_FIRST <= letter <= _LAST for letter in text))


@functools.cache
def _font(size: int, cyrillic: bool) -> Font:
    return ImageFont.truetype(CYRILLIC, size) if cyrillic else ImageFont.load_default(size)
