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
    logits[..., [PAD, START, UNKNOWN]] = -torch.inf
    if position == 0:
        logits[..., END] = -torch.inf
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


def filter_probabilities(log_probs: Tensor, sampling: Sampling, position: int) -> Tensor:
    """The distribution that a word at `position` (from 0) is drawn from, unnormalised: (…, V) → (…, V)."""
    log_probs = log_probs / sampling.temperature
    limit = sampling.limit(position)
    if limit and limit < log_probs.shape[-1]:
        kept = log_probs.topk(limit, dim=-1)
        log_probs = torch.full_like(log_probs, -torch.inf).scatter(-1, kept.indices, kept.values)
    probabilities = log_probs.softmax(dim=-1)
    if sampling.top_p < 1.0:
        descending = probabilities.sort(dim=-1, descending=True, stable=True)
        before = descending.values.cumsum(dim=-1) - descending.values  # mass of the likelier words
        outside = torch.zeros_like(before, dtype=torch.bool).scatter(-1, descending.indices, before >= sampling.top_p)
        probabilities = probabilities.masked_fill(outside, 0.0)
    return probabilities


def _draw(probabilities: Tensor, uniform: Tensor) -> Tensor:
    """Inverse transform sampling. probabilities: (…, V), unnormalised; uniform: (…) → indices (…)."""
    cumulative = probabilities.double().cumsum(dim=-1)
    target = uniform.unsqueeze(-1) * cumulative[..., -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_(max=probabilities.shape[-1] - 1)


def decode(
    model: StepModel,
    state: DecoderState,
    *,
    max_words: int,
    samples: int = 0,
    sampling: Sampling | None = None,
    seeds: Sequence[int] | None = None,
    greedy: bool = True,
) -> Decoded:
    """The greedy caption of each image (first, if asked for) and `samples` sampled ones, all decoded together.

    state: the decoder's initial state, K = 1. seeds: one non-negative integer per image (default: 0 for each).
    """
    images = state.hidden.shape[0]
    device = state.hidden.device
    sampling = sampling or Sampling()
    first = 1 if greedy else 0  # the row of the first sample
    count = first + samples
    uniform = uniform_numbers(seeds or [0] * images, samples, max_words).to(device)
    state = state.repeat(count)
    tokens = torch.full((images, count), START, device=device)
    finished = torch.zeros((images, count), dtype=torch.bool, device=device)
    words, log_probs, attention = [], [], []
    for t in range(max_words):
        logits, state, looked = model.step(tokens, state)
        distribution = _word_log_probs(logits, t)  # (B, K, V)
        choices = []
        if greedy:
            choices.append(distribution[:, :1].argmax(dim=-1))
        if samples:
            choices.append(_draw(filter_probabilities(distribution[:, first:], sampling, t), uniform[..., t]))
        tokens = torch.cat(choices, dim=1)  # (B, K)
        finished = finished | (tokens == END)
        tokens = tokens.masked_fill(finished, PAD)
        if finished.all():
            break
        chosen = distribution.gather(-1, tokens.unsqueeze(-1)).squeeze(-1)
        words.append(tokens)
        log_probs.append(chosen.masked_fill(finished, 0.0))
        if looked is not None:
            attention.append(looked)
    stacked = torch.stack(words, dim=-1)  # (B, K, T)
    return Decoded(
        tokens=stacked,
        log_probs=torch.stack(log_probs, dim=-1),
        lengths=(stacked != PAD).sum(dim=-1),
        attention=torch.stack(attention, dim=2) if attention else None,
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
    best = (scores / (lengths + 1) ** length_power).argmax(dim=1)  # (B,); the + 1 counts <end>
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
