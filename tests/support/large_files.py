"""Twenty files as large as are read at all, of all formats: together they would take ten times what a worker may."""

from __future__ import annotations

from typing import Any, Final

from PIL import Image

from tests.support import clips
from tests.support.corpus import encoded
from tests.support.kinds import CAPTIONED, MOMENTS, Kind

SIZE: Final = (11_000, 9_000)  # 99 megapixels


def large_files() -> list[Kind]:
    """Each is made when it is asked for, in seconds."""
    ramp = Image.linear_gradient("L")

    def picture(mode: str) -> Image.Image:
        grey = ramp.resize(SIZE, Image.Resampling.NEAREST)
        if mode in ("RGB", "RGBA"):
            return Image.merge(
                mode, [grey, ramp.rotate(90).resize(SIZE, Image.Resampling.NEAREST), grey, grey][: len(mode)]
            )
        return grey.convert(mode)

    def kind(name: str, mode: str, file_format: str, **options: Any) -> Kind:
        return Kind(name, lambda: encoded(picture(mode), file_format, **options), CAPTIONED)

    lossless: dict[str, Any] = {"lossless": True, "method": 0, "quality": 0}
    quick: dict[str, Any] = {"quality": 10, "enc_params": {"preset": "ultrafast"}}
    teal, navy = (Image.new("RGB", (4120, 4120), colour) for colour in ("teal", "navy"))
    return [
        kind("JPEG", "RGB", "JPEG"),
        kind("progressive JPEG", "RGB", "JPEG", progressive=True),
        kind("progressive JPEG, 4:4:4", "RGB", "JPEG", progressive=True, subsampling=0),
        kind("JPEG of four inks", "CMYK", "JPEG"),
        kind("PNG", "RGB", "PNG", compress_level=1),
        kind("transparent PNG", "RGBA", "PNG", compress_level=1),
        kind("PNG of 16 bits", "I;16", "PNG", compress_level=1),
        kind("PNG of a palette", "P", "PNG", compress_level=1),
        kind("WebP", "RGB", "WEBP", method=0),
        kind("transparent WebP", "RGBA", "WEBP", method=1),
        Kind("lossless WebP", lambda: encoded(Image.new("RGB", SIZE, "olive"), "WEBP", **lossless), CAPTIONED),
        Kind("lossless transparent WebP", lambda: encoded(Image.new("RGBA", SIZE), "WEBP", **lossless), CAPTIONED),
        kind("GIF", "P", "GIF"),
        kind("TIFF", "RGB", "TIFF", compression="tiff_adobe_deflate"),
        kind("TIFF of one strip", "CMYK", "TIFF", compression="tiff_adobe_deflate", tiffinfo={278: SIZE[1]}),
        kind("AVIF", "RGB", "AVIF", speed=10, quality=30),
        kind("transparent AVIF", "RGBA", "AVIF", speed=10, quality=30),
        Kind("HEIC", lambda: encoded(Image.new("RGB", SIZE, "olive"), "HEIF", **quick), CAPTIONED),
        Kind("animated WebP", lambda: clips.animation([teal, navy], [500] * 2, "WEBP", method=0), MOMENTS),
        Kind("animated AVIF", lambda: clips.animation([teal, navy], [500] * 2, "AVIF", speed=10), MOMENTS),
    ]
