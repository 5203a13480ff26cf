"""Files that people send in place of pictures, and pictures that break off, told by their bytes. Free of Pillow."""

from __future__ import annotations

import re
from typing import Final

from model.errors import (
    DamagedImage,
    MediaError,
    NotAnImage,
    OnlyZeros,
    PdfDocument,
    TruncatedImage,
    VectorDrawing,
    WebPage,
)
from model.media.iso_media import boxes_end

LOOKED_AT: Final = 4096  # bytes, in which a text says what it is

_PICTURES: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*"
    rb"|....ftyp(?:avi[fs]|hei[cmsx]|hev[cmsx]|m[is]f1)",
    re.DOTALL,
)
_SVG: Final = re.compile(rb"<svg[\s>]|<!doctype\s+svg", re.IGNORECASE)
_HTML: Final = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|script)[\s>]", re.IGNORECASE)


def not_a_picture(data: bytes) -> MediaError:
    """What is wrong with a file that no decoder of pictures knows."""
    head = data[:LOOKED_AT]
    if _PICTURES.match(head):
        if breaks_off(data):
            return TruncatedImage("the picture breaks off in its first bytes")
        return DamagedImage("the picture's first bytes are damaged")
    if not data.strip(b"\0"):
        return OnlyZeros("the file holds nothing but zero bytes")
    if b"%PDF-" in head[:1024]:
        return PdfDocument("a PDF document, not a picture")
    text = head.replace(b"\0", b"")  # of UTF-16, what is ASCII
    drawing, page = _SVG.search(text), _HTML.search(text)
    if drawing and (not page or drawing.start() < page.start()):
        return VectorDrawing("a vector drawing (SVG), not a picture of pixels")
    if page:
        return WebPage("a web page, not a picture")
    return NotAnImage("not a picture in a format that is read here")


def breaks_off(data: bytes) -> bool:
    """Whether a picture that does not decode ends before its format's end."""
    if data[:3] == b"\xff\xd8\xff":  # the last scan has no end of image behind it
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda") or b"\xff\xda" not in data
    if data[:4] == b"\x89PNG":
        return b"IEND" not in data[-64:]
    if data[:4] == b"RIFF":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data[:4] == b"GIF8":
        return not data.rstrip(b"\0").endswith(b"\x3b")
    if data[:2] == b"BM":
        return int.from_bytes(data[2:6], "little") > len(data)
    if data[4:8] == b"ftyp":
        return boxes_end(data) > len(data)
    return False
