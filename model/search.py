"""Decoding: greedy, sampled and beam search over a decoder's `step`; nothing here knows which network it is.

Shapes: B images, K sequences of each, T words, R regions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor

from model.blocking import Blocking
from model.decoder import DecoderState
from model.sampling import Sampling
from model.vocabulary import END, PAD, START, UNKNOWN

LENGTH_POWER: Final = 0.7  # of beam search
_NUCLEUS_GUESS = 256  # words


class StepModel(Protocol):
    """What a search needs of a network; see `model.decoder.Decoder.step`."""

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]: ...


@dataclass(frozen=True)
class Decoded:
    """K captions of each of B images. Beyond a caption's length tokens are <pad>, log-probabilities 0.

    The log-probabilities are the network's own, before temperature, filters and blocking: blocking decides which
    words are said, and never how likely the network holds them to be.
    """

    tokens: Tensor  # (B, K, T) int64, words only
    log_probs: Tensor  # (B, K, T), of each word
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
    blocking: Blocking | None = None,
    greedy: bool = True,
) -> Decoded:
    """The greedy caption of each image (k = 0) and `samples` sampled ones, all decoded together.

    state: the decoder's initial state, K = 1. seeds: one non-negative integer per image (default: 0 for each).
    greedy: without, there are only the sampled ones, the same as with.
    Sequences that are over are dropped as soon as the rest fits into fewer rows of the batch.
    """
    images, first = state.hidden.shape[0], int(greedy)
    count = first + samples
    device = state.hidden.device
    sampling = sampling or Sampling()
    uniform = uniform_numbers(seeds or [0] * images, samples, max_words).to(device)
    uniform = torch.cat([uniform.new_zeros(images, first, max_words), uniform], dim=1).flatten(0, 1)  # (B * K, T)
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
        allowed = distribution if blocking is None else blocking.apply(distribution, words[place, :t])
        if greedy:
            tokens = allowed.argmax(dim=-1)
        if samples:
            drawn = _draw(*candidates(allowed, sampling, t), uniform[place, t])
            tokens = torch.where(place % count == 0, tokens, drawn) if greedy else drawn
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
    shape = (images, count, max_words)
    return _trimmed(
        words.view(shape), log_probs.view(shape), None if attention is None else attention.view(*shape, -1), blocking
    )


def beam_search(
    model: StepModel,
    state: DecoderState,
    *,
    max_words: int,
    width: int = 3,
    length_power: float = LENGTH_POWER,
    blocking: Blocking | None = None,
) -> Decoded:
    """The best caption of each image (K = 1) of a beam of `width` hypotheses, all images together.

    Each hypothesis has a state and attention of its own. A finished one keeps its place and its score; at the
    end the best by score / length ** length_power wins, finished or not, so that there always is one. An image
    whose hypotheses are all finished is dropped from the batch.
    """
    images = state.hidden.shape[0]
    device = state.hidden.device
    beam = _Beam(images, width, device)
    words = torch.full((images, 1, max_words), PAD, device=device)
    log_probs = torch.zeros((images, 1, max_words), device=device)
    attention: Tensor | None = None
    for t in range(max_words):
        logits, state, looked = model.step(beam.tokens, state)
        if t == 0:  # all hypotheses are the same at first: one step serves them all
            state = state.repeat(width)
            logits = logits.expand(-1, width, -1).clone()
            looked = None if looked is None else looked.expand(-1, width, -1)
        distribution = _word_log_probs(logits, t)  # (B', K, V)
        parent = beam.extend(distribution, looked, blocking)
        over = beam.finished.all(dim=1) | (t == max_words - 1)  # (B',)
        if bool(over.any()):
            rows, best = beam.image[over], beam.best(length_power)[over]
            words[rows, 0, : t + 1] = beam.words[over, best]
            log_probs[rows, 0, : t + 1] = beam.log_probs[over, best]
            if beam.attention is not None:
                if attention is None:
                    attention = beam.attention.new_zeros((images, 1, max_words, beam.attention.shape[-1]))
                attention[rows, 0, : t + 1] = beam.attention[over, best]
            if bool(over.all()):
                break
            beam.keep(~over)
            state, parent = state.images(~over), parent[~over]
        state = state.reorder(parent)
    return _trimmed(words, log_probs, attention, blocking)


class _Beam:
    """The hypotheses of the images that are not over: B' images, K hypotheses of t words each."""

    def __init__(self, images: int, width: int, device: torch.device) -> None:
        self.image = torch.arange(images, device=device)  # (B',), the place of each in the batch
        self.tokens = torch.full((images, 1), START, device=device)  # (B', K), read next
        self.scores = torch.full((images, width), -torch.inf, device=device)  # sums of log-probabilities, <end> too
        self.scores[:, 0] = 0.0  # all hypotheses are the same at first: go on from one
        self.finished = torch.zeros((images, width), dtype=torch.bool, device=device)
        self.words = torch.empty((images, width, 0), dtype=torch.long, device=device)
        self.log_probs = torch.empty((images, width, 0), device=device)
        self.attention: Tensor | None = None  # (B', K, t, R)

    def extend(self, distribution: Tensor, looked: Tensor | None, blocking: Blocking | None) -> Tensor:
        """The likeliest K continuations by a word, of distribution (B', K, V); the parent of each, (B', K)."""
        allowed = distribution if blocking is None else blocking.apply(distribution, self.words)
        allowed = allowed.masked_fill(self.finished.unsqueeze(-1), -torch.inf)
        allowed[..., PAD].masked_fill_(self.finished, 0.0)  # the one continuation of a finished hypothesis
        width, vocabulary = allowed.shape[1:]
        totals = (self.scores.unsqueeze(-1) + allowed).flatten(1)  # (B', K * V)
        self.scores, picked = totals.topk(width, dim=-1)
        parent, self.tokens = picked // vocabulary, picked % vocabulary  # (B', K)
        self.finished = self.finished.gather(1, parent) | (self.tokens == END)
        chosen = distribution.flatten(1).gather(1, picked).masked_fill(self.finished, 0.0)
        self.words = _append(self.words, parent, self.tokens.masked_fill(self.finished, PAD))
        self.log_probs = _append(self.log_probs, parent, chosen)
        if looked is not None:
            history = looked.new_empty(*looked.shape[:2], 0, looked.shape[-1])
            history = history if self.attention is None else self.attention
            self.attention = torch.cat([history, looked.unsqueeze(2)], dim=2)
            self.attention = self.attention.gather(1, parent[..., None, None].expand_as(self.attention))
        return parent

    def best(self, length_power: float) -> Tensor:
        """The hypothesis of each image that wins, (B',)."""
        lengths = (self.words != PAD).sum(dim=-1)
        return (self.scores / (lengths + self.finished) ** length_power).argmax(dim=1)  # <end> counts as a word

    def keep(self, images: Tensor) -> None:
        """Go on with these images only, (B',) bool."""
        self.image, self.tokens, self.scores = self.image[images], self.tokens[images], self.scores[images]
        self.finished, self.words, self.log_probs = self.finished[images], self.words[images], self.log_probs[images]
        self.attention = None if self.attention is None else self.attention[images]


def _append(history: Tensor, parent: Tensor, column: Tensor) -> Tensor:
    """history (B, K, T) of the parents, one column (B, K) longer."""
    kept = history.gather(1, parent.unsqueeze(-1).expand(-1, -1, history.shape[-1]))
    return torch.cat([kept, column.unsqueeze(-1)], dim=-1)


def _trimmed(words: Tensor, log_probs: Tensor, attention: Tensor | None, blocking: Blocking | None) -> Decoded:
    """Captions (B, K, max_words) down to the longest, bad endings at the length cap cut off."""
    lengths = (words != PAD).sum(dim=-1)  # (B, K)
    if blocking is not None:
        lengths = blocking.cut(words, lengths)
        beyond = torch.arange(words.shape[-1], device=words.device) >= lengths.unsqueeze(-1)
        words, log_probs = words.masked_fill(beyond, PAD), log_probs.masked_fill(beyond, 0.0)
    longest = int(lengths.max()) if lengths.numel() else 0
    return Decoded(
        tokens=words[..., :longest],
        log_probs=log_probs[..., :longest],
        lengths=lengths,
        attention=None if attention is None else attention[..., :longest, :],
    )
