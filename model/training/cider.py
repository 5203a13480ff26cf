"""CIDEr-D (Vedantam et al., CVPR 2015) as a reward: fast for a few captions at a time, equal to pycocoevalcap's.

The document frequencies are counted once, over a corpus that the caller chooses. Free of torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

LONGEST: Final = 4  # words in an n-gram
SIGMA: Final = 6.0  # words; of the Gaussian penalty on a difference in length

Ngram = tuple[str, ...]
# One caption: tf-idf of its n-grams by n, their Euclidean norms, and its number of words.
Vector = tuple[list[dict[Ngram, float]], list[float], int]


def _ngrams(words: Sequence[str], n: int) -> list[Ngram]:
    return list(zip(*(words[start:] for start in range(n)), strict=False))


class CiderD:
    """Scores captions against references; both are sequences of words, tokenised alike by the caller."""

    def __init__(self, corpus: Iterable[Sequence[Sequence[str]]]) -> None:
        """`corpus`: for each image its reference captions; an n-gram's document frequency is in how many images'."""
        frequency: Counter[Ngram] = Counter()
        images = 0
        for references in corpus:
            images += 1
            frequency.update({ngram for words in references for n in range(LONGEST) for ngram in _ngrams(words, n + 1)})
        self._rarest = math.log(max(1, images))  # idf of an n-gram in one image, or in none
        self._idf = {ngram: self._rarest - math.log(count) for ngram, count in frequency.items() if count > 1}

    def vector(self, words: Sequence[str]) -> Vector:
        weights = []
        for n in range(LONGEST):
            counts = Counter(_ngrams(words, n + 1))
            weights.append({ngram: count * self._idf.get(ngram, self._rarest) for ngram, count in counts.items()})
        norms = [math.sqrt(sum(weight * weight for weight in by_ngram.values())) for by_ngram in weights]
        return weights, norms, len(words)

    def score(self, candidates: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> list[float]:
        """The CIDEr-D of each candidate for one image, on pycocoevalcap's scale: 10 for a caption that equals its
        only reference. references: at least one.
        """
        against = [self.vector(words) for words in references]
        return [self._score(self.vector(words), against) for words in candidates]

    @staticmethod
    def _score(candidate: Vector, references: Sequence[Vector]) -> float:
        weights, norms, length = candidate
        total = 0.0
        for reference_weights, reference_norms, reference_length in references:
            similarity = 0.0
            for n in range(LONGEST):
                theirs = reference_weights[n]
                dot = 0.0
                for ngram, weight in weights[n].items():
                    other = theirs.get(ngram)
                    if other is not None:
                        dot += min(weight, other) * other  # clipped: saying a word twice earns nothing
                if dot:
                    similarity += dot / (norms[n] * reference_norms[n])
            total += similarity * math.exp(-((length - reference_length) ** 2) / (2 * SIGMA**2))
        return 10.0 * total / (LONGEST * len(references))
