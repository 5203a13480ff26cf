"""Captions, and how the network came to them. Free of torch."""

import math
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from model.calibration import Logistic
from model.doubt import NotPhoto, english, is_unsure
from model.words import first_phrase

LIKELY: Final = 0.5  # geometric mean from which an unsure caption's beginning was right more often than wrong, on val
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

    @property
    def beginning(self) -> tuple[str, ...]:
        """Of a doubtful caption the first phrase, if that is a better bet; else empty.

        It is one when it is likely: the geometric mean of its word probabilities is LIKELY or more.
        """
        end = first_phrase(self.words)
        if end == len(self.words) or not is_unsure(self.confidence):
            return ()
        return self.words[:end] if math.exp(float(self.log_probs[:end].mean())) >= LIKELY else ()


@dataclass(frozen=True)
class NearWords:
    """A word, and those that the decoder's embedding puts beside it."""

    word: str
    embedding: npt.NDArray[np.float32]  # (E,)
    nearest: tuple[tuple[str, float], ...]  # with their cosine similarity in [-1, 1], the nearest first


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

    @property
    def headline(self) -> str:
        """What is said first, in English: hedged where it is doubtful; of what is no photo, what it looks like."""
        if self.not_photo is not None:
            return english(self.not_photo)
        said = " ".join(self.main.beginning) or self.main.text
        return f"perhaps: {said}" if is_unsure(self.main.confidence) else said

    def with_steps(self, steps: tuple[Step, ...]) -> Self:
        """The same, with the steps of the main caption."""
        main = replace(self.main, steps=steps)
        return replace(self, greedy=main) if self.best is None else replace(self, best=main)
