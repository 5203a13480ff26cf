"""The colours of a video → those of an ordinary screen. Free of torch and av.

A table is made once for each kind of clip (Pillow interpolates in it), so that HDR costs little more than other clips.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

# Codes of ITU-T H.273, as FFmpeg gives them.
_PQ: Final = 16  # transfer characteristics
_HLG: Final = 18
HDR: Final = frozenset({_PQ, _HLG})
_BT2020: Final = 9  # primaries
_DISPLAY_P3: Final = 12
_UNSPECIFIED: Final = 2

_TO_BT709: Final = {
    _BT2020: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    _DISPLAY_P3: ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979)),
}
_GAMMA: Final = 2.4  # of a screen, ITU-R BT.1886
_NODES: Final = 33  # of a table, each way
_KNEE: Final = 0.75  # of white; brighter light is compressed
_PAPER: Final = 2.03  # hundreds of cd/m²: what HDR is graded to show as white, ITU-R BT.2408
_SPARKS: Final = 0.001  # of the pixels may be brighter than what counts as the brightest


def is_other_screen(transfer: int, primaries: int) -> bool:
    """Whether a video's colours are not those of an ordinary screen."""
    return transfer in HDR or primaries in _TO_BT709


def screen_colours(image: Image.Image, transfer: int, primaries: int) -> Image.Image:
    """An RGB picture of 8 bits as it is encoded in a video → one for an ordinary screen.

    HDR (PQ and HLG, ITU-R BT.2100) is mapped to its range: a frame that shows nothing brighter than 100 cd/m² keeps its
    brightness, white paper of 203 cd/m² becomes white, light beyond is compressed. Wide gamuts are clipped.
    """
    if not is_other_screen(transfer, primaries):
        return image
    hdr = transfer in HDR
    if hdr and primaries == _UNSPECIFIED:
        primaries = _BT2020
    white = round(_brightest(image, transfer), 1) if hdr else 1.0
    return image.filter(ImageFilter.Color3DLUT(_NODES, _table(transfer, primaries, white), _copy_table=False))


def _brightest(image: Image.Image, transfer: int) -> float:
    """The light of the brightest pixels, in hundreds of cd/m²; at least 1, at most _PAPER."""
    counts = np.array(image.histogram()).reshape(3, 256)
    above = counts[:, ::-1].cumsum(axis=1)[:, ::-1]  # (3, 256) pixels of this code or a higher one
    code = np.flatnonzero((above >= _SPARKS * image.width * image.height).any(axis=0)).max()
    return float(np.clip(_light(np.array(code / 255), transfer), 1.0, _PAPER))


@functools.lru_cache(64)
def _table(transfer: int, primaries: int, white: float) -> npt.NDArray[np.float32]:
    """For Pillow: flat, red fastest."""
    light = _light(np.linspace(0.0, 1.0, _NODES), transfer)
    blue, green, red = np.meshgrid(light, light, light, indexing="ij")
    linear = np.stack([red, green, blue], axis=-1) @ np.array(_TO_BT709.get(primaries, np.eye(3))).T
    linear = np.clip(linear / white, 0.0, None)
    if transfer in HDR:
        room = 1.0 - _KNEE
        compressed = 1.0 - room * np.exp(-(np.maximum(linear, _KNEE) - _KNEE) / room)
        linear = np.where(linear > _KNEE, compressed, linear)
    return np.asarray(np.minimum(linear, 1.0) ** (1 / _GAMMA), np.float32).ravel()


def _light(signal: npt.NDArray[np.float64], transfer: int) -> npt.NDArray[np.float64]:
    """Encoded values in [0, 1] → what a screen shows, in hundreds of cd/m²: one of 1,000 cd/m² for HLG."""
    if transfer == _PQ:
        root = signal ** (1 / 78.84375)
        return np.asarray(
            100.0 * (np.maximum(root - 0.8359375, 0.0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
        )
    if transfer == _HLG:
        scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - 0.55991073) / 0.17883277) + 0.28466892) / 12)
        return np.asarray(10.0 * scene**1.2)
    return np.asarray(signal**_GAMMA)
