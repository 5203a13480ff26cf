"""From a clip to its moments with the shipped model."""

import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.captioner import Captioner
from model.clip_moments import _ahead, describe, find_clip_moments, prepare, watch
from model.errors import DamagedClip
from model.media.clips import Frame, open_clip
from tests.conftest import PHOTOS
from tests.support import clips


@pytest.fixture(scope="module")
def two_scenes() -> bytes:
    """Two photos, two seconds each."""
    frames = [
        Image.open(PHOTOS / f"{name}.jpg").convert("RGB").resize((320, 240))
        for name in ("cat", "rocket")
        for _ in range(3)
    ]
    return clips.animation(frames, [667] * 6, "WEBP", quality=80, allow_mixed=False, minimize_size=False)


def test_a_clip_of_two_scenes_has_two_moments(captioner: Captioner, two_scenes: bytes) -> None:
    heard: list[tuple[int, int]] = []
    clip = watch(captioner, two_scenes, batch=2, progress=lambda done, of: heard.append((done, of)))
    assert clip.duration == pytest.approx(4.0, abs=0.1)
    assert [moment.time < 2 for moment in clip.moments] == [True, False]
    assert not clip.still
    assert 0.2 < clip.variedness < 0.8
    assert heard[-1] == (len(clip.frames), len(clip.frames))
    first, last = clip.moments
    assert first.text != last.text
    assert first.image().size == (320, 240)
    assert max(first.image(80).size) == 80
    assert len(first.jpeg) < 100_000


def test_the_steps_apart_give_the_same(captioner: Captioner, two_scenes: bytes) -> None:
    whole = watch(captioner, two_scenes)
    with open_clip(two_scenes) as clip:
        prepared = list(prepare(clip, captioner.encoder.config.image_size))
    described = describe(captioner, prepared)
    apart = find_clip_moments(described, whole.duration)
    assert [moment.time for moment in apart.moments] == [moment.time for moment in whole.moments]
    assert [frame.text for frame in apart.frames] == [frame.text for frame in whole.frames]
    assert describe(captioner, []) == []


def test_prepared_frames_are_their_own(tmp_path: Path) -> None:
    """Whatever their size, and that of the frame before."""
    rng = np.random.default_rng(0)
    shapes = [(48, 64), (48, 64), (33, 85), (1, 3), (48, 64)]
    frames = [Frame(i, np.full((*shape, 3), rng.integers(0, 255, 3), np.uint8)) for i, shape in enumerate(shapes)]
    with open_clip(clips.video(tmp_path / "clip.mp4", clips.greys(8, (170, 94)), codec="libx264")) as clip:
        frames += clip
    for frame, prepared in zip(frames, prepare(frames, 32), strict=True):
        assert np.abs(np.asarray(Image.open(io.BytesIO(prepared.jpeg))).astype(int) - frame.image).max() <= 6
        assert np.abs(prepared.square.mean((0, 1)) - frame.image.mean((0, 1))).max() <= 2
        assert prepared.look.thumbnail.mean() == pytest.approx(frame.image.mean(), abs=1)


def test_what_goes_wrong_while_decoding_is_raised(captioner: Captioner, tmp_path: Path) -> None:
    clip = bytearray(clips.video(tmp_path / "clip.avi", clips.greys(4), codec="MJPG"))
    movie = clip.index(b"movi")
    for at in [match.start() for match in re.finditer(rb"00dc", clip) if match.start() > movie][:4]:
        size = int.from_bytes(clip[at + 4 : at + 8], "little")
        clip[at + 8 : at + 8 + size] = bytes(size)
    with pytest.raises(DamagedClip):
        watch(captioner, bytes(clip))


def test_items_made_ahead_end_with_their_reader() -> None:
    made: list[int] = []

    def count() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    before = threading.active_count()
    assert list(_ahead(range(50), 2)) == list(range(50))
    ahead = _ahead(count(), 3)
    assert [next(ahead), next(ahead)] == [0, 1]
    ahead.close()
    assert len(made) <= 8  # not all of them
    assert threading.active_count() == before

    def fail() -> Iterator[int]:
        yield 1
        raise DamagedClip("broken")

    with pytest.raises(DamagedClip):
        list(_ahead(fail(), 3))
