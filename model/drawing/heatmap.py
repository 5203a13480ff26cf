"""One sheet for one caption: the photo, then the photo under the attention maps of its words.

Only words that name something to look at have a tile, MOST at most, things and colours first: fewer tiles are larger.

The maps are drawn as they are: all words of a sheet share one scale, from no attention to the sheet's peak, and the
scale is printed beside its colours. Nothing is stretched word by word, so a diffuse look stays pale.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from model.drawing.labels import ENGLISH, Labels, percent
from model.drawing.style import (
    BACKGROUND,
    GAP,
    INK,
    fitting_size,
    length,
    letter,
    paste_scale,
    paste_tile,
    reduced,
    write,
)
from model.media.images import encode_jpeg
from model.words import bare, placed

MOST: Final = 5  # words
SIDE: Final = 1280  # the sheet's longer side is at most this, in pixels
_TITLE: Final = 0.17  # of a tile's width
_FAINT: Final = (120, 120, 120)
_MAX_RATIO: Final = 3.0  # a longer picture is shown in a box of this ratio, whole


@dataclass(frozen=True)
class Sheet:
    """A sheet without its tiles, and what they are made of. Sizes and places in pixels, across first."""

    canvas: Image.Image  # with all words, and the scale
    photo: Image.Image  # not yet of the tiles' size
    tile: tuple[int, int]  # size of each
    corners: Sequence[tuple[int, int]]  # left and top of the plain photo's tile, then of each map's
    shares: npt.NDArray[np.float32]  # (maps, rows, columns), of the sheet's peak


def draw_sheet(
    photo: Image.Image, words: Sequence[str], attention: npt.NDArray[np.float32], labels: Labels = ENGLISH
) -> Image.Image:
    """The sheet of one caption.

    photo: upright, of any size and ratio. attention: (words, rows, columns), each map summing to 1, over the photo
    squashed to a square; it is stretched back over the photo here. Returns an RGB image, its longer side SIDE
    pixels at most. Raises ValueError when words and maps differ in number.
    """
    from model.network.encoder import resized

    sheet = lay_out(photo, words, attention, labels)
    small = Image.fromarray(resized(sheet.photo, sheet.tile))
    for corner, shares in zip(sheet.corners, [None, *sheet.shares], strict=True):
        paste_tile(sheet.canvas, small, corner, shares)
    return sheet.canvas


def sheet_file(
    photo: Image.Image, words: Sequence[str], attention: npt.NDArray[np.float32], labels: Labels = ENGLISH
) -> bytes:
    """The sheet of one caption as a JPEG file; see `draw_sheet`."""
    return encode_jpeg(draw_sheet(photo, words, attention, labels))


def lay_out(
    photo: Image.Image, words: Sequence[str], attention: npt.NDArray[np.float32], labels: Labels = ENGLISH
) -> Sheet:
    """As `draw_sheet`, but the tiles are left to draw."""
    if len(words) != len(attention):
        raise ValueError(f"{len(words)} words, but {len(attention)} maps")
    shown = placed(words, MOST)
    words, attention = [bare(words[i]) for i in shown], attention[shown]
    columns, (width, height), title = _layout(photo.size, len(words) + 1)
    picture, (across, down) = reduced(photo, (width, height))
    peak = float(attention.max()) if attention.size else 1.0
    rows = -(-(len(words) + 1) // columns)
    size = (GAP + columns * (width + GAP), GAP + rows * (title + height + GAP) + title)
    canvas = Image.new("RGB", size, BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    corners = []
    for index, text in enumerate([labels.photo, *words]):
        left = GAP + index % columns * (width + GAP)
        top = GAP + index // columns * (title + height + GAP)
        at = (left + width / 2, top + title / 2)
        write(draw, text, at, width, max(8, int(title * 0.72)), smallest=8, anchor="mm", fill=INK if index else _FAINT)
        corners.append((left + (width - across) // 2, top + title + (height - down) // 2))
    regions = attention[0].size if len(attention) else 1
    _draw_legend(canvas, draw, title, labels.attention.format(peak=percent(peak), regions=regions))
    return Sheet(canvas, picture, (across, down), corners, attention / peak)


def _layout(size: tuple[int, int], tiles: int) -> tuple[int, tuple[int, int], int]:
    """Columns, the tile's picture box and its title's height, for the largest tiles that fit on a sheet."""
    ratio = min(_MAX_RATIO, max(1 / _MAX_RATIO, size[0] / size[1]))  # width / height
    best = (0.0, 1, 1)
    for columns in range(1, tiles + 1):
        rows = -(-tiles // columns)
        by_width = (SIDE - GAP) / columns - GAP
        # rows * (title + height + gap) + gap + legend ≤ SIDE, with title = legend = _TITLE * width
        by_height = (SIDE - GAP - rows * GAP) / (rows * (1 / ratio + _TITLE) + _TITLE)
        width = min(by_width, by_height)
        best = max(best, (width, columns, rows))
    width = int(best[0])
    return best[1], (width, max(1, int(width / ratio))), int(_TITLE * width)


def _draw_legend(sheet: Image.Image, draw: ImageDraw.ImageDraw, height: int, high: str) -> None:
    """The colours, and what their ends stand for: no attention, and what `high` says."""
    bar_height = max(4, height // 3)
    top = sheet.height - height + (height - bar_height) // 2
    size = max(8, int(height * 0.42))
    low = "0 %"
    left = GAP + int(length(low, size)) + GAP
    room = sheet.width - left - 2 * GAP
    size = fitting_size(high, size, room * 0.7, smallest=8)
    bar_width = max(8, min(sheet.width // 3, room - int(length(high, size))))
    middle = top + bar_height / 2
    letter(draw, low, (GAP, middle), size)
    paste_scale(sheet, (bar_width, bar_height), (left, top))
    letter(draw, high, (left + bar_width + GAP, middle), size)
