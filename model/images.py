"""Untrusted bytes → an upright RGB picture, with limits checked before pixels are decoded. Free of torch."""

from __future__ import annotations

import contextlib
import io
import threading
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from model.errors import CaptionError, DamagedImage, EmptyFile, ImageTooLarge, NotAnImage

MAX_PIXELS: Final = 100_000_000  # of a picture that is decoded at all
MAX_KEPT: Final = 8_000_000
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # no format that starts a program
WORKING_SIDE: Final = 1280  # larger pictures are reduced as they are decoded, their longer side not below this
LEAST_SIDE: Final = 299  # nor their shorter side below this, unless MAX_KEPT needs it

_LARGE: Final = threading.Semaphore(1)  # held while more than MAX_KEPT pixels are in memory


def open_image(data: bytes) -> Image.Image:
    """Decode a picture of any mode and orientation to upright RGB, transparency flattened on white.

    Of an animated picture, the first frame. The result has at most MAX_KEPT pixels or so; larger pictures are
    decoded one at a time, and reduced before anything else is done with them.
    Raises EmptyFile, NotAnImage, ImageTooLarge (more than MAX_PIXELS) or DamagedImage (broken off, or inside).
    """
    if not data:
        raise EmptyFile("the file is empty")
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as file:
            width, height = file.size
            if width * height > MAX_PIXELS:
                raise ImageTooLarge(f"{width} x {height} is more than {MAX_PIXELS:,} pixels")
            if file.format in ("JPEG", "MPO"):
                file.draft("RGB", _draft_size(width, height))
            with _LARGE if file.width * file.height > MAX_KEPT else contextlib.nullcontext():
                file.load()
                return upright_rgb(_reduced(file))
    except (CaptionError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise NotAnImage("not a picture in a format that is read here") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"more than {MAX_PIXELS:,} pixels") from error
    except Exception as error:  # decoders of damaged files raise nearly anything
        raise DamagedImage(f"the picture does not decode: {error}") from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB, transparency flattened on white, turned as its EXIF orientation says."""
    with contextlib.suppress(Exception):  # damaged EXIF raises nearly anything, and its picture is still good
        image = ImageOps.exif_transpose(image)
    return _to_rgb(image)


def _draft_size(width: int, height: int) -> tuple[int, int]:
    """The least size to decode to, so that the longer side keeps WORKING_SIDE pixels."""
    scale = min(1.0, WORKING_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _reduced(image: Image.Image) -> Image.Image:
    """A large picture made smaller before copies are made of it."""
    factor = max(image.size) // WORKING_SIDE
    if image.width * image.height <= MAX_KEPT:
        factor = min(factor, min(image.size) // LEAST_SIDE)
    if factor < 2:
        return image
    if image.mode in ("RGB", "RGBA", "L", "LA", "CMYK", "YCbCr", "I", "F"):
        return image.reduce(factor)
    size = (max(1, image.width // factor), max(1, image.height // factor))
    return image.resize(size, Image.Resampling.NEAREST)  # of palettes and 16 bits, no means can be taken


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _eight_bits(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        colours = image.convert("RGBA")
        white = Image.new("RGBA", colours.size, "white")
        return Image.alpha_composite(white, colours).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit and wider greyscale, which Pillow would clip at 255: the format's whole range becomes 0–255."""
    values: npt.NDArray[np.floating] = np.asarray(image, dtype=np.float32)
    if image.mode == "F":
        values = np.nan_to_num(values)
        low, top = float(values.min()), float(values.max())
        values = (values - low) / ((top - low) or 1.0) * 255
    else:
        values = values / 257  # 65,535 → 255
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8), "L")


def to_square(image: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """The RGB image squashed to a square, as in training: (size, size, 3) uint8. Nothing is cropped away."""
    return np.asarray(image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC))
