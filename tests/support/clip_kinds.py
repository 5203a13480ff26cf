"""At least 70 kinds of clips, and of what passes for one, each with what is right for it: made here."""

from __future__ import annotations

import os
import struct
import tempfile
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from PIL import Image

from model.media.clips import open_clip
from tests.conftest import ROOT
from tests.support import clips, paff
from tests.support.corpus import encoded, long_gif, scene, truncated
from tests.support.kinds import MOMENTS, Kind

os.environ.setdefault("SVT_LOG", "0")  # else its encoder prints

COUNT, RATE = 30, 10.0  # frames of a clip, and how many a second
BLUE: Final = (60, 90, 200)


def shows(
    seconds: float = COUNT / RATE, size: tuple[int, int] = (64, 48), within: float = 8.0
) -> Callable[[bytes], None]:
    """Whether a clip of `greys` lasts so long, has this shape, and each frame is what is on show at its time."""

    def check(data: bytes) -> None:
        with open_clip(data) as clip:
            frames = list(clip)
        assert abs(clip.duration - seconds) <= 0.11, f"{clip.duration:.2f} s"
        assert len(frames) >= min(8, round(2 * seconds)), f"{len(frames)} frames"
        for frame in frames:
            assert frame.image.shape == (size[1], size[0], 3), frame.image.shape
            meant = min(COUNT - 1, int(frame.time * COUNT / seconds + 0.05)) * 250 / COUNT
            found = float(frame.image.mean())
            assert abs(found - meant) <= within + 250 / COUNT, (
                f"level {found:.0f}, not {meant:.0f}, at {frame.time:.2f} s"
            )

    return check


def of_colour(
    colour: tuple[int, int, int], within: int = 12, shape: tuple[int, int] | None = None
) -> Callable[[bytes], None]:
    """Whether each frame is of this colour in its upper left."""

    def check(data: bytes) -> None:
        with open_clip(data) as clip:
            frames = list(clip)
        for frame in frames:
            found = frame.image[frame.image.shape[0] // 5, frame.image.shape[1] // 5].astype(int)
            assert np.abs(found - colour).max() <= within, f"{found}, not {colour}"
            assert shape in (None, frame.image.shape[:2]), frame.image.shape

    return check


def filmed(suffix: str, frames: Sequence[Any] | None = None, **settings: Any) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return clips.video(Path(folder, f"clip.{suffix}"), clips.greys(COUNT) if frames is None else frames, **settings)


def clip_kinds() -> list[Kind]:
    """In the order of the table in docs/files.md."""
    kinds: list[Kind] = []
    quiet = {"x265-params": "log-level=none"}
    fields = {"flags": "+ildct+ilme"}

    def add(
        name: str, make: Callable[[], bytes], right: str = MOMENTS, check: Callable[[bytes], None] | None = None
    ) -> None:
        kinds.append(Kind(name, make, right, check))

    for title, suffix, codec, more in (
        ("H.264 in MP4", "mp4", "libx264", {}),
        ("H.264 in MOV", "mov", "libx264", {}),
        ("H.264 in MKV", "mkv", "libx264", {}),
        ("H.264 in AVI", "avi", "libx264", {}),
        ("H.264 in FLV", "flv", "libx264", {}),
        ("H.264 in TS", "ts", "libx264", {}),
        ("H.264 in 3GP", "3gp", "libx264", {}),
        ("H.264 in M4V", "m4v", "libx264", {}),
        ("H.264 without reordering", "mp4", "libx264", {"options": {"bf": "0"}}),
        ("H.264, many B-frames", "mp4", "libx264", {"options": {"bf": "8", "x264-params": "b-pyramid=normal"}}),
        ("H.264, 10 bits", "mp4", "libx264", {"layout": "yuv420p10le"}),
        ("H.264, 4:2:2", "mp4", "libx264", {"layout": "yuv422p"}),
        ("H.264, 4:4:4", "mp4", "libx264", {"layout": "yuv444p"}),
        ("H.264, full range", "mp4", "libx264", {"layout": "yuvj420p"}),
        ("H.264, grey", "mp4", "libx264", {"layout": "gray"}),
        ("HEVC in MP4", "mp4", "libx265", {"options": quiet}),
        ("HEVC in MKV", "mkv", "libx265", {"options": quiet}),
        ("HEVC in TS", "ts", "libx265", {"options": quiet}),
        ("HEVC, 10 bits", "mp4", "libx265", {"layout": "yuv420p10le", "options": quiet}),
        ("AV1 in MP4", "mp4", "libsvtav1", {}),
        ("AV1 in WebM", "webm", "libsvtav1", {}),
        ("AV1 in MKV, 10 bits", "mkv", "libsvtav1", {"layout": "yuv420p10le"}),
        ("VP8 in WebM", "webm", "libvpx", {}),
        ("VP9 in WebM", "webm", "libvpx-vp9", {}),
        ("VP9 in MP4", "mp4", "libvpx-vp9", {}),
        ("MPEG-4 in MP4", "mp4", "mpeg4", {}),
        ("MPEG-4 in AVI", "avi", "mpeg4", {}),
        ("MPEG-4 in 3GP", "3gp", "mpeg4", {}),
        ("MS MPEG-4 2 in AVI", "avi", "msmpeg4v2", {}),
        ("MS MPEG-4 3 in AVI", "avi", "msmpeg4", {}),
        ("Windows Media 7", "wmv", "wmv1", {}),
        ("Windows Media 8", "wmv", "wmv2", {}),
        ("Sorenson in FLV", "flv", "flv", {}),
        ("Sorenson in MOV", "mov", "svq1", {"layout": "yuv410p"}),
        ("Motion JPEG in AVI", "avi", "mjpeg", {}),
        ("Motion JPEG in MOV", "mov", "mjpeg", {}),
        ("ProRes", "mov", "prores_ks", {}),
        ("Animation (qtrle)", "mov", "qtrle", {}),
        ("raw pictures in AVI", "avi", "rawvideo", {"layout": "bgr24"}),
        ("HuffYUV", "avi", "huffyuv", {"layout": "yuv422p"}),
        ("FFV1", "mkv", "ffv1", {}),
        ("PNG in MOV", "mov", "png", {"layout": "rgb24"}),
        ("Cinepak", "avi", "cinepak", {"layout": "rgb24"}),
    ):
        add(title, partial(filmed, suffix, codec=codec, **more), check=shows(within=14))
    for title, suffix, codec in (
        ("MPEG-1", "mpg", "mpeg1video"),
        ("MPEG-2", "mpg", "mpeg2video"),
        ("MPEG-2 of a DVD", "vob", "mpeg2video"),
        ("MPEG-2 in TS", "ts", "mpeg2video"),
        ("MPEG-2, bare", "m2v", "mpeg2video"),
    ):
        add(title, partial(filmed, suffix, rate=25.0, codec=codec), check=shows(COUNT / 25.0))
    add(
        "H.263",
        lambda: filmed("3gp", clips.greys(COUNT, (176, 144)), codec="h263", rate=29.97),
        check=shows(COUNT / 29.97, (192, 144)),
    )
    theora = ROOT / "tests" / "clips" / "greys.ogv"  # encoded by an FFmpeg 9.0 that had libtheora
    add("Theora in OGV", theora.read_bytes, check=shows())
    plain = [np.full((96, 160, 3), BLUE, np.uint8)] * 15
    for title, suffix, codec, options in (
        ("H.264", "mp4", "libx264", fields | {"x264-params": "tff=1"}),
        ("H.264 in TS", "ts", "libx264", fields | {"x264-params": "bff=1"}),
        ("MPEG-2", "mkv", "mpeg2video", fields),
        ("MPEG-2 with B-frames", "mpg", "mpeg2video", fields | {"bf": "2"}),
        ("ProRes", "mov", "prores_ks", fields),
    ):
        add(
            f"interlaced {title}",
            partial(filmed, suffix, plain, codec=codec, rate=25.0, options=options),
            check=of_colour(BLUE),
        )
    for suffix in ("mp4", "mkv", "ts"):
        add(f"interlaced H.264 of single fields in {suffix.upper()}", partial(single_fields, suffix), check=no_combs)
    for suffix in ("avi", "dv", "mov"):
        add(
            f"DV in {suffix.upper()}",
            partial(filmed, suffix, [np.full((576, 720, 3), BLUE, np.uint8)] * 5, codec="dvvideo", rate=25.0),
            check=of_colour(BLUE),
        )
    corners = {
        (1, 0, 0, 1): "not turned",
        (0, 1, -1, 0): "turned by 90°",
        (-1, 0, 0, -1): "turned by 180°",
        (0, -1, 1, 0): "turned by 270°",
        (-1, 0, 0, 1): "mirrored",
        (1, 0, 0, -1): "upside down, mirrored",
        (0, 1, 1, 0): "mirrored and turned by 90°",
        (0, -1, -1, 0): "mirrored and turned by 270°",
    }
    for matrix, title in corners.items():
        a, b, c, d = matrix
        x, y = a + c, b + d  # where the stored lower right goes
        check = of_colour((255, 0, 0) if (x, y) == (1, 1) else (0, 0, 0), 30, (48, 64) if a else (64, 48))
        add(f"clip {title}", partial(filmed, "mp4", [clips.corner()] * 10, codec="libx264", matrix=matrix), check=check)
    add("oblong samples", lambda: filmed("mp4", aspect=Fraction(2)), check=shows(size=(128, 48)))
    times = [0.1 * n if n < 15 else 1.4 + 0.2 * (n - 14) for n in range(COUNT)]
    add("variable frame rate", lambda: filmed("mp4", times=times, codec="libx264"))
    for suffix in ("mp4", "mkv", "ts", "flv"):
        add(
            f"pictures that begin after the sound, {suffix.upper()}",
            partial(filmed, suffix, plain, codec="libx264", times=[1.5 + n / 10 for n in range(15)], sound=4.0),
            check=of_colour(BLUE),
        )
    add("trimmed by an edit list", edited, check=trimmed)
    add("HDR (PQ)", lambda: hdr(16), check=of_colour((220, 30, 30), 25))
    add("HDR (HLG)", lambda: hdr(18), check=of_colour((220, 30, 30), 25))
    add(
        "Display P3",
        lambda: filmed(
            "mp4",
            [np.full((48, 64, 3), (200, 120, 110), np.uint8)] * 10,
            codec="libx264",
            colours=(1, 12, 1),
            options={"crf": "4"},
        ),
        check=of_colour((213, 116, 106), 6),
    )
    clear = np.zeros((48, 64, 4), np.uint8)
    clear[:, 32:] = (255, 0, 0, 255)
    for title, suffix, codec, layout, options in (
        ("qtrle", "mov", "qtrle", "argb", {}),
        ("VP9", "webm", "libvpx-vp9", "yuva420p", {"auto-alt-ref": "0"}),
        ("VP8", "webm", "libvpx", "yuva420p", {"auto-alt-ref": "0"}),
        ("ProRes 4444", "mov", "prores_ks", "yuva444p10le", {}),
        ("PNG", "mov", "png", "rgba", {}),
    ):
        add(
            f"transparent {title}",
            partial(filmed, suffix, [clear] * 10, codec=codec, layout=layout, options=options),
            check=of_colour((255, 255, 255), 10),
        )
    add("with sound", lambda: filmed("mp4", codec="libx264", sound=3.0), check=shows())
    add(
        "odd size",
        lambda: filmed("mp4", clips.greys(COUNT, (65, 49)), codec="libx264", layout="yuv444p"),
        check=shows(size=(65, 49)),
    )
    add("one frame", lambda: filmed("mp4", clips.greys(2)[1:], codec="libx264"))
    add("tiny", lambda: filmed("mp4", clips.greys(COUNT, (16, 16)), codec="libx264"), check=shows(size=(16, 16)))
    add("4K", lambda: filmed("mp4", clips.greys(6, (3840, 2160)), codec="libx264", options={"preset": "ultrafast"}))
    add("8K", lambda: filmed("mp4", clips.greys(4, (7680, 4320)), codec="libx264", options={"preset": "ultrafast"}))
    add("larger than 8K", lambda: filmed("avi", clips.greys(1, (9000, 6000)), codec="mjpeg"), "clip_too_large")
    add("60 frames a second", lambda: filmed("mp4", codec="libx264", rate=60.0), check=shows(0.5))
    add("two minutes", lambda: filmed("mp4", clips.greys(COUNT), codec="libx264", rate=0.25), check=shows(120.0))
    add("six minutes", lambda: filmed("mp4", codec="libx264", rate=1 / 12), "clip_too_long")
    add("in fragments", lambda: remuxed("frag_keyframe+empty_moov"), check=shows())
    add("its index first", lambda: remuxed("faststart"), check=shows())
    for kind in ("GIF", "WEBP", "PNG", "AVIF"):
        add(
            f"animated {kind}",
            partial(clips.animation, [Image.fromarray(f) for f in clips.greys(COUNT)], [100] * COUNT, kind),
            check=shows(),
        )
    add("GIF of 10,000 frames", long_gif)
    add(
        "animated WebP, 17 megapixels",
        lambda: clips.animation(
            [Image.new("RGB", (4120, 4120), c) for c in ("teal", "navy")], [500] * 2, "WEBP", method=0
        ),
    )
    add(
        "animated GIF that breaks off",
        lambda: truncated(clips.animation([scene(160, 120, n) for n in range(8)], [500] * 8)),
    )
    for suffix, codec in (("mkv", "libx264"), ("webm", "libvpx"), ("avi", "mjpeg"), ("ts", "libx264"), ("flv", "flv")):
        add(f"{suffix.upper()} that breaks off", partial(broken_off, suffix, codec))
    add("MP4 that breaks off", lambda: truncated(filmed("mp4", codec="libx264")), "damaged_clip")
    add("MP4, only its first bytes", lambda: filmed("mp4", codec="libx264")[:40], "damaged_clip")
    add("sound with a cover (M4A)", lambda: clips.song("mp4", "aac"), "not_a_clip")
    add("sound alone (M4A)", lambda: clips.song("mp4", "aac", cover=False), "not_a_clip")
    add("sound alone (OGG)", lambda: clips.song("ogg", "libopus", cover=False), "not_a_clip")
    add("sound alone (MKA)", lambda: clips.song("matroska", "aac", cover=False), "not_a_clip")
    add("sound with a cover (MKA)", lambda: clips.song("matroska", "aac"), "not_a_clip")
    add("sound alone (WMA)", lambda: clips.song("asf", "wmav2", cover=False), "not_a_clip")
    add("playlist (HLS)", lambda: b"#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1/a.ts\n", "not_a_clip")
    add("playlist (concat)", lambda: b"ffconcat version 1.0\nfile '/etc/passwd'\n", "not_a_clip")
    add("still GIF sent as a clip", lambda: encoded(scene(320, 240).quantize(64), "GIF"), "not_a_clip")
    for title, suffix, codec in (
        ("MXF", "mxf", "mpeg2video"),
        ("IVF", "ivf", "libvpx"),
        ("NUT", "nut", "mpeg4"),
        ("YUV4MPEG", "y4m", "wrapped_avframe"),
        ("RealMedia", "rm", "rv10"),
        ("Flash", "swf", "flv"),
    ):
        add(
            title,
            partial(filmed, suffix, [np.full((144, 176, 3), BLUE, np.uint8)] * 5, codec=codec, rate=25.0),
            "unread_clip",
        )
    for title, suffix, codec, layout in (
        ("Snow in AVI", "avi", "snow", "yuv420p"),
        ("UT Video in AVI", "avi", "utvideo", "yuv420p"),
        ("MagicYUV in AVI", "avi", "magicyuv", "yuv444p"),
        ("CineForm in MOV", "mov", "cfhd", "yuv422p10le"),
        ("ZMBV in AVI", "avi", "zmbv", "bgr0"),
    ):
        options = {"strict": "-2"} if codec == "snow" else {}
        add(
            title,
            partial(
                filmed, suffix, [np.full((96, 160, 3), BLUE, np.uint8)] * 5, codec=codec, layout=layout, options=options
            ),
            "unread_clip",
        )
    add("zeros under a clip's first bytes", lambda: b"\x1a\x45\xdf\xa3" + bytes(1000), "damaged_clip")
    add("nothing, as a clip", lambda: b"", "empty")
    add("text, as a clip", lambda: b"buy milk", "not_a_clip")
    return kinds


def broken_off(suffix: str, codec: str) -> bytes:
    return truncated(filmed(suffix, [np.asarray(scene(64, 48, number)) for number in range(20)], codec=codec))


def single_fields(suffix: str) -> bytes:
    """A bar that moves between the fields of a frame, too."""
    frames = []
    for index in range(25):
        frame = np.full((96, 160), 60, np.uint8)
        for field in (0, 1):
            left = 20 + (2 * index + field) * 6 % 120
            frame[field::2, left : left + 20] = 200
        frames.append(frame)
    with tempfile.TemporaryDirectory() as folder:
        return paff.fields(Path(folder, f"clip.{suffix}"), frames)


def no_combs(data: bytes) -> None:
    with open_clip(data) as clip:
        frames = list(clip)
    assert abs(clip.duration - 1.0) <= 0.05, clip.duration
    assert len(frames) == 8
    for frame in frames:
        assert frame.image.shape == (96, 160, 3)
        assert np.abs(np.diff(frame.image.astype(int), axis=0)).mean() < 2  # of combs: 10 and more
        assert frame.image.max() > 150  # the bar is there


def edited() -> bytes:
    """Of 3 s, 1.5 s are shown, from 1 s on."""
    data = filmed("mp4", codec="libx264", options={"bf": "0"})
    at = data.index(b"elst") + 12
    ticks = int.from_bytes(data[data.index(b"mdhd") + 16 :][:4], "big")
    return data[:at] + struct.pack(">Ii", 1500, ticks) + data[at + 8 :]


def trimmed(data: bytes) -> None:
    with open_clip(data) as clip:
        frames = list(clip)
    assert abs(clip.duration - 1.5) < 0.02, clip.duration
    for frame in frames:
        meant = (frame.time + 1.0) * RATE * 250 / COUNT
        assert abs(float(frame.image.mean()) - meant) <= 12


def hdr(transfer: int) -> bytes:
    """(220, 30, 30) as a screen of 100 cd/m² shows it."""
    frame = np.broadcast_to(clips.in_hdr((220, 30, 30), transfer), (48, 64, 3))
    return filmed("mp4", [np.ascontiguousarray(frame)] * 10, **clips.hdr(transfer))


def remuxed(flags: str) -> bytes:
    """An MP4, its boxes in another order."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "in.mp4").write_bytes(filmed("mp4", codec="libx264"))
        with (
            av.open(f"{folder}/in.mp4") as source,
            av.open(f"{folder}/out.mp4", "w", options={"movflags": flags}) as target,
        ):
            stream = target.add_stream_from_template(source.streams.video[0])
            for packet in source.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    target.mux(packet)
        return Path(folder, "out.mp4").read_bytes()
