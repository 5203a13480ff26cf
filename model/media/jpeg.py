"""What the markers of a JPEG say, before anything is decoded. Free of Pillow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

END_OF_IMAGE: Final = b"\xff\xd9"
# SOF0 to SOF15, but for DHT, JPG and DAC; SOF55 of JPEG-LS
_FRAMES: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
_READ: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})  # sequential and progressive, Huffman and arithmetic
_PROGRESSIVE: Final = frozenset({0xC2, 0xCA})
_SCAN: Final = 0xDA
_ALONE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length


@dataclass(frozen=True)
class JpegFrame:
    """The frame header, and the components of the first scan."""

    kind: int  # the second byte of its marker
    bits: int  # a sample
    samples: int  # of all components
    components: int
    in_first_scan: int

    @property
    def is_read(self) -> bool:
        """Whether it is of a kind that libjpeg decodes to 8 bits."""
        return self.kind in _READ and self.bits == 8

    @property
    def kept_bytes(self) -> int:
        """What the decoder keeps of a picture that is not complete after its first scan, however small it is made."""
        whole = self.kind not in _PROGRESSIVE and self.in_first_scan == self.components
        return 0 if whole else 2 * self.samples


def jpeg_frame(data: bytes) -> JpegFrame | None:
    """None if there is no frame header and scan. Never raises."""
    at, frame = 2, None
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            at = data.find(b"\xff", at)
            if at < 0:
                break
            continue
        marker = data[at + 1]
        if marker in (0xFF, 0x00) or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : at + 2 + length]
        if marker in _FRAMES and len(body) >= 6:
            frame = marker, body
        elif marker == _SCAN and body:
            return None if frame is None else _frame(*frame, body[0])
        at += 2 + max(2, length)
    return None


def _frame(kind: int, body: bytes, in_first_scan: int) -> JpegFrame:
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    factors = [(each >> 4, each & 15) for each in body[7::3]]
    most = max((x * y for x, y in factors), default=1) or 1
    samples = sum(width * height * x * y // most for x, y in factors)
    return JpegFrame(kind, body[0], samples, body[5], in_first_scan)
