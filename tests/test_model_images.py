from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model.errors import DamagedImage, EmptyFile, ImageTooLarge, MediaError, NotAnImage
from model.images import MAX_KEPT, open_image, to_square


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    """Red grows to the right, green downwards."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), np.zeros_like(x)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8))


def bomb_png(width: int, height: int) -> bytes:
    """A small file that claims many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
def test_formats_that_people_send(kind: str) -> None:
    image = open_image(encode(gradient(), kind))
    assert image.mode == "RGB"
    assert image.size == (64, 48)
    assert np.abs(np.asarray(image, int) - np.asarray(gradient(), int)).mean() < 12


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
def test_any_mode_becomes_rgb(mode: str) -> None:
    grey = np.tile(np.linspace(0, 255, 64), (48, 1))
    if mode in ("I;16", "I"):
        image = Image.fromarray((grey * 257).astype(np.uint16 if mode == "I;16" else np.int32))
    elif mode == "F":
        image = Image.fromarray((grey / 255).astype(np.float32))
    else:
        image = Image.fromarray(grey.astype(np.uint8)).convert("RGB").convert(mode)
    opened = open_image(encode(image, "JPEG" if mode == "YCbCr" else "TIFF"))
    assert opened.mode == "RGB"
    found = np.asarray(opened, dtype=float).mean(axis=(0, 2))
    assert abs(found[:8].mean() - grey[0, :8].mean()) < 20
    assert abs(found[-8:].mean() - grey[0, -8:].mean()) < 20


def test_transparency_is_flattened_on_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert open_image(encode(clear)).getpixel((4, 4)) == (255, 255, 255)
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    assert open_image(encode(palette, "PNG", transparency=1)).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(orientation: int, kind: str) -> None:
    """However the camera lay, the upright picture is red on its right and green below."""
    turned = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = gradient() if turned is None else gradient().transpose(turned)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = open_image(encode(stored, kind, quality=95, exif=exif))
    assert image.size == (64, 48)
    assert np.abs(np.asarray(image, int) - np.asarray(gradient(), int)).mean() < 6


def test_a_huge_picture_is_reduced_and_still_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = open_image(encode(gradient(4000, 3000).transpose(Image.Transpose.ROTATE_90), "PNG", exif=exif))
    assert image.size == (1334, 1000)
    small = gradient().resize(image.size)
    assert np.abs(np.asarray(image, int) - np.asarray(small, int)).mean() < 6


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("size", [(5000, 4000), (60_000, 333), (7, 90_000)])
def test_whatever_a_small_file_claims_little_is_kept(mode: str, size: tuple[int, int]) -> None:
    image = open_image(encode(Image.new(mode, size)))
    assert image.width * image.height <= MAX_KEPT
    assert (image.width > image.height) == (size[0] > size[1])


def test_damaged_exif_does_no_harm() -> None:
    data = encode(gradient(), "JPEG", exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff broken")
    assert open_image(data).size == (64, 48)


def test_a_large_jpeg_is_not_decoded_in_full() -> None:
    image = open_image(encode(gradient(5200, 2600), "JPEG"))
    assert image.width == 1300
    assert image.height == 650


@pytest.mark.parametrize(
    "data", [b"<html>not a picture</html>", b"%PDF-1.4", b"\x00" * 100, b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_picture_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(NotAnImage):
        open_image(data)


def test_an_empty_file() -> None:
    with pytest.raises(EmptyFile):
        open_image(b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_picture_that_breaks_off(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    data = encode(noise, kind)
    with pytest.raises(DamagedImage if kind in ("JPEG", "PNG") else MediaError):
        open_image(data[: len(data) // 2])


def test_flipped_bits_raise_nothing_but_media_errors() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
        whole = encode(gradient(), kind)
        for _ in range(60):
            data = bytearray(whole)
            for position in rng.integers(0, len(data), 4):
                data[position] ^= 1 << int(rng.integers(0, 8))
            try:
                image = open_image(bytes(data))
            except MediaError:
                continue
            assert image.mode == "RGB"


def test_a_bomb_is_refused_before_its_pixels_are_decoded() -> None:
    with pytest.raises(ImageTooLarge, match="100,000,000 pixels"):
        open_image(bomb_png(50_000, 50_000))


def test_the_square_keeps_the_whole_picture() -> None:
    square = to_square(gradient(), 299)
    assert square.shape == (299, 299, 3)
    assert square[0, 0, 0] < 8
    assert square[298, 298, 0] > 247
    assert square[298, 298, 1] > 247
