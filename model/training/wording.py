"""What captions say without looking at references: their faults, their length, and the variety of sampled ones."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from model.decoding.blocking import ends_badly, repeats

Words = Sequence[str]


@dataclass(frozen=True)
class Faults:
    """Over all captions given."""

    words: float  # mean length
    bad_endings: float  # share, see `model.decoding.blocking.ends_badly`
    repeats: float  # share, see `model.decoding.blocking.repeats`
    novel: float | None  # share that is no training caption, word for word; None: not known

    @classmethod
    def of(cls, captions: Sequence[Words], training: Collection[str] | None = None) -> Faults:
        """training: the training captions' words, joined by spaces. Raises ValueError for no captions."""
        if not captions:
            raise ValueError("there are no captions")
        count = len(captions)
        return cls(
            words=sum(map(len, captions)) / count,
            bad_endings=sum(map(ends_badly, captions)) / count,
            repeats=sum(map(repeats, captions)) / count,
            novel=None if training is None else sum(" ".join(words) not in training for words in captions) / count,
        )


@dataclass(frozen=True)
class Variety:
    """Of the captions of one image, the mean over images."""

    distinct: float  # different captions
    div_2: float  # different bigrams by words (Shetty et al., 2017)
    mbleu_4: float  # BLEU-4 of each caption against the image's others (Wang and Chan, 2019); low is varied

    @classmethod
    def of(cls, images: Sequence[Sequence[Words]]) -> Variety:
        """Raises ValueError for no images, or fewer than two captions of one."""
        if not images or min(map(len, images)) < 2:
            raise ValueError("variety is of two captions an image, or more")
        return cls(
            distinct=sum(len(set(map(tuple, captions))) for captions in images) / len(images),
            div_2=sum(map(_div_2, images)) / len(images),
            mbleu_4=sum(map(_mutual_bleu, images)) / len(images),
        )


def _ngrams(words: Words, n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def _div_2(captions: Sequence[Words]) -> float:
    return len(set().union(*(_ngrams(words, 2) for words in captions))) / max(1, sum(map(len, captions)))


def _mutual_bleu(captions: Sequence[Words]) -> float:
    others = ([*captions[:i], *captions[i + 1 :]] for i in range(len(captions)))
    return sum(map(_bleu_4, captions, others)) / len(captions)


def _bleu_4(caption: Words, references: Sequence[Words]) -> float:
    """BLEU-4 of one caption (Papineni et al., 2002), 0 where an order has no match."""
    logarithms = 0.0
    for n in range(1, 5):
        found = _ngrams(caption, n)
        most: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            most |= _ngrams(reference, n)
        matches = (found & most).total()
        if not matches:
            return 0.0
        logarithms += math.log(matches / found.total()) / 4
    closest = min((abs(len(r) - len(caption)), len(r)) for r in references)[1]
    return math.exp(logarithms + min(0.0, 1 - closest / len(caption)))
