"""Drawing in the quick way gives what Pillow's own functions give."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from model.drawing.style import BACKGROUND, INK, fit, font, letter, palette, paste_tile
from model.media.images import encode_jpeg
from tests.support.attention_maps import maps

BOXES = ((425, 318), (300, 700), (1264, 1264))


def _plain_tile(photo: Image.Image, attention: npt.NDArray[np.float32], peak: float) -> Image.Image:
    dimmed = Image.blend(Image.new("RGB", photo.size, BACKGROUND), photo, 0.55)
    level = Image.fromarray(np.rint(attention / peak * 255).astype(np.uint8))
    level = level.resize(photo.size, Image.Resampling.BICUBIC)
    colours = Image.frombytes("P", level.size, level.tobytes())
    colours.putpalette(palette().tobytes())
    opacity = level.point([value * 6 // 10 for value in range(256)])
    return Image.composite(colours.convert("RGB"), dimmed, opacity)


def _apart(one: Image.Image, other: Image.Image) -> npt.NDArray[np.float64]:
    apart: npt.NDArray[np.float64] = np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float))
    return apart


@pytest.mark.parametrize("box", BOXES)
def test_a_map_lies_over_a_photo_as_pillow_would_lay_it(photos: list[Image.Image], box: tuple[int, int]) -> None:
    """But for rounding, which changes less than a JPEG file does."""
    for photo, place in zip(photos, [(0, 0), (3, 4), (7, 7)], strict=False):
        small = fit(photo.convert("RGB"), box)
        attention = maps(place, height=0.6)[0]
        for peak in (float(attention.max()), 0.9):
            sheet = Image.new("RGB", (small.width + 9, small.height + 9), "red")
            paste_tile(sheet, small, (4, 5), attention / peak)
            tile = sheet.crop((4, 5, 4 + small.width, 5 + small.height))
            plain = _plain_tile(small, attention, peak)
            shown = Image.open(io.BytesIO(encode_jpeg(plain)))
            assert _apart(tile, plain).max() <= 2  # levels of 255
            assert _apart(tile, plain).mean() < _apart(shown, plain).mean() / 2
            sheet.paste("red", (4, 5, 4 + small.width, 5 + small.height))
            assert sheet.getcolors() == [(sheet.width * sheet.height, (255, 0, 0))]  # nothing beside the tile


@pytest.mark.parametrize("box", BOXES)
def test_a_photo_is_reduced_as_well_as_a_jpeg_file_shows_it(photos: list[Image.Image], box: tuple[int, int]) -> None:
    for photo in photos[:3]:
        large = photo.convert("RGB").resize((1280, 1280 * photo.height // photo.width), Image.Resampling.BICUBIC)
        small = fit(large, box)
        plain = large.resize(small.size, Image.Resampling.HAMMING)
        shown = Image.open(io.BytesIO(encode_jpeg(plain)))
        assert (_apart(small, plain) ** 2).mean() <= (_apart(shown, plain) ** 2).mean()


@pytest.mark.parametrize("anchor", ["lm", "rm", "mm", "ls"])
@pytest.mark.parametrize("at", [(100, 40), (100.5, 40.5), (100.25, 40), (2, 3)])
@pytest.mark.parametrize("text", ["running", "собака", "23 % of a word's attention, gÅ"])
def test_lettering_is_that_of_pillow(text: str, at: tuple[float, float], anchor: str) -> None:
    for size in (8, 33):
        ours, plain = (Image.new("RGB", (320, 80), BACKGROUND) for _ in range(2))
        for _ in range(2):  # rendered, and kept
            letter(ImageDraw.Draw(ours), text, at, size, anchor)
            ImageDraw.Draw(plain).text(at, text, INK, font(size, text), anchor)
        assert _apart(ours, plain).max() == 0
