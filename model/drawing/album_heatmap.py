"""A contact sheet: the photos of an album, each beside where the words of its caption are.

    1  a dog runs across the grass           23 %
    ┌───────┐ ┌───────┐ ┌───────┐ ┌───────┐
    │ photo │ │  dog  │ │ runs  │ │ grass │
    └───────┘ └───────┘ └───────┘ └───────┘
    2  two people on a beach                 11 %
    …

It is as wide as Telegram shows photos, and at most as high as a phone held upright. Only words that name something to
look at have a tile, things and colours first. Each photo has a scale of its own, from
no attention to its peak, which is printed beside its caption: photos differ so much that one scale left some blank.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from model.drawing.labels import ENGLISH, Labels, percent
from model.drawing.style import ACCENT, BACKGROUND, GAP, fit, length, letter, paste_scale, paste_tile, write
from model.words import bare, placed

WIDTH: Final = 1280
TALLEST: Final = 2400  # pixels: Telegram keeps photos of up to 2560
PHOTO_SIDE: Final = 640  # of the photos to draw, their longer side at most: tiles are smaller
_TITLE: Final = 40
_LEGEND: Final = 44
_LABEL: Final = 26
_BETWEEN: Final = 14  # pixels above each photo's title
_TILE: Final = 250  # pixels, height at most
_FEW: Final = 5  # up to so many photos get two lines of tiles each
_RATIOS: Final = (0.5, 1.6)  # of tiles, width / height; other photos are shown whole in a tile of these
_FAINT: Final = (150, 150, 154)


@dataclass(frozen=True)
class Captioned:
    """One photo of the sheet."""

    number: int  # its place in the album
    photo: Image.Image
    words: tuple[str, ...]
    attention: npt.NDArray[np.float32] | None  # (words, rows, columns), each map summing to 1; None: the photo alone


def draw_contact_sheet(items: Sequence[Captioned], labels: Labels = ENGLISH) -> Image.Image:
    """The sheet: RGB, WIDTH pixels wide and at most TALLEST high. Raises ValueError for no photos."""
    if not items:
        raise ValueError("a contact sheet of no photos")
    lines = 2 if len(items) <= _FEW else 1
    room = (TALLEST - _LEGEND - GAP) // len(items) - _TITLE - _BETWEEN
    height = min(_TILE, room // lines - _LABEL - GAP)
    blocks = [_block(item, height, lines) for item in items]
    maps = next((item.attention for item in items if item.attention is not None and item.attention.size), None)
    legend = 0 if maps is None else _LEGEND
    sheet = Image.new("RGB", (WIDTH, sum(block.height for block in blocks) + GAP + legend), BACKGROUND)
    top = 0
    for block in blocks:
        sheet.paste(block, (0, top))
        top += block.height
    if maps is not None:
        _draw_scale(sheet, legend, labels.attention_of_each.format(regions=maps[0].size))
    return sheet


def _block(item: Captioned, most: int, lines: int) -> Image.Image:
    """One photo: its title, then lines of labelled tiles, as many as fill the width at `most` pixels high or less."""
    ratio = min(_RATIOS[1], max(_RATIOS[0], item.photo.width / item.photo.height))
    columns = -(-(WIDTH - GAP) // (round(most * ratio) + GAP))
    width = (WIDTH - GAP) // columns - GAP
    height = min(most, round(width / ratio))
    small = fit(item.photo, (width, height))
    tiles: list[tuple[str, npt.NDArray[np.float32] | None]] = [("", None)]
    peak = 0.0
    if item.attention is not None and item.attention.size:
        shown = placed(item.words, columns * lines - 1)
        peak = float(item.attention[shown].max())
        tiles += [(bare(item.words[word]), item.attention[word] / peak) for word in shown]
    line = height + _LABEL + GAP
    block = Image.new("RGB", (WIDTH, _BETWEEN + _TITLE + line * -(-len(tiles) // columns)), BACKGROUND)
    draw = ImageDraw.Draw(block)
    _write_title(draw, item, peak)
    for place, (word, shares) in enumerate(tiles):
        left = GAP + place % columns * (width + GAP)
        top = _BETWEEN + _TITLE + place // columns * line
        paste_tile(block, small, (left + (width - small.width) // 2, top + (height - small.height) // 2), shares)
        at = (left + width / 2, top + height + _LABEL / 2)
        write(draw, word, at, width, 22, smallest=10, anchor="mm")
    return block


def _write_title(draw: ImageDraw.ImageDraw, item: Captioned, peak: float) -> None:
    middle = _BETWEEN + _TITLE / 2 - 2
    right = float(WIDTH - GAP)
    if peak:
        letter(draw, percent(peak), (right, middle), 22, "rm", _FAINT)
        right -= 80
    number = str(item.number)
    letter(draw, number, (GAP, middle), 30, fill=ACCENT)
    left = GAP + length(number, 30) + 14
    write(draw, " ".join(item.words), (left, middle), right - left, 28, smallest=10)


def _draw_scale(sheet: Image.Image, height: int, high: str) -> None:
    draw = ImageDraw.Draw(sheet)
    middle = sheet.height - height / 2
    low = "0 %"
    left = GAP + int(length(low, 20)) + GAP
    letter(draw, low, (GAP, middle), 20, fill=_FAINT)
    paste_scale(sheet, (300, 14), (left, round(middle) - 7))
    left += 300 + GAP
    write(draw, high, (left, middle), WIDTH - GAP - left, 20, smallest=10, fill=_FAINT)
