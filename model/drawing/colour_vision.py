"""Colours as people with a colour vision deficiency see them.

Protanopia and deuteranopia: Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color
Vision Deficiency" (2009), severity 1.0, in linear RGB. Tritanopia: Brettel, Viénot and Mollon, "Computerized simulation
of color appearance for dichromats" (1997), which projects each half of the colour space to a half-plane of its own; its
constants were compared with those of libDaltonLens.
"""

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from model.drawing.labels import ENGLISH, Deficiency, Labels
from model.drawing.style import font

Floats: TypeAlias = npt.NDArray[np.float64]

MACHADO: Final[dict[str, Floats]] = {
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
}
# Linear RGB of both half-planes of tritanopia, and the normal that tells which one a colour belongs to; from the cone
# fundamentals of Smith and Pokorny (1975) on an sRGB screen, as libDaltonLens computes them.
BRETTEL: Final = (
    np.array([[1.01277, 0.13548, -0.14826], [-0.01243, 0.86812, 0.14431], [0.07589, 0.80500, 0.11911]]),
    np.array([[0.93678, 0.18979, -0.12657], [0.06154, 0.81526, 0.12320], [-0.37562, 1.12767, 0.24796]]),
)
NORMAL: Final = np.array([0.03901, -0.02788, -0.01113])

SIDE: Final = 1024  # pixels, of each picture at most
GAP: Final = 16
TITLE: Final = 48
BACKGROUND: Final = (255, 255, 255)


def simulate(colours: npt.NDArray[np.uint8], kind: Deficiency) -> npt.NDArray[np.uint8]:
    """sRGB colours (…, 3) as sRGB colours (…, 3), rounded to the nearest."""
    linear = _LINEAR[colours]  # (…, 3)
    if kind == "tritanopia":
        first, second = (linear @ matrix.T for matrix in BRETTEL)
        seen = np.where((linear @ NORMAL)[..., None] >= 0, first, second)
    else:
        seen = linear @ MACHADO[kind].T
    return np.rint(255 * _encoded(np.clip(seen, 0.0, 1.0))).astype(np.uint8)


def _decoded(values: Floats) -> Floats:
    """sRGB in [0, 1] to linear light (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _encoded(linear: Floats) -> Floats:
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


_LINEAR: Final = _decoded(np.arange(256) / 255)


def draw_sheet(photo: Image.Image, kind: Deficiency, labels: Labels = ENGLISH) -> Image.Image:
    """The photo beside what is seen of it, each at most `SIDE` pixels wide and high, with a title above each.

    `photo`: RGB and upright, as `open_image` makes it.
    """
    photo = photo.convert("RGB")  # a copy
    photo.thumbnail((SIDE, SIDE))
    seen = Image.fromarray(simulate(np.asarray(photo), kind))
    width, height = photo.size
    sheet = Image.new("RGB", (2 * width + GAP, height + TITLE), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    titles = labels.original, labels.seen_with(kind)
    for left, picture, title in zip((0, width + GAP), (photo, seen), titles, strict=True):
        sheet.paste(picture, (left, TITLE))
        size = 28
        while size > 8 and font(size, title).getlength(title) > width:
            size -= 2
        draw.text((left + width / 2, TITLE / 2), title, "black", font(size, title), "mm")
    return sheet
