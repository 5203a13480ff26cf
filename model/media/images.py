"""Untrusted bytes → an upright sRGB picture, with limits checked before pixels are decoded. Free of torch."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError, _imaging

from model.errors import (
    AnimatedPicture,
    CaptionError,
    DamagedImage,
    EmptyFile,
    ImageTooLarge,
    OutOfMemory,
    TruncatedImage,
    UnreadImage,
)
from model.media.colour import HDR, screen_colours
from model.media.formats import (
    HEAD,
    PNG,
    breaks_off,
    is_clip,
    is_heif,
    not_a_picture,
    stated_colours,
    unread_picture,
    webp_pixels,
    without_large_extras,
)
from model.media.iso_media import claimed_pixels
from model.media.jpeg import END_OF_IMAGE, JpegFrame, jpeg_frame
from model.media.memory import DECODING, MIB, refused
from model.media.profiles import GAMMAS, PRIMARIES, SRGB, matrix_profile
from model.media.rows import HeifPixels, Pixels, WebpPixels, reduced_avif, strips

MAX_PIXELS: Final = 100_000_000  # of a picture that is decoded at all
MAX_KEPT: Final = 8_000_000
# No format that starts a program. AVIF before HEIF, for some brands of their container stand for both.
FORMATS: Final[tuple[str, ...]] = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
WORKING_SIDE: Final = 1280  # larger pictures are reduced as they are decoded, their longer side not below this
QUALITY: Final = 85  # of JPEG files that are written
LEAST_SIDE: Final = 299  # nor their shorter side below this, unless MAX_KEPT needs it

_STRIP: Final = 1_000_000  # pixels that are converted at once
_WORK: Final = 32 * MIB  # bytes that this takes, and smaller things
# Bytes a pixel of decoders that keep more than Pillow's own copy; measured by tests/model/media/test_memory.py.
_DECODER: Final = {"WEBP": 16.5, "AVIF": 12.0, "HEIF": 8.0}
_ROWS: Final = {"WEBP": 4.5, "AVIF": 4.0, "HEIF": 5.0}  # the same of `model.media.rows`
_WEBP_ALPHA: Final = 7.0  # of a lossy picture with transparency, which is a second picture
_OPEN_WEBP: Final = 8  # bytes a pixel of Pillow's decoder, before anything is decoded
_WHOLE: Final = 8  # bytes a pixel of copies of a picture that is not reduced
_NARROW: Final = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2}  # bytes a pixel; 4 of other modes
_ABOUT_MEMORY: Final = re.compile(r"memory|allocat", re.IGNORECASE)  # what decoders say when they got none
_REFUSALS: Final = re.compile(r"unsupported|not supported|not available|unknown|cannot handle", re.IGNORECASE)
_MISSING: Final = 0.02  # of a JPEG's pixels; one that breaks off so near its end is shown
_MADE_UP: Final = b"\x5a\xa5" * (2 * MIB)  # enough for more than that of the largest picture
_UNLIKE: Final = 16  # levels of 255
_JPEG: Final = b"\xff\xd8\xff"  # how one begins
_ORIENTATION: Final = 0x0112  # EXIF and TIFF
_ROWS_PER_STRIP: Final = 278  # TIFF
_TILE_WIDTH: Final = 322  # TIFF
_BITS_PER_SAMPLE: Final = 258  # TIFF
_PHOTOMETRIC: Final = 262  # TIFF; 0: white is zero
_MAX_PROFILE: Final = 8 * 1024 * 1024  # bytes; a larger colour profile is not looked at
_SRGB_GAMMA: Final = 1 / 2.2  # as a PNG says it
_STATED: Final = "stated_colours"  # of a picture's `info`: codes of primaries and transfer characteristics, or None
_ALIKE: Final = 2  # levels of 255: a profile that changes no colour by more is that of sRGB

# All decoders now: one for which Pillow finds no memory when its first file comes is "not installed" for good.
Image.init()

# Blocks of this size are given back to the system when a picture goes; smaller ones stay with the process (glibc).
_imaging.set_block_size(64 * MIB)


def open_image(data: bytes) -> Image.Image:
    """Decode a picture of any mode, colours and orientation to upright sRGB, transparency flattened on white.

    Of an animated picture the first frame, of several pages the first, of several pictures the one meant as such. The
    result has at most MAX_KEPT pixels or so; larger pictures are reduced before anything else is done with them. It
    waits for room in memory beside whatever else is being decoded.
    Raises EmptyFile, NotAnImage, UnreadImage, ImageTooLarge (more than MAX_PIXELS), TruncatedImage, DamagedImage or
    OutOfMemory.
    """
    if not data:
        raise EmptyFile("the file is empty")
    formats = FORMATS
    if is_heif(data[:HEAD]):
        _learn_heif()
        formats = (*FORMATS, "HEIF")
    cost = _WORK
    try:
        with Image.open(io.BytesIO(data), formats=formats) as file:
            width, height = file.size
            if max(width * height, claimed_pixels(data) if file.format == "HEIF" else 0) > MAX_PIXELS:
                raise ImageTooLarge(f"more than {MAX_PIXELS:,} pixels, shown as {width} x {height}")
            if file.format in ("PNG", "AVIF", "HEIF"):
                file.info[_STATED] = stated_colours(data)
            jpeg = jpeg_frame(data) if file.format in ("JPEG", "MPO") else None
            if jpeg is not None:
                file.draft("RGB", _draft_size(width, height))
            cost = _cost(file, data, jpeg)
            with DECODING.hold(cost):
                decoded = _decoded(file, data)
                return _upright(_to_rgb(decoded, _factor(decoded.size)), file)
    except CaptionError:
        raise
    except UnidentifiedImageError as error:
        raise not_a_picture(data) from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        if (mended := _mended(data)) is not None:
            return open_image(mended)
        raise _fault(data, error, cost) from error


def open_photo(data: bytes) -> Image.Image:
    """As `open_image`. Raises AnimatedPicture for one that moves, too."""
    if is_clip(data):
        raise AnimatedPicture("it moves, and is to be asked for as a clip")
    return open_image(data)


def _cost(file: Image.Image, data: bytes, jpeg: JpegFrame | None) -> int:
    """About how many bytes it takes to decode a picture that Pillow has opened, its RGB copy with them."""
    pixels = file.width * file.height
    cost = round(pixels * _bytes_a_pixel(file, data)) + _WORK
    if jpeg is not None:
        cost += jpeg.kept_bytes
    if file.format == "TIFF":  # its decoder unpacks a strip at once, and the file is copied
        tags = getattr(file, "tag_v2", {})
        rows = min(file.height, int(tags.get(_ROWS_PER_STRIP, file.height)))
        strip = 0 if _TILE_WIDTH in tags else file.width * rows * sum(tags.get(_BITS_PER_SAMPLE, (8,))) // 8
        cost += len(data) + strip
    return cost + (_WHOLE * pixels if pixels <= MAX_KEPT else 0)


def _bytes_a_pixel(file: Image.Image, data: bytes) -> float:
    kind = file.format or ""
    if not _by_rows(file):
        return _DECODER.get(kind, _NARROW.get(file.mode, 4))
    return _WEBP_ALPHA if kind == "WEBP" and b"ALPH" in data[:_MAX_PROFILE] else _ROWS[kind]


def _by_rows(file: Image.Image) -> bool:
    """Whether a large picture is decoded by `model.media.rows`."""
    if file.width * file.height <= MAX_KEPT or getattr(file, "is_animated", False):
        return False
    return file.format in _ROWS and (file.format != "AVIF" or file.mode in ("RGB", "RGBA"))


def _decoded(file: Image.Image, data: bytes) -> Pixels:
    if _by_rows(file):
        with contextlib.suppress(ImportError):
            if file.format != "AVIF":
                return HeifPixels(data, file) if file.format == "HEIF" else WebpPixels(data, file)
            if (reduced := reduced_avif(data, file, _factor(file.size))) is not None:
                return reduced
    file.load()
    return file


def _mended(data: bytes) -> bytes | None:
    """A file that shows the same and that decoders do not refuse; None if there is none."""
    if data.startswith(PNG) and len(lighter := without_large_extras(data)) < len(data):
        return lighter
    if data.startswith(_JPEG) and breaks_off(data) and _nearly_whole(whole := data.rstrip(b"\xff") + END_OF_IMAGE):
        return whole
    return None


def _nearly_whole(jpeg: bytes) -> bool:
    """Whether what an end of image was put to shows nearly all of its pixels.

    What is missing is made up by the decoder: from zeros, or from as much else as stands there.
    """
    found = []
    try:
        for made_up in (b"", _MADE_UP):
            data = jpeg[:-2] + made_up + END_OF_IMAGE
            with Image.open(io.BytesIO(data), formats=["JPEG", "MPO"]) as file:
                file.draft("RGB", _draft_size(*file.size))
                with DECODING.hold(_cost(file, data, jpeg_frame(data))):
                    found.append(np.asarray(file.convert("L"), dtype=np.int16))
    except Exception:  # decoders of damaged files raise nearly anything
        return False
    return float((np.abs(found[0] - found[1]) > _UNLIKE).mean()) <= _MISSING


def _fault(data: bytes, error: Exception, cost: int) -> CaptionError:
    """Why a picture that was recognised does not decode. cost: bytes, of decoding it, as far as it was known."""
    cost = max(cost, _OPEN_WEBP * min(webp_pixels(data), MAX_PIXELS))
    if isinstance(error, MemoryError) or _ABOUT_MEMORY.search(str(error)) or refused(cost):
        return OutOfMemory(f"no memory for the picture: {error}")
    if breaks_off(data):
        return TruncatedImage(f"the picture breaks off: {error}")
    if (isinstance(error, KeyError) and data[:2] in (b"II", b"MM")) or _REFUSALS.search(str(error)):
        return UnreadImage(f"a picture of a kind that is not read here: {error}")
    return unread_picture(data) or DamagedImage(f"the picture does not decode: {error}")


def upright_rgb(image: Image.Image, *, reduced: bool = False) -> Image.Image:
    """A picture of any mode as sRGB, transparency flattened on white, turned as its EXIF orientation says.

    reduced: a large one as `open_image` reduces it.
    """
    return _upright(_to_rgb(image, _factor(image.size) if reduced else 1), image)


@functools.cache
def _learn_heif() -> None:
    """Register libheif with Pillow, when the first HEIC arrives. It turns pictures upright by itself."""
    import pillow_heif

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False, decode_threads=1)


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    """The picture made of `source`, turned as the EXIF orientation of that says."""
    with contextlib.suppress(Exception):  # damaged EXIF raises nearly anything, and its picture is still good
        image.getexif()[_ORIENTATION] = source.getexif().get(_ORIENTATION, 1)
        return ImageOps.exif_transpose(image)
    return image


def _draft_size(width: int, height: int) -> tuple[int, int]:
    """The least size to decode to, so that the longer side keeps WORKING_SIDE pixels."""
    scale = min(1.0, WORKING_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _factor(size: tuple[int, int]) -> int:
    """How many pixels of a large picture become one, across and down."""
    factor = max(size) // WORKING_SIDE
    if size[0] * size[1] <= MAX_KEPT:
        factor = min(factor, min(size) // LEAST_SIDE)
    return max(1, factor)


def _to_rgb(image: Pixels, factor: int = 1) -> Image.Image:
    """sRGB, transparency flattened on white, `factor` times smaller; a strip at a time, so that no large copy is made.

    Means are taken of the colours that are seen: of palettes, 16 bits and transparency, none could be taken before.
    """
    levels, to_srgb = _levels(image), _to_srgb(image)
    if factor == 1 and isinstance(image, Image.Image):
        out = _flat_rgb(image, levels, to_srgb)
    else:
        width, height = image.size
        out = Image.new("RGB", (-(-width // factor), -(-height // factor)))
        for top, strip in strips(image, _rows(width, factor)):
            out.paste(_flat_rgb(strip, levels, to_srgb).reduce(factor), (0, top // factor))
    primaries, transfer = _stated(image)
    if transfer in HDR:
        return screen_colours(out, transfer, primaries)
    if to_srgb is None or image.mode == "CMYK":
        return _with_gamma(out, image.info)
    return _applied(to_srgb, out.getchannel(0) if _is_grey(image) else out)


def _with_gamma(image: Image.Image, info: dict[str | tuple[int, int], Any]) -> Image.Image:
    """The picture, encoded with the `gamma` that a PNG without a profile tells of, as one encoded with that of sRGB."""
    gamma = info.get("gamma", _SRGB_GAMMA)
    if (
        info.get(_STATED)
        or "icc_profile" in info
        or "srgb" in info
        or not 0.1 <= gamma <= 10
        or abs(gamma - _SRGB_GAMMA) < 0.02
    ):
        return image
    levels = [round(255 * (level / 255) ** (_SRGB_GAMMA / gamma)) for level in range(256)]
    return image.point(levels * 3)


def _is_grey(image: Pixels) -> bool:
    return image.mode in ("1", "L", "LA", "La", "I", "F") or image.mode.startswith("I;16")


def _applied(transform: ImageCms.ImageCmsTransform, image: Image.Image) -> Image.Image:
    out = Image.new("RGB", image.size)
    transform.apply(image, out)
    return out


def _to_srgb(image: Pixels) -> ImageCms.ImageCmsTransform | None:
    """From the colours that the picture's profile tells of; None if they are to be taken as sRGB."""
    profile = image.info.get("icc_profile")
    if profile is None and not _is_grey(image) and image.mode != "CMYK":
        profile = _stated_profile(image)
    if isinstance(profile, bytes) and len(profile) <= _MAX_PROFILE:
        return _transform(profile, "CMYK" if image.mode == "CMYK" else "L" if _is_grey(image) else "RGB")
    return None


def _stated(image: Pixels) -> tuple[int, int]:
    """Codes of its primaries and transfer characteristics; zeros where it states none, or has a profile instead."""
    stated = image.info.get(_STATED)
    return (0, 0) if stated is None or "icc_profile" in image.info else stated


def _stated_profile(image: Pixels) -> bytes | None:
    """What stands for a profile in a picture that tells of its colours by numbers; None if they are those of sRGB."""
    primaries, transfer = _stated(image)
    if primaries or transfer:
        if transfer in HDR or (primaries not in PRIMARIES and transfer not in GAMMAS):
            return None
        return matrix_profile(PRIMARIES.get(primaries, SRGB), GAMMAS.get(transfer))
    chromaticity = image.info.get("chromaticity")
    if chromaticity is None or "srgb" in image.info:
        return None
    gamma = image.info.get("gamma", _SRGB_GAMMA)
    with contextlib.suppress(ValueError):
        return matrix_profile(tuple(chromaticity), None if abs(gamma - _SRGB_GAMMA) < 0.02 else 1 / max(0.1, gamma))
    return None


@functools.lru_cache(8)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """From a colour profile to sRGB; None for one that is damaged, of another mode, or as good as sRGB."""
    with contextlib.suppress(Exception):  # damaged profiles raise nearly anything
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if source.profile.xcolor_space.strip() == {"L": "GRAY"}.get(mode, mode):
            srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
            transform = ImageCms.ImageCmsTransform(source, srgb, mode, "RGB", flags=ImageCms.Flags.NOCACHE)  # threads
            return None if mode == "RGB" and _is_identity(transform) else transform
    return None


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.arange(0, 256, 51, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    shown = np.asarray(_applied(transform, Image.fromarray(colours)))
    return int(np.abs(shown.astype(int) - colours).max()) <= _ALIKE


def _rows(width: int, factor: int = 1) -> int:
    """How many rows are converted at once, a multiple of `factor`."""
    return factor * max(1, _STRIP // (width * factor))


def _flat_rgb(
    image: Image.Image, levels: tuple[float, float] | None, to_srgb: ImageCms.ImageCmsTransform | None
) -> Image.Image:
    """RGB without transparency. to_srgb: of inks, which become RGB by it; other colours are left for later."""
    if image.mode == "CMYK" and to_srgb is not None:
        return _applied(to_srgb, image)
    if levels is not None:
        image = _eight_bits(image, levels)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def _levels(image: Pixels) -> tuple[float, float] | None:
    """The values that mean black and white, of greyscale wider than 8 bits; None for all other pictures.

    They are the format's whole range; of 32 bits and of fractions, what the picture has.
    """
    tags = getattr(image, "tag_v2", {})  # of a TIFF
    if image.mode.startswith("I;16"):
        top = 2.0 ** min(16, int(tags.get(_BITS_PER_SAMPLE, (16,))[0])) - 1
        return (top, 0.0) if tags.get(_PHOTOMETRIC) == 0 else (0.0, top)
    if image.mode not in ("I", "F"):
        return None
    lows, tops = [], []
    for _, strip in strips(image, _rows(image.size[0])):
        values = np.asarray(strip, dtype=np.float64)
        if (values := values[np.isfinite(values)]).size:
            lows.append(float(values.min()))
            tops.append(float(values.max()))
    low, top = min(lows, default=0.0), max(tops, default=0.0)
    if image.mode == "I" and low >= 0 and top <= 65_535:
        return 0.0, 65_535.0
    return low, top


def _eight_bits(image: Image.Image, levels: tuple[float, float]) -> Image.Image:
    """16-bit and wider greyscale, which Pillow would clip at 255, as 8 bits; its transparent value as white."""
    black, white = levels
    values: npt.NDArray[np.float32] = np.asarray(image, dtype=np.float32)
    grey = np.clip((values - black) / ((white - black) or 1.0), 0.0, 1.0)
    grey = np.nan_to_num(grey, nan=0.0)
    if isinstance(transparent := image.info.get("transparency"), int):
        grey[values == transparent] = 1.0
    return Image.fromarray((grey * 255 + 0.5).astype(np.uint8), "L")


def encode_jpeg(image: Image.Image) -> bytes:
    """The image as a JPEG file.

    Pillow lets other threads run only while it encodes into what has a file descriptor. Linux has that in memory.
    """
    with os.fdopen(os.memfd_create("jpeg"), "w+b") if hasattr(os, "memfd_create") else io.BytesIO() as out:
        image.save(out, "JPEG", quality=QUALITY)
        out.seek(0)
        return out.read()
