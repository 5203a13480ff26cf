"""The format of a file, by its first bytes; the timing of animated pictures; what is wrong with a file that is no
picture. Free of torch, av and Pillow.

A container that is not known here is never given to a demuxer: playlists (HLS, concat, DASH) would have it open
other files and addresses.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from model.errors import (
    DamagedImage,
    MediaError,
    NotAnImage,
    OnlyZeros,
    PdfDocument,
    TruncatedImage,
    UnreadClip,
    UnreadImage,
    VectorDrawing,
    WebPage,
)
from model.media import iso_media
from model.media.iso_media import avif_timing, boxes_end
from model.media.jpeg import jpeg_frame

Video = Literal[  # FFmpeg's names of the demuxers
    "mov", "matroska", "avi", "asf", "flv", "mpegts", "mpeg", "mpegvideo", "ogg", "dv"
]
Animation = Literal["gif", "webp", "png", "avif"]

HEAD: Final = 1024  # bytes that tell a container
_BRANDS: Final = 64  # bytes in which the brands of an ISO file are looked for
_ATOMS: Final = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")
_AVIF: Final = (b"avif", b"avis")  # a picture, a sequence of pictures
_HEIC: Final = (b"heic", b"heix", b"heim", b"heis", b"mif1")
_HEIC_SEQUENCES: Final = (b"hevc", b"hevx", b"hevm", b"hevs", b"msf1")
_PICTURE_BRANDS: Final = (*_AVIF, *_HEIC, b"crx ")  # the last: raw pictures of cameras
_FIRST_BYTES: Final[dict[bytes, Video]] = {
    b"\x1a\x45\xdf\xa3": "matroska",
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11": "asf",
    b"FLV\x01": "flv",
    b"OggS": "ogg",
    b"\0\0\x01\xba": "mpeg",
    b"\0\0\x01\xb3": "mpegvideo",
    b"\x1f\x07\0": "dv",
}
_TRANSPORT: Final = ((0, 188), (4, 192), (0, 204))  # where the packets of MPEG-TS begin, and their size
_SHORTEST: Final = 0.01  # seconds; browsers show a frame that wants less for _USUAL
_MOST_BLOCKS: Final = 1_000_000  # of a file, that are walked one by one: several times what 100 MiB hold in earnest
_USUAL: Final = 0.1
PNG: Final = b"\x89PNG\r\n\x1a\n"  # how one begins
_TEXTS: Final = (b"tEXt", b"zTXt", b"iTXt")  # chunks of a PNG
_MOST_EXTRA: Final = 1024 * 1024  # bytes of one text or profile, inflated: Pillow's own limit
LOOKED_AT: Final = 4096  # bytes, in which a text says what it is
_PICTURES: Final = re.compile(
    rb"\xff\xd8\xff|\x89PNG\r\n\x1a\n|GIF8[79]a|RIFF....WEBP|BM....\0\0\0\0|II\*\0|MM\0\*"
    rb"|....ftyp(?:avi[fs]|hei[cmsx]|hev[cmsx]|m[is]f1)",
    re.DOTALL,
)
# How kinds that are not read here begin: pictures, then clips.
_UNREAD_PICTURES: Final = re.compile(
    b"|".join(
        (
            rb"\xff\x0a|\0\0\0\x0cJXL ",  # JPEG XL
            rb"\xff\x4f\xff\x51|\0\0\0\x0cjP  |II\xbc\x01",  # JPEG 2000, JPEG XR
            rb"....ftypcrx |FUJIFILMCCD-RAW|FOVb|IIR[OS]|MMOR|IIU\0",  # raw pictures of cameras
            rb"8BPS|gimp xcf|icns|\0\0[\x01\x02]\0[^\0]\0",  # Photoshop, GIMP, icons
            rb"\x76\x2f\x31\x01|#\?(?:RADIANCE|RGBE)|SDPX|XPDS|II\+\0|MM\0\+|SIMPLE  =",  # EXR, HDR, DPX, BigTIFF, FITS
            rb"DDS |FLIF|BPG\xfb|qoif|AT&TFORM|\x8aMNG|P[1-7][\n ]",  # DirectDraw, FLIF, BPG, QOI, DjVu, MNG, netpbm
            rb"\x59\xa6\x6a\x95|\x01\xda[\0\x01]|\x0a\x05\x01\x08",  # Sun, SGI, PCX
            rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",  # Windows metafiles
        )
    ),
    re.DOTALL,
)
_UNREAD_CLIPS: Final = re.compile(
    b"|".join(
        (
            rb"\.RMF|[CFZ]WS[\x03-\x32]|NSV[fs]|BIK[bdfghi]|SMK[24]",  # RealMedia, Flash, NSV, Bink, Smacker
            rb"\x06\x0e\x2b\x34\x02\x05\x01\x01|\0\0\0\0\x01\xbc|\xb7\xd8\0\x20\x37\x49\xda\x11",  # MXF, GXF, WTV
            rb"DKIF|nut/multimedia|YUV4MPEG2",  # IVF, NUT
        )
    ),
    re.DOTALL,
)
# TIFF: bytes of a value, by its type
_TIFF_SIZES: Final = {1: 1, 2: 1, 3: 2, 4: 4, 6: 1, 7: 1, 8: 2, 9: 4, 11: 4, 13: 4}
_SVG: Final = re.compile(rb"<svg[\s>]|<!doctype\s+svg", re.IGNORECASE)
_HTML: Final = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|script)[\s>]", re.IGNORECASE)


@dataclass(frozen=True)
class Timing:
    """What an animated picture says of itself, read without decoding a pixel."""

    size: tuple[int, int]  # width, height
    durations: tuple[float, ...]  # seconds of each frame that is there as a whole
    end: int  # offset behind the last whole frame; of an AVIF, where the file should end


def video_container(head: bytes) -> Video | None:
    """The demuxer for a file that begins with `head` (HEAD bytes of it), None if it is no video file known here.

    A QuickTime or MP4 file may hold sound only; AVIF and HEIC share their container and are photos, but for a sequence
    of HEVC pictures, which is a video in all but name.
    """
    if head[4:8] in _ATOMS and not (head[4:8] == b"ftyp" and (head[8:12] in _PICTURE_BRANDS or _is_avif(head))):
        return "mov"
    if head[:4] == b"RIFF":
        return "avi" if head[8:12] == b"AVI " else None
    for start, demuxer in _FIRST_BYTES.items():
        if head.startswith(start):
            return demuxer
    return "mpegts" if any(_is_transport_stream(head, *sizes) for sizes in _TRANSPORT) else None


def _is_transport_stream(head: bytes, first: int, packet: int) -> bool:
    """Whether three packets in a row begin as those of MPEG-TS do."""
    return all(head[at : at + 1] == b"G" for at in range(first, first + 3 * packet, packet))


def is_heif(head: bytes) -> bool:
    """Whether a file that begins with `head` is a HEIF picture, such as HEIC or, under some names, AVIF."""
    return head[4:8] == b"ftyp" and head[8:12] in (*_HEIC, *_HEIC_SEQUENCES)


def _is_avif(head: bytes) -> bool:
    """By its brand, or for brands that say nothing of the codec by those it is compatible with."""
    compatible = head[16 : min(_BRANDS, int.from_bytes(head[:4], "big"))]
    brands = [head[8:12], *(compatible[at : at + 4] for at in range(0, len(compatible), 4))]
    return head[4:8] == b"ftyp" and (brands[0] in _AVIF or (brands[0] in (b"mif1", b"msf1") and b"avis" in brands))


def animation_container(head: bytes) -> Animation | None:
    """The format of a picture that may be animated, None for any other file."""
    if head[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    if _is_avif(head):
        return "avif"
    return "png" if head.startswith(PNG) else None


def is_clip(data: bytes) -> bool:
    """Whether a file is to be read as a clip: a video container, or a picture that moves."""
    head = data[:HEAD]
    if video_container(head) is not None:
        return True
    kind = animation_container(head)
    return kind is not None and len(animation_timing(data, kind).durations) > 1


def animation_timing(data: bytes, kind: Animation) -> Timing:
    """Size and frame durations of an animated picture, as far as the file is whole. Never raises.

    Of a still picture, at most one duration. An AVIF says all its times before its first frame, so of one that breaks
    off some may be missing.
    """
    size, frames, end = {"gif": _gif, "webp": _webp, "png": _png, "avif": _avif}[kind](data)
    return Timing(size, tuple(_USUAL if seconds <= _SHORTEST else seconds for seconds in frames), end)


_Parsed = tuple[tuple[int, int], list[float], int]


def _gif(data: bytes) -> _Parsed:
    """Walk the blocks of GIF89a, skipping the compressed pixels."""
    if len(data) < 13:
        return (0, 0), [], 0
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    frames: list[float] = []
    at = 13 + _colours(flags)
    delay, end = 0.0, 0
    blocks = iter(range(_MOST_BLOCKS))
    for _ in blocks:
        if at + 10 > len(data):
            break
        if data[at] == 0x21:  # an extension
            if data[at + 1] == 0xF9:  # graphic control
                delay = int.from_bytes(data[at + 4 : at + 6], "little") / 100
            at = _after_blocks(data, at + 2, blocks)
        elif data[at] == 0x2C:  # a frame
            at = _after_blocks(data, at + 11 + _colours(data[at + 9]), blocks)
            if at > len(data):
                break
            frames.append(delay)
            delay, end = 0.0, at
        else:
            break
    return (width, height), frames, end


def _colours(flags: int) -> int:
    """Bytes of the colour table that follows."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _after_blocks(data: bytes, at: int, blocks: Iterator[int]) -> int:
    """The offset behind a chain of GIF data blocks; beyond the file if it breaks off, or `blocks` ends."""
    for _ in blocks:
        if at >= len(data) or not data[at]:
            return at + 1
        at += 1 + data[at]
    return len(data) + 1


def _webp(data: bytes) -> _Parsed:
    """Walk the chunks of a RIFF file. A still WebP has no VP8X or ANMF chunk, and no size here."""
    size, frames, end, at = (0, 0), list[float](), 0, 12
    for _ in range(_MOST_BLOCKS):
        if at + 8 > len(data):
            break
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        body, name = data[at + 8 : at + 24], data[at : at + 4]
        at += 8 + length + length % 2
        if at > len(data):
            break
        if name == b"VP8X" and len(body) >= 10:
            size = (1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little"))
        elif name == b"ANMF" and len(body) >= 16:
            frames.append(int.from_bytes(body[12:15], "little") / 1000)
            end = at
    return size, frames, end


def webp_pixels(data: bytes) -> int:
    """Pixels of the picture in a still WebP; 0 of anything else. Never raises."""
    at, pixels = 12, 0
    for _ in range(_MOST_BLOCKS):
        if data[:4] != b"RIFF" or at + 8 > len(data):
            break
        length, name, body = int.from_bytes(data[at + 4 : at + 8], "little"), data[at : at + 4], data[at + 8 : at + 18]
        if name == b"VP8L" and body[:1] == b"\x2f":
            bits = int.from_bytes(body[1:5], "little")
            pixels = (1 + (bits & 0x3FFF)) * (1 + (bits >> 14 & 0x3FFF))
        elif name == b"VP8 " and body[3:6] == b"\x9d\x01\x2a":
            width, height = struct.unpack("<HH", body[6:10].ljust(4, b"\0"))
            pixels = (width & 0x3FFF) * (height & 0x3FFF)
        at += 8 + length + length % 2
    return pixels


def _png(data: bytes) -> _Parsed:
    """Walk the chunks of a PNG; without an acTL chunk before the pixels it is still."""
    size, frames, end, at, animated, open_frame = (0, 0), list[float](), 0, 8, False, False
    for _ in range(_MOST_BLOCKS):
        if at + 12 > len(data):
            break
        length = int.from_bytes(data[at : at + 4], "big")
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 34]
        at += 12 + length
        if at > len(data):
            break
        if name == b"IHDR" and len(body) >= 8:
            size = struct.unpack_from(">II", body)
        elif name == b"acTL":
            animated = True
        elif name == b"IDAT" and not animated:
            break
        elif name == b"fcTL" and len(body) >= 24:
            ticks, rate = struct.unpack_from(">HH", body, 20)
            frames.append(ticks / (rate or 100))
            open_frame = True
        elif name in (b"IDAT", b"fdAT"):
            open_frame, end = False, at
    if open_frame:
        frames.pop()
    return size, frames, end


def without_large_extras(png: bytes) -> bytes:
    """The PNG without its texts, nor a colour profile larger than Pillow inflates; animated and still ones alike.

    What generators of pictures write there, or a monitor's profile, may exceed what Pillow takes of a bomb.
    """
    kept, at = [png[:8]], 8
    while at + 12 <= len(png):
        length, name = int.from_bytes(png[at : at + 4], "big"), png[at + 4 : at + 8]
        end = at + 12 + length
        if name not in _TEXTS and not (name == b"iCCP" and _inflates_far(png[at + 8 : end - 4])):
            kept.append(png[at:end])
        at = end
    return b"".join([*kept, png[at:]])


def stated_colours(data: bytes) -> tuple[int, int] | None:
    """Colour primaries and transfer characteristics (H.273) of a PNG (cICP), HEIC or AVIF, where it states them."""
    if not data.startswith(PNG):
        return iso_media.stated_colours(data)
    chunk = data.find(b"\0\0\0\x04cICP", 8, data.find(b"IDAT", 8))
    return (data[chunk + 8], data[chunk + 9]) if chunk > 0 else None


def _inflates_far(profile: bytes) -> bool:
    """Whether the content of an iCCP chunk (name, 0, method, compressed data) is more than Pillow inflates."""
    try:
        return len(zlib.decompressobj().decompress(profile[profile.index(b"\0") + 2 :], _MOST_EXTRA + 1)) > _MOST_EXTRA
    except (ValueError, zlib.error):
        return True


def _avif(data: bytes) -> _Parsed:
    size, frames = avif_timing(data)
    return size, frames, boxes_end(data)


def not_a_picture(data: bytes) -> MediaError:
    """What is wrong with a file that no decoder of pictures knows."""
    head = data[:LOOKED_AT]
    if (unread := unread_picture(data)) is not None:
        return unread
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


def unread_picture(data: bytes) -> UnreadImage | None:
    """What is said of a good picture, as far as its header tells, of a kind that is not read here; None for others.

    `data`: of one that Pillow does not open, or not decode.
    """
    if _UNREAD_PICTURES.match(data):
        return UnreadImage("a picture of a kind that is not read here")
    if data[:3] == b"\xff\xd8\xff" and (frame := jpeg_frame(data)) is not None and not frame.is_read:
        return UnreadImage(f"a JPEG of {frame.bits} bits, kind {frame.kind:x}")
    if data[:4] in (b"II*\0", b"MM\0*") and _is_whole_tiff(data):
        return UnreadImage("a TIFF of a kind that is not read here, such as a raw picture of a camera")
    return None


def unread_clip(head: bytes) -> UnreadClip | None:
    """What is said of a clip in a container that is not read here; None for other files."""
    return UnreadClip("a clip of a kind that is not read here") if _UNREAD_CLIPS.match(head) else None


def _is_whole_tiff(data: bytes) -> bool:
    """Whether the first directory of a TIFF is sound, and what it points to is in the file."""
    order = "<" if data[:2] == b"II" else ">"
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        tags: dict[int, tuple[int, ...]] = {}
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", data, entry)
            size = _TIFF_SIZES.get(kind, 8) * number
            (place,) = (entry + 8,) if size <= 4 else struct.unpack_from(f"{order}I", data, entry + 8)
            if place + size > len(data):
                return False
            if kind in (3, 4) and number <= len(data):
                tags[tag] = struct.unpack_from(f"{order}{number}{'H' if kind == 3 else 'I'}", data, place)
    except struct.error:
        return False
    starts = tags.get(273) or tags.get(324) or ()  # of strips, of tiles
    sizes = tags.get(279) or tags.get(325) or ()
    within = all(start + size <= len(data) for start, size in zip(starts, sizes, strict=False))
    return {256, 257} <= tags.keys() and len(starts) == len(sizes) > 0 and within


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
