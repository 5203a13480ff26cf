"""Sampled captions that differ from each other and from those that are known already.

Captions are drawn in rounds, each with seeds of its own. After a round that brings few new captions, the next one is
drawn at a higher temperature; filters (top-k, nucleus, ladder) stay as they were asked for. The rounds are few: where
a filter leaves fewer captions than are wanted, there are fewer.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from torch import Tensor

from model.captioner import Captioner
from model.captions import Caption, CaptionSet
from model.decoding.sampling import TEMPERATURES, Sampling
from model.decoding.search import Stepwise
from model.network.vocabulary import tokenize

MOST_ROUNDS: Final = 6
OVERDRAWN: Final = 4  # from the second round on, so many are drawn for each that is missing
LITTLE: Final = 0.25  # of what was drawn: a round that brings less is followed by a hotter one
HOTTER: Final = 1.25  # times the temperature


def normalised(text: str) -> str:
    """The text without differences in case, punctuation and spaces."""
    return " ".join(tokenize(text))


def varied_captions(
    captioner: Captioner,
    features: Tensor,
    *,
    count: int,
    exclude: Sequence[Collection[str]],
    sampling: Sampling | None = None,
    beam: int | None = None,
    seed: Sequence[int],
) -> list[CaptionSet]:
    """As `Captioner.caption_features`, but no sampled caption is like another, nor like one that is excluded.

    features: (B, regions, channels). exclude, seed: one of each image; an image's captions depend on its own alone.
    Each image has `count` sampled captions, or as many as were found. What the first round draws is what
    `caption_features` draws for the same seed.
    """
    answers = captioner.caption_features(features, samples=count, sampling=sampling, beam=beam, seed=seed)
    searches = [
        _Search(row, number, sampling or Sampling(), count, {normalised(text) for text in texts})
        for row, (number, texts) in enumerate(zip(seed, exclude, strict=True))
    ]
    for search, answer in zip(searches, answers, strict=True):
        search.take(answer.samples)
    for round_ in range(1, MOST_ROUNDS):
        for alike in _by_sampling(search for search in searches if search.missing):
            draw = Stepwise(
                max(search.quota for search in alike),
                alike[0].sampling,
                [_seed_of(search.seed, round_) for search in alike],
                greedy=False,
            )
            [drawn] = (captioner.sampler or captioner).decode(features[[search.row for search in alike]], draw)
            for search, captions in zip(alike, drawn, strict=True):
                search.take(captions[: search.quota])
    return [replace(answer, samples=tuple(s.found)) for answer, s in zip(answers, searches, strict=True)]


@dataclass
class _Search:
    """The search for captions of one image."""

    row: int
    seed: int
    sampling: Sampling  # of the next round
    count: int
    said: set[str]  # normalised
    found: list[Caption] = field(default_factory=list)

    @property
    def missing(self) -> int:
        return self.count - len(self.found)

    @property
    def quota(self) -> int:
        """The number of captions to draw in the next round."""
        return OVERDRAWN * self.missing

    def take(self, drawn: Sequence[Caption]) -> None:
        """Keep what is new, in the order in which it was drawn."""
        before = len(self.said)
        for caption in drawn:
            text = normalised(caption.text)
            if text not in self.said and self.missing:
                self.found.append(caption)
            self.said.add(text)
        if len(self.said) - before < LITTLE * len(drawn):
            self.sampling = replace(self.sampling, temperature=min(TEMPERATURES[1], HOTTER * self.sampling.temperature))


def _by_sampling(searches: Iterable[_Search]) -> list[list[_Search]]:
    groups: dict[Sampling, list[_Search]] = {}
    for search in searches:
        groups.setdefault(search.sampling, []).append(search)
    return list(groups.values())


def _seed_of(seed: int, round_: int) -> int:
    """A seed for a later round, unlike those that people count up."""
    return int(np.random.SeedSequence((seed, round_)).generate_state(1, np.uint64)[0])
