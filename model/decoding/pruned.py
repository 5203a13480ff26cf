"""Beam search of sentences that spends no step on what cannot win: each hypothesis that goes on is a row of its own.

`model.decoding.beam` keeps K rows of each image until all its hypotheses are over: the captioner's are few, and all
searches share its steps. A translator has dozens of sentences, and its steps cost in proportion to their rows.

Shapes: B sentences, K hypotheses of each, N of all those that go on, T words, S source pieces.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.network.flat_translator import FlatTranslator
from model.network.vocabulary import END, PAD, START

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Found:
    """What was found for a sentence."""

    tokens: list[int]  # without <end>
    log_probs: Floats  # (T,)
    attention: Floats  # (T, S)


@dataclass(frozen=True)
class _Step:
    """What a step added to each hypothesis, (B K)."""

    parent: Integers  # the hypothesis before the step, in (B K)
    said: Integers
    log_probs: Floats
    attention: torch.Tensor  # (B K, S), of the hypotheses before the step


def pruned_beam(
    model: FlatTranslator,
    sentences: Sequence[Sequence[int]],
    *,
    width: int,
    length_power: float,
    max_words: int,
    gap: float = np.inf,
) -> list[Found]:
    """The best of K = `width` hypotheses of each sentence; 1 is greedy.

    gap: a hypothesis is given up when its log-probability is so far below that of its sentence's likeliest. When it is
    infinite, this finds what `Beam` does.
    """
    count = len(sentences)
    size = count * width
    with model.threads(count):
        sources, state = model.read(sentences)
    device = state.device
    start = np.arange(0, size, width)  # of each sentence's hypotheses, in (B K)
    first = start.repeat(width)
    scores = np.full(size, -np.inf, np.float32)  # sums of log-probabilities, <end> too
    scores[start] = 0.0
    finished, lengths = np.zeros(size, bool), np.zeros(size, np.int64)
    place, tokens = start, torch.full((count,), START, device=device)  # (N,), of the rows
    history = list[_Step]()
    for t in range(max_words):
        row, rows = np.zeros(size, np.int64), np.arange(len(place))
        row[place] = rows
        slots, places = (torch.from_numpy(each).to(device) for each in (row, place))
        with model.threads(len(place)):
            logits, state, attention = model.step(tokens, state, slots, places, sources)
            if t == 0:
                logits[:, END] = -torch.inf
            distribution: Floats = logits.log_softmax(dim=-1).cpu().numpy()
        words, likely = np.empty((len(place), width), np.int64), np.empty((len(place), width), np.float32)
        for k in range(width):  # each row's likeliest continuations: several times as fast as `topk`
            words[:, k] = word = distribution.argmax(axis=1)
            likely[:, k] = distribution[rows, word]
            distribution[rows, word] = -np.inf
        totals = np.full((size, width), -np.inf, np.float32)
        totals[:, 0] = np.where(finished, scores, -np.inf)  # the one continuation of a finished hypothesis
        totals[place] = scores[place, np.newaxis] + likely
        picked = totals.reshape(count, -1).argsort(axis=1, kind="stable")[:, : -width - 1 : -1].ravel()  # in (K K)
        parent, nth = first + picked // width, picked % width
        scores, own = totals[parent, nth], row[parent]
        said = words[own, nth]  # of a finished hypothesis, anything
        history.append(_Step(parent, said, likely[own, nth], attention))
        finished = finished[parent] | (said == END)
        lengths = lengths[parent] + ~finished
        likeliest = scores.reshape(count, width).max(axis=1).repeat(width)
        live = ~finished & (scores > -np.inf) & (scores >= likeliest - gap)
        scores[~finished & ~live] = -np.inf
        place = live.nonzero()[0]
        if not len(place):
            break
        state = state.index_select(1, torch.from_numpy(own[place]).to(device))
        tokens = torch.from_numpy(said[place]).to(device)
    normalised = scores / (lengths + finished).clip(1) ** np.float32(length_power)  # <end> counts as a word
    best = start + normalised.reshape(count, width).argmax(axis=1)
    return _followed(history, best, lengths[best])


def _followed(history: Sequence[_Step], best: Integers, lengths: Integers) -> list[Found]:
    """Hypotheses back to their beginnings. best: (B,), where they are in the last step's (B K); lengths: (B,)."""
    tokens = np.full((len(best), len(history)), PAD)
    log_probs = np.zeros(tokens.shape, np.float32)
    attention = np.zeros((*tokens.shape, history[0].attention.shape[1]), np.float32)
    for t, step in reversed(list(enumerate(history))):
        tokens[:, t], log_probs[:, t] = step.said[best], step.log_probs[best]
        attention[:, t] = step.attention.cpu().numpy()[step.parent[best]]
        best = step.parent[best]
    found = zip(tokens.tolist(), log_probs, attention, lengths.tolist(), strict=True)
    return [Found(words[:length], own[:length], looked[:length]) for words, own, looked, length in found]
