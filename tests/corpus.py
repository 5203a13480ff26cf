"""Files that people send by mistake, or that are odd but good: made here, the same each time.

`bad_files()` are those that cannot be captioned, `odd_files()` those that must be. `python -m tests.corpus FOLDER`
writes them all.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from PIL import Image

FRAMES: Final = 10_000  # of the long GIF
FRAME_SECONDS: Final = 0.02
BOMB_SIDE: Final = 50_000


@dataclass(frozen=True)
class Sent:
    """A file as somebody sends it."""

    name: str
    mime_type: str
    data: bytes


def scene(width: int = 640, height: int = 480, seed: int = 0) -> Image.Image:
    """Discs of many colours on a gradient: nothing that exists, but not flat either."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pixels = np.stack([x * 255 / width, y * 255 / height, np.full_like(x, 90)], axis=-1)
    for _ in range(12):
        centre, radius = rng.uniform((0, 0), (width, height)), rng.uniform(0.05, 0.2) * min(width, height)
        pixels[np.hypot(x - centre[0], y - centre[1]) < radius] = rng.uniform(0, 255, 3)
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def truncated(data: bytes) -> bytes:
    return data[: len(data) // 2]


def bit_flipped(data: bytes, seed: int = 0, every: int = 200) -> bytes:
    """One bit of so many bytes turned over, behind the first bytes that say what the file is."""
    rng = np.random.default_rng(seed)
    damaged = bytearray(data)
    for at in rng.integers(64, len(data), max(1, len(data) // every)):
        damaged[at] ^= 1 << int(rng.integers(8))
    return bytes(damaged)


def png_bomb(side: int = BOMB_SIDE) -> bytes:
    """A valid PNG of a single grey, side × side, some 300 kB for 2.5 thousand million pixels."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )


def long_gif(frames: int = FRAMES, seconds: float = FRAME_SECONDS, size: tuple[int, int] = (96, 72)) -> bytes:
    """A GIF of four scenes that follow each other, of so many frames; the frames of a short one, again and again."""
    width, height = size
    body = b""
    for seed in range(4):
        still = scene(*size, seed=seed).quantize(16)
        shaken = still.transform(
            size, Image.Transform.AFFINE, (1, 0, 1, 0, 1, 0)
        )  # no two frames in a row are the same
        body += (_gif_frame(still, seconds) + _gif_frame(shaken, seconds)) * (frames // 8)
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + body + b";"


def _gif_frame(frame: Image.Image, seconds: float) -> bytes:
    """The blocks of one frame, its colours with it."""
    control = b"\x21\xf9\x04\x00" + struct.pack("<H", round(100 * seconds)) + b"\0\0"
    still = encoded(frame, "GIF", optimize=False)
    table = 3 << (still[10] & 7) + 1
    at = still.index(b",", 13 + table)
    return control + still[at : at + 9] + bytes([0x80 | still[10] & 7]) + still[13 : 13 + table] + still[at + 10 : -1]


SVG: Final = b"""<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="100" height="100"><circle cx="50" cy="50" r="40" fill="red"/></svg>
"""
HTML: Final = (
    b"<!DOCTYPE html>\n<html><head><title>404 Not Found</title></head><body><h1>Not Found</h1></body></html>\n"
)
PDF: Final = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj\n"
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"
)
