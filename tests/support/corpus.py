"""Files that people send by mistake, or that are odd but good: made here, the same each time.

`bad_files()` are those that cannot be captioned, `odd_files()` those that must be.
`python -m tests.support.corpus FOLDER` writes them all.
"""

from __future__ import annotations

import io
import struct
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()  # to write HEIC

FRAMES: Final = 10_000  # of the long GIF
FRAME_SECONDS: Final = 0.02
BOMB_SIDE: Final = 50_000
WORKER_MEMORY: Final = 2 * 1024**3  # bytes that a worker on a CPU takes at most; see docs/operations.md


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
    if "append_images" in options:  # Pillow keeps an encoder's settings with an image, for the next one to trip over
        options["append_images"] = [each.copy() for each in options["append_images"]]
    image.copy().save(out, kind, **options)
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
    """A valid PNG of a single grey, side × side: 2.5 thousand million pixels in some 300 kB."""
    packer = zlib.compressobj(9)
    row = bytes(1 + side // 8)
    return _png(side, 1, 0, b"".join(packer.compress(row) for _ in range(side)) + packer.flush())


def _png(side: int, depth: int, colour: int, pixels: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", side, side, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", pixels), (b"IEND", b"")]
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


@dataclass(frozen=True)
class Bad:
    """A file that cannot be captioned, and the words, in English and Russian, that its sender reads."""

    sent: Sent
    words: tuple[str, str]


_BREAKS_OFF: Final = ("breaks off", "обрывается")


def bad_files() -> list[Bad]:
    """Each has its own fault; of those with the same, the words are the same."""
    photo = scene()
    jpeg, png = encoded(photo, "JPEG", quality=90), encoded(photo, "PNG")
    webp = encoded(photo, "WEBP", quality=90)
    page, paper = ("a web page", "веб-страница"), ("a PDF document", "документ PDF")
    return [
        Bad(Sent("truncated.jpg", "image/jpeg", truncated(jpeg)), _BREAKS_OFF),
        Bad(Sent("truncated.png", "image/png", truncated(png)), _BREAKS_OFF),
        Bad(Sent("truncated.webp", "image/webp", truncated(webp)), _BREAKS_OFF),
        Bad(Sent("empty.jpg", "image/jpeg", b""), ("file is empty", "файл пуст")),
        Bad(Sent("zeros.jpg", "image/jpeg", bytes(100_000)), ("nothing in this file but zeros", "одни нули")),
        Bad(Sent("page.jpg", "image/jpeg", HTML), page),
        Bad(Sent("page.html", "text/html", HTML), page),
        Bad(Sent("paper.pdf", "application/pdf", PDF), paper),
        Bad(Sent("paper.jpg", "image/jpeg", PDF), paper),
        Bad(Sent("drawing.svg", "image/svg+xml", SVG), ("a vector drawing", "векторный рисунок")),
        Bad(Sent("bomb.png", "image/png", png_bomb()), ("too many pixels", "слишком много пикселей")),
        Bad(Sent("notes.jpg", "image/jpeg", b"buy milk"), ("not a picture that I can read", "не могу открыть")),
    ]


def flipped_files() -> list[Sent]:
    """They may decode all the same."""
    photo = scene()
    return [
        Sent(f"flipped.{kind.lower()}", f"image/{kind.lower()}", bit_flipped(encoded(photo, kind, quality=90)))
        for kind in ("JPEG", "PNG", "WEBP")
    ]


def odd_files() -> list[Sent]:
    """They look strange and are pictures: each is to be captioned."""
    photo = scene()
    grey = Image.fromarray(np.asarray(photo.convert("L"), np.uint16) * 257)
    clear = photo.copy()
    clear.putalpha(photo.convert("L"))
    return [
        Sent("four-inks.jpg", "image/jpeg", encoded(photo.convert("CMYK"), "JPEG")),
        Sent("deep-grey.png", "image/png", encoded(grey, "PNG")),
        Sent("deep-grey.tif", "image/tiff", encoded(grey, "TIFF")),
        Sent("dot.png", "image/png", encoded(photo.resize((1, 1)), "PNG")),
        Sent("ribbon.png", "image/png", encoded(photo.resize((20_000, 10)), "PNG")),
        Sent("tower.png", "image/png", encoded(photo.resize((10, 20_000)), "PNG")),
        Sent("palette.gif", "image/gif", encoded(photo.quantize(64), "GIF")),
        Sent("clear.webp", "image/webp", encoded(clear, "WEBP")),
        Sent("photo.heic", "image/heic", encoded(photo, "HEIF")),
        Sent("photo.avif", "image/avif", encoded(photo, "AVIF", speed=10)),
        Sent("largest.png", "image/png", largest_png()),
        Sent(
            "largest.webp", "image/webp", encoded(Image.new("RGBA", (10_000, 10_000)), "WEBP", lossless=True, method=0)
        ),
    ]


def largest_png(side: int = 10_000) -> bytes:
    """A picture of as many pixels as are decoded at all, half transparent; 100 megapixels in half a megabyte."""
    row = zlib.compressobj(1)
    pixels = b"".join(row.compress(b"\0" + bytes([y * 255 // side, 90, 160, 200]) * side) for y in range(side))
    return _png(side, 8, 6, pixels + row.flush())


def moving_files() -> list[Sent]:
    """They are to be treated as clips."""
    frames = [scene(320, 240, seed) for seed in range(3) for _ in range(4)]
    animations = [
        Sent(
            f"moving.{kind.lower()}",
            f"image/{kind.lower()}",
            encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=500),
        )
        for kind in ("WEBP", "PNG", "AVIF")
    ]
    return [Sent("long.gif", "image/gif", long_gif()), *animations]


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for sent in [*(bad.sent for bad in bad_files()), *flipped_files(), *odd_files(), *moving_files()]:
        (folder / sent.name).write_bytes(sent.data)
        print(f"{sent.name}: {len(sent.data):,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
