import io

import numpy as np
import pytest
from PIL import Image

from model.drawing.heatmap import SIDE, draw_sheet
from model.media.images import encode_jpeg
from model.words import placed
from tests.support.attention_maps import maps


@pytest.mark.parametrize("size", [(640, 480), (480, 640), (1, 1), (20_000, 10), (10, 20_000), (300, 300)])
@pytest.mark.parametrize("words", [1, 4, 12, 20])
def test_any_picture_and_caption_fit_a_sheet_that_telegram_takes(size: tuple[int, int], words: int) -> None:
    sheet = draw_sheet(Image.new("RGB", size, "teal"), ["elephants"] * words, maps(*[(1, 1)] * words))
    assert max(sheet.size) <= SIDE
    assert max(sheet.size) / min(sheet.size) <= 20
    assert max(sheet.size) > 0.9 * SIDE  # and it uses the room
    assert Image.open(io.BytesIO(encode_jpeg(sheet))).size == sheet.size


def test_the_light_lies_where_the_map_says() -> None:
    """On a black photo, the brightest spot of a word's tile is at its map's peak."""
    photo = Image.new("RGB", (400, 200), "black")
    sheet = np.asarray(draw_sheet(photo, ["left"], maps((0, 0))).convert("L"), dtype=int)
    other = np.asarray(draw_sheet(photo, ["left"], maps((7, 7))).convert("L"), dtype=int)
    rows, columns = np.nonzero(sheet - other > 60)
    far_rows, far_columns = np.nonzero(other - sheet > 60)
    assert len(rows) > 100
    assert rows.mean() < far_rows.mean()
    assert columns.mean() < far_columns.mean()
    # An eighth of a 2:1 photo is twice as wide as it is high, on the sheet too: the map is stretched over the photo.
    wide, high = np.ptp(columns), np.ptp(rows)
    assert 1.5 < wide / high < 2.6


def test_words_share_one_scale() -> None:
    """A weak look is drawn pale beside a strong one, and alone it is drawn in full, with its own figure."""
    photo = Image.new("RGB", (200, 200), "black")
    strong = maps((4, 4), height=0.9)
    weak = maps((4, 4), height=0.1)

    def brightest_tile_contrast(first: object) -> float:
        alone = np.asarray(draw_sheet(photo, ["x", "y"], np.concatenate([weak, first])).convert("L"), dtype=float)
        third = alone.shape[1] // 2
        height = alone.shape[0]
        cell = alone[int(height * 0.12) : int(height * 0.42), third + 40 : -40]  # the first word's tile
        return float(cell.max())

    assert brightest_tile_contrast(weak) > 2 * brightest_tile_contrast(strong)


def test_words_without_a_place_have_no_tile() -> None:
    """A sheet of a caption is that of its things and colours, what is done last, at most five."""
    photo = Image.new("RGB", (300, 200), "teal")
    words = "two brown dogs are running through the tall green grass".split()  # noqa: SIM905
    places = maps(*[(row % 8, row % 5) for row in range(len(words))])
    shown = [words.index(word) for word in ("brown", "dogs", "tall", "green", "grass")]
    assert placed(words, 7) == [*shown, words.index("two"), words.index("running")]
    expected = draw_sheet(photo, [words[i] for i in shown], places[shown])
    assert np.array_equal(np.asarray(draw_sheet(photo, words, places)), np.asarray(expected))
    assert draw_sheet(photo, ["a", "the"], maps((0, 0), (1, 1))).size == draw_sheet(photo, ["x", "y"], places[:2]).size


def test_words_and_maps_must_agree() -> None:
    with pytest.raises(ValueError, match="2 words, but 1 maps"):
        draw_sheet(Image.new("RGB", (9, 9)), ["a", "b"], maps((0, 0)))


def test_titles_have_no_commas_and_little_russian_words_have_no_tile() -> None:
    photo = Image.new("RGB", (64, 64), "teal")
    attention = np.full((4, 2, 2), 0.25, np.float32)
    with_comma, without = (draw_sheet(photo, ["кошка,", "на", word, "диване"], attention[:4]) for word in ("и,", "что"))
    assert placed(["кошка,", "на", "и,", "диване"], 5) == [0, 3]
    assert with_comma.tobytes() == without.tobytes() == draw_sheet(photo, ["кошка", "диване"], attention[:2]).tobytes()
