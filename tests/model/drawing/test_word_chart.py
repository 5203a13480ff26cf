import io

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from model.captioner import Captioner
from model.captions import END_OF_CAPTION, Step
from model.drawing.style import encode_png
from model.drawing.word_chart import HEIGHT, WIDTH, draw_chart

OTHERS = (("sleeping", 0.3), ("a", 0.2), ("on", 0.1), (END_OF_CAPTION, 0.05), ("motorcyclists", 0.01))


def step(word: str, probability: float, *, among: bool = True) -> Step:
    likeliest = ((word, probability), *OTHERS[:4]) if among else OTHERS
    return Step(word, probability, likeliest)


def orange(chart: Image.Image) -> npt.NDArray[np.intp]:
    """Where the words that were said are marked: (pixels, 2), rows and columns."""
    red, _, blue = np.moveaxis(np.asarray(chart, dtype=int), 2, 0)
    return np.argwhere(red - blue > 150)


@pytest.mark.parametrize("count", [1, 2, 9, 13, 21, 41, 120])
@pytest.mark.parametrize("word", ["a", "counterrevolutionarieswithtwohyphens"])
def test_any_caption_fits_a_picture_that_telegram_takes(count: int, word: str) -> None:
    chart = draw_chart([step(word, 0.5, among=False)] * count)
    assert chart.width <= WIDTH <= 1280
    assert chart.height <= HEIGHT <= 1280
    assert max(chart.size) / min(chart.size) <= 20
    assert max(chart.size) >= 280
    with Image.open(io.BytesIO(encode_png(chart))) as file:
        assert (file.format, file.size) == ("PNG", chart.size)


def test_translated_words_stand_in_the_titles_of_their_steps() -> None:
    steps = [step("said", 0.5)] * 3
    plain, translated = (np.asarray(draw_chart(steps, translated=words)) for words in ((), ["", "слово"]))
    changed = np.argwhere((plain != translated).any(axis=2))
    third = plain.shape[0] // 3
    assert third <= changed[:, 0].min()
    assert changed[:, 0].max() < 2 * third


def test_a_bar_is_as_long_as_its_word_is_likely() -> None:
    lengths = {}
    for probability in (0.25, 0.5, 1.0):
        columns, counts = np.unique(orange(draw_chart([step("said", probability)]))[:, 1], return_counts=True)
        bar = columns[(counts >= counts.max() - 1) & (columns > 100)]
        widest = max(np.split(bar, np.flatnonzero(np.diff(bar) > 1) + 1), key=len)
        lengths[probability] = len(widest)
    assert lengths[0.5] == pytest.approx(lengths[1.0] / 2, rel=0.1)
    assert lengths[0.25] == pytest.approx(lengths[1.0] / 4, rel=0.1)


def test_the_word_that_was_said_is_marked_also_where_it_was_unlikely() -> None:
    """In a line of its own below the likeliest ones, which makes its cell taller."""
    among, below = draw_chart([step("said", 0.4)]), draw_chart([step("said", 0.0001, among=False)])
    assert below.height > among.height
    assert orange(below)[:, 0].min() > orange(among)[:, 0].max()
    assert len(orange(draw_chart([step(END_OF_CAPTION, 0.0001, among=False)]))) > 20


def test_marks_stand_out_without_colour_vision() -> None:
    """By lightness: the bar of the word that was said is far lighter than the others'."""
    grey = np.asarray(draw_chart([step("said", 1.0)]).convert("L"), dtype=int)
    rows = orange(draw_chart([step("said", 1.0)]))[:, 0]
    said, others = grey[int(np.median(rows))], grey[int(np.median(rows)) + 40]
    assert np.median(said[said > 100]) - np.median(others[others > 100]) > 40


def test_no_steps_no_chart() -> None:
    with pytest.raises(ValueError, match="not explained"):
        draw_chart([])


def test_the_models_own_captions_are_charted(
    captioner: Captioner, baseline: Captioner, photos: list[Image.Image]
) -> None:
    features = captioner.encode(captioner.squares(photos[:2]))
    for model in (captioner, baseline):
        texts = [answer.greedy.text for answer in model.caption_features(features, samples=0)]
        for explained in model.explain(features, texts):
            assert len(encode_png(draw_chart(explained.steps))) < 200_000
