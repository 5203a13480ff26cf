"""Decoders that need less memory than Pillow's: what they decoded is turned to RGB a strip at a time.

Still WebP and opaque AVIF are decoded by FFmpeg, which keeps the picture once (Pillow's decoder of WebP keeps it four
times), HEIF by libheif as for Pillow, but without a copy.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.errors import DamagedImage

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

MATRICES: Final = frozenset({1, 4, 5, 6, 7, 9})  # from YCbCr to RGB (H.273) that swscale knows
BT709, BT601 = 1, 5
# Of studio range (luma from 16 to 235, chroma from 16 to 240), as bytes of full range.
_LUMA: Final = [min(255, max(0, round((level - 16) * 255 / 219))) for level in range(256)]
_CHROMA: Final = [min(255, max(0, round((level - 128) * 255 / 224 + 128))) for level in range(256)]


class Pixels(Protocol):
    """As much of Pillow's `Image` as it takes to make an RGB picture of it, strip by strip."""

    info: dict[str | tuple[int, int], Any]

    @property
    def mode(self) -> str: ...
    @property
    def size(self) -> tuple[int, int]: ...
    def crop(self, box: tuple[int, int, int, int]) -> Image.Image: ...


class HeifPixels:
    """A HEIF picture, upright. Raises what pillow-heif raises."""

    def __init__(self, data: bytes, file: Image.Image) -> None:
        """`file`: the same, opened by Pillow and not loaded."""
        import pillow_heif

        found = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=True, remove_stride=False)
        picture = found[found.primary_index]
        rows: npt.NDArray[np.uint8] = np.asarray(picture)
        self.mode: str = picture.mode
        self.size: tuple[int, int] = picture.size
        self.info = file.info
        self._rows = rows[: self.size[1], : self.size[0]]  # (H, W) or (H, W, channels)
        self._picture = picture

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        left, top, right, bottom = box
        return Image.fromarray(np.ascontiguousarray(self._rows[top:bottom, left:right]), self.mode)


class WebpPixels:
    """A still WebP. Raises DamagedImage, ImportError where PyAV is missing, and what PyAV raises."""

    def __init__(self, data: bytes, file: Image.Image) -> None:
        """`file`: the same, opened by Pillow and not loaded."""
        import av
        from av.video.codeccontext import VideoCodecContext

        context: Any = VideoCodecContext.create("webp", "r")
        context.thread_count = 1
        frames: list[VideoFrame] = context.decode(av.Packet(data)) or context.decode(None)
        if not frames or (frames[0].width, frames[0].height) != file.size:
            raise DamagedImage("the picture does not decode to one of its size")
        self._frame = frames[0]
        self._is_rgb = self._frame.format.name == "argb"
        self.size = file.size
        self.mode = "RGBA" if self._is_rgb or len(self._frame.planes) == 4 else "RGB"
        self.info = file.info

    def crop(self, box: tuple[int, int, int, int]) -> Image.Image:
        left, top, right, bottom = box
        if self._is_rgb:
            plane = self._frame.planes[0]
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)[
                top:bottom, 4 * left : 4 * right
            ]
            return Image.fromarray(rows.reshape(bottom - top, right - left, 4)[..., [1, 2, 3, 0]], "RGBA")
        luma, *others = (self._plane(number, box, 0 if number in (0, 3) else 1) for number in range(len(self.mode)))
        ycc = Image.merge("YCbCr", [luma.point(_LUMA), *(plane.point(_CHROMA) for plane in others[:2])])
        rgb = ycc.convert("RGB")
        if self.mode == "RGBA":
            rgb.putalpha(others[2])
        return rgb

    def _plane(self, number: int, box: tuple[int, int, int, int], halved: int) -> Image.Image:
        """A strip of a plane. halved: 1 if it has half as many pixels each way, which are then doubled."""
        rows = _rows(self._frame, number)
        if not halved:
            left, top, right, bottom = box
            return Image.fromarray(np.ascontiguousarray(rows[top:bottom, left:right]), "L")
        left, top, right, bottom = box[0] // 2, box[1] // 2, (box[2] + 1) // 2, (box[3] + 1) // 2
        small = Image.fromarray(np.ascontiguousarray(rows[top:bottom, left:right]), "L")
        large = small.resize((2 * small.width, 2 * small.height), Image.Resampling.NEAREST)
        x, y = box[0] - 2 * left, box[1] - 2 * top
        return large.crop((x, y, x + box[2] - box[0], y + box[3] - box[1]))


def _rows(frame: VideoFrame, number: int) -> npt.NDArray[np.uint8]:
    """A plane as it lies in memory, (H, bytes a line)."""
    plane = frame.planes[number]
    return np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)


def reduced_avif(data: bytes, file: Image.Image, factor: int) -> Image.Image | None:
    """An opaque still AVIF, as stored and `factor` times smaller; None for one that is made of several pictures.

    `file`: the same, opened by Pillow and not loaded. Raises ImportError where PyAV is missing, and what PyAV raises.
    """
    import av
    from av.video.codeccontext import VideoCodecContext
    from av.video.reformatter import Interpolation, VideoReformatter

    # Nothing is decoded to find out what is in the file: that would keep a second picture.
    options = {"protocol_whitelist": "", "format_whitelist": "mov", "codec_whitelist": "none"}
    with av.open(io.BytesIO(data), "r", "mov", options) as container:
        [stream, *others] = container.streams.video
        context: Any = VideoCodecContext.create("libdav1d", "r")
        context.thread_count = 1
        packets = [packet for packet in container.demux(stream) if packet.size]
    if others or len(packets) != 1:
        return None
    frames: list[VideoFrame] = context.decode(packets[0]) or context.decode(None)
    frame = frames[0]
    width, height = file.size
    if (frame.width, frame.height) != file.size:
        return None
    reduced = VideoReformatter().reformat(
        frame,
        -(-width // factor),
        -(-height // factor),
        "rgb24",
        src_colorspace=frame.colorspace if frame.colorspace in MATRICES else BT601,
        interpolation=Interpolation.AREA,
        threads=1,
    )
    image = Image.fromarray(reduced.to_ndarray())
    image.info = file.info
    return image


def strips(picture: Pixels, rows: int) -> Iterator[tuple[int, Image.Image]]:
    """Strips of the whole width and at most so many rows, each with the row where it begins."""
    width, height = picture.size
    for top in range(0, height, rows):
        yield top, picture.crop((0, top, width, min(top + rows, height)))
