"""Which frames of a clip are its moments. Scenes here are random directions, frames lie closely around them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageFilter

from model.novelty import FrameFeatures, Look, Tuning, farthest_points, find_moments, look

SHARP = 30.0


def clip(
    scenes: Sequence[int], *, noise: float = 0.004, step: float = 0.5, looks: dict[int, Look] | None = None
) -> FrameFeatures:
    """Frame i shows scene scenes[i]; scene -1 is like nothing else. Pictures of a scene look alike, too."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(max(scenes) + 1, 200))
    vision = np.stack([centres[s] if s >= 0 else rng.normal(size=200) for s in scenes])
    vision += noise * 200**0.5 * rng.normal(size=vision.shape)
    return FrameFeatures(
        times=[step * i for i in range(len(scenes))],
        vision=vision.astype(np.float32),
        looks=[(looks or {}).get(i) or picture(s if s >= 0 else 50 + i) for i, s in enumerate(scenes)],
    )


def picture(seed: int, sharpness: float = SHARP, brightness: float = 120.0, contrast: float = 50.0) -> Look:
    thumbnail = np.random.default_rng(seed).uniform(0, 255, (12, 16, 3)).astype(np.float32)
    return Look(brightness, contrast, sharpness, 0.0, thumbnail)


def test_each_scene_gets_one_moment_even_when_it_returns() -> None:
    scenes = [0] * 10 + [1] * 3 + [0] * 6 + [2] * 2 + [3] * 20
    novelty = find_moments(clip(scenes))
    assert sorted(scenes[i] for i in novelty.chosen) == [0, 1, 2, 3]
    assert list(novelty.chosen) == sorted(novelty.chosen)
    assert not novelty.still


def test_a_still_clip_has_one_moment_and_says_so() -> None:
    novelty = find_moments(clip([0] * 30))
    assert len(novelty.chosen) == 1
    assert novelty.still
    assert novelty.variedness < 0.05
    one_frame = find_moments(clip([0]))
    assert one_frame.chosen == (0,)
    assert one_frame.still


def test_variedness_grows_with_the_scenes() -> None:
    variedness = [find_moments(clip([i * n // 24 for i in range(24)])).variedness for n in (1, 2, 4, 8)]
    assert variedness == sorted(variedness)
    assert variedness[-1] > 0.8


def test_scores_are_high_where_a_clip_is_unlike_the_rest_of_it() -> None:
    scores = find_moments(clip([0] * 20 + [1] * 4)).scores
    assert scores.min() >= 0
    assert scores.max() <= 1
    assert scores[20:].min() > 2 * scores[:20].max()


def between(way: Sequence[float], levels: float) -> FrameFeatures:
    """way: where each frame is from one picture to one that is nearly the threshold, and so many levels, away."""
    angles = np.array(way) * 0.95 * Tuning().threshold
    vision = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    looks = [Look(120.0, 50.0, SHARP, 0.0, np.full((12, 16, 3), 100 + levels * at, np.float32)) for at in way]
    return FrameFeatures([0.5 * i for i in range(len(way))], vision, looks)


@pytest.mark.parametrize(
    ("way", "moments"),
    [
        pytest.param([0.0] * 6 + [1.0] * 6, 2, id="a cut"),
        pytest.param([0.0] * 4 + [1.0] * 4 + [0.0] * 4, 2, id="a scene that comes back"),
        pytest.param([0.0] * 4 + [1.0] * 4 + [0.05] * 4 + [0.95] * 4, 2, id="both come back"),
        pytest.param(np.linspace(0, 1, 12).tolist(), 1, id="a pan"),
        pytest.param([0.0] * 6 + [1.0] + [0.0] * 6, 1, id="one frame"),
        pytest.param([0.0] * 5 + [0.5] * 5, 1, id="a cut to nearly the same"),
        pytest.param([0.0, 0.4, 0.0, 0.4, 1.3, 1.0, 1.3, 1.0], 1, id="as much changes within the shots"),
    ],
)
def test_a_cut_tells_scenes_apart_that_look_alike(way: Sequence[float], moments: int) -> None:
    found = find_moments(between(way, levels=40.0))
    assert len(found.chosen) == moments
    assert len({round(way[i]) for i in found.chosen}) == moments


def test_a_keyframe_that_sharpens_the_picture_is_no_cut() -> None:
    assert len(find_moments(between([0.0] * 6 + [1.0] * 6, levels=2.0)).chosen) == 1


def test_never_more_than_ten_unless_asked() -> None:
    features = clip([i // 2 for i in range(40)])
    assert len(find_moments(features).chosen) == 10
    assert len(find_moments(features, count=15).chosen) == 15
    assert len(find_moments(features, count=99).chosen) <= 40


def test_a_count_is_kept_to_even_where_little_changes() -> None:
    novelty = find_moments(clip([0] * 12), count=3)
    assert len(novelty.chosen) == 3
    assert novelty.still


@pytest.mark.parametrize("fault", [{"brightness": 3.0, "contrast": 2.0}, {"contrast": 8.0}, {"sharpness": 3.0}])
@pytest.mark.parametrize("place", [0, 7, 8, 15])
def test_dark_flat_and_blurred_frames_are_no_moments(fault: dict[str, float], place: int) -> None:
    scenes = [0] * 8 + [1] * 8
    scenes[place] = -1
    novelty = find_moments(clip(scenes, looks={place: picture(99, **fault)}))
    assert not novelty.usable[place]
    assert novelty.scores[place] == 0
    assert [scenes[i] for i in novelty.chosen] == [0, 1]


@pytest.mark.parametrize(("contrast", "frames", "moments"), [(10.0, 4, 2), (10.0, 1, 1), (2.0, 4, 1)])
def test_a_dim_shot_that_lasts_is_a_scene_but_black_is_none(contrast: float, frames: int, moments: int) -> None:
    dim = picture(1, sharpness=SHARP * contrast / 50, brightness=12.0, contrast=contrast)
    scenes = [0] * 8 + [1] * frames
    novelty = find_moments(clip(scenes, looks=dict.fromkeys(range(8, 8 + frames), dim)))
    assert len(novelty.chosen) == moments


def test_a_frame_that_interrupts_a_scene_is_no_moment_but_a_short_shot_of_a_long_clip_is() -> None:
    scenes = [0] * 6 + [-1] + [0] * 6
    assert len(find_moments(clip(scenes)).chosen) == 1
    assert 6 in find_moments(clip(scenes, step=2.5)).chosen


def test_dissolves_are_no_moments() -> None:
    before, after = picture(0).thumbnail, picture(1).thumbnail
    scenes = [0] * 6 + [-1] + [1] * 6
    mixed = Look(120, 40, SHARP, 0.0, 0.4 * before + 0.6 * after)
    assert [scenes[i] for i in find_moments(clip(scenes, looks={6: mixed})).chosen] == [0, 1]
    assert len(find_moments(clip(scenes)).chosen) == 3  # a picture of its own is a shot


def test_what_a_decoder_made_up_is_no_moment_but_blinds_are() -> None:
    scenes = [0] * 8 + [1] * 3 + [0] * 8
    broken = {i: Look(120, 50, SHARP, 0.2, picture(1).thumbnail) for i in (8, 9, 10)}
    assert [scenes[i] for i in find_moments(clip(scenes, looks=broken)).chosen] == [0]
    cut_to = [0] * 8 + [1] * 3 + [2] * 8
    assert {cut_to[i] for i in find_moments(clip(cut_to, looks=broken)).chosen} == {0, 1, 2}


def test_where_nothing_is_good_something_is_shown() -> None:
    dark = picture(0, brightness=2.0, contrast=1.0)
    novelty = find_moments(clip([0] * 5, looks=dict.fromkeys(range(5), dark)))
    assert len(novelty.chosen) == 1


def test_among_equals_the_sharpest_is_shown() -> None:
    looks = {i: picture(0, sharpness=20.0 + (i == 4)) for i in range(9)}
    features = clip([0] * 9, noise=0.0, looks=looks)
    assert find_moments(features).chosen == (4,)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        find_moments(clip([0]), count=0)
    with pytest.raises(ValueError, match="0 frames"):
        find_moments(FrameFeatures([], np.empty((0, 4), np.float32), []))


def test_farthest_points_leave_nothing_far_away() -> None:
    points = np.random.default_rng(1).uniform(size=(200, 2))
    apart = np.linalg.norm(points[:, None] - points[None], axis=2).astype(np.float32)
    taken = farthest_points(apart, 200, 0.2)
    assert apart[:, taken].min(axis=1).max() < 0.2
    inner = apart[np.ix_(taken, taken)]
    assert inner[~np.eye(len(taken), dtype=bool)].min() >= 0.2


def pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    return np.asarray(image.convert("RGB"))


def test_looks_tell_blur_and_darkness(photos: list[Image.Image]) -> None:
    for photo in photos:
        image = photo.resize((640, 480))
        sharp = look(pixels(image))
        assert look(pixels(image.filter(ImageFilter.GaussianBlur(12)))).sharpness < 0.25 * sharp.sharpness
        assert look(pixels(image.point(lambda v: v * 0.05))).brightness < 16
        assert look(pixels(Image.blend(image, Image.new("RGB", image.size, "white"), 0.9))).contrast < 14
        larger = look(pixels(photo.resize((1280, 960))))
        assert larger.sharpness == pytest.approx(sharp.sharpness, rel=0.5)
        assert larger.brightness == pytest.approx(sharp.brightness, rel=0.05)


def test_looks_tell_streaks() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)
    assert look(noise).streaks == 0
    assert look(np.repeat(noise[:1], 480, axis=0)).streaks > 0.9


@pytest.mark.parametrize("size", [(719, 1279), (1023, 40), (7, 1023)])
def test_looks_of_white_frames_are_white(size: tuple[int, int]) -> None:
    seen = look(np.full((*size, 3), 255, np.uint8))
    assert (seen.brightness, seen.contrast, seen.thumbnail.min(), seen.thumbnail.max()) == (255, 0, 255, 255)


def test_looks_are_means_of_blocks() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (480, 640, 3), dtype=np.uint8)
    assert look(noise).thumbnail == pytest.approx(noise.reshape(12, 40, 16, 40, 3).mean((1, 3)), rel=1e-5)
    assert look(noise).brightness == pytest.approx((noise @ (0.25, 0.5, 0.25)).mean(), rel=1e-5)


def test_looks_of_tiny_frames() -> None:
    for size in ((1, 1), (2, 3), (1, 500)):
        assert look(np.full((*size, 3), 7, np.uint8)).brightness == pytest.approx(7)
