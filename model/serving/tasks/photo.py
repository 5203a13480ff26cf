"""Caption a photo: captions, heatmap sheet, chart of weighed words."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from model.doubt import NotPhoto
from model.drawing.labels import ENGLISH, Labels
from model.found import Vector
from model.serving.tasks.base import CaptionOptions, Findings, Picture, Result, Tools, WireTranslation
from model.serving.tasks.looking import LookingTask

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

    from model.captions import Caption, Step, Translation


@dataclass(frozen=True)
class WireMaps:
    """Attention as it travels: an answer has thousands of these figures, which are slow as JSON."""

    shape: tuple[int, int, int]  # (words, rows, columns)
    shares: bytes  # float64, little-endian; rounded to millionths, so that they are short as text

    @classmethod
    def of(cls, maps: npt.NDArray[np.float32]) -> WireMaps:
        """maps: (words, rows, columns)."""
        words, rows, columns = maps.shape
        return cls((words, rows, columns), maps.astype("<f8").round(6).tobytes())

    def as_lists(self) -> list[list[list[float]]]:
        """(words, rows, columns), each map summing to 1. Nothing else of an answer costs a web process as much."""
        maps: Any = memoryview(self.shares).cast("d", self.shape).tolist()
        found: list[list[list[float]]] = maps
        return found


@dataclass(frozen=True)
class WireCaption:
    text: str
    confidence: float  # estimated probability that it is right, in [0, 1]
    beginning: str = ""  # where the end is not believed: the words before it
    # Only where `PhotoTask.details` asks for them:
    words: tuple[str, ...] = ()
    log_probs: tuple[float, ...] = ()  # (words,), natural logarithms
    attention: WireMaps | None = None
    translation: WireTranslation | None = None  # where `PhotoTask.language` asks for it
    translated_beginning: WireTranslation | None = None  # likewise, of `beginning`


@dataclass(frozen=True)
class WeighedWord:
    """One step of a caption that was explained."""

    word: str  # that was said; empty: the caption ends
    probability: float  # in [0, 1]
    others: tuple[tuple[str, float], ...]  # the likeliest other words, the likeliest first
    translated: str = ""  # the words of the caption's translation that come from it, where `language` asks for it


@dataclass(frozen=True)
class PhotoResult(Result):
    """The captions of one picture, and its heatmap sheet as a JPEG file, where one was drawn.

    Of a task that explains a caption, that one is `greedy`, and there are no others. The captions of what is no photo
    are inventions, and no sheet is drawn of them.
    """

    greedy: WireCaption
    samples: tuple[WireCaption, ...]
    sheet: bytes | None = None  # of the main caption
    best: WireCaption | None = None  # the beam's, where one was asked for
    chart: bytes | None = None  # a PNG file, where one was asked for
    weighed: tuple[WeighedWord, ...] = ()  # what is on the chart
    other: WireCaption | None = None  # the other model's main caption, where it was asked for
    not_photo: NotPhoto | None = None  # what the picture looks like, where it is probably no photo
    vector: Vector | None = None  # of a photo, where one was asked for

    @property
    def main(self) -> WireCaption:
        """The caption to show first."""
        return self.best or self.greedy


@dataclass(frozen=True)
class PhotoTask(CaptionOptions, LookingTask):
    NAME: ClassVar[str] = "photo"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = PhotoResult

    sheet: bool = True  # draw the heatmap sheet (where the model has attention) of the main or the explained caption
    labels: Labels = ENGLISH  # what is written on drawn pictures
    details: bool = False  # the captions with their words, log-probabilities and attention

    async def work(self, media: bytes, tools: Tools) -> PhotoResult:
        """Raises FeaturesGone when neither the picture nor its features are there."""
        features = self.kept(media, tools)
        square = photo = None
        if features is None or (self.sheet and media):
            began = time.monotonic()
            size = tools.models.image_size
            square, photo = await tools.pixels(lambda: _open(media, size if features is None else None))
            tools.metrics.decode.labels(self.NAME).observe(time.monotonic() - began)
        found = await tools.caption(Picture(self, square, features, bool(self.picture), tools.job_id))
        if found.features is not None:
            tools.cache.keep_features(tools.place, self.picture, found.features, tools.put)
        began = time.monotonic()
        result = await tools.pixels(lambda: compose(self, photo, found, tools.models.sheet))
        if result.sheet is not None:
            tools.metrics.draw.observe(time.monotonic() - began)
        return result


def _open(media: bytes, size: int | None) -> tuple[npt.NDArray[np.uint8] | None, Image.Image]:
    """The picture as a square for the encoder, (size, size, 3), where `size` is given, and the picture."""
    from model.media.images import WORKING_SIDE, open_photo
    from model.network.encoder import to_square

    photo = open_photo(media)
    square = None if size is None else to_square(photo, size)
    photo.thumbnail((WORKING_SIDE, WORKING_SIDE))  # it is kept until it is drawn, and many are
    return square, photo


def compose(
    task: PhotoTask, photo: Image.Image | None, found: Findings, sheet_file: Callable[..., bytes]
) -> PhotoResult:
    """The answer: captions, the chart where one is asked for, the sheet where the model looks at regions and the
    photo is there, and is one. sheet_file: `Network.sheet`.
    """
    from model.drawing.style import encode_png
    from model.drawing.word_chart import draw_chart

    sheet = chart = None
    captions, main = found.captions, found.captions.main
    wire = partial(_wire, translations=found.translations, details=task.details)
    translation = found.translations.get(main.text)
    weighed = _weighed(main, translation) if task.chart else ()
    if task.chart:
        chart = encode_png(draw_chart(main.steps, task.labels, [step.translated for step in weighed]))
    if task.sheet and photo is not None and main.attention is not None and captions.not_photo is None:
        words, attention = main.words, main.attention
        if translation is not None and translation.passed:
            words, attention = translation.words, translation.attention(attention)
        sheet = sheet_file(photo, words, attention, task.labels)
    return PhotoResult(
        greedy=wire(captions.greedy),
        samples=tuple(map(wire, captions.samples)),
        sheet=sheet,
        best=None if captions.best is None else wire(captions.best),
        chart=chart,
        weighed=weighed,
        other=None if found.other is None else wire(found.other),
        not_photo=None if captions.not_photo is None else _rounded_off(captions.not_photo),
        vector=found.vector if captions.not_photo is None else None,
    )


def _rounded_off(found: NotPhoto) -> NotPhoto:
    return replace(found, probability=round(found.probability, 4))


def _wire(caption: Caption, translations: Mapping[str, Translation], details: bool) -> WireCaption:
    beginning, translation = " ".join(caption.beginning), translations.get(caption.text)
    short = WireCaption(
        caption.text,
        round(caption.confidence, 4),
        beginning,
        translation=WireTranslation.of(translation),
        translated_beginning=WireTranslation.of(
            translation.of_beginning(caption) if beginning and translation is not None else None
        ),
    )
    if not details:
        return short
    attention = caption.attention
    return replace(
        short,
        words=caption.words,
        log_probs=tuple(round(each, 6) for each in caption.log_probs.tolist()),
        attention=None if attention is None else WireMaps.of(attention),
    )


def _weighed(caption: Caption, translation: Translation | None) -> tuple[WeighedWord, ...]:
    translated = [] if translation is None or not translation.passed else translation.words_from(caption.words)
    translated += [""] * (len(caption.steps) - len(translated))
    return tuple(map(_weighed_word, caption.steps, translated))


def _weighed_word(step: Step, translated: str) -> WeighedWord:
    """Not rounded, so that the same figures are on the chart and below it."""
    others = ((word, p) for word, p in step.likeliest if word != step.word)
    return WeighedWord(step.word, step.probability, tuple(others), translated)
