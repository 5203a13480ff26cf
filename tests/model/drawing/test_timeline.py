"""The picture of a clip's moments over its novelty curve."""

import io

import numpy as np
import pytest
from PIL import Image

from model.clip_moments import Moment, Moments
from model.drawing.timeline import clock, draw_timeline
from model.media.images import encode_jpeg


def clip_of(size: tuple[int, int], chosen: list[int], frames: int = 20, duration: float = 10.0) -> Moments:
    out = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(out, "JPEG")
    return Moments(
        duration=duration,
        frames=tuple(
            Moment((i + 0.5) * duration / frames, "a dog", 0.5, i / frames, i in chosen, out.getvalue())
            for i in range(frames)
        ),
        variedness=0.5,
        still=len(chosen) == 1,
    )


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (400, 4), (4, 400), (1, 1)])
@pytest.mark.parametrize("count", [1, 2, 10])
@pytest.mark.parametrize("duration", [0.04, 9.0, 4000.0])
def test_every_timeline_can_be_sent_as_a_photo(size: tuple[int, int], count: int, duration: float) -> None:
    sheet = draw_timeline(clip_of(size, list(range(count)), duration=duration))
    assert sheet.mode == "RGB"
    assert max(sheet.size) <= 1280
    assert max(sheet.size) / min(sheet.size) <= 20
    assert len(encode_jpeg(sheet)) < 1_000_000


def test_the_moments_are_marked_where_they_lie() -> None:
    """Of two clips that differ only in what was chosen, the part below the pictures differs at those places."""
    early, late = (np.asarray(draw_timeline(clip_of((64, 48), [i]))).astype(int) for i in (2, 17))
    columns = np.abs(early[-150:-60] - late[-150:-60]).sum(axis=(0, 2)).nonzero()[0]
    width = early.shape[1]
    assert set((columns * 20 // width).tolist()) <= {1, 2, 3, 16, 17, 18}
    assert {2, 17} <= set((columns * 20 // width).tolist())


def test_one_frame_is_enough_and_none_is_not() -> None:
    draw_timeline(clip_of((64, 48), [0], frames=1))
    with pytest.raises(ValueError, match="without frames"):
        draw_timeline(Moments(0.0, (), 0.0, True))


def test_clock() -> None:
    assert [clock(t) for t in (0, 7, 59.9, 60, 754, 3605)] == ["0:00", "0:07", "0:59", "1:00", "12:34", "1:00:05"]
    assert clock(7.52, tenths=True) == "0:07.5"
