"""Captions, and how the network came to them. Free of torch."""

import math
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from model.calibration import Logistic

ALIGNED: Final = 0.25  # the least share of a word's alignment with an English word that it comes from
END_OF_CAPTION: Final = ""  # stands for <end> among the words of a `Step`


@dataclass(frozen=True)
class Step:
    """The probabilities at one word of a caption. They are the network's own, in [0, 1].

    They are those before temperature, filters and blocking: the chosen word need not be the likeliest.
    """

    word: str  # that was said; END_OF_CAPTION after the last one
    probability: float
    likeliest: tuple[tuple[str, float], ...]  # words and their probabilities, the likeliest first


@dataclass(frozen=True)
class Caption:
    """A caption and how the network came to it."""

    words: tuple[str, ...]
    log_probs: npt.NDArray[np.float32]  # (words,), natural logarithms
    attention: npt.NDArray[np.float32] | None  # (words, rows, columns), each map summing to 1; None: baseline
    calibrated: Logistic | None = None  # None: a checkpoint without calibration
    steps: tuple[Step, ...] = ()  # of an explained caption (`Captioner.explain`): one for each word, and for its end

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def geometric_mean(self) -> float:
        """The geometric mean of the word probabilities, in [0, 1]."""
        return math.exp(float(self.log_probs.mean())) if len(self.words) else 0.0

    @property
    def confidence(self) -> float:
        """The estimated probability that the caption is right (`model.calibration`), in [0, 1].

        Where the checkpoint was not calibrated, the geometric mean of the word probabilities.
        """
        if self.calibrated is None or not len(self.words):
            return self.geometric_mean
        return self.calibrated(float(self.log_probs.mean()), len(self.words))


@dataclass(frozen=True)
class NotPhoto:
    """A picture that is probably no photo of anything."""

    kind: str  # what it looks like: blank, drawing, noise, screen or text
    probability: float  # that it is no photo, in [0, 1]


@dataclass(frozen=True)
class CaptionSet:
    """The captions of one image. `best` is the beam's, where a beam was asked for.

    not_photo: what the image is instead, where the gate (`model.gate`) takes it for no photo; its captions are
    inventions then.
    """

    greedy: Caption
    samples: tuple[Caption, ...]
    best: Caption | None = None
    not_photo: NotPhoto | None = None

    @property
    def main(self) -> Caption:
        """The one to show first: the beam's where there is one, else the greedy one."""
        return self.greedy if self.best is None else self.best

    def with_steps(self, steps: tuple[Step, ...]) -> Self:
        """The same, with the steps of the main caption."""
        main = replace(self.main, steps=steps)
        return replace(self, greedy=main) if self.best is None else replace(self, best=main)


@dataclass(frozen=True)
class Translation:
    """A caption in another language."""

    plain: str  # as it was found: lower case, plain spaces
    text: str  # as it is shown
    probability: float  # geometric mean of the piece probabilities, in [0, 1]
    failed: tuple[str, ...]  # the checks that failed, such as "colour: red"
    words: tuple[str, ...]
    alignment: npt.NDArray[np.float32]  # (words, English words), each row summing to 1

    @property
    def aligned(self) -> tuple[tuple[int, ...], ...]:
        """For each word, the places of the English words that it comes from, at least one."""
        least = np.minimum(ALIGNED, self.alignment.max(axis=1, keepdims=True, initial=0.0))
        return tuple(tuple(np.flatnonzero(row).tolist()) for row in self.alignment >= least)

    def words_from(self, place: int) -> str:
        """The words that come from the English word at this place, as text."""
        return " ".join(word for word, places in zip(self.words, self.aligned, strict=True) if place in places)

    def attention(self, maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Where the captioner looked for these words, (words, rows, columns), each map summing to 1.

        maps: (English words, rows, columns). Each word has the maps of the English words, as it is aligned with them.
        """
        looked: npt.NDArray[np.float32] = np.tensordot(self.alignment, maps, axes=1)
        return looked

    @property
    def passed(self) -> bool:
        """Whether it may be shown in place of the English caption."""
        return bool(self.words) and not self.failed
