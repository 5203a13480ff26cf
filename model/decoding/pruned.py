"""Beam search of sentences that spends no step on what cannot win: each hypothesis that goes on is a row of its own.

`model.decoding.beam` keeps K rows of each image until all its hypotheses are over: the captioner's are few, and all
searches share its steps. A translator has dozens of sentences, and its steps cost in proportion to their rows.

Shapes: B sentences, K hypotheses of each, N of all those that go on, T words, S source pieces.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from model.network.flat_translator import FlatTranslator
from model.network.vocabulary import END, START

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """What was found for a sentence."""

    tokens: list[int]  # without <end>
    log_probs: Floats  # (T,)
    attention: Floats  # (T, S)


class _Hypothesis(NamedTuple):
    """The beginning of a translation, or a whole one."""

    score: float = 0.0  # sum of log-probabilities, <end> too
    over: bool = False
    tokens: tuple[int, ...] = ()  # (T,), without <end>
    log_probs: tuple[float, ...] = ()  # (T,)
    looks: tuple[Floats, ...] = ()  # (T, S)

    def normalised(self, power: float) -> float:
        return self.score / math.pow(max(1, len(self.tokens) + self.over), power)  # <end> counts as a word


class _Option(NamedTuple):
    """What a hypothesis may become: itself, when it is over, or with one more word."""

    score: float
    hypothesis: _Hypothesis
    row: int = -1  # of the hypothesis in (N); -1: it is over
    token: int = END
    log_prob: float = 0.0


def pruned_beam(
    model: FlatTranslator,
    sentences: Sequence[Sequence[int]],
    *,
    width: int,
    length_power: float,
    max_words: int,
    gap: float = math.inf,
) -> list[Found]:
    """The best of K = `width` hypotheses of each sentence; 1 is greedy.

    gap: a hypothesis is given up when its log-probability is so far below that of its sentence's likeliest. When it is
    infinite, this finds what `Beam` does.
    """
    with model.threads(sum(map(len, sentences))):
        sources, state = model.read(sentences)
    device = state.device
    beams = [[_Hypothesis()] for _ in sentences]
    tokens = torch.full((len(beams),), START, device=device)
    for t in range(max_words):
        places = [n * width + k for n, beam in enumerate(beams) for k, each in enumerate(beam) if not each.over]
        if not places:
            break
        rows = [0] * (len(beams) * width)
        for row, place in enumerate(places):
            rows[place] = row
        with model.threads(len(places)):
            slots, present = (torch.tensor(each, device=device) for each in (rows, places))
            logits, state, attention = model.step(tokens, state, slots, present, sources)
            if t == 0:
                logits[:, END] = -math.inf
            following = _likeliest(logits.log_softmax(dim=-1).cpu().numpy(), width)
        looks: Floats = attention.cpu().numpy()  # (B K, S)
        parents, said = list[int](), list[int]()  # of the rows to come
        for n, beam in enumerate(beams):
            options = [_Option(each.score, each) for each in beam if each.over]
            if len(options) == len(beam):
                continue
            for row, each in ((rows[n * width + k], each) for k, each in enumerate(beam) if not each.over):
                options += [_Option(each.score + more, each, row, word, more) for word, more in following[row]]
            options.sort(key=itemgetter(0), reverse=True)
            least = options[0].score - gap
            beams[n] = beam = []
            for score, each, row, token, log_prob in options[:width]:
                if row == -1:
                    beam.append(each)
                elif token == END:
                    beam.append(each._replace(score=score, over=True))
                elif score >= least:
                    look = (*each.looks, looks[places[row]])
                    beam.append(_Hypothesis(score, False, (*each.tokens, token), (*each.log_probs, log_prob), look))
                    parents.append(row)
                    said.append(token)
        state = state.index_select(1, torch.tensor(parents, dtype=torch.long, device=device))
        tokens = torch.tensor(said, dtype=torch.long, device=device)
    return [_found(max(beam, key=lambda each: each.normalised(length_power))) for beam in beams]


def _likeliest(distribution: Floats, width: int) -> list[list[tuple[int, float]]]:
    """The `width` likeliest words of each row and their log-probabilities. distribution: (N, V); it is changed."""
    rows, found = np.arange(len(distribution)), list[list[tuple[int, float]]]()
    for _ in range(width):  # several times as fast as `topk`
        words = distribution.argmax(axis=1)
        found.append(list(zip(words.tolist(), distribution[rows, words].tolist(), strict=True)))
        distribution[rows, words] = -np.inf
    return [list(row) for row in zip(*found, strict=True)]


def _found(best: _Hypothesis) -> Found:
    return Found(list(best.tokens), np.array(best.log_probs, np.float32), np.array(best.looks, np.float32))
