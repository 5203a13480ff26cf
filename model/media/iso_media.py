"""What the boxes of HEIC and AVIF say (ISO/IEC 14496-12, 23008-12), before anything is decoded. Free of Pillow."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator


def avif_timing(data: bytes) -> tuple[tuple[int, int], list[float]]:
    """Width and height, and the seconds of each frame of the picture track. Never raises.

    Of a still picture, or one whose track is missing: no size and no durations. What a file claims is not believed
    beyond the number of samples that it can hold.
    """
    for moov in _boxes(data, 0, len(data), b"moov"):
        for trak in _boxes(data, *moov, b"trak"):
            try:
                found = _picture_track(data, trak)
            except (struct.error, IndexError):
                continue
            if found is not None:
                return found
    return (0, 0), []


def boxes_end(data: bytes) -> int:
    """Where the last box of a file ends, as it says."""
    at = 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: to the end of the file
            return len(data)
        at += size
    return at if at >= len(data) else at + 8  # a box of which not even the size arrived


def claimed_pixels(data: bytes) -> int:
    """The pixels of the largest picture of a HEIF file, those that are cut off before it is shown too. Never raises."""
    whole = (start for start, end in _properties(data, b"ispe") if end - start >= 12)
    return max((math.prod(struct.unpack_from(">II", data, start + 4)) for start in whole), default=0)


def stated_colours(data: bytes) -> tuple[int, int] | None:
    """Colour primaries and transfer characteristics (H.273) of a HEIF or AVIF picture, where it states them."""
    for start, end in _properties(data, b"colr"):
        if data[start : start + 4] == b"nclx" and end - start >= 8:
            primaries, transfer = struct.unpack_from(">HH", data, start + 4)
            return primaries, transfer
    return None


def _picture_track(data: bytes, trak: tuple[int, int]) -> tuple[tuple[int, int], list[float]] | None:
    """None for a track of something else, such as the transparency."""
    media = next(_boxes(data, *trak, b"mdia"), None)
    header = next(_boxes(data, *trak, b"tkhd"), None)
    if media is None or header is None:
        return None
    handler = next(_boxes(data, *media, b"hdlr"), None)
    clock = next(_boxes(data, *media, b"mdhd"), None)
    if handler is None or clock is None or data[handler[0] + 8 : handler[0] + 12] != b"pict":
        return None
    wide = data[clock[0]] == 1  # the version of the box: times of 64 bits
    (timescale,) = struct.unpack_from(">I", data, clock[0] + (20 if wide else 12))
    width, height = struct.unpack_from(">II", data, header[1] - 8)  # 16.16
    information = next(_boxes(data, *media, b"minf"), (0, 0))
    table = next(_boxes(data, *information, b"stbl"), (0, 0))
    return (width >> 16, height >> 16), list(_durations(data, table, timescale or 1))


def _durations(data: bytes, table: tuple[int, int], timescale: int) -> Iterator[float]:
    """Of each sample: `stts`, runs of (count, ticks)."""
    sizes = next(_boxes(data, *table, b"stsz"), None)
    times = next(_boxes(data, *table, b"stts"), None)
    if sizes is None or times is None:
        return
    (left,) = struct.unpack_from(">I", data, sizes[0] + 8)
    left = min(left, len(data) // 16)
    (runs,) = struct.unpack_from(">I", data, times[0] + 4)
    for run in range(min(runs, (times[1] - times[0]) // 8)):
        count, ticks = struct.unpack_from(">II", data, times[0] + 8 + 8 * run)
        for _ in range(min(count, left)):
            yield ticks / timescale
        left -= min(count, left)


def _properties(data: bytes, name: bytes) -> Iterator[tuple[int, int]]:
    """Where the boxes of a name lie among the properties of a file's pictures."""
    for meta in _boxes(data, 0, len(data), b"meta"):
        for properties in _boxes(data, meta[0] + 4, meta[1], b"iprp"):
            for container in _boxes(data, *properties, b"ipco"):
                yield from _boxes(data, *container, name)


def _boxes(data: bytes, at: int, end: int, name: bytes) -> Iterator[tuple[int, int]]:
    """Where the contents of the boxes of a name begin and end, among those from `at` to `end`."""
    while at + 8 <= end:
        size, found = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if size == 1 and at + 16 <= end:
            (size,) = struct.unpack_from(">Q", data, start)
            start += 8
        elif size == 0:
            size = end - at
        if size < start - at or at + size > end:
            return
        if found == name:
            yield start, at + size
        at += size
