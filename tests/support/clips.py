"""Clips made for tests: encoded by OpenCV and Pillow, and their headers changed by hand where those cannot."""

from __future__ import annotations

import io
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.media.opencv import opencv

Pixels = npt.NDArray[np.uint8]


def greys(count: int, size: tuple[int, int] = (64, 48)) -> list[Pixels]:
    """`count` plain frames, frame i of grey level i * 250 / count. size: (width, height)."""
    return [np.full((size[1], size[0], 3), i * 250 // count, np.uint8) for i in range(count)]


def corner(size: tuple[int, int] = (64, 48)) -> Pixels:
    """A black frame whose upper left quarter is red."""
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    frame[: size[1] // 2, : size[0] // 2, 0] = 255
    return frame


def video(path: Path, frames: Sequence[Pixels], *, rate: float = 10.0, codec: str = "mp4v") -> bytes:
    """Write RGB frames, the container by the path's suffix; the file's bytes."""
    cv2: Any = opencv()
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    writer.release()
    return path.read_bytes()


def animation(frames: Sequence[Image.Image], durations: Sequence[int], kind: str = "GIF", **options: Any) -> bytes:
    """An animated picture; durations in milliseconds."""
    out = io.BytesIO()
    frames[0].save(
        out, kind, save_all=True, append_images=list(frames[1:]), duration=list(durations), loop=0, **options
    )
    return out.getvalue()


def transparent_webp(frames: Sequence[Image.Image], durations: Sequence[int]) -> bytes:
    """An animated WebP of RGBA frames, put together by hand: Pillow's writer loses their transparency."""
    width, height = ((side - 1).to_bytes(3, "little") for side in frames[0].size)
    body = _chunk(b"VP8X", b"\x12\0\0\0" + width + height) + _chunk(b"ANIM", bytes(6))
    for frame, duration in zip(frames, durations, strict=True):
        still = io.BytesIO()
        frame.save(still, "WEBP", lossless=True)
        pixels = still.getvalue()[12:]
        pixels = pixels[pixels.index(b"VP8L") :]
        body += _chunk(b"ANMF", bytes(6) + width + height + duration.to_bytes(3, "little") + b"\x03" + pixels)
    return _chunk(b"RIFF", b"WEBP" + body)


def _chunk(name: bytes, body: bytes) -> bytes:
    return name + len(body).to_bytes(4, "little") + body + bytes(len(body) % 2)


def turned(mp4: bytes) -> bytes:
    """The MP4, to be shown turned by 90° clockwise (the track header's matrix)."""
    at = mp4.index(b"tkhd") + 44
    return mp4[:at] + struct.pack(">9i", 0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000) + mp4[at + 36 :]


def silent(mp4: bytes) -> bytes:
    """The MP4, its picture track declared to be sound."""
    return mp4.replace(b"vide", b"soun").replace(b"vmhd", b"smhd").replace(b"VideoHandler", b"SoundHandler")


def retimed(mp4: bytes, ticks: Sequence[int]) -> bytes:
    """The MP4 (its moov at the end, as OpenCV writes it) with each frame shown for its own number of ticks."""
    runs = b"".join(struct.pack(">II", 1, count) for count in ticks)
    mp4 = mp4.replace(b"edts", b"free")  # an edit list would cut off what is now later
    return _replaced(
        mp4, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"], struct.pack(">II", 0, len(ticks)) + runs
    )


def stretched(mp4: bytes, across: int, down: int) -> bytes:
    """The MP4 with a sample aspect ratio of across : down."""
    entry = mp4.index(b"mp4v", mp4.index(b"stsd"))  # the sample entry: 78 bytes of fields, then boxes
    box = struct.pack(">I4sII", 16, b"pasp", across, down)
    size = int.from_bytes(mp4[entry - 4 : entry], "big")
    entry_bytes = mp4[entry : entry - 4 + size] + box
    stsd = struct.pack(">II", 0, 1) + struct.pack(">I", size + 16) + entry_bytes
    return _replaced(mp4, [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"], stsd)


def _replaced(mp4: bytes, path: Sequence[bytes], content: bytes) -> bytes:
    """The boxes with the content of the one at `path` replaced, and the sizes around it set right."""
    out, at = b"", 0
    while at < len(mp4):
        size, name = struct.unpack_from(">I4s", mp4, at)
        body = mp4[at + 8 : at + size]
        if name == path[0]:
            body = _replaced(body, path[1:], content) if len(path) > 1 else content
        out += struct.pack(">I4s", 8 + len(body), name) + body
        at += size
    return out
