"""H.264 whose fields are pictures of their own (PAFF), as television cameras write it: no encoder at hand does.

ITU-T H.264, 7.3: an IDR field, then others, each of one slice of raw macroblocks (I_PCM).
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.support.clips import Pixels

_SPS, _PPS, _IDR, _SLICE = 0x67, 0x68, 0x65, 0x61  # the first bytes of units


class _Bits:
    """A unit's content, written bit by bit."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def put(self, width: int, *values: int) -> None:
        """Numbers of so many bits."""
        self._parts += [format(value, f"0{width}b") for value in values]

    def golomb(self, *values: int) -> None:
        """ue(v), and se(v) of 0."""
        for value in values:
            digits = format(value + 1, "b")
            self._parts.append("0" * (len(digits) - 1) + digits)

    def align(self) -> None:
        self._parts.append("0" * (-sum(map(len, self._parts)) % 8))

    def raw(self, data: bytes) -> None:
        self._parts.append("".join(format(byte, "08b") for byte in data))

    def unit(self, head: int) -> bytes:
        """With its end, its start code and what keeps start codes out of it."""
        self._parts.append("1")
        self.align()
        digits = "".join(self._parts)
        out, zeros = bytearray(b"\0\0\0\1" + bytes([head])), 0
        for byte in int(digits, 2).to_bytes(len(digits) // 8, "big"):
            if zeros == 2 and byte <= 3:
                out.append(3)
                zeros = 0
            out.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(out)


def _headers(width: int, height: int) -> bytes:
    sequence, picture = _Bits(), _Bits()
    sequence.put(8, 77, 0, 30)  # the Main profile, level 3
    sequence.golomb(0, 0, 0, 4, 1)  # frame numbers of 4 bits, order counts of 8, one reference
    sequence.put(1, 0)
    sequence.golomb(width // 16 - 1, height // 32 - 1)
    sequence.put(1, 0, 0, 1, 0, 0)  # of fields or frames
    picture.golomb(0, 0)
    picture.put(1, 0, 0)
    picture.golomb(0, 0, 0)
    picture.put(1, 0, 0, 0)
    picture.golomb(0, 0, 0)
    picture.put(1, 0, 0, 0)
    return sequence.unit(_SPS) + picture.unit(_PPS)


def _field(luma: Pixels, frame: int, bottom: int) -> bytes:
    first, slice_ = frame == bottom == 0, _Bits()
    slice_.golomb(0, 7, 0)  # from the first macroblock on, all of them intra
    slice_.put(4, frame % 16)
    slice_.put(1, 1, bottom)
    if first:
        slice_.golomb(0)
    slice_.put(8, (2 * frame + bottom) % 256)
    slice_.put(1, *((0, 0) if first else (0,)))
    slice_.golomb(0)
    for y in range(0, luma.shape[0], 16):
        for x in range(0, luma.shape[1], 16):
            slice_.golomb(25)  # I_PCM
            slice_.align()
            slice_.raw(np.maximum(luma[y : y + 16, x : x + 16], 1).tobytes() + bytes([128]) * 128)
    return slice_.unit(_IDR if first else _SLICE)


def fields(path: Path, frames: Sequence[Pixels], rate: int = 25) -> bytes:
    """Write grey frames (H, W) in studio range, H a multiple of 32 and W of 16; the container by the path's suffix."""
    height, width = frames[0].shape
    packets = [_field(frame[bottom::2], number, bottom) for number, frame in enumerate(frames) for bottom in (0, 1)]
    bare = path.with_suffix(".h264")
    bare.write_bytes(_headers(width, height) + b"".join(packets))
    with av.open(str(bare), format="h264") as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            timed: Any = packet
            timed.time_base, timed.pts, timed.dts, timed.duration = Fraction(1, 2 * rate), number, number, 1
            timed.stream = stream
            target.mux(packet)
    return path.read_bytes()
