"""Colour profiles of pictures that tell of their colours by numbers (PNG's cHRM and cICP, nclx of HEIC and AVIF)."""

from __future__ import annotations

import functools
import struct
from typing import Final

import numpy as np
import numpy.typing as npt

Chromaticities = tuple[float, ...]  # x and y of white, red, green and blue, as in a PNG

_D65: Final = (0.3127, 0.329)
SRGB: Final[Chromaticities] = (*_D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
# Codes of ITU-T H.273; of those that are not here, colours are taken as sRGB.
PRIMARIES: Final[dict[int, Chromaticities]] = {
    9: (*_D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),  # BT.2020
    11: (0.314, 0.351, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # the cinema's P3
    12: (*_D65, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06),  # Display P3
}
GAMMAS: Final = {4: 2.2, 5: 2.8, 8: 1.0}  # transfer characteristics; all others that are not HDR are taken as sRGB's

_D50: Final = np.array([0.9642, 1.0, 0.8249])
_BRADFORD: Final = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)


@functools.lru_cache(16)
def matrix_profile(colours: Chromaticities, gamma: float | None = None) -> bytes:
    """An ICC profile (version 4.2); gamma: None for the curve of sRGB. Raises ValueError for impossible colours."""
    xyz = [_xyz(x, y) for x, y in zip(colours[::2], colours[1::2], strict=True)]
    white, primaries = xyz[0], np.stack(xyz[1:], axis=1)
    try:
        primaries = primaries * np.linalg.solve(primaries, white)
    except np.linalg.LinAlgError as error:
        raise ValueError("primaries that are no colours") from error
    cones = (_BRADFORD @ _D50) / (_BRADFORD @ white)
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(cones) @ _BRADFORD @ primaries
    if not np.isfinite(adapted).all() or np.abs(adapted).max() > 4:
        raise ValueError("primaries that are no colours")
    curve = _numbers(b"para", *_SRGB_CURVE, kind=3) if gamma is None else _numbers(b"para", gamma, kind=0)
    tags = {b"desc": _text("stated"), b"cprt": _text("none"), b"wtpt": _numbers(b"XYZ ", *_D50)}
    for name, column in zip((b"r", b"g", b"b"), adapted.T, strict=True):
        tags |= {name + b"XYZ": _numbers(b"XYZ ", *column), name + b"TRC": curve}
    return _packed(tags)


def _xyz(x: float, y: float) -> npt.NDArray[np.float64]:
    if not 0 < y <= 1 or not 0 <= x <= 1:
        raise ValueError("chromaticities that are no colours")
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _numbers(name: bytes, *values: float, kind: int | None = None) -> bytes:
    """Fixed-point numbers under a type's name. kind: of a parametric curve."""
    head = name + bytes(4) + (b"" if kind is None else struct.pack(">HH", kind, 0))
    return head + struct.pack(f">{len(values)}i", *(round(float(value) * 65536) for value in values))


def _text(words: str) -> bytes:
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", 2 * len(words), 28) + words.encode("utf-16-be")


def _packed(tags: dict[bytes, bytes]) -> bytes:
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x04200000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + _numbers(b"", *_D50)[4:] + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + body
