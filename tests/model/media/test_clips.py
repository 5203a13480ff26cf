"""Clips in, timed frames out; and what is refused."""

from __future__ import annotations

import builtins
import io
import os
import struct
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

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
from model.media.clips import ClipLimits, Frame, open_clip
from model.media.formats import animation_timing, is_clip
from model.media.frames import MOST_FRAMES, choose_frames
from model.media.opencv import opencv
from tests.conftest import ROOT
from tests.support import clips
from tests.support.corpus import long_gif


def read(source: bytes | Path, limits: ClipLimits | None = None) -> tuple[float, list[Frame]]:
    with open_clip(source, limits) as clip:
        return clip.duration, list(clip)


def level(frame: Frame) -> float:
    return float(frame.image.mean())


@pytest.mark.parametrize(
    ("suffix", "codec"), [("mp4", "mp4v"), ("mov", "MJPG"), ("mkv", "mp4v"), ("webm", "VP80"), ("avi", "MJPG")]
)
def test_two_frames_a_second_in_order(tmp_path: Path, suffix: str, codec: str) -> None:
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


def test_variable_frame_rate_keeps_true_times(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    data = clips.video(path, clips.greys(10))
    ticks = round(_timescale(data) / 10)
    duration, frames = read(clips.retimed(data, [ticks] * 5 + [ticks * 20] * 5))  # 5 × 0.1 s, 5 × 2 s
    assert duration >= 8.6  # the last frame's own length is guessed from the others'
    assert [f.time for f in frames][-5:] == pytest.approx([0.5, 2.5, 4.5, 6.5, 8.5], abs=0.01)


def _timescale(mp4: bytes) -> int:
    return int(struct.unpack_from(">I", mp4, mp4.index(b"mdhd") + 16)[0])


def test_rotation_metadata_is_followed(tmp_path: Path) -> None:
    data = clips.video(tmp_path / "clip.mp4", [clips.corner()] * 5)
    _, [frame, *_] = read(data)
    assert frame.image.shape == (48, 64, 3)
    _, [frame, *_] = read(clips.turned(data))
    assert frame.image.shape == (64, 48, 3)
    assert frame.image[5, -5, 0] > 200  # red is now at the upper right
    assert frame.image[5, 5, 0] < 50


def test_sample_aspect_ratio_is_followed(tmp_path: Path) -> None:
    data = clips.stretched(clips.video(tmp_path / "clip.mp4", [clips.corner()] * 5), 2, 1)
    assert read(data)[1][0].image.shape == (48, 128, 3)
    assert read(clips.turned(data))[1][0].image.shape == (128, 48, 3)


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
    ["#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{}'\n"],
)
def test_playlists_open_nothing(tmp_path: Path, playlist: str) -> None:
    clips.video(tmp_path / "other.mp4", clips.greys(5))
    listing = tmp_path / "clip.mp4"
    listing.write_text(playlist.format(tmp_path / "other.mp4"))
    with pytest.raises(NotAClip):
        read(listing)
    # Even under the first bytes of an MP4 file, the demuxer that is allowed is MP4's alone.
    disguised = b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + listing.read_bytes()
    with pytest.raises(DamagedClip):
        read(disguised)


def test_damaged_clips(tmp_path: Path) -> None:
    data = clips.video(tmp_path / "clip.mp4", clips.greys(30))
    for damaged in (
        data[: len(data) // 2],
        data[:40],
        b"\x1a\x45\xdf\xa3" + bytes(100),
        b"RIFF\0\0\0\0AVI " + bytes(50),
    ):
        with pytest.raises(DamagedClip):
            read(damaged)


def test_limits_hold(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    clips.video(path, clips.greys(60))
    with pytest.raises(ClipTooLarge):
        read(path, ClipLimits(bytes=1000))
    with pytest.raises(ClipTooLarge):
        read(path, ClipLimits(pixels=3000))
    with pytest.raises(ClipTooLong):
        read(path, ClipLimits(seconds=5.9))
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


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "avi", "gif", "webp", "png", "avif"])
def test_flipped_bits_raise_nothing_but_media_errors(tmp_path: Path, suffix: str) -> None:
    if suffix in ("mp4", "mkv", "avi"):
        data = clips.video(tmp_path / f"clip.{suffix}", clips.greys(12))
    else:
        data = clips.animation([Image.fromarray(f) for f in clips.greys(6)], [300] * 6, suffix.upper())
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(40):
        damaged = bytearray(data)
        for at in rng.integers(0, len(data), 6):
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


def test_withoutopencv_a_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = clips.video(tmp_path / "clip.mp4", clips.greys(5))
    importing = builtins.__import__

    def fail(name: str, *rest: Any) -> Any:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")
        return importing(name, *rest)

    opencv.cache_clear()
    monkeypatch.setattr(builtins, "__import__", fail)
    with pytest.raises(ClipsUnavailable, match=r"libgl1 libglib2\.0-0 libxcb1"):
        read(data)
    assert read(clips.animation([Image.fromarray(f) for f in clips.greys(3)], [500] * 3))[1]  # needs no OpenCV


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
