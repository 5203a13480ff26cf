"""Typeface, colours, text that fits and the colour scale of attention, for all drawn pictures.

Free of torch until a photo is made smaller.
"""

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
_BRIGHT: Final = 0.55  # what is left of a photo's light under a map
_OPAQUE: Final = 0.6  # of a map at its peak
_LEFT: Final = 1.5  # pixels of a photo for each of a tile that whole-numbered reduction leaves: copies stay small
_STRIP: Final = 24  # rows: BLAS takes more than one core for larger products
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
    """The whole picture as RGB, as large as the box allows, at least a pixel wide and high."""
    from model.network.encoder import resized

    return Image.fromarray(resized(*reduced(picture, box)))


def reduced(picture: Image.Image, box: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
    """A picture as RGB, not much larger than the size in which it fits a box, and that size."""
    scale = min(box[0] / picture.width, box[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture if picture.mode == "RGB" else picture.convert("RGB")
    if (factor := int(1 / (_LEFT * scale))) > 1:
        picture = picture.reduce(factor)
    return picture, size


def paste_tile(
    sheet: Image.Image, photo: Image.Image, corner: tuple[int, int], shares: npt.NDArray[np.float32] | None = None
) -> None:
    """Paste a photo at `corner`, darkened under a map where there is one: shares of its peak, (rows, columns)."""
    sheet.paste(photo, corner)
    if shares is not None:
        veil = _veil(photo.size, shares)
        sheet.paste(veil, corner, veil)


def _veil(size: tuple[int, int], shares: npt.NDArray[np.float32]) -> Image.Image:
    """What lies over a photo: the background's colour, and over it the map's. RGBa, which Pillow pastes fastest."""
    levels = np.rint(shares * 255)  # 8 bits: finer than the palette
    wide = np.rint(np.einsum("rc,cx->rx", levels, _spreading(levels.shape[1], size[0]))).clip(0, 255)  # (rows, width)
    wide += 0.5  # each pixel's weights sum to 1, so that the levels are rounded
    strips = _strips(levels.shape[0], size[1])
    pixels = np.empty((len(strips), _STRIP, size[0]), np.uint32)
    for weights, strip in zip(strips, pixels, strict=True):  # as much as the processor's cache holds
        level = (weights @ wide).astype(np.int32).astype(np.intp)  # straight to 64 bits takes three times as long
        veil_colours().take(level, mode="clip", out=strip)
    return Image.frombuffer("RGBa", size, pixels, "raw", "RGBa", 0, 1)


@functools.cache
def veil_colours() -> npt.NDArray[np.uint32]:
    """Of each level of attention: colour multiplied by opacity, and opacity; RGBa as one number, (256,)."""
    opacity = np.linspace(0, _OPAQUE, 256)[:, np.newaxis]
    colours = opacity * palette() + (1 - opacity) * (1 - _BRIGHT) * np.array(BACKGROUND)
    covered = 255 * (1 - (1 - opacity) * _BRIGHT)
    return np.hstack([colours, covered]).round().astype(np.uint8).view(np.uint32)[:, 0]


@functools.lru_cache(64)
def _spreading(cells: int, pixels: int) -> npt.NDArray[np.float32]:
    """How much each cell weighs in each pixel when Pillow resizes a row of cells, bicubic: (cells, pixels)."""
    identity = Image.fromarray(np.eye(cells, dtype=np.float32))
    return np.asarray(identity.resize((pixels, cells), Image.Resampling.BICUBIC))


@functools.lru_cache(64)
def _strips(cells: int, pixels: int) -> npt.NDArray[np.float32]:
    """The same for strips of _STRIP pixels, of which the last has pixels too many: (strips, _STRIP, cells)."""
    strips = np.zeros((-(-pixels // _STRIP) * _STRIP, cells), np.float32)
    strips[:pixels] = _spreading(cells, pixels).T
    return strips.reshape(-1, _STRIP, cells)


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
