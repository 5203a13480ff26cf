"""One sheet for one caption: the photo, then the photo under each word's attention map. Free of torch.

The maps are drawn as they are: all words of a sheet share one scale, from no attention to the sheet's peak, and the
scale is printed beside its colours. Nothing is stretched word by word, so a diffuse look stays pale.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from model.drawing.labels import ENGLISH, Labels, percent
from model.drawing.typeface import font

SIDE: Final = 1280  # the sheet's longer side is at most this, in pixels
GAP: Final = 8
BACKGROUND: Final = (18, 18, 20)
INK: Final = (240, 240, 240)
_TITLE: Final = 0.17  # of a tile's width
_MAX_RATIO: Final = 3.0  # a longer picture is shown in a box of this ratio, whole

# Dark violet → orange → pale yellow, rising evenly in lightness, so that it reads without colour vision too.
_ANCHORS: Final = np.array(
    [[10, 8, 40], [70, 15, 105], [140, 35, 105], [205, 65, 70], [245, 125, 25], [252, 195, 40], [252, 255, 165]],
    dtype=np.float64,
)


@functools.cache
def _palette() -> npt.NDArray[np.uint8]:
    """256 colours, (256, 3)."""
    at = np.linspace(0, len(_ANCHORS) - 1, 256)
    return np.stack([np.interp(at, range(len(_ANCHORS)), channel) for channel in _ANCHORS.T], axis=1).astype(np.uint8)


def draw_sheet(
    photo: Image.Image, words: Sequence[str], attention: npt.NDArray[np.float32], labels: Labels = ENGLISH
) -> Image.Image:
    """The sheet of one caption.

    photo: upright, of any size and ratio. attention: (words, rows, columns), each map summing to 1, over the photo
    squashed to a square; it is stretched back over the photo here. Returns an RGB image, its longer side SIDE
    pixels at most. Raises ValueError when words and maps differ in number.
    """
    if len(words) != len(attention):
        raise ValueError(f"{len(words)} words, but {len(attention)} maps")
    columns, (width, height), title = _layout(photo.size, len(words) + 1)
    small = _fit(photo.convert("RGB"), (width, height))
    dimmed = Image.blend(Image.new("RGB", small.size, BACKGROUND), small, 0.55)
    peak = float(attention.max()) if attention.size else 1.0
    rows = -(-(len(words) + 1) // columns)
    legend = title
    sheet = Image.new(
        "RGB",
        (GAP + columns * (width + GAP), GAP + rows * (title + height + GAP) + legend),
        BACKGROUND,
    )
    draw = ImageDraw.Draw(sheet)
    tiles = [(labels.photo, small), *((w, _overlay(dimmed, m, peak)) for w, m in zip(words, attention, strict=True))]
    for index, (text, tile) in enumerate(tiles):
        left = GAP + index % columns * (width + GAP)
        top = GAP + index // columns * (title + height + GAP)
        _write(draw, text, (left, top, width, title), faint=index == 0)
        offset = ((width - tile.width) // 2, (height - tile.height) // 2)
        sheet.paste(tile, (left + offset[0], top + title + offset[1]))
    regions = attention[0].size if len(attention) else 1
    _draw_legend(sheet, draw, legend, labels.attention.format(peak=percent(peak), regions=regions))
    return sheet


def encode_jpeg(sheet: Image.Image) -> bytes:
    """The sheet as a JPEG file."""
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=85)
    return out.getvalue()


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


def _fit(photo: Image.Image, box: tuple[int, int]) -> Image.Image:
    """The whole photo, as large as the box allows, never a side of no pixels."""
    scale = min(box[0] / photo.width, box[1] / photo.height)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)


def _overlay(photo: Image.Image, attention: npt.NDArray[np.float32], peak: float) -> Image.Image:
    """The dimmed photo under one map, attention / peak giving both colour and opacity."""
    levels = np.rint(attention / peak * 255).astype(np.uint8)  # 8 bits: finer than the palette
    level = Image.fromarray(levels).resize(photo.size, Image.Resampling.BICUBIC)
    opacity = level.point([value * 6 // 10 for value in range(256)])
    colours = Image.frombytes("P", level.size, level.tobytes())
    colours.putpalette(_palette().tobytes())
    return Image.composite(colours.convert("RGB"), photo, opacity)


def _write(draw: ImageDraw.ImageDraw, text: str, box: tuple[int, int, int, int], *, faint: bool = False) -> None:
    """Text on the box's middle line, shrunk until it fits its width."""
    left, top, width, height = box
    size = max(8, int(height * 0.72))
    while size > 8 and draw.textlength(text, font=font(size, text)) > width:
        size -= 1
    colour = tuple(channel // 2 for channel in INK) if faint else INK
    draw.text((left + width / 2, top + height / 2), text, fill=colour, font=font(size, text), anchor="mm")


def _draw_legend(sheet: Image.Image, draw: ImageDraw.ImageDraw, height: int, high: str) -> None:
    """The colours, and what their ends stand for: no attention, and what `high` says."""
    bar_height = max(4, height // 3)
    top = sheet.height - height + (height - bar_height) // 2
    size = max(8, int(height * 0.42))
    low = "0 %"
    left = GAP + int(draw.textlength(low, font=font(size))) + GAP
    room = sheet.width - left - 2 * GAP
    while size > 8 and draw.textlength(high, font=font(size, high)) > room * 0.7:
        size -= 1
    bar_width = max(8, min(sheet.width // 3, room - int(draw.textlength(high, font=font(size, high)))))
    middle = top + bar_height / 2
    draw.text((GAP, middle), low, fill=INK, font=font(size), anchor="lm")
    bar = Image.fromarray(np.broadcast_to(_palette()[np.newaxis], (1, 256, 3)).copy())
    sheet.paste(bar.resize((bar_width, bar_height)), (left, top))
    draw.text((left + bar_width + GAP, middle), high, fill=INK, font=font(size, high), anchor="lm")
