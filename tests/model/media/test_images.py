from __future__ import annotations

import contextlib
import io
import os
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms
from PIL.JpegImagePlugin import JpegImageFile

from model.errors import (
    DamagedImage,
    EmptyFile,
    ImageTooLarge,
    MediaError,
    NotAnImage,
    OnlyZeros,
    PdfDocument,
    TruncatedImage,
    VectorDrawing,
    WebPage,
)
from model.media import images
from model.media.images import MAX_KEPT, encode_jpeg, open_image
from model.media.memory import MemoryBudget
from tests.support.picture_kinds import chunk

pillow_heif.register_heif_opener()  # to write HEIC; how it is read is not changed by it


def encode(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def gradient(width: int = 64, height: int = 48) -> Image.Image:
    """Red grows to the right, green downwards."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.arange(width) * 255 // (width - 1)
    pixels[..., 1] = (np.arange(height) * 255 // (height - 1))[:, None]
    return Image.fromarray(pixels)


def png(width: int, depth: int, colour: int, row: bytes, *more: bytes, height: int = 1) -> bytes:
    """One row of pixels as the format stores them; `more`: chunks before it."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b"")


def bomb_png(width: int, height: int) -> bytes:
    """A small file that claims many pixels."""
    return png(width, 8, 2, bytes(999), height=height)


def words(*values: int) -> bytes:
    return struct.pack(f">{len(values)}H", *values)


RED, BLUE, BLACK, WHITE = (255, 0, 0), (0, 0, 255), (0, 0, 0), (255, 255, 255)
PALETTE = chunk(b"PLTE", bytes([*RED, *BLUE, *BLUE, *BLACK]))


@pytest.mark.parametrize(
    ("data", "colours"),
    [
        pytest.param(png(3, 16, 0, words(0, 32_768, 65_535)), [BLACK, (128,) * 3, WHITE], id="grey-16"),
        pytest.param(
            png(3, 16, 0, words(0, 257, 65_535), chunk(b"tRNS", words(0))), [WHITE, (1,) * 3, WHITE], id="grey-16-clear"
        ),
        pytest.param(png(2, 16, 2, words(65_535, 0, 0, 0, 32_768, 65_535)), [RED, (0, 128, 255)], id="rgb-16"),
        pytest.param(
            png(2, 16, 2, words(65_535, 0, 0, 0, 0, 65_535), chunk(b"tRNS", words(65_535, 0, 0))),
            [WHITE, BLUE],
            id="rgb-16-clear",
        ),
        pytest.param(png(2, 16, 6, words(65_535, 0, 0, 65_535, 0, 0, 0, 0)), [RED, WHITE], id="rgba-16"),
        pytest.param(png(3, 16, 4, words(0, 65_535, 0, 0, 0, 32_768)), [BLACK, WHITE, (127,) * 3], id="la-16"),
        pytest.param(png(3, 8, 4, bytes([0, 255, 0, 0, 200, 255])), [BLACK, WHITE, (200,) * 3], id="la"),
        pytest.param(png(8, 1, 0, b"\xa0"), [WHITE, BLACK, WHITE, *[BLACK] * 5], id="one-bit"),
        pytest.param(png(4, 2, 0, b"\x1b"), [BLACK, (85,) * 3, (170,) * 3, WHITE], id="two-bit"),
        pytest.param(png(4, 2, 3, b"\x1b", PALETTE), [RED, BLUE, BLUE, BLACK], id="palette"),
        pytest.param(
            png(4, 2, 3, b"\x1b", PALETTE, chunk(b"tRNS", bytes([255, 0, 128]))),
            [RED, WHITE, (127, 127, 255), BLACK],
            id="palette-half-clear",
        ),
    ],
)
def test_pixels_have_the_colours_that_the_file_means(data: bytes, colours: list[tuple[int, int, int]]) -> None:
    image = open_image(data)
    assert [image.getpixel((x, 0)) for x in range(image.width)] == colours


CYAN_MAGENTA = {(0, 255, 255, 0): RED, (255, 255, 0, 0): BLUE, (0, 0, 0, 255): BLACK, (0, 0, 0, 0): WHITE}


@pytest.mark.parametrize(("ink", "colour"), CYAN_MAGENTA.items())
@pytest.mark.parametrize("side", [16, 3000])
def test_four_inks(ink: tuple[int, int, int, int], colour: tuple[int, int, int], side: int) -> None:
    """A JPEG of four inks says by Adobe's mark that they are stored inverted; a TIFF stores them as they are."""
    picture = Image.new("CMYK", (side, side), ink)
    jpeg = encode(picture, "JPEG", quality=95)
    assert b"Adobe" in jpeg
    for data in (jpeg, encode(picture, "TIFF", compression="tiff_lzw")):
        assert np.abs(np.asarray(open_image(data), int)[8, 8] - colour).max() <= 2


def tiff(values: list[int], bits: int, photometric: int = 1, order: str = "<") -> bytes:
    """One row of grey values of so many bits (12 are packed), written by hand."""
    if bits == 12:
        pixels = b"".join(((a << 12) | b).to_bytes(3, "big") for a, b in zip(values[::2], values[1::2], strict=True))
    else:
        pixels = struct.pack(f"{order}{len(values)}{'H' if bits == 16 else 'I'}", *values)
    tags = {256: len(values), 257: 1, 258: bits, 259: 1, 262: photometric, 273: 8, 277: 1, 278: 1, 279: len(pixels)}
    pixels += bytes(len(pixels) % 2)
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(pixels))
    return head + pixels + struct.pack(f"{order}H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize(
    ("data", "greys"),
    [
        (tiff([0, 32_768, 65_535], 16), [0, 128, 255]),
        (tiff([0, 32_768, 65_535], 16, order=">"), [0, 128, 255]),
        (tiff([0, 32_768, 65_535], 16, photometric=0), [255, 127, 0]),
        (tiff([0, 4095, 2048, 0], 12), [0, 255, 128, 0]),
        (tiff([0, 2_000_000, 4_000_000], 32), [0, 128, 255]),
    ],
)
def test_deep_greys_of_a_tiff(data: bytes, greys: list[int]) -> None:
    image = open_image(data)
    assert [image.getpixel((x, 0)) for x in range(image.width)] == [(grey,) * 3 for grey in greys]


@pytest.mark.parametrize("orientation", [1, 6])
def test_of_several_pages_the_first_is_meant(orientation: int) -> None:
    first = gradient() if orientation == 1 else gradient().transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pages = [Image.new("RGB", (10, 10), "red"), Image.new("L", (900, 3))]
    image = open_image(encode(first, "TIFF", save_all=True, append_images=pages, exif=exif))
    assert image.size == (64, 48)
    assert np.abs(np.asarray(image, int) - np.asarray(gradient(), int)).mean() < 2


def test_of_several_pictures_in_a_heic_the_one_meant_as_such() -> None:
    burst = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue")]
    data = encode(burst[0], "HEIF", save_all=True, append_images=burst[1:], primary_index=2)
    assert np.abs(np.asarray(open_image(data), int)[9, 9] - BLUE).max() < 6


def test_fractions_are_stretched_and_what_is_no_number_is_black() -> None:
    values = np.array([[-1.0, 0.0, 1.0, np.nan, 3.0]], np.float32)
    image = open_image(encode(Image.fromarray(values), "TIFF"))
    assert [image.getpixel((x, 0)) for x in range(5)] == [(grey,) * 3 for grey in (0, 64, 128, 0, 255)]


@pytest.mark.parametrize("mode", ["P", "1", "I;16", "RGBA"])
@pytest.mark.slow
def test_a_large_picture_is_reduced_to_the_means_of_what_is_seen(mode: str) -> None:
    """Pixels of two colours in turn become what they look like from afar."""
    checks = np.tile(np.array([[0, 255], [255, 0]], np.uint8), (1500, 2000))
    if mode == "I;16":
        image = Image.fromarray(checks * np.uint16(257))
    elif mode == "RGBA":  # black, and transparent of a colour that is not seen
        image = Image.fromarray(np.stack([checks * 0, checks, checks * 0, 255 - checks], axis=-1))
    else:
        image = Image.fromarray(checks).convert(mode)
    found = np.asarray(open_image(encode(image, compress_level=1)), int)
    assert found.shape == (1000, 1334, 3)
    assert found[1:-1, 1:-1].min() >= 110
    assert found[1:-1, 1:-1].max() <= 145


def test_a_heic_that_claims_too_many_pixels_is_not_decoded() -> None:
    data = encode(gradient(), "HEIF")
    at = data.index(b"ispe") + 8
    with pytest.raises(ImageTooLarge):
        open_image(data[:at] + struct.pack(">II", 30_000, 30_000) + data[at + 8 :])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF", "HEIF"])
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


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
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
    image = open_image(encode(stored, kind, quality=95, exif=exif.tobytes()))
    assert image.size == (64, 48)
    assert np.abs(np.asarray(image, int) - np.asarray(gradient(), int)).mean() < 6


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_large_jpeg_is_not_decoded_in_full() -> None:
    image = open_image(encode(gradient(5200, 2600), "JPEG"))
    assert image.width == 1300
    assert image.height == 650


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"<html>not a picture</html>", WebPage),
        (b"\xef\xbb\xbf\r\n<!DOCTYPE html><svg></svg>", WebPage),
        ("<html>".encode("utf-16"), WebPage),
        (b"%PDF-1.4", PdfDocument),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", VectorDrawing),
        (b"<?xml version='1.0'?><!-- made by hand -->\n<svg><title>a page</title></svg>", VectorDrawing),
        (b"\x00" * 100, OnlyZeros),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", NotAnImage),
        (b"PK\x03\x04 and so on", NotAnImage),
        (b"a list of links, such as < and >", NotAnImage),
    ],
)
def test_what_is_no_picture_is_said_to_be_none(data: bytes, error: type[NotAnImage]) -> None:
    with pytest.raises(NotAnImage) as raised:
        open_image(data)
    assert type(raised.value) is error


def test_an_empty_file() -> None:
    with pytest.raises(EmptyFile):
        open_image(b"")


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "HEIF", "TIFF"])
def test_a_picture_that_breaks_off(kind: str, kept: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8))
    data = encode(noise, kind)
    with pytest.raises(DamagedImage if kind == "TIFF" else TruncatedImage):
        open_image(data[: int(len(data) * kept)])


@pytest.mark.parametrize("kept", [0.05, 0.5, 0.9])
@pytest.mark.slow
def test_a_large_jpeg_that_breaks_off(kept: float) -> None:
    photo = Image.effect_noise((2400, 1800), 60).convert("RGB").resize((4000, 3000))
    data = encode(photo, "JPEG")
    assert open_image(data[:-2])
    with pytest.raises(TruncatedImage):
        open_image(data[: int(len(data) * kept)])


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_picture_that_is_damaged_inside_did_arrive_whole(kind: str) -> None:
    data = bytearray(encode(gradient(), kind))
    data[30 : 30 + len(data) // 2] = bytes(len(data) // 2)
    with pytest.raises(DamagedImage):
        open_image(bytes(data))


def test_flipped_bits_raise_nothing_but_media_errors() -> None:
    rng = np.random.default_rng(0)
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"):
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


SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


Primaries = tuple[tuple[float, float, float], ...]
SRGB_PRIMARIES: Primaries = ((0.436, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


def matrix_profile(order: str = "rgb", gamma: float = 2.2, primaries: Primaries = SRGB_PRIMARIES) -> bytes:
    """An ICC profile (version 2): XYZ of the red, green and blue `primaries`, one gamma.

    order: of the primaries, "gbr" for a profile that takes red for green and so on.
    """
    columns = dict(zip("rgb", primaries, strict=True))

    def xyz(values: tuple[float, ...]) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78 + 7)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": xyz((0.9642, 1.0, 0.8249))}
    for channel, source in zip("rgb", order, strict=True):
        tags[f"{channel}XYZ".encode()], tags[f"{channel}TRC".encode()] = xyz(columns[source]), curve
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        content += bytes(-len(content) % 4)
        table += name + struct.pack(">II", at + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + struct.pack(">I", len(tags)) + table + body


DISPLAY_P3 = matrix_profile(primaries=((0.5151, 0.2412, -0.0011), (0.2919, 0.6922, 0.0419), (0.1572, 0.0666, 0.7841)))
ADOBE_RGB = matrix_profile(primaries=((0.6097, 0.3111, 0.0195), (0.2053, 0.6257, 0.0609), (0.1492, 0.0632, 0.7446)))
PROPHOTO = matrix_profile(primaries=((0.7977, 0.288, 0.0), (0.1352, 0.7119, 0.0), (0.0313, 0.0001, 0.8249)), gamma=1.8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
@pytest.mark.parametrize(
    "profile", [DISPLAY_P3, ADOBE_RGB, PROPHOTO, matrix_profile("gbr")], ids=["P3", "Adobe", "ProPhoto", "swapped"]
)
def test_colours_are_those_of_the_profile(kind: str, profile: bytes) -> None:
    picture = gradient(256, 200)
    lossless: dict[str, object] = {"lossless": True} if kind == "WEBP" else {"quality": 98} if kind == "JPEG" else {}
    data = encode(picture, kind, icc_profile=profile, **lossless)
    plain = open_image(encode(picture, kind, **lossless))
    meant = ImageCms.profileToProfile(plain, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert meant is not None
    assert np.abs(np.asarray(meant).astype(int) - np.asarray(plain)).max() > 20
    assert np.abs(np.asarray(open_image(data)).astype(int) - np.asarray(meant)).max() <= 3


@pytest.mark.slow
def test_a_profile_does_not_undo_transparency_or_reduction() -> None:
    clear = gradient(3000, 2000)
    clear.putalpha(0)
    data = encode(clear, "PNG", icc_profile=matrix_profile("gbr"))
    assert np.asarray(open_image(data)).min() >= 253
    large = open_image(encode(gradient(3000, 2000), "PNG", icc_profile=matrix_profile("gbr")))
    assert large.size == (1500, 1000)
    assert np.asarray(large)[0, -1, 1] > 240  # red became green


def test_profiles_that_say_nothing_are_ignored() -> None:
    picture = gradient()
    for profile in (SRGB, b"damaged", DISPLAY_P3[:100], DISPLAY_P3.replace(b"RGB ", b"CMYK"), bytes(500)):
        assert np.array_equal(np.asarray(open_image(encode(picture, icc_profile=profile))), np.asarray(picture))
    grey = picture.convert("L")
    assert np.array_equal(np.asarray(open_image(encode(grey, icc_profile=DISPLAY_P3))), np.asarray(grey.convert("RGB")))


def test_the_gamma_of_a_png_is_followed() -> None:
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    assert np.asarray(open_image(png(1, 8, 2, bytes([55, 55, 55]), linear)))[0, 0].tolist() == pytest.approx(
        [127] * 3, abs=2
    )
    for more in ((chunk(b"sRGB", b"\0"), linear), (chunk(b"gAMA", struct.pack(">I", 45455)),)):
        assert np.asarray(open_image(png(1, 8, 2, bytes([55, 90, 55]), *more)))[0, 0].tolist() == [55, 90, 55]


def test_pngs_with_large_extras_are_read() -> None:
    picture = gradient()
    plain = encode(picture, icc_profile=matrix_profile("gbr"))
    large = zlib.compress(bytes(3_000_000))
    texts = (
        chunk(b"zTXt", b"workflow\0\0" + large),
        chunk(b"iTXt", b"workflow\0\1\0\0\0" + large),
        chunk(b"tEXt", b"workflow\0" + b"x" * 3_000_000),
    )
    header, end = 8 + 25, plain.index(b"IEND") - 4
    for text in texts:
        for at in (header, end):
            assert np.array_equal(np.asarray(open_image(plain[:at] + text + plain[at:])), np.asarray(open_image(plain)))
    profile = chunk(b"iCCP", b"monitor\0\0" + large)
    plain = encode(picture)
    assert np.array_equal(np.asarray(open_image(plain[:header] + profile + plain[header:])), np.asarray(picture))


def test_each_decoding_of_a_jpeg_that_breaks_off_asks_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Asked(MemoryBudget):
        inside = False

        def hold(self, size: int, *, lasting: bool = False) -> Any:
            asked.append(size)
            return self._within(super().hold(size, lasting=lasting))

        @contextlib.contextmanager
        def _within(self, held: Any) -> Iterator[None]:
            with held:
                self.inside = True
                yield
                self.inside = False

    asked: list[int] = []
    budget, load = Asked(), JpegImageFile.load

    def loaded(file: JpegImageFile) -> Any:
        assert budget.inside
        return load(file)

    monkeypatch.setattr(images, "DECODING", budget)
    monkeypatch.setattr(JpegImageFile, "load", loaded)
    out = io.BytesIO()
    Image.effect_noise((640, 480), 60).convert("RGB").save(out, "JPEG", quality=90, progressive=True)
    assert open_image(out.getvalue()[:-2]).size == (640, 480)
    assert len(asked) == 4  # as it came, twice to see what is missing, and mended


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_jpeg_is_encoded_into_what_has_a_descriptor(in_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else Pillow lets no other thread run meanwhile. Not every system has that in memory."""
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    outs, save = list[Any](), Image.Image.save

    def recorded(image: Image.Image, out: Any, *arguments: Any, **options: Any) -> None:
        outs.append(out.raw if in_memory else out)
        save(image, out, *arguments, **options)

    image, expected = Image.effect_mandelbrot((64, 48), (-2, -1, 1, 1), 50), io.BytesIO()
    image.save(expected, "JPEG", quality=85)
    monkeypatch.setattr(Image.Image, "save", recorded)
    assert encode_jpeg(image) == expected.getvalue()
    assert [type(out) for out in outs] == [io.FileIO if in_memory else io.BytesIO]
