"""Clips in, timed frames out; and what is refused."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import wave
import zlib
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageDraw

from model.errors import (
    ClipsUnavailable,
    ClipTooLarge,
    ClipTooLong,
    ClipTooSlow,
    DamagedClip,
    EmptyFile,
    MediaError,
    NotAClip,
)
from model.media import formats, video
from model.media.clips import ClipLimits, Frame, open_clip
from model.media.formats import animation_timing, is_clip
from model.media.frames import MOST_FRAMES, choose_frames
from tests.conftest import ROOT
from tests.support import clips
from tests.support.corpus import long_gif

BLUE, RED, YELLOW = (60, 90, 200), (200, 60, 60), (230, 200, 40)
FIELDS = {"flags": "+ildct+ilme"}  # of codecs that encode each field by itself
TOP_FIRST = FIELDS | {"x264-params": "tff=1"}
INTERLACED: list[tuple[str, str, dict[str, str]]] = [
    ("clip.mp4", "libx264", TOP_FIRST),
    ("clip.ts", "libx264", FIELDS | {"x264-params": "bff=1"}),
    ("clip.mkv", "mpeg2video", FIELDS),
    ("clip.mpg", "mpeg2video", FIELDS | {"bf": "2"}),
    ("clip.mov", "prores_ks", FIELDS),
    ("clip.avi", "dvvideo", {}),
    ("clip.dv", "dvvideo", {}),
]
DV_SIZE = (720, 576)


def read(source: bytes | Path, limits: ClipLimits | None = None) -> tuple[float, list[Frame]]:
    with open_clip(source, limits) as clip:
        return clip.duration, list(clip)


def level(frame: Frame) -> float:
    return float(frame.image.mean())


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mp4", "mp4v"),
        ("mp4", "libx264"),
        ("mp4", "libx265"),
        ("mp4", "libsvtav1"),
        ("mov", "MJPG"),
        ("mkv", "mp4v"),
        ("webm", "VP80"),
        ("webm", "libvpx-vp9"),
        ("avi", "MJPG"),
        ("avi", "libx264"),  # the container tells no time of a frame, and they are not stored in their order
        ("3gp", "mpeg4"),
        ("wmv", "wmv2"),
        ("flv", "flv"),
        ("ts", "libx264"),
    ],
)
def test_two_frames_a_second_in_order(tmp_path: Path, suffix: str, codec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SVT_LOG", "0")
    path = tmp_path / f"clip.{suffix}"
    data = clips.video(path, clips.greys(60), codec=codec)
    assert is_clip(data)
    for source in (data, path):
        duration, frames = read(source)
        assert duration == pytest.approx(6.0, abs=0.05)
        assert [f.time for f in frames] == pytest.approx(np.arange(12) * 0.5 + 0.25, abs=0.1)
        # What is on show at 2.7 s is the 27th frame: times are those of the pictures.
        assert [level(f) for f in frames] == pytest.approx([f.time * 10 * 250 / 60 for f in frames], abs=6)
        assert frames[0].image.shape == (48, 64, 3)
        assert frames[0].image.dtype == np.uint8


@pytest.mark.parametrize(("suffix", "codec"), [("mpg", "mpeg1video"), ("vob", "mpeg2video"), ("m2v", "mpeg2video")])
def test_mpeg_files(tmp_path: Path, suffix: str, codec: str) -> None:
    data = clips.video(tmp_path / f"clip.{suffix}", clips.greys(60), rate=25.0, codec=codec, options={"bf": "2"})
    assert is_clip(data)
    duration, frames = read(data)
    assert duration == pytest.approx(2.4)
    assert [f.time for f in frames] == pytest.approx(np.arange(8) * 0.3 + 0.15, abs=0.04)
    assert [level(f) for f in frames] == pytest.approx([f.time * 25 * 250 / 60 for f in frames], abs=6)


def test_a_long_clip_gets_no_more_frames_than_agreed(tmp_path: Path) -> None:
    data = clips.video(tmp_path / "long.avi", clips.greys(250, (16, 16)), rate=1.0, codec="MJPG")
    duration, frames = read(data)
    assert duration == pytest.approx(250)
    assert len(frames) == MOST_FRAMES
    gaps = np.diff([f.time for f in frames])
    assert gaps.min() >= 1.99
    assert gaps.max() <= 3.01


def test_frames_are_chosen_by_when_they_are_shown() -> None:
    assert choose_frames([0.0, 0.1, 0.2, 9.0], 10.0, fewest=1) == [2, 3]  # 0.2 is on show until 9
    assert choose_frames([0.0], 60.0) == [0]
    assert choose_frames([], 0.0) == []


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate_keeps_true_times(tmp_path: Path, suffix: str) -> None:
    times = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 2.5, 4.5, 6.5, 8.5]
    duration, frames = read(clips.video(tmp_path / f"clip.{suffix}", clips.greys(10), times=times))
    assert duration >= 8.6  # the last frame's own length may be guessed
    assert [f.time for f in frames][-4:] == pytest.approx(times[-5:-1], abs=0.01)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "flv"])
def test_pictures_that_begin_after_the_sound_keep_their_times(tmp_path: Path, suffix: str) -> None:
    times = [1.5 + index / 10 for index in range(30)]
    duration, frames = read(
        clips.video(tmp_path / f"clip.{suffix}", clips.greys(30), codec="libx264", times=times, sound=6.0)
    )
    assert duration == pytest.approx(4.5, abs=0.05)
    assert frames[0].time == pytest.approx(1.5, abs=0.05)
    assert [level(f) for f in frames] == pytest.approx([(f.time - 1.5) * 10 * 250 / 30 for f in frames], abs=6)


def test_what_an_edit_list_cuts_off_is_not_shown(tmp_path: Path) -> None:
    data = clips.video(tmp_path / "clip.mp4", clips.greys(40), codec="libx264", options={"bf": "0"})
    at = data.index(b"elst") + 12  # the duration (ms) and beginning (ticks) of what is shown
    ticks = int.from_bytes(data[data.index(b"mdhd") + 16 :][:4], "big")
    duration, frames = read(data[:at] + struct.pack(">Ii", 2300, round(1.7 * ticks)) + data[at + 8 :])
    assert duration == pytest.approx(2.3, abs=0.01)
    assert frames[0].time < 0.2
    assert [level(f) for f in frames] == pytest.approx([(f.time + 1.7) * 10 * 250 / 40 for f in frames], abs=6)


@pytest.mark.parametrize(
    ("matrix", "corner"),  # (a, b, c, d), x' = ax + cy, y' = bx + dy; where the upper left corner goes
    [
        ((1, 0, 0, 1), (0, 0)),
        ((0, 1, -1, 0), (0, 1)),
        ((-1, 0, 0, -1), (1, 1)),
        ((0, -1, 1, 0), (1, 0)),
        ((-1, 0, 0, 1), (0, 1)),
        ((1, 0, 0, -1), (1, 0)),
        ((0, 1, 1, 0), (0, 0)),
        ((0, -1, -1, 0), (1, 1)),
    ],
)
def test_the_display_matrix_is_followed(
    tmp_path: Path, matrix: tuple[int, int, int, int], corner: tuple[int, int]
) -> None:
    for options in ({}, TOP_FIRST):
        data = clips.video(tmp_path / "clip.mp4", [clips.corner()] * 5, codec="libx264", matrix=matrix, options=options)
        _, [frame, *_] = read(data)
        assert frame.image.shape == ((48, 64, 3) if matrix[0] else (64, 48, 3))
        red = {(y, x) for y in (0, 1) for x in (0, 1) if frame.image[-5 if y else 5, -5 if x else 5, 0] > 200}
        assert red == {corner}


def test_sample_aspect_ratio_is_followed(tmp_path: Path) -> None:
    wide = Fraction(2)
    for suffix in ("mp4", "mkv"):
        data = clips.video(tmp_path / f"clip.{suffix}", [clips.corner()] * 5, aspect=wide)
        assert read(data)[1][0].image.shape == (48, 128, 3)
    turned = clips.video(tmp_path / "clip.mp4", [clips.corner()] * 5, aspect=wide, matrix=(0, 1, -1, 0))
    assert read(turned)[1][0].image.shape == (128, 48, 3)


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
def test_hdr_is_shown_in_its_colours(tmp_path: Path, transfer: int) -> None:
    """As an ordinary screen of 100 cd/m² shows them, whose colours are put into HDR here."""
    colours = np.array([[220, 30, 30], [30, 200, 30], [30, 30, 220], [230, 220, 30], [128, 128, 128], [255, 255, 255]])
    row = np.repeat(clips.in_hdr(colours, transfer)[None], 64, 0).repeat(32, 1)
    data = clips.video(tmp_path / "clip.mp4", [row] * 5, **clips.hdr(transfer))
    image = read(data)[1][0].image
    assert np.abs(image[32, 16::32].astype(int) - colours).max() <= 25


def test_bright_hdr_keeps_its_shades(tmp_path: Path) -> None:
    """A ramp of PQ up to 10,000 cd/m²: ever brighter, white not before the white of paper."""
    ramp = np.repeat(np.linspace(0, 65535, 256).astype(np.uint16)[None, :, None], 64, 0).repeat(3, 2)
    data = clips.video(tmp_path / "clip.mp4", [ramp] * 5, **clips.hdr(16))
    shades = read(data)[1][0].image[32, :, 1].astype(int)
    assert np.diff(shades).min() >= -3
    assert shades[130] < 220  # 100 cd/m²
    assert shades[-1] >= 250


def test_a_wide_gamut_is_mapped_to_that_of_a_screen(tmp_path: Path) -> None:
    pixels = np.full((48, 64, 3), (200, 120, 110), np.uint8)  # Display P3
    data = clips.video(tmp_path / "clip.mp4", [pixels] * 5, codec="libx264", colours=(1, 12, 1), options={"crf": "4"})
    assert read(data)[1][0].image[20, 20].tolist() == pytest.approx((213, 116, 106), abs=4)


@pytest.mark.parametrize(
    ("name", "codec", "layout"), [("clip.mov", "qtrle", "argb"), ("clip.webm", "libvpx-vp9", "yuva420p")]
)
def test_transparent_videos_lie_on_white(tmp_path: Path, name: str, codec: str, layout: str) -> None:
    pixels = np.zeros((48, 64, 4), np.uint8)
    pixels[:, :32] = (255, 0, 0, 255)
    options = {"auto-alt-ref": "0"} if codec == "libvpx-vp9" else {}
    _, [frame, *_] = read(clips.video(tmp_path / name, [pixels] * 5, codec=codec, layout=layout, options=options))
    assert frame.image[20, 10].tolist() == pytest.approx((255, 0, 0), abs=8)
    assert frame.image[20, 50].tolist() == pytest.approx((255, 255, 255), abs=8)


@pytest.mark.parametrize(("cores", "pixels", "threads"), [(1, 1e9, 1), (2, 1e9, 1), (2, 1e11, 2), (16, 1e11, 4)])
def test_light_clips_leave_cores_to_the_network(
    monkeypatch: pytest.MonkeyPatch, cores: int, pixels: float, threads: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert video._threads(pixels) == threads


def test_large_frames_arrive_reduced(tmp_path: Path) -> None:
    data = clips.video(tmp_path / "clip.avi", [clips.corner((1600, 400))] * 2, codec="MJPG")
    assert read(data)[1][0].image.shape == (320, 1280, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_animations_keep_their_durations_and_lie_on_white(kind: str) -> None:
    colours = [(255, 0, 0), (0, 0, 0), (0, 0, 255), (0, 255, 0)]
    pictures = [Image.new("RGBA", (20, 30)) for _ in colours]  # transparent, but for its left half
    for picture, colour in zip(pictures, colours, strict=True):
        picture.paste((*colour, 255), (0, 0, 10, 30))
    durations = [100, 200, 3000, 700]
    if kind == "WEBP":
        data = clips.transparent_webp(pictures, durations)
    else:
        data = clips.animation(pictures, durations, kind, **({} if kind == "AVIF" else {"disposal": 2}))
    assert is_clip(data)
    duration, frames = read(data)
    assert duration == pytest.approx(4.0)
    assert [f.time for f in frames] == pytest.approx([0.1, 0.3, 3.3])  # 0.1 s was between two instants
    assert frames[0].image.shape == (30, 20, 3)
    for frame, meant in zip(frames, colours[1:], strict=True):
        assert frame.image[15, 4].tolist() == pytest.approx(meant, abs=8)
        assert frame.image[15, 15].tolist() == pytest.approx((255, 255, 255), abs=8)


def test_an_animated_png_with_a_large_text_is_read() -> None:
    data = clips.animation([Image.fromarray(f) for f in clips.greys(4)], [500] * 4, "PNG")
    body = b"zTXtworkflow\0\0" + zlib.compress(bytes(3_000_000))
    text = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    assert len(read(data[:33] + text + data[33:])[1]) == 4


def test_still_pictures_are_no_clips(photo_files: list[Path]) -> None:
    stills = [photo_files[0].read_bytes()]
    pillow_heif.register_heif_opener()
    for kind in ("GIF", "WEBP", "PNG", "AVIF", "HEIF"):
        out = io.BytesIO()
        Image.new("RGB", (20, 30)).save(out, kind)
        stills.append(out.getvalue())
    burst = io.BytesIO()  # several pictures in one file, but none after the other
    Image.new("RGB", (64, 48)).save(burst, "HEIF", save_all=True, append_images=[Image.new("RGB", (64, 48))] * 2)
    stills.append(burst.getvalue())
    for data in stills:
        assert not is_clip(data)
        with pytest.raises(NotAClip):
            read(data)


def test_a_gif_without_durations_plays_as_in_browsers() -> None:
    data = clips.animation([Image.fromarray(f) for f in clips.greys(20)], [0] * 20)
    assert read(data)[0] == pytest.approx(2.0)


@pytest.mark.parametrize(("suffix", "codec"), [("mkv", "mp4v"), ("webm", "VP80"), ("avi", "MJPG")])
def test_a_video_that_breaks_off_gives_what_came_before(tmp_path: Path, suffix: str, codec: str) -> None:
    data = clips.video(tmp_path / f"clip.{suffix}", clips.greys(60), codec=codec)
    duration, frames = read(data[: len(data) * 2 // 3])
    assert 2 < duration < 5.5
    assert len(frames) >= 4
    assert [level(f) for f in frames] == pytest.approx([f.time * 10 * 250 / 60 for f in frames], abs=6)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "AVIF"])
def test_an_animation_that_breaks_off_gives_what_came_before(kind: str) -> None:
    rng = np.random.default_rng(0)
    pictures = [Image.fromarray(rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)) for _ in range(10)]
    data = clips.animation(pictures, [500] * 10, kind)
    duration, frames = read(data[: len(data) // 2])
    assert (duration == 5.0) if kind == "AVIF" else (1.5 <= duration <= 3.0)  # AVIF says all times at its beginning
    assert 2 <= len(frames) <= 6


def test_broken_packets_inside_are_passed_over(tmp_path: Path) -> None:
    data = bytearray(clips.video(tmp_path / "clip.avi", clips.greys(60), codec="MJPG"))
    frame = [at for at in range(len(data)) if data[at : at + 4] == b"00dc"][30]
    data[frame + 8 : frame + 200] = bytes(192)
    _, frames = read(bytes(data))
    assert frames[-1].time > 5


def test_files_that_are_no_clips(tmp_path: Path) -> None:
    html = tmp_path / "page.mp4"
    html.write_bytes(b"<!doctype html><title>404</title>" * 9)
    sound = io.BytesIO()
    with wave.open(sound, "wb") as out:
        out.setparams((1, 2, 8000, 800, "NONE", ""))
        out.writeframes(bytes(1600))
    for source in (html, sound.getvalue(), clips.silent(clips.video(tmp_path / "clip.mp4", clips.greys(5)))):
        with pytest.raises(NotAClip):
            read(source)
    with pytest.raises(EmptyFile):
        read(b"")


@pytest.mark.parametrize(
    "playlist",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
        '<?xml version="1.0"?><MPD type="static"><Period><AdaptationSet><Representation id="1"><BaseURL>{}</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>",
        "v=0\nc=IN IP4 127.0.0.1\nm=video 4000 RTP/AVP 96\na=rtpmap:96 H264/90000\na=control:{}\n",
    ],
)
def test_playlists_open_nothing(tmp_path: Path, playlist: str) -> None:
    clips.video(tmp_path / "other.mp4", clips.greys(5))
    listing = tmp_path / "clip.mp4"
    listing.write_text(playlist.format(tmp_path / "other.mp4"))
    with pytest.raises(NotAClip):
        read(listing)
    # Even under the first bytes of a video, the demuxer that is allowed is that one's alone.
    for head in (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", b"\x1a\x45\xdf\xa3", b"FLV\x01", b"OggS", b"\0\0\x01\xba"):
        with pytest.raises(DamagedClip):
            read(head + listing.read_bytes())


def referring(mov: bytes, path: str) -> bytes:
    """The same file, its pictures taken out, which says that they are in another one (QuickTime, `dref`)."""
    name = path.encode()
    places = b"".join(struct.pack(">hh", kind, len(name)) + name + b"\0" * (len(name) % 2) for kind in (2, 18))
    alias = bytes(14) + b"\3vol".ljust(28, b"\0") + bytes(12) + b"\5other".ljust(64, b"\0") + bytes(16)
    alias = (alias + struct.pack(">hh", 1, 1) + bytes(16) + places + struct.pack(">hh", -1, 0)).ljust(200, b"\0")
    out, at, end = bytearray(mov), 0, len(mov)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = mov.index(box, at, end) - 4
        size = int.from_bytes(mov[at : at + 4], "big")
        end = at + size
        out[at : at + 4] = (size + len(alias) + 8 - 12).to_bytes(4, "big")  # in place of an empty reference of 12 bytes
    out[at + 16 : end] = struct.pack(">I", len(alias) + 8) + b"alis" + alias
    pictures = mov.index(b"mdat") + 4
    out[pictures : mov.index(b"moov") - 4] = bytes(mov.index(b"moov") - 4 - pictures)
    return bytes(out)


def test_a_clip_whose_pictures_are_in_another_file_does_not_open_it(tmp_path: Path) -> None:
    other, clip = tmp_path / "other.mov", tmp_path / "clip.mov"
    clip.write_bytes(referring(clips.video(other, clips.greys(5)), str(other)))
    with av.open(str(clip), options={"enable_drefs": "1", "use_absolute_path": "1"}) as opened:
        assert len(list(opened.decode(video=0))) == 5  # FFmpeg would, if it were asked to
    with pytest.raises(DamagedClip):
        read(clip)


def test_damaged_clips(tmp_path: Path) -> None:
    data = clips.video(tmp_path / "clip.mp4", clips.greys(30))
    for damaged in (
        data[: len(data) // 2],
        data[:40],
        b"\x1a\x45\xdf\xa3" + bytes(100),
        b"RIFF\0\0\0\0AVI " + bytes(50),
    ):
        with pytest.raises(DamagedClip) as raised:
            read(damaged)
        assert "Errno" not in str(raised.value)  # nor a path, which may be that of a file in memory
        assert "/" not in str(raised.value)


def test_limits_hold(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    clips.video(path, clips.greys(60))
    with pytest.raises(ClipTooLarge):
        read(path, ClipLimits(bytes=1000))
    with pytest.raises(ClipTooLarge):
        read(path, ClipLimits(pixels=3000))
    with pytest.raises(ClipTooLong):
        read(path, ClipLimits(seconds=5.9))
    with pytest.raises(ClipTooLarge):
        read(path, ClipLimits(frames=59))
    with pytest.raises(ClipTooSlow):
        read(path, ClipLimits(decoding=0.0))
    assert len(read(path, ClipLimits(seconds=6.1, pixels=64 * 48))[1]) == 12


def test_bombs_are_refused_by_their_headers(tmp_path: Path) -> None:
    pictures = [Image.fromarray(f) for f in clips.greys(3)]
    gif = bytearray(clips.animation(pictures, [100] * 3))
    gif[6:10] = b"\xff\xff\xff\xff"
    webp = bytearray(clips.animation(pictures, [100] * 3, "WEBP"))
    webp[24:30] = b"\xff\x3f\0\xff\x3f\0"
    png = bytearray(clips.animation(pictures, [100] * 3, "PNG"))
    png[16:24] = struct.pack(">II", 60000, 60000)
    avi = clips.video(tmp_path / "clip.avi", clips.greys(3), codec="MJPG")
    size = b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 48, 64)  # of a JPEG frame
    assert size in avi
    avi = avi.replace(size, size[:5] + struct.pack(">HH", 12000, 12000))
    avi = avi.replace(struct.pack("<ii", 64, 48), struct.pack("<ii", 12000, 12000))
    avif = bytearray(clips.animation(pictures, [100] * 3, "AVIF"))
    at = avif.index(b"tkhd") - 4 + int.from_bytes(avif[avif.index(b"tkhd") - 4 : avif.index(b"tkhd")], "big")
    avif[at - 8 : at] = struct.pack(">HHHH", 12000, 0, 12000, 0)
    for bomb in (gif, webp, png, avi, avif):
        with pytest.raises(ClipTooLarge):
            read(bytes(bomb))


def test_a_gif_that_plays_for_hours_is_refused_before_it_is_decoded() -> None:
    pictures = [Image.fromarray(f) for f in clips.greys(3)]
    with pytest.raises(ClipTooLong):
        read(clips.animation(pictures, [600_000] * 3))


def test_a_gif_of_ten_thousand_frames_is_watched() -> None:
    duration, frames = read(long_gif())
    assert duration == pytest.approx(200)
    assert len(frames) == MOST_FRAMES


def test_what_an_avif_claims_is_not_believed_beyond_its_size() -> None:
    """Runs of four billion frames would take as much memory."""
    data = clips.animation([Image.fromarray(f) for f in clips.greys(4)], [500] * 4, "AVIF")
    for name, offset in ((b"stts", 8), (b"stsz", 12)):
        at = data.index(name) + 4 + offset - 4
        data = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
    at = data.index(b"stts") + 12
    data = data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :]
    with pytest.raises(MediaError):
        read(data, ClipLimits(seconds=3.0))
    assert len(animation_timing(data, "avif").durations) < len(data)


def test_a_sequence_of_hevc_pictures_is_read_as_the_video_that_it_is(tmp_path: Path) -> None:
    """Told by its brand and its track of pictures. (Encoded otherwise here, for want of an encoder.)"""
    data = clips.video(tmp_path / "clip.mp4", clips.greys(20)).replace(b"vide", b"pict")
    data = data[:8] + b"hevc" + data[12:]
    assert is_clip(data)
    assert read(data)[0] == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "wmv", "flv", "ts", "mpg", "gif", "webp", "png", "avif"])
def test_flipped_bits_raise_nothing_but_media_errors(tmp_path: Path, suffix: str) -> None:
    codec = {"wmv": "wmv2", "flv": "flv", "ts": "libx264", "mpg": "mpeg1video"}.get(suffix, "mp4v")
    if suffix not in ("gif", "webp", "png", "avif"):
        data = clips.video(tmp_path / f"clip.{suffix}", clips.greys(12), rate=25.0, codec=codec)
    else:
        data = clips.animation([Image.fromarray(f) for f in clips.greys(6)], [300] * 6, suffix.upper())
    rng = np.random.default_rng(0)
    outcomes = set()
    for flips in [6] * 40 + [len(data) // 4] * 4:  # scratches, then what no reader can make anything of
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), flips):
            damaged[at] ^= 1 << int(rng.integers(8))
        try:
            frames = read(bytes(damaged), ClipLimits(decoding=20))[1]
            assert all(f.image.ndim == 3 and f.image.dtype == np.uint8 for f in frames)
            assert [f.time for f in frames] == sorted({f.time for f in frames})
            outcomes.add("frames")
        except MediaError as error:
            outcomes.add(error.kind)
    assert "frames" in outcomes
    assert len(outcomes) > 1


def bars(count: int, size: tuple[int, int], *, interlaced: bool) -> list[clips.Pixels]:
    """A yellow bar that moves over blue; of an interlaced clip, between the fields of a frame, too."""
    frames = []
    for index in range(count):
        frame = np.full((size[1], size[0], 3), BLUE, np.uint8)
        for field in (0, 1):
            left = 20 + (2 * index + (field if interlaced else 0)) * 6 % (size[0] - 40)
            frame[field::2, left : left + 20] = YELLOW
        frames.append(frame)
    return frames


def text() -> clips.Pixels:
    picture = Image.new("RGB", (160, 96), "white")
    ImageDraw.Draw(picture).text((10, 40), "SECRET 4711", "red")
    return np.asarray(picture)


@pytest.mark.parametrize(("name", "codec", "options"), INTERLACED)
def test_an_interlaced_clip_shows_its_own_pictures(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    """Nothing of the clip before, and no combs where something moves."""
    assert len(read(clips.video(tmp_path / "secret.avi", [text()] * 10, codec="MJPG"))[1]) == 8
    size = DV_SIZE if codec == "dvvideo" else (160, 96)
    data = clips.video(tmp_path / name, bars(25, size, interlaced=True), rate=25.0, codec=codec, options=options)
    assert is_clip(data)
    duration, frames = read(data)
    assert duration == pytest.approx(1.0, abs=0.05)
    assert len(frames) == 8
    for frame in frames:
        assert frame.image.shape == ((576, 768, 3) if codec == "dvvideo" else (96, 160, 3))
        pixels = frame.image.astype(int)
        assert np.abs(np.diff(pixels, axis=0)).mean() < 2  # of combs: 10 and more
        blue = np.abs(pixels - BLUE).max(axis=2) <= 12
        yellow = np.abs(pixels - YELLOW).max(axis=2) <= 25
        assert (blue | yellow).mean() > 0.85


def test_a_clip_that_becomes_interlaced(tmp_path: Path) -> None:
    """The second second is interlaced; MPEG streams can be put one behind the other."""
    seconds = []
    for name, colour, options in (("a.m2v", RED, {}), ("b.m2v", BLUE, FIELDS)):
        plain = [np.full((96, 160, 3), colour, np.uint8)] * 25
        seconds.append(clips.video(tmp_path / name, plain, rate=25.0, codec="mpeg2video", options=options))
    frames = read(b"".join(seconds))[1]
    assert len(frames) == 8
    for frame in frames:
        meant = BLUE if frame.time > 0.98 else RED
        assert np.abs(frame.image.astype(int) - meant).max() <= 12


def test_frames_that_are_passed_over_change_nothing(tmp_path: Path) -> None:
    """Of a clip with frames that others need and frames that none needs, each wanted one is as it was encoded."""
    moving = bars(90, (160, 96), interlaced=False)
    for name, codec in (("clip.mp4", "libx264"), ("clip.mkv", "libx265"), ("clip.mov", "MJPG")):
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        for frame in read(clips.video(tmp_path / name, moving, rate=30.0, codec=codec, options=options))[1]:
            meant = moving[round(frame.time * 30)].astype(int)
            assert np.abs(frame.image - meant).mean() < 5  # of the next frame: 15


def test_clips_read_at_once_are_told_apart(tmp_path: Path) -> None:
    grey, blue = tmp_path / "grey.avi", tmp_path / "blue.mp4"
    clips.video(grey, clips.greys(60), codec="MJPG")
    clips.video(blue, [np.full((96, 160, 3), BLUE, np.uint8)] * 10, codec="libx264", options=TOP_FIRST)
    with ThreadPoolExecutor(4) as pool:
        found = [frames for _, frames in pool.map(read, [grey, blue] * 20)]
    for frames in found[::2]:
        assert [level(f) for f in frames] == pytest.approx([f.time * 10 * 250 / 60 for f in frames], abs=6)
        assert len(frames) == 12
    for frames in found[1::2]:
        assert len(frames) == 8
        assert max(np.abs(frame.image.astype(int) - BLUE).max() for frame in frames) <= 12


def test_a_cover_is_no_video() -> None:
    with pytest.raises(NotAClip):
        read(clips.song("mp4", "aac"))


def test_no_file_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = clips.video(tmp_path / "clip.mp4", clips.greys(20))
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    open_files = len(os.listdir("/proc/self/fd"))
    read(data)
    monkeypatch.delattr(os, "memfd_create")  # as on systems without it
    read(data)
    with pytest.raises(DamagedClip):
        read(data[:100])
    with open_clip(data) as clip:
        next(iter(clip))  # and not read to its end
    assert not list(folder.iterdir())
    assert len(os.listdir("/proc/self/fd")) == open_files


def test_without_pyav_a_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = clips.video(tmp_path / "clip.mp4", clips.greys(5))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ClipsUnavailable, match="pip install av"):
        read(data)
    assert read(clips.animation([Image.fromarray(f) for f in clips.greys(3)], [500] * 3))[1]  # needs no PyAV


def test_damage_is_not_told_on_standard_error(tmp_path: Path) -> None:
    path = tmp_path / "clip.mkv"
    data = clips.video(path, clips.greys(30))
    path.write_bytes(data[: len(data) // 2])
    (tmp_path / "bad.mp4").write_bytes(b"\0\0\0\x18ftypisom" + bytes(100))
    code = (
        "import sys\nfrom model.media.clips import open_clip\nfrom model.errors import DamagedClip\n"
        "with open_clip(sys.argv[1]) as clip: print(len(list(clip)))\n"
        "try:\n    open_clip(sys.argv[2]).__enter__()\nexcept DamagedClip: print('damaged')"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, str(path), str(tmp_path / "bad.mp4")], cwd=ROOT, capture_output=True, text=True
    )
    assert result.stderr == ""
    assert result.stdout.split()[1] == "damaged"


def test_a_stream_that_begins_late_ends_no_clip() -> None:
    """PyAV fails with an IndexError at the first packet of one; what follows can be read."""

    class Packet:
        size = 1

    left: list[Any] = [IndexError("list index out of range"), Packet()]

    class Container:
        def demux(self, _: object) -> Any:
            while left:
                if isinstance(found := left.pop(0), Exception):
                    raise found
                yield found

    container: Any = Container()
    assert len(list(video._packets(container, container))) == 1


def test_a_clip_whose_frames_take_too_much_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = clips.video(tmp_path / "clip.mp4", [np.zeros((64, 64, 3), np.uint8)] * 10)
    monkeypatch.setattr(video, "MOST", 1)
    with pytest.raises(ClipTooLarge, match="64 x 64"), open_clip(data):
        pass


def test_what_an_avif_claims_grows_with_its_size_alone() -> None:
    def box(name: bytes, *parts: bytes) -> bytes:
        return struct.pack(">I", 8 + sum(map(len, parts))) + name + b"".join(parts)

    sizes, times = struct.pack(">8xI", 0xFFFFFFFF), struct.pack(">4xIII", 1, 0xFFFFFFFF, 1)
    samples = box(b"stbl", box(b"stsz", sizes), box(b"stts", times))
    clock, kind = struct.pack(">12xII4x", 1000, 1000), bytes(8) + b"pict" + bytes(13)
    media = box(b"mdia", box(b"mdhd", clock), box(b"hdlr", kind), box(b"minf", samples * 500))
    size = box(b"tkhd", struct.pack(">76xII", 64 << 16, 64 << 16))
    data = box(b"ftyp", b"avis\0\0\0\0avisavif") + box(b"moov", box(b"trak", size, media))
    timing = animation_timing(data, "avif")
    assert timing.size == (64, 64)
    assert 0 < len(timing.durations) <= len(data) / 16


@pytest.mark.parametrize("kind", ["gif", "png", "webp"])
def test_only_so_many_blocks_are_walked(kind: formats.Animation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it is known whether a file is within the limits."""
    colours = [Image.new("RGB", (8, 8), (40 * i, 0, 0)) for i in range(6)]
    data = clips.animation(colours, [100] * 6, kind.upper())
    assert len(animation_timing(data, kind).durations) == 6
    monkeypatch.setattr(formats, "_MOST_BLOCKS", 4)
    assert len(animation_timing(data, kind).durations) < 4


@pytest.mark.skipif(not hasattr(os, "sched_getscheduler"), reason="Linux tells how urgent a thread is")
def test_no_encoder_makes_a_test_more_urgent_than_other_programs(tmp_path: Path) -> None:
    """SVT-AV1 would, and all that the test starts with it."""
    clips.video(tmp_path / "clip.mp4", [np.zeros((64, 64, 3), np.uint8)] * 3, codec="libsvtav1")
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
    assert os.getpriority(os.PRIO_PROCESS, 0) >= 0
