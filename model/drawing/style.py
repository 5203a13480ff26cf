"""Typeface, colours, text that fits and the colour scale of attention, for all drawn pictures. Free of torch."""

import functools
import io
import math
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

GAP: Final = 8
BACKGROUND: Final = (18, 18, 20)
INK: Final = (240, 240, 240)
ACCENT: Final = (245, 150, 40)
PNG_COLOURS: Final = 64
CYRILLIC: Final = Path(__file__).parent / "fonts" / "DejaVuSans-subset.ttf"  # Pillow's own has none

# Dark violet → orange → pale yellow, rising evenly in lightness, so that it reads without colour vision too.
_ANCHORS: Final = np.array(
    [[10, 8, 40], [70, 15, 105], [140, 35, 105], [205, 65, 70], [245, 125, 25], [252, 195, 40], [252, 255, 165]],
    dtype=np.float64,
)


@functools.cache
def palette() -> npt.NDArray[np.uint8]:
    """The 256 colours of attention from none to its peak, (256, 3)."""
    at = np.linspace(0, len(_ANCHORS) - 1, 256)
    return np.stack([np.interp(at, range(len(_ANCHORS)), channel) for channel in _ANCHORS.T], axis=1).astype(np.uint8)


def font(size: int, text: str = "") -> Font:
    """The font for a text, `size` pixels high."""
    return _font(size, any("\u0400" <= letter <= "\u04ff" for letter in text))


@functools.cache
def _font(size: int, cyrillic: bool) -> Font:
    return ImageFont.truetype(CYRILLIC, size) if cyrillic else ImageFont.load_default(size)


@functools.lru_cache(1024)
def length(text: str, size: int) -> float:
    """Pixels across."""
    return font(size, text).getlength(text)


@functools.lru_cache(1024)
def fitting_size(text: str, size: int, width: float, *, smallest: int) -> int:
    """The largest font size, `size` at most, in which a text is at most `width` pixels wide; never below `smallest`."""
    while size > smallest and length(text, size) > width:
        size -= 1
    return size


def write(
    draw: ImageDraw.ImageDraw,
    text: str,
    at: tuple[float, float],
    width: float,
    size: int,
    *,
    smallest: int,
    anchor: str = "lm",
    fill: tuple[int, ...] = INK,
) -> None:
    """Text of `size`, shrunk until it fits a width, but not below `smallest`; see `fitting_size`."""
    letter(draw, text, at, fitting_size(text, size, width, smallest=smallest), anchor, fill)


def letter(
    draw: ImageDraw.ImageDraw,
    text: str,
    at: tuple[float, float],
    size: int,
    anchor: str = "lm",
    fill: tuple[int, ...] = INK,
) -> None:
    """As `draw.text`, for texts that are drawn again and again: each is rendered once, and kept."""
    (left, x), (top, y) = (math.modf(each) for each in at)
    mask, corner = _rendered(text, size, anchor, (left, top))
    draw.bitmap((int(x) + corner[0], int(y) + corner[1]), mask, fill)


@functools.lru_cache(512)  # of a few kB each
def _rendered(text: str, size: int, anchor: str, start: tuple[float, float]) -> tuple[Image.Image, tuple[int, int]]:
    """How much of each pixel a text covers, in an "L" image, and the place of its corner beside the anchor."""
    left, top, right, bottom = font(size, text).getbbox(text, anchor=anchor)
    corner = math.floor(left) - 1, math.floor(top) - 1
    mask = Image.new("L", (math.ceil(right) + 2 - corner[0], math.ceil(bottom) + 2 - corner[1]))
    place = start[0] - corner[0], start[1] - corner[1]
    ImageDraw.Draw(mask).text(place, text, 255, font(size, text), anchor)
    return mask, corner


def fit(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    """The whole picture, as large as the box allows, at least a pixel wide and high."""
    scale = min(box[0] / picture.width, box[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.HAMMING, reducing_gap=1.25)


def dim(picture: Image.Image) -> Image.Image:
    """A picture darkened for a map to be laid over it."""
    return Image.blend(Image.new("RGB", picture.size, BACKGROUND), picture, 0.55)


def overlay(dimmed: Image.Image, attention: npt.NDArray[np.float32], peak: float) -> Image.Image:
    """The dimmed photo under one map, attention / peak giving both colour and opacity."""
    levels = np.rint(attention / peak * 255)  # 8 bits: finer than the palette
    down, across = (_spreading(*pair) for pair in zip(levels.shape, dimmed.size[::-1], strict=True))
    wide = np.rint(np.einsum("rc,cx->rx", levels, across)).clip(0, 255)  # (rows, width)
    level = np.einsum("ry,rx->yx", down, wide)  # (height, width); einsum, for BLAS would take every core for it
    level += 0.5
    colours = Image.frombytes("P", dimmed.size, np.clip(level, 0, 255, out=level).astype(np.uint8).tobytes())
    colours.putpalette(_veil(), "RGBA")
    tile = dimmed.copy()
    veil = colours.convert("RGBA")
    tile.paste(veil, mask=veil)
    return tile


@functools.cache
def _veil() -> bytes:
    """The palette with its opacity: RGBA of each level."""
    opacity = np.arange(256, dtype=np.uint16)[:, np.newaxis] * 6 // 10
    return np.concatenate([palette(), opacity.astype(np.uint8)], axis=1).tobytes()


@functools.lru_cache(64)
def _spreading(cells: int, pixels: int) -> npt.NDArray[np.float32]:
    """How much each cell weighs in each pixel when Pillow resizes a row of cells, bicubic: (cells, pixels)."""
    identity = Image.fromarray(np.eye(cells, dtype=np.float32))
    return np.asarray(identity.resize((pixels, cells), Image.Resampling.BICUBIC))


def paste_scale(sheet: Image.Image, size: tuple[int, int], corner: tuple[int, int]) -> None:
    """Paste the palette as a bar of `size` at `corner`."""
    sheet.paste(_scale(size), corner)


@functools.lru_cache(16)
def _scale(size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.broadcast_to(palette()[np.newaxis], (1, 256, 3)).copy()).resize(size)


def encode_png(picture: Image.Image) -> bytes:
    """A picture of few even colours as a PNG file: a third of a JPEG file."""
    out = io.BytesIO()
    picture.quantize(PNG_COLOURS).save(out, "PNG", optimize=True)
    return out.getvalue()
