"""Untrusted bytes → an upright RGB picture, with limits checked before pixels are decoded. Free of torch."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from model.errors import DamagedImage, EmptyFile, ImageTooLarge, NotAnImage

MAX_PIXELS: Final = 100_000_000
FORMATS: Final = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")  # no format that starts a program
WORKING_SIDE: Final = 1280  # larger JPEGs are decoded at a fraction of their size, but not below this


def open_image(data: bytes) -> Image.Image:
    """Decode a picture of any mode and orientation to upright RGB, transparency flattened on white.

    Of an animated picture, the first frame. Raises EmptyFile, NotAnImage, ImageTooLarge (more than MAX_PIXELS)
    or DamagedImage (broken off, or broken inside).
    """
    if not data:
        raise EmptyFile("the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own notices on odd files; our limit stands below
            with Image.open(io.BytesIO(data), formats=FORMATS) as file:
                width, height = file.size
                if width * height > MAX_PIXELS:
                    raise ImageTooLarge(f"{width} x {height} is more than {MAX_PIXELS:,} pixels")
                if file.format in ("JPEG", "MPO"):
                    file.draft("RGB", _draft_size(width, height))
                file.load()
                return _to_rgb(_upright(file))
    except UnidentifiedImageError as error:
        raise NotAnImage("not a picture in a format that is read here") from error
    except Image.DecompressionBombError as error:
        raise ImageTooLarge(f"more than {MAX_PIXELS:,} pixels") from error
    except (OSError, SyntaxError, ValueError, IndexError, TypeError, struct.error, EOFError, MemoryError) as error:
        raise DamagedImage(f"the picture does not decode: {error}") from error


def _draft_size(width: int, height: int) -> tuple[int, int]:
    """The least size to decode to, so that the longer side keeps WORKING_SIDE pixels."""
    scale = min(1.0, WORKING_SIDE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF raises nearly anything, and its picture is still good
        return image


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
