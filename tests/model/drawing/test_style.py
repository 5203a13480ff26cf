"""Drawing in the quick way gives what Pillow's own functions give."""

import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw

from model.drawing.style import BACKGROUND, INK, dim, fit, font, letter, overlay, palette
from model.media.images import encode_jpeg
from tests.support.attention_maps import maps

BOXES = ((425, 318), (300, 700), (1264, 1264))


def _plain_overlay(dimmed: Image.Image, attention: npt.NDArray[np.float32], peak: float) -> Image.Image:
    level = Image.fromarray(np.rint(attention / peak * 255).astype(np.uint8))
    level = level.resize(dimmed.size, Image.Resampling.BICUBIC)
    colours = Image.frombytes("P", level.size, level.tobytes())
    colours.putpalette(palette().tobytes())
    opacity = level.point([value * 6 // 10 for value in range(256)])
    return Image.composite(colours.convert("RGB"), dimmed, opacity)


def _apart(one: Image.Image, other: Image.Image) -> npt.NDArray[np.float64]:
    apart: npt.NDArray[np.float64] = np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float))
    return apart


@pytest.mark.parametrize("box", BOXES)
def test_a_map_lies_over_a_photo_as_pillow_would_lay_it(photos: list[Image.Image], box: tuple[int, int]) -> None:
    for photo, place in zip(photos, [(0, 0), (3, 4), (7, 7)], strict=False):
        dimmed = dim(fit(photo.convert("RGB"), box))
        attention = maps(place, height=0.6)[0]
        for peak in (float(attention.max()), 0.9):
            apart = _apart(overlay(dimmed, attention, peak), _plain_overlay(dimmed, attention, peak))
            assert apart.max() <= 3  # levels of 255, where a map is rounded otherwise
            assert apart.mean() < 0.05


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
