"""Beam search without wasted rows: only hypotheses that go on, and may win, are rows of the network's next step.

`model.decoding.beam.Beam` keeps K rows of each image until all its hypotheses are over, which is cheap where a step
costs about the same for more rows. A translator's batch has dozens of sentences, whose steps cost in proportion.

Shapes: B sentences, K hypotheses of each, N hypotheses that go on, S source pieces, V vocabulary.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from model.decoding.search import word_log_probs
from model.network.flat_translator import FlatTranslator
from model.network.vocabulary import END, PAD, START

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Found:
    """What a search found for a sentence, T words."""

    tokens: list[int]
    log_probs: Floats  # (T,)
    attention: Floats  # (T, S)


def pruned_beam(
    model: FlatTranslator, sentences_, *, width: int, length_power: float, max_words: int, gap: float = np.inf
) -> list[Found]:
    """The best of K = `width` hypotheses of each sentence; 1 is greedy. Each is a row, an "image" of the state, K = 1.

    gap: a hypothesis whose log-probability is so far below that of its sentence's likeliest is given up. With an
    infinite one, this finds what `Beam` does.
    """
    sources, hidden, cell = model.read(sentences_)
    device, sentences = hidden.device, len(hidden)
    every = np.arange(sentences)
    scores = np.full((sentences, width), -np.inf, np.float32)  # sums of log-probabilities, <end> too
    scores[:, 0] = 0.0
    finished = np.zeros((sentences, width), bool)
    lengths = np.zeros((sentences, width), np.int64)
    owner, place = every, np.zeros_like(every)  # of each row: its sentence, and its hypothesis there
    tokens = torch.full((sentences,), START, device=device)
    history = []  # of each step: parents, tokens, log-probabilities and rows, (B, K); attention (N, S)
    for t in range(max_words):
        where = torch.from_numpy(owner * width + place).to(device)
        logits, hidden, cell, looked = model.step(tokens, hidden, cell, where, width, sources)
        distribution = word_log_probs(logits, t).cpu().numpy()
        likely = np.full((sentences, width, width), -np.inf, np.float32)  # a hypothesis' likeliest continuations
        words = np.full((sentences, width, width), PAD)
        for k in range(width):  # several times as fast as `topk`
            word = distribution.argmax(axis=1)
            words[owner, place, k], likely[owner, place, k] = word, distribution[rows := np.arange(len(owner)), word]
            distribution[rows, word] = -np.inf
        likely[finished, 0] = 0.0  # the one continuation of a finished hypothesis
        totals = (scores[:, :, None] + likely).reshape(sentences, -1)
        picked = np.argsort(-totals, axis=1, kind="stable")[:, :width]
        parent = picked // width
        scores = np.take_along_axis(totals, picked, 1)
        said = np.take_along_axis(words.reshape(sentences, -1), picked, 1)
        row = np.zeros_like(parent)
        row[owner, place] = np.arange(len(owner))
        row = np.take_along_axis(row, parent, 1)
        finished = np.take_along_axis(finished, parent, 1) | (said == END)
        said[finished] = PAD
        lengths = np.take_along_axis(lengths, parent, 1) + ~finished
        chosen = np.take_along_axis(likely.reshape(sentences, -1), picked, 1)
        history.append((parent, said, chosen, row, looked.cpu().numpy()))
        live = ~finished & (scores > scores.max(axis=1, keepdims=True) - gap) & np.isfinite(scores)
        scores[~finished & ~live] = -np.inf
        owner, place = live.nonzero()
        if not len(owner):
            break
        kept = torch.from_numpy(row[live]).to(device)
        hidden, cell = hidden[kept], cell[kept]
        tokens = torch.from_numpy(said[live]).to(device)
    with np.errstate(invalid="ignore"):
        best = (scores / (lengths + finished) ** np.float32(length_power)).argmax(axis=1)  # <end> counts as a word
    said = np.full((sentences, len(history)), PAD)
    log_probs = np.zeros(said.shape, np.float32)
    attention = np.zeros((*said.shape, history[0][-1].shape[-1]), np.float32)
    hypothesis = best
    for t, (parent, words, chosen, row, looked) in reversed(list(enumerate(history))):
        said[:, t], log_probs[:, t] = words[every, hypothesis], chosen[every, hypothesis]
        attention[:, t] = looked[row[every, hypothesis]]
        hypothesis = parent[every, hypothesis]
    return [
        Found(said[b, :length].tolist(), log_probs[b, :length], attention[b, :length])
        for b, length in enumerate(lengths[every, best])
    ]
