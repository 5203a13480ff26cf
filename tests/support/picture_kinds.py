"""At least 120 kinds of pictures, and of what passes for one, each with what is right for it: made here."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import pillow_heif
from PIL import Image, ImageCms

from model.media.images import open_image
from model.media.profiles import PRIMARIES, SRGB, Chromaticities, matrix_profile
from tests.support.corpus import HTML, PDF, SVG, encoded, png_bomb, scene, truncated
from tests.support.kinds import CAPTIONED, Kind

pillow_heif.register_heif_opener()  # to write HEIC

SIZE: Final = (320, 240)


def looks_like(meant: Image.Image, tolerance: float) -> Callable[[bytes], None]:
    """Whether a picture shows the same, its mean error at most so many levels."""

    def check(data: bytes) -> None:
        found = open_image(data)
        assert found.size == meant.size, found.size
        error = np.abs(np.asarray(found, int) - np.asarray(meant.convert("RGB"), int)).mean()
        assert error <= tolerance, f"a mean error of {error:.1f} levels"

    return check


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(
    size: tuple[int, int], depth: int, colour: int, rows: Sequence[bytes], *more: bytes, interlaced: int = 0
) -> bytes:
    """A PNG of rows as the format stores them; `more`: chunks before the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, interlaced))
    pixels = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(more) + pixels + chunk(b"IEND", b"")


def with_chunks(data: bytes, *more: bytes) -> bytes:
    """A PNG with chunks behind its header."""
    return data[:33] + b"".join(more) + data[33:]


def adam7(image: Image.Image) -> bytes:
    """An interlaced PNG."""
    pixels = np.asarray(image)
    rows = [
        row.tobytes()
        for x, y, right, down in (
            (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2),
        )
        for row in pixels[y::down, x::right]
    ]  # fmt: skip
    return png(image.size, 8, 2, rows, interlaced=1)


def packed(image: Image.Image, bits: int) -> list[bytes]:
    """Rows of grey levels or palette indices of so few bits."""
    values = np.asarray(image.convert("L"), np.uint8) >> (8 - bits)
    places = 8 // bits
    return [
        np.packbits(np.unpackbits(row[:, None], axis=1)[:, 8 - bits :].reshape(-1, places * bits), axis=1).tobytes()
        for row in values
    ]


def deep(image: Image.Image) -> list[bytes]:
    """Rows of 16 bits a sample."""
    return [(row.astype(">u2") * 257).tobytes() for row in np.asarray(image)]


def profiled(image: Image.Image, profile: bytes) -> Image.Image:
    """The pixels that show the same under a profile."""
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, srgb, io.BytesIO(profile), outputMode=image.mode)
    assert converted is not None
    return converted


def by_ffmpeg(image: Image.Image, codec: str, layout: str, container: str = "image2", **options: str) -> bytes:
    """A picture by one of FFmpeg's encoders."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"picture.{container}")
        context: Any = av.CodecContext.create(codec, "w")
        context.width, context.height, context.pix_fmt = *image.size, layout
        context.time_base, context.options = Fraction(1), options
        frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24").reformat(format=layout)
        frame.pts = 0
        if container == "image2":
            return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])
        with av.open(str(path), "w", container) as file:
            stream: Any = file.add_stream(codec, rate=1, options=options)
            stream.width, stream.height, stream.pix_fmt = *image.size, layout
            file.mux([*stream.encode(frame), *stream.encode(None)])
        return path.read_bytes()


def tiff(width: int, height: int, tags: dict[int, int], pixels: bytes) -> bytes:
    """A little-endian TIFF of one strip, by hand."""
    tags = {256: width, 257: height, 259: 1, 273: 8, 277: 1, 278: height, 279: len(pixels)} | tags
    pixels += bytes(len(pixels) % 2)
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


# Four inks → Lab, by a table of the 16 corners, as a profile of a press would have it but for its size.
def ink_profile() -> bytes:
    table = bytearray()
    for c in (0, 1):
        for m in (0, 1):
            for y in (0, 1):
                for k in (0, 1):
                    light = np.array([1 - 0.9 * c, 1 - 0.9 * m, 1 - 0.9 * y]) * (1 - 0.95 * k)
                    table += bytes(_lab(light))
    identity = bytes(range(256))
    lut = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    lut += identity * 4 + bytes(table) + identity * 3
    text = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78)
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 63190, 65536, 54061)
    tags = {b"desc": text, b"cprt": b"text\0\0\0\0none\0\0\0\0", b"wtpt": white, b"A2B0": lut}
    body, directory, at = b"", b"", 132 + 12 * len(tags)
    for name, content in tags.items():
        directory += name + struct.pack(">II", at + len(body), len(content))
        body += content + bytes(-len(content) % 4)
    header = struct.pack(">I4sI4s4s4s", at + len(body), bytes(4), 0x02100000, b"prtr", b"CMYK", b"Lab ")
    header += bytes(12) + b"acsp" + bytes(28) + struct.pack(">3i", 63190, 65536, 54061) + bytes(48)
    return header + struct.pack(">I", len(tags)) + directory + body


def _lab(linear: Any) -> tuple[int, int, int]:
    """Linear sRGB → Lab (D50) in 8 bits."""
    to_xyz = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
    x, y, z = np.cbrt(np.maximum(to_xyz @ linear / np.array([0.9642, 1.0, 0.8249]), 0.008856))
    lab = (255 * (116 * y - 16) / 100, 500 * (x - y) + 128, 200 * (y - z) + 128)
    return tuple(int(np.clip(round(v), 0, 255)) for v in lab)  # type: ignore[return-value]


ADOBE_RGB: Final[Chromaticities] = (0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
PROPHOTO: Final[Chromaticities] = (0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001)
SWAPPED: Final[Chromaticities] = (*SRGB[:2], *SRGB[4:6], *SRGB[2:4], *SRGB[6:])  # red is green, green is red


def picture_kinds() -> list[Kind]:
    """In the order of the table in docs/files.md."""
    photo = scene(*SIZE)
    grey, clear = photo.convert("L"), photo.copy()
    clear.putalpha(Image.linear_gradient("L").resize(SIZE))
    on_white = Image.alpha_composite(Image.new("RGBA", SIZE, "white"), clear).convert("RGB")
    kinds: list[Kind] = []

    def add(
        name: str,
        make: Callable[[], bytes],
        right: str = CAPTIONED,
        like: Image.Image | None = None,
        within: float = 4.0,
    ) -> None:
        kinds.append(Kind(name, make, right, None if like is None else looks_like(like, within)))

    def jpeg(**options: Any) -> bytes:
        return encoded(photo, "JPEG", **{"quality": 92} | options)

    add("JPEG", jpeg, like=photo)
    add("JPEG, low quality", lambda: jpeg(quality=8), like=photo, within=12)
    add("JPEG, grey", lambda: encoded(grey, "JPEG", quality=92), like=grey)
    add("JPEG, progressive", lambda: jpeg(progressive=True), like=photo)
    add("JPEG, optimised", lambda: jpeg(optimize=True), like=photo)
    add("JPEG, 4:4:4", lambda: jpeg(subsampling=0), like=photo)
    add("JPEG, 4:2:2", lambda: jpeg(subsampling=1), like=photo)
    add("JPEG, restart markers", lambda: jpeg(restart_marker_blocks=5), like=photo)
    add("JPEG, four inks", lambda: encoded(photo.convert("CMYK"), "JPEG", quality=95), like=photo, within=6)
    add(
        "JPEG, four inks with a profile",
        lambda: encoded(Image.new("CMYK", SIZE, (255, 0, 0, 0)), "JPEG", quality=95, icc_profile=ink_profile()),
        like=Image.new("RGB", SIZE, (89, 255, 255)),
        within=6,
    )
    add(
        "JPEG, two pictures (MPO)",
        lambda: encoded(photo, "MPO", save_all=True, append_images=[grey.convert("RGB")], quality=92),
        like=photo,
    )
    add("JPEG, comment", lambda: jpeg(comment=b"x" * 60_000), like=photo)
    add("JPEG, bytes behind its end", lambda: jpeg() + b"more" * 5000, like=photo)
    add("JPEG, damaged EXIF", lambda: jpeg(exif=b"Exif\0\0MM\0*\xff\xff\xff\xff broken"), like=photo)
    add("JPEG without its last byte", lambda: jpeg()[:-1], like=photo)
    add("JPEG without its last two bytes", lambda: jpeg()[:-2], like=photo)
    add("JPEG, progressive, without its last two bytes", lambda: jpeg(progressive=True)[:-2], like=photo)
    add("JPEG that breaks off", lambda: truncated(jpeg()), "truncated")
    add("JPEG of its first bytes", lambda: jpeg()[:12], "truncated")
    add("JPEG, 12 bits", lambda: jpeg().replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc1\x00\x11\x0c"), "unread_image")
    add("JPEG, lossless", lambda: by_ffmpeg(photo, "ljpeg", "bgr24"), "unread_image")
    add("JPEG-LS", lambda: by_ffmpeg(photo, "jpegls", "rgb24"), "unread_image")
    add("JPEG by FFmpeg", lambda: by_ffmpeg(photo, "mjpeg", "yuvj420p", qmin="2", qmax="2"), like=photo, within=6)
    add("JPEG of one pixel", lambda: encoded(photo.resize((1, 1)), "JPEG"))
    add("JPEG ribbon", lambda: encoded(photo.resize((20_000, 10)), "JPEG"))
    add("JPEG, 48 megapixels", lambda: encoded(photo.resize((8000, 6000)), "JPEG"))
    turned = [None, 0, 3, 1, 5, 2, 6, 4]  # Pillow's transpositions that make what EXIF undoes
    for orientation, number in enumerate(turned, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = photo if number is None else photo.transpose(Image.Transpose(number))
        for kind in ("JPEG",) if orientation not in (3, 6) else ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"):
            add(
                f"{kind}, orientation {orientation}",
                partial(encoded, stored, kind, exif=exif.tobytes(), **({"quality": 92} if kind != "PNG" else {})),
                like=photo,
            )
    profiles = {
        "Display P3": matrix_profile(PRIMARIES[12]),
        "Adobe RGB": matrix_profile(ADOBE_RGB, 2.2),
        "ProPhoto": matrix_profile(PROPHOTO, 1.8),
        "a swapped profile": matrix_profile(SWAPPED),
    }
    for title, profile in profiles.items():
        for kind in ("JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"):
            best: dict[str, dict[str, Any]] = {
                "WEBP": {"lossless": True},
                "JPEG": {"quality": 97, "subsampling": 0},
                "AVIF": {"quality": 97},
                "HEIF": {"quality": 97},
            }
            options = best.get(kind, {})
            add(
                f"{kind}, {title}",
                partial(encoded, profiled(photo, profile), kind, icc_profile=profile, **options),
                like=photo,
                within=4,
            )
    add("JPEG, a damaged profile", lambda: jpeg(icc_profile=b"damaged" * 40), like=photo)
    p3 = profiled(photo, profiles["Display P3"])
    add(
        "HEIC, Display P3 by numbers",
        lambda: encoded(
            p3,
            "HEIF",
            quality=97,
            color_primaries=12,
            transfer_characteristic=13,
            full_range_flag=1,
            matrix_coefficients=6,
        ),
        like=photo,
        within=3,
    )
    add(
        "AVIF, Display P3 by numbers",
        lambda: renamed_colours(encoded(p3, "AVIF", quality=97), 12, 13),
        like=photo,
        within=3,
    )
    numbers = [round(100_000 * each) for each in PRIMARIES[12]]
    gamma = chunk(b"gAMA", struct.pack(">I", 45455))
    add(
        "PNG, Display P3 by cICP",
        lambda: with_chunks(encoded(p3, "PNG"), chunk(b"cICP", bytes([12, 13, 0, 1]))),
        like=photo,
        within=3,
    )
    add(
        "PNG, Display P3 by cHRM",
        lambda: with_chunks(encoded(p3, "PNG"), gamma, chunk(b"cHRM", struct.pack(">8I", *numbers))),
        like=photo,
        within=3,
    )
    linear = Image.fromarray((255 * (np.asarray(photo) / 255) ** 2.2).round().astype(np.uint8))
    add(
        "PNG, linear by gAMA",
        lambda: with_chunks(encoded(linear, "PNG"), chunk(b"gAMA", struct.pack(">I", 100_000))),
        like=photo,
        within=5,
    )
    add("PNG", lambda: encoded(photo, "PNG"), like=photo, within=0)
    add("PNG, transparent", lambda: encoded(clear, "PNG"), like=on_white, within=1)
    add("PNG, grey", lambda: encoded(grey, "PNG"), like=grey, within=0)
    add("PNG, grey and transparent", lambda: encoded(clear.convert("LA"), "PNG"))
    for bits in (1, 2, 4):
        add(
            f"PNG, grey of {bits} bits",
            partial(png, SIZE, bits, 0, packed(grey, bits)),
            like=grey,
            within=200 / 2**bits,
        )
    add("PNG, grey of 16 bits", lambda: png(SIZE, 16, 0, deep(grey)), like=grey, within=1)
    add("PNG, 16 bits", lambda: png(SIZE, 16, 2, deep(photo)), like=photo, within=1)
    add("PNG, 16 bits and transparent", lambda: png(SIZE, 16, 6, deep(clear)), like=on_white, within=1)
    add("PNG, palette", lambda: encoded(photo.quantize(200), "PNG"), like=photo, within=8)
    add("PNG, palette of 16", lambda: encoded(photo.quantize(16), "PNG", bits=4))
    add("PNG, palette and transparent", lambda: encoded(photo.quantize(64), "PNG", transparency=0))
    add("PNG, interlaced", lambda: adam7(photo), like=photo, within=0)
    add("PNG of one pixel", lambda: encoded(photo.resize((1, 1)), "PNG"))
    add("PNG tower", lambda: encoded(photo.resize((10, 20_000)), "PNG"))
    large = zlib.compress(bytes(3_000_000))
    add(
        "PNG, a text of 3 MB",
        lambda: with_chunks(encoded(photo, "PNG"), chunk(b"zTXt", b"workflow\0\0" + large)),
        like=photo,
        within=0,
    )
    add(
        "PNG, a profile of 3 MB",
        lambda: with_chunks(encoded(photo, "PNG"), chunk(b"iCCP", b"monitor\0\0" + large)),
        like=photo,
        within=0,
    )
    add("PNG, bytes behind its end", lambda: encoded(photo, "PNG") + bytes(1000), like=photo, within=0)
    add("PNG that breaks off", lambda: truncated(encoded(photo, "PNG")), "truncated")
    add("PNG, damaged inside", lambda: holed(encoded(photo, "PNG")), "damaged")
    add("PNG bomb", png_bomb, "too_large")
    add("PNG, 100 megapixels", lambda: encoded(Image.new("RGB", (10_000, 10_000), "teal"), "PNG", compress_level=1))
    add("WebP", lambda: encoded(photo, "WEBP", quality=92), like=photo)
    add("WebP, lossless", lambda: encoded(photo, "WEBP", lossless=True), like=photo, within=0)
    add("WebP, transparent", lambda: encoded(clear, "WEBP", quality=92), like=on_white)
    add("WebP, lossless and transparent", lambda: encoded(clear, "WEBP", lossless=True), like=on_white, within=1)
    add("WebP of one pixel", lambda: encoded(photo.resize((1, 1)), "WEBP"))
    add("WebP, 99 megapixels", lambda: encoded(Image.new("RGB", (11_000, 9_000), "navy"), "WEBP", method=0))
    add(
        "WebP, lossless, 99 megapixels",
        lambda: encoded(Image.new("RGB", (11_000, 9_000), "navy"), "WEBP", lossless=True, method=0),
    )
    add("WebP that breaks off", lambda: truncated(encoded(photo, "WEBP")), "truncated")
    add("GIF", lambda: encoded(photo.quantize(200), "GIF"), like=photo, within=8)
    add("GIF, grey", lambda: encoded(grey, "GIF"), like=grey, within=1)
    add("GIF, not interlaced", lambda: encoded(photo.quantize(64), "GIF", interlace=0))
    add("GIF, transparent", lambda: encoded(photo.quantize(64), "GIF", transparency=0))
    add("GIF that breaks off", lambda: truncated(encoded(photo.quantize(200), "GIF")), "truncated")
    add("BMP", lambda: encoded(photo, "BMP"), like=photo, within=0)
    add("BMP, 32 bits", lambda: encoded(clear, "BMP"))
    add("BMP, palette", lambda: encoded(photo.quantize(200), "BMP"), like=photo, within=8)
    add("BMP, one bit", lambda: encoded(photo.convert("1"), "BMP"))
    add("BMP, 16 bits", lambda: by_ffmpeg(photo, "bmp", "rgb565le"), like=photo, within=8)
    add("BMP with a JPEG inside", lambda: bmp_of_jpeg(photo), "unread_image")
    add("BMP that breaks off", lambda: truncated(encoded(photo, "BMP")), "truncated")
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "zstd", "lzma"):
        add(f"TIFF, {compression}", partial(encoded, photo, "TIFF", compression=compression), like=photo)
    add("TIFF, fax", lambda: encoded(photo.convert("1"), "TIFF", compression="group4"))
    add("TIFF, transparent", lambda: encoded(clear, "TIFF"), like=on_white, within=1)
    add("TIFF, four inks", lambda: encoded(photo.convert("CMYK"), "TIFF", compression="tiff_lzw"), like=photo, within=4)
    add("TIFF, Lab", lambda: encoded(Image.new("LAB", SIZE, (150, 160, 100)), "TIFF"))
    add("TIFF, palette", lambda: encoded(photo.quantize(200), "TIFF"), like=photo, within=8)
    add(
        "TIFF, grey of 16 bits",
        lambda: encoded(Image.fromarray(np.asarray(grey, np.uint16) * 257), "TIFF"),
        like=grey,
        within=1,
    )
    add("TIFF, 16 bits", lambda: by_ffmpeg(photo, "tiff", "rgb48le"), like=photo, within=2)
    add("TIFF, fractions", lambda: encoded(Image.fromarray(np.asarray(grey, np.float32) / 255), "TIFF"))
    add(
        "TIFF, fractions in colour",
        lambda: tiff(*SIZE, {258: 32, 262: 2, 277: 3, 339: 3}, (np.asarray(photo, np.float32) / 255).tobytes()),
        "unread_image",
    )
    add(
        "TIFF, three pages",
        lambda: encoded(photo, "TIFF", save_all=True, append_images=[grey, grey]),
        like=photo,
        within=0,
    )
    add("BigTIFF", lambda: encoded(photo, "TIFF", big_tiff=True), like=photo, within=0)
    add("TIFF that breaks off", lambda: truncated(encoded(photo, "TIFF", compression="tiff_lzw")), "damaged")
    add(
        "raw picture of a camera (DNG)",
        lambda: tiff(*SIZE, {258: 16, 262: 32803, 50706: 0x00000401}, (np.asarray(grey, np.uint16) * 16).tobytes()),
        "unread_image",
    )
    add("AVIF", lambda: encoded(photo, "AVIF", quality=90), like=photo)
    add("AVIF, 4:4:4", lambda: encoded(photo, "AVIF", quality=90, subsampling="4:4:4"), like=photo)
    add("AVIF, studio range", lambda: encoded(photo, "AVIF", quality=90, range="limited"), like=photo)
    add("AVIF, transparent", lambda: encoded(clear, "AVIF", quality=90), like=on_white)
    add("AVIF, grey", lambda: encoded(grey, "AVIF", quality=90), like=grey)
    add("AVIF, 10 bits", lambda: by_ffmpeg(photo, "libsvtav1", "yuv420p10le", "avif", crf="10"), like=photo, within=6)
    add("AVIF, 36 megapixels", lambda: encoded(Image.new("RGB", (6000, 6000), "olive"), "AVIF", speed=10))
    add("AVIF that breaks off", lambda: truncated(encoded(photo, "AVIF")), "truncated")
    add("HEIC", lambda: encoded(photo, "HEIF", quality=90), like=photo)
    add("HEIC, 4:4:4", lambda: encoded(photo, "HEIF", quality=90, chroma=444), like=photo)
    add("HEIC, transparent", lambda: encoded(clear, "HEIF", quality=90), like=on_white)
    add("HEIC, grey", lambda: encoded(grey, "HEIF", quality=90), like=grey)
    add("HEIC, 10 bits", lambda: deep_heic(photo), like=photo)
    add(
        "HEIC, three pictures",
        lambda: encoded(
            grey.convert("RGB"),
            "HEIF",
            quality=90,
            save_all=True,
            append_images=[photo, grey.convert("RGB")],
            primary_index=1,
        ),
        like=photo,
    )
    quick: dict[str, Any] = {"quality": 30, "enc_params": {"preset": "ultrafast"}}
    add("HEIC, 20 megapixels", lambda: encoded(Image.new("RGB", (5000, 4000), "olive"), "HEIF", **quick))
    add("HEIC that breaks off", lambda: truncated(encoded(photo, "HEIF")), "truncated")
    for title, data in {
        "JPEG XL": b"\xff\x0a" + bytes(500),
        "JPEG XL in its container": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(500),
        "Photoshop": b"8BPS\0\1" + bytes(500),
        "GIMP": b"gimp xcf v011\0" + bytes(500),
        "raw picture (CR3)": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(500),
        "raw picture (RAF)": b"FUJIFILMCCD-RAW 0201" + bytes(500),
        "icon": encoded(photo, "ICO"),
        "Apple icon": b"icns" + bytes(500),
        "FITS": b"SIMPLE  =" + bytes(500),
    }.items():
        add(title, partial(bytes, data), "unread_image")
    add("JPEG 2000", lambda: encoded(photo, "JPEG2000"), "unread_image")
    for title, codec, layout in (
        ("OpenEXR", "exr", "gbrpf32le"),
        ("Radiance", "hdr", "gbrpf32le"),
        ("QOI", "qoi", "rgb24"),
        ("PPM", "ppm", "rgb24"),
        ("DPX", "dpx", "rgb24"),
        ("SGI", "sgi", "rgb24"),
        ("Sun raster", "sunrast", "bgr24"),
        ("PCX", "pcx", "rgb24"),
    ):
        add(title, partial(by_ffmpeg, photo, codec, layout), "unread_image")
    add("vector drawing", lambda: SVG, "svg")
    add("PDF", lambda: PDF, "pdf")
    add("web page", lambda: HTML, "web_page")
    add("zeros", lambda: bytes(100_000), "zeros")
    add("nothing", lambda: b"", "empty")
    add("text", lambda: b"buy milk", "not_image")
    add("archive", lambda: b"PK\x03\x04" + bytes(400) + b"x", "not_image")
    add("PostScript", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", "not_image")
    add("sound (MP3)", lambda: b"ID3\x04\0\0\0\0\0\x23" + b"\xff\xfb\x90\x64" * 500, "not_image")
    return kinds


def holed(data: bytes) -> bytes:
    """Zeros in its midst."""
    at = len(data) // 3
    return data[:at] + bytes(at) + data[2 * at :]


def renamed_colours(avif: bytes, primaries: int, transfer: int) -> bytes:
    at = avif.index(b"nclx") + 4
    return avif[:at] + struct.pack(">HH", primaries, transfer) + avif[at + 4 :]


def bmp_of_jpeg(image: Image.Image) -> bytes:
    data = encoded(image, "JPEG")
    header = struct.pack("<IiiHHIIiiII", 40, *image.size, 1, 0, 4, len(data), 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 54 + len(data), 0, 0, 54) + header + data


def deep_heic(image: Image.Image) -> bytes:
    out = io.BytesIO()
    pixels = (np.asarray(image, np.uint16) * 257).tobytes()
    pillow_heif.encode("RGB;16", image.size, pixels, out, quality=90, save_to_12bit=False)
    return out.getvalue()
