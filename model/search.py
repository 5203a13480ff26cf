"""Decoding: greedy, sampled and beam search over a decoder's `step`; nothing here knows which network it is.

Shapes: B images, K sequences of each, T words, R regions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from model.decoder import DecoderState
from model.sampling import Sampling
from model.vocabulary import END, PAD, START, UNKNOWN

_NUCLEUS_GUESS = 256  # words


class StepModel(Protocol):
    """What a search needs of a network; see `model.decoder.Decoder.step`."""

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]: ...


@dataclass(frozen=True)
class Decoded:
    """K captions of each of B images. Beyond a caption's length tokens are <pad>, log-probabilities 0."""

    tokens: Tensor  # (B, K, T) int64, words only
    log_probs: Tensor  # (B, K, T), of each word under the network's own distribution (temperature 1)
    lengths: Tensor  # (B, K) int64, in words
    attention: Tensor | None  # (B, K, T, R), where the network looked to say each word


def _word_log_probs(logits: Tensor, position: int) -> Tensor:
    """Log-probabilities of what may be said: never <pad>, <start> or <unk>, and no <end> before the first word."""
    logits = logits.float()
    for never in (PAD, START, UNKNOWN, END) if position == 0 else (PAD, START, UNKNOWN):
        logits[..., never] = -torch.inf
    return logits.log_softmax(dim=-1)


def uniform_numbers(seeds: Sequence[int], samples: int, steps: int) -> Tensor:
    """(B, samples, steps) in [0, 1), float64: sample i of an image depends on its seed and i alone.

    Neither the other images of the batch nor the number of samples changes them; CPU and GPU get the same.
    """
    draws = np.empty((len(seeds), samples, steps))
    for row, seed in enumerate(seeds):
        for sample in range(samples):
            draws[row, sample] = np.random.default_rng((seed, sample)).random(steps)
    return torch.from_numpy(draws)


def candidates(log_probs: Tensor, sampling: Sampling, position: int) -> tuple[Tensor, Tensor]:
    """The words that may stand at `position` (from 0) and their unnormalised probabilities.

    log_probs: (…, V). Returns probabilities and indices, each (…, C); a word that is out has probability 0.
    """
    log_probs = log_probs / sampling.temperature
    vocabulary = log_probs.shape[-1]
    limit = sampling.limit(position)
    if limit and limit < vocabulary:
        top = log_probs.topk(limit, dim=-1)
        probabilities, indices = top.values.softmax(dim=-1), top.indices
    else:
        probabilities = log_probs.softmax(dim=-1)
        indices = torch.arange(vocabulary, device=log_probs.device).expand_as(probabilities)
    if sampling.top_p < 1.0:
        # The nucleus nearly always lies within the likeliest few: sort all words only where it does not.
        kept = min(_NUCLEUS_GUESS, probabilities.shape[-1])
        descending = probabilities.topk(kept, dim=-1)
        if kept < probabilities.shape[-1] and bool((descending.values.sum(dim=-1) < sampling.top_p).any()):
            descending = probabilities.topk(probabilities.shape[-1], dim=-1)
        before = descending.values.cumsum(dim=-1) - descending.values  # mass of the likelier words
        probabilities = descending.values.masked_fill(before >= sampling.top_p, 0.0)
        indices = indices.gather(-1, descending.indices)
    return probabilities, indices


def _draw(probabilities: Tensor, indices: Tensor, uniform: Tensor) -> Tensor:
    """Inverse transform sampling. probabilities, indices: (…, C); uniform: (…) → words (…)."""
    cumulative = probabilities.double().cumsum(dim=-1)
    target = uniform.unsqueeze(-1) * cumulative[..., -1:]
    place = torch.searchsorted(cumulative, target, right=True).clamp_(max=probabilities.shape[-1] - 1)
    return indices.gather(-1, place).squeeze(-1)


def decode(
    model: StepModel,
    state: DecoderState,
    *,
    max_words: int,
    samples: int = 0,
    sampling: Sampling | None = None,
    seeds: Sequence[int] | None = None,
) -> Decoded:
    """The greedy caption of each image (k = 0) and `samples` sampled ones, all decoded together.

    state: the decoder's initial state, K = 1. seeds: one non-negative integer per image (default: 0 for each).
    Sequences that are over are dropped as soon as the rest fits into fewer rows of the batch.
    """
    images, count = state.hidden.shape[0], 1 + samples
    device = state.hidden.device
    sampling = sampling or Sampling()
    uniform = uniform_numbers(seeds or [0] * images, samples, max_words).to(device)
    uniform = torch.cat([uniform.new_zeros(images, 1, max_words), uniform], dim=1).flatten(0, 1)  # (B * K, T)
    words = torch.full((images * count, max_words), PAD, device=device)
    log_probs = torch.zeros((images * count, max_words), device=device)
    attention: Tensor | None = None
    place = torch.arange(images * count, device=device).view(images, count)  # whose turn each row of the batch is
    tokens = torch.full((images, 1), START, device=device)
    finished = torch.zeros((images, count), dtype=torch.bool, device=device)
    for t in range(max_words):
        logits, state, looked = model.step(tokens, state)
        if t == 0:  # an image's captions all begin alike: one step serves them all
            state = state.repeat(count)
            logits = logits.expand(-1, count, -1).clone()
            looked = None if looked is None else looked.expand(-1, count, -1)
        distribution = _word_log_probs(logits, t)  # (B', K', V)
        tokens = distribution.argmax(dim=-1)
        if samples:
            drawn = _draw(*candidates(distribution, sampling, t), uniform[place, t])
            tokens = torch.where(place % count == 0, tokens, drawn)
        finished = finished | (tokens == END)
        live = ~finished
        rows, said = place[live], tokens[live]
        words[rows, t] = said
        log_probs[rows, t] = distribution[live].gather(-1, said.unsqueeze(-1)).squeeze(-1)
        if looked is not None:
            if attention is None:
                attention = torch.zeros((images * count, max_words, looked.shape[-1]), device=device)
            attention[rows, t] = looked[live]
        left = live.sum(dim=1)  # (B',)
        if not bool(left.any()):
            break
        most = min(live.shape[1], max(2, int(left.max())))  # not 1: matrices of one row are rounded otherwise
        if most < live.shape[1] or not bool(left.all()):
            keep = left > 0
            order = finished[keep].to(torch.int8).argsort(dim=1, stable=True)[:, :most]  # the live ones first
            state = state.images(keep).reorder(order)
            place, tokens, finished = (x[keep].gather(1, order) for x in (place, tokens, finished))
    lengths = (words != PAD).sum(dim=-1)
    longest = int(lengths.max())
    shape = (images, count)
    return Decoded(
        tokens=words[:, :longest].reshape(*shape, longest),
        log_probs=log_probs[:, :longest].reshape(*shape, longest),
        lengths=lengths.view(shape),
        attention=None if attention is None else attention[:, :longest].reshape(*shape, longest, -1),
    )


def beam_search(
    model: StepModel, state: DecoderState, *, max_words: int, width: int = 3, length_power: float = 0.7
) -> Decoded:
    """The best caption of each image (K = 1) of a beam of `width` hypotheses, all images together.

    Each hypothesis has a state and attention of its own. A finished one keeps its place and its score; at the
    end the best by score / length ** length_power wins, finished or not, so that there always is one.
    """
    images = state.hidden.shape[0]
    device = state.hidden.device
    state = state.repeat(width)
    tokens = torch.full((images, width), START, device=device)
    scores = torch.full((images, width), -torch.inf, device=device)
    scores[:, 0] = 0.0  # all hypotheses are the same at first: go on from one
    finished = torch.zeros((images, width), dtype=torch.bool, device=device)
    lengths = torch.zeros((images, width), dtype=torch.long, device=device)
    words = torch.empty((images, width, 0), dtype=torch.long, device=device)
    log_probs = torch.empty((images, width, 0), device=device)
    attention: Tensor | None = None
    for t in range(max_words):
        logits, state, looked = model.step(tokens, state)
        distribution = _word_log_probs(logits, t)  # (B, K, V)
        distribution = distribution.masked_fill(finished.unsqueeze(-1), -torch.inf)
        distribution[..., PAD] = distribution[..., PAD].masked_fill(finished, 0.0)  # its one continuation
        vocabulary = distribution.shape[-1]
        candidates = (scores.unsqueeze(-1) + distribution).flatten(1)  # (B, K * V)
        scores, picked = candidates.topk(width, dim=-1)
        parent, tokens = picked // vocabulary, picked % vocabulary  # (B, K)
        chosen = distribution.flatten(1).gather(1, picked)
        state = state.reorder(parent)
        finished = finished.gather(1, parent) | (tokens == END)
        is_word = ~finished
        lengths = lengths.gather(1, parent) + is_word
        words = _append(words, parent, tokens.masked_fill(finished, PAD))
        log_probs = _append(log_probs, parent, chosen.masked_fill(finished, 0.0))
        if looked is not None:
            looked = looked.gather(1, parent.unsqueeze(-1).expand_as(looked))  # (B, K, R)
            if attention is None:
                attention = looked.unsqueeze(2)
            else:
                kept = attention.gather(1, parent[..., None, None].expand_as(attention))
                attention = torch.cat([kept, looked.unsqueeze(2)], dim=2)
        if finished.all():
            break
    best = (scores / (lengths + finished) ** length_power).argmax(dim=1)  # (B,); <end> counts as a word
    rows = torch.arange(images, device=device)
    return Decoded(
        tokens=words[rows, best].unsqueeze(1),
        log_probs=log_probs[rows, best].unsqueeze(1),
        lengths=lengths[rows, best].unsqueeze(1),
        attention=None if attention is None else attention[rows, best].unsqueeze(1),
    )


def _append(history: Tensor, parent: Tensor, column: Tensor) -> Tensor:
    """history (B, K, T) of the parents, one column (B, K) longer."""
    kept = history.gather(1, parent.unsqueeze(-1).expand(-1, -1, history.shape[-1]))
    return torch.cat([kept, column.unsqueeze(-1)], dim=-1)
