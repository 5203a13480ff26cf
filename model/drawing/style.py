"""Typeface, colours, text that fits and the colour scale of attention, for all drawn pictures. Free of torch."""

import functools
import io
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


def fitting_size(text: str, size: int, width: float, *, smallest: int) -> int:
    """The largest font size, `size` at most, in which a text is at most `width` pixels wide; never below `smallest`."""
    while size > smallest and font(size, text).getlength(text) > width:
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
    draw.text(at, text, fill, font(fitting_size(text, size, width, smallest=smallest), text), anchor)


def fit(picture: Image.Image, box: tuple[int, int]) -> Image.Image:
    """The whole picture, as large as the box allows, at least a pixel wide and high."""
    scale = min(box[0] / picture.width, box[1] / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, Image.Resampling.HAMMING, reducing_gap=2.0)


def dim(picture: Image.Image) -> Image.Image:
    """A picture darkened for a map to be laid over it."""
    return Image.blend(Image.new("RGB", picture.size, BACKGROUND), picture, 0.55)


def overlay(dimmed: Image.Image, attention: npt.NDArray[np.float32], peak: float) -> Image.Image:
    """The dimmed photo under one map, attention / peak giving both colour and opacity."""
    levels = np.rint(attention / peak * 255).astype(np.uint8)  # 8 bits: finer than the palette
    level = Image.fromarray(levels).resize(dimmed.size, Image.Resampling.BICUBIC)
    opacity = level.point([value * 6 // 10 for value in range(256)])
    colours = Image.frombytes("P", level.size, level.tobytes())
    colours.putpalette(palette().tobytes())
    return Image.composite(colours.convert("RGB"), dimmed, opacity)


def paste_scale(sheet: Image.Image, size: tuple[int, int], corner: tuple[int, int]) -> None:
    """Paste the palette as a bar of `size` at `corner`."""
    bar = Image.fromarray(np.broadcast_to(palette()[np.newaxis], (1, 256, 3)).copy())
    sheet.paste(bar.resize(size), corner)


def encode_png(picture: Image.Image) -> bytes:
    """A picture of few even colours as a PNG file: a third of a JPEG file."""
    out = io.BytesIO()
    picture.quantize(PNG_COLOURS).save(out, "PNG", optimize=True)
    return out.getvalue()
