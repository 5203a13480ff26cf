"""Captions, and how the network came to them. Free of torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import numpy.typing as npt

from model.calibration import Evidence, Logistic
from model.doubt import NotPhoto, english, is_unsure
from model.translation_checks import failures
from model.typography import typeset
from model.words import COLOURS, FUNCTION_WORDS, RUSSIAN_LITTLE, bare, phrase_ends

ALIGNED: Final = 0.25  # the least share of a word's alignment with an English word that it comes from
BELIEVED: Final = 0.4  # the least belief in a word at the end of a caption that is said
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
    attention: npt.NDArray[np.float32] | None  # (words, rows, columns): where each is; maps sum to 1; None: baseline
    calibrated: Logistic | None = None  # None: a checkpoint without calibration
    agreement: float = 0.0  # with what is expected of the photo (`model.consensus`); 0 where that is not known
    domain: float = 0.0  # how likely the photo is of another data set than the validation photos; likewise
    beliefs: tuple[float, ...] = ()  # of each word, the estimated probability that people say it; empty likewise
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
        return self.calibrated(*self.evidence)

    @property
    def evidence(self) -> Evidence:
        """What the calibration goes by; of a caption with words."""
        return float(self.log_probs.mean()), len(self.words), self.agreement, self.domain

    @property
    def beginning(self) -> tuple[str, ...]:
        """The words that are said first, where that is not all of them; empty where it is.

        The phrases at the end go that have a content word which is not BELIEVED. The first one always stays.
        """
        if not self.beliefs:
            return ()
        *ends, end = phrase_ends(self.words)
        while ends and any(
            belief < BELIEVED and word not in FUNCTION_WORDS
            for word, belief in zip(self.words[ends[-1] : end], self.beliefs[ends[-1] : end], strict=True)
        ):
            end = ends.pop()
        return self.words[:end] if end < len(self.words) else ()


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
        """What is said first, in English: hedged where it is unsure; of what is no photo, what it looks like."""
        if self.not_photo is not None:
            return english(self.not_photo)
        said = " ".join(self.main.beginning) or self.main.text
        return f"perhaps: {said}" if is_unsure(self.main.confidence) else said

    @property
    def texts(self) -> list[str]:
        """Of its captions."""
        return [each.text for each in (self.main, self.greedy, *self.samples) if each.text]

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

    def words_from(self, english: Sequence[str]) -> list[str]:
        """For each word of the caption, those that come from it, as text. english: the caption's words.

        Of several words that a preposition or the like may come from, it is given to those of its own kind.
        """
        found: list[list[str]] = [[] for _ in english]
        for word, places in zip(self.words, self.aligned, strict=True):
            alike = [place for place in places if bare(word) in RUSSIAN_LITTLE and english[place] in FUNCTION_WORDS]
            for place in alike or places:
                found[place].append(bare(word))
        return [" ".join(words) for words in found]

    def first_words(self, english: Sequence[str], count: int) -> Self:
        """The translation of the caption's first `count` words: the beginning of this one that comes from them.

        It has failed where there is none, as where the order of the words differs. A phrase translated by itself would
        often be wrong: the translator knows whole captions. english: the caption's words.
        """
        places = self.alignment.argmax(axis=1, keepdims=True) if self.words else np.zeros((0, 1), int)
        within = (places[:, 0] < count) & (self.alignment[:, :count].sum(axis=1) > 0.5)
        end = len(within) if within.all() else int(within.argmin())
        rest = {english[place] for place in places[end:, 0] if place < count}
        while end and self.words[end - 1] in RUSSIAN_LITTLE:
            end -= 1
        plain = " ".join(self.words[:end]).rstrip(",")
        covered = {english[place] for places in self.aligned[:end] for place in places}
        lost = (set(english[:count]) - covered | rest) - FUNCTION_WORDS - COLOURS  # those are checked below
        wrong = (*self.failed, *(f"beginning: {word}" for word in sorted(lost)), *failures(english[:count], plain))
        return replace(
            self,
            plain=plain,
            text=typeset(plain, like=self.text),
            failed=wrong,
            words=tuple(plain.split()),
            alignment=self.alignment[:end],
        )

    def of_beginning(self, caption: Caption) -> Self:
        """What is said first of a caption, of which this is the translation.

        That is all of it where the caption has no `beginning`, or the translation cannot be cut: better than none.
        """
        if not caption.beginning:
            return self
        cut = self.first_words(caption.words, len(caption.beginning))
        return cut if cut.passed or not self.passed else self

    def attention(self, maps: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Where these words are in the photo, (words, rows, columns), each map summing to 1.

        maps: (English words, rows, columns). Each word has the maps of the English words, as it is aligned with them.
        """
        looked: npt.NDArray[np.float32] = np.tensordot(self.alignment, maps, axes=1)
        return looked

    @property
    def passed(self) -> bool:
        """Whether it may be shown in place of the English caption."""
        return bool(self.words) and not self.failed
