"""Small pictures for tests in which it does not matter what a picture shows."""

from __future__ import annotations

import io

from PIL import Image


def picture(width: int = 64, height: int = 48, kind: str = "JPEG") -> bytes:
    """A teal picture of this size in pixels, encoded as `kind`, a format that Pillow writes."""
    out = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(out, kind)
    return out.getvalue()


PHOTO = picture()
SHEET = picture(320, 200)
