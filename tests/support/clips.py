"""Clips made for tests: videos encoded by PyAV, animated pictures by Pillow."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
import numpy.typing as npt
from av.stream import Disposition
from PIL import Image

from tests.support.pictures import picture

Pixels = npt.NDArray[np.uint8]

_CODECS: Final = {"mp4v": "mpeg4", "MJPG": "mjpeg", "VP80": "libvpx"}  # FFmpeg's names
_LAYOUTS: Final = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le", "qtrle": "argb", "dvvideo": "yuv420p"}
_GOOD: Final = {"mpeg4": {"qscale": "2"}, "mjpeg": {"qscale": "2"}, "libvpx": {"crf": "4", "b": "2M"}}
_TICKS: Final = 1000  # a second


def greys(count: int, size: tuple[int, int] = (64, 48)) -> list[Pixels]:
    """`count` plain frames, frame i of grey level i * 250 / count. size: (width, height)."""
    return [np.full((size[1], size[0], 3), i * 250 // count, np.uint8) for i in range(count)]


def corner(size: tuple[int, int] = (64, 48)) -> Pixels:
    """A black frame whose upper left quarter is red."""
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    frame[: size[1] // 2, : size[0] // 2, 0] = 255
    return frame


def video(
    path: Path,
    frames: Sequence[Pixels | npt.NDArray[np.uint16]],
    *,
    rate: float = 10.0,
    codec: str = "mp4v",
    layout: str | None = None,
    times: Sequence[float] | None = None,
    aspect: Fraction | None = None,
    matrix: Sequence[int] | None = None,
    colours: tuple[int, int, int] | None = None,
    sound: float = 0.0,
    options: Mapping[str, str] | None = None,
) -> bytes:
    """Write RGB frames (of 8 or 16 bits) or RGBA ones, the container by the path's suffix; the file's bytes.

    codec: FFmpeg's name, or a fourcc of _CODECS. layout: of its pixels, FFmpeg's name. times: when each frame appears,
    seconds; else `rate` a second. aspect: of a sample. matrix: (a, b, c, d) of the display matrix, whole numbers.
    colours: transfer characteristic, primaries and matrix (H.273). sound: seconds of silence beside it, from 0 on.
    options: of the codec.
    """
    codec = _CODECS.get(codec, codec)
    height, width = frames[0].shape[:2]
    with av.open(str(path), "w") as file:
        stream: Any = file.add_stream(
            codec, rate=Fraction(rate).limit_denominator(1001), options=_GOOD.get(codec, {}) | dict(options or {})
        )
        stream.width, stream.height = width, height
        stream.thread_count = 2  # with other numbers some encoders write other files
        stream.pix_fmt = layout or _LAYOUTS.get(codec, "yuv420p")
        if times is not None:
            stream.codec_context.time_base = Fraction(1, _TICKS)
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if matrix is not None:
            a, b, c, d = (number << 16 for number in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if colours is not None:
            context = stream.codec_context
            context.color_trc, context.color_primaries, context.colorspace = colours
        audio: Any = file.add_stream("aac", rate=48_000, layout="mono") if sound else None
        for start in range(0, round(sound * 48_000), 1024):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 48_000, start
            file.mux(audio.encode(silence))
        for index, pixels in enumerate(frames):
            kind = "rgba" if pixels.shape[2] == 4 else "rgb48le" if pixels.dtype == np.uint16 else "rgb24"
            frame = av.VideoFrame.from_ndarray(pixels, format=kind)
            frame = frame.reformat(format=stream.pix_fmt, dst_colorspace=colours[2] if colours else None)
            if times is not None:
                frame.pts, frame.time_base = round(times[index] * _TICKS), Fraction(1, _TICKS)
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
        if audio is not None:
            file.mux(audio.encode(None))
    return path.read_bytes()


def hdr(transfer: int) -> dict[str, Any]:
    """The settings of `video` for HDR. transfer: 16 (PQ) or 18 (HLG)."""
    options = {"x265-params": "log-level=none", "crf": "8"}
    return {"codec": "libx265", "layout": "yuv420p10le", "colours": (transfer, 9, 9), "options": options}


def in_hdr(colours: npt.ArrayLike, transfer: int) -> npt.NDArray[np.uint16]:
    """Colours in [0, 255], (…, 3), as a screen of 100 cd/m² shows them, as the signal of an HDR clip."""
    to_bt2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    light = (np.asarray(colours) / 255) ** 2.4 @ to_bt2020.T
    if transfer == 16:
        power = (light / 100) ** 0.1593017578125
        signal = ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    else:
        scene = (light / 10) ** (1 / 1.2)
        bright = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), bright)
    found: npt.NDArray[np.uint16] = np.round(signal * 65535).astype(np.uint16)
    return found


def song(container: str, codec: str, *, cover: bool = True) -> bytes:
    """Three seconds of sound."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "song")
        with av.open(str(path), "w", container) as file:
            audio: Any = file.add_stream(codec, rate=48_000, layout="stereo")
            audio.bit_rate = 128_000
            shown: Any = file.add_stream("mjpeg", rate=1) if cover else None
            if shown is not None:
                shown.width, shown.height, shown.pix_fmt = 64, 64, "yuvj420p"
                shown.disposition = Disposition.attached_pic
            for start in range(0, 3 * 48_000, 1024):
                silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
                silence.sample_rate, silence.pts = 48_000, start
                file.mux(audio.encode(silence))
            file.mux(audio.encode(None))
            if shown is not None:
                packet: Any = av.Packet(picture(64, 64))
                packet.stream, packet.pts, packet.dts = shown, 0, 0
                file.mux(packet)
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


def silent(mp4: bytes) -> bytes:
    """The MP4, its picture track declared to be sound."""
    return mp4.replace(b"vide", b"soun").replace(b"vmhd", b"smhd").replace(b"VideoHandler", b"SoundHandler")
