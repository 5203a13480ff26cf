"""Decoding: greedy, sampled and beam search over a decoder's `step`; nothing here knows which network it is.

All searches of an image share each step of the network: a step costs much less than in proportion to its sequences,
because the weights are read once.

Shapes: B images, K sequences of each, T words, R regions, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import torch
from torch import Tensor

from model.calibration import Fit
from model.decoding.beam import Beam
from model.decoding.blocking import Blocking
from model.decoding.sampling import Sampling
from model.network.decoder import DecoderState
from model.network.vocabulary import END, PAD, START, UNKNOWN

LENGTH_POWER: Final = 0.7  # of beam search
USUAL_BEAM: Final = 10  # its width, for the main caption
_NUCLEUS_GUESS = 256  # words


class StepModel(Protocol):
    """The interface of a decoder that searches use; see `model.network.decoder.Decoder.step`."""

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]: ...


@dataclass(frozen=True)
class Decoded:
    """K captions of each of B images. Beyond a caption's length tokens are <pad>, log-probabilities 0, and attention
    is undefined.

    The log-probabilities are the network's, before temperature, filters and blocking: blocking decides which words
    are chosen and does not change their probabilities.
    """

    tokens: Tensor  # (B, K, T) int64, words only
    log_probs: Tensor  # (B, K, T), of each word
    lengths: Tensor  # (B, K) int64, in words
    attention: Tensor | None  # (B, K, T, R), of each word


def word_log_probs(logits: Tensor, position: int) -> Tensor:
    """Log-probabilities without <pad>, <start> and <unk>, and without <end> before the first word."""
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


def candidates(
    log_probs: Tensor, sampling: Sampling, position: int, guess: int = _NUCLEUS_GUESS
) -> tuple[Tensor, Tensor]:
    """The words that may stand at `position` (from 0) and their unnormalised probabilities.

    log_probs: (…, V). guess: among how many words the nucleus is looked for first; where these are not all, a device
    is waited for. Returns probabilities and indices, each (…, C); a word that is out has probability 0.
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
        kept = min(guess, probabilities.shape[-1])
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


class Running(Protocol):
    """A search in progress, over the images that are in the batch (B') and some sequences of each (K')."""

    words: Tensor  # (B, K, max_words) int64: what was found
    log_probs: Tensor  # (B, K, max_words)
    attention: Tensor | None  # (B, K, max_words, R)
    tokens: Tensor  # (B', K'), read next; K' may be 0 when all is done

    def advance(self, distribution: Tensor, looked: Tensor | None, t: int, fixed: bool) -> Tensor:
        """Add a word to each sequence. distribution: (B', K, V), looked: (B', K, R); K: those of the last step.

        Returns (B', K') int64: which of the K sequences each of the next step continues. fixed: K' is K, and nothing
        waits for a device.
        """

    def over(self) -> Tensor:
        """(B',) bool: finished images."""

    def keep(self, images: Tensor) -> None:
        """Continue with these images only, (B',) bool."""

    def finish(self) -> None:
        """Store what has been found so far: no word will be added."""


class Search(Protocol):
    """One way of decoding and its settings."""

    @property
    def fit(self) -> Fit:
        """Which calibration its captions use."""

    def start(self, state: DecoderState, max_words: int, blocking: Blocking | None) -> Running:
        """Begin the search from the decoder's initial state, K = 1."""


@dataclass(frozen=True)
class Stepwise:
    """The greedy caption of each image (k = 0) and `samples` sampled ones, all decoded together.

    seeds: one non-negative integer per image (default: 0 for each). greedy: False leaves the greedy caption out; the
    sampled ones stay the same.
    """

    samples: int = 0
    sampling: Sampling | None = None
    seeds: Sequence[int] | None = None
    greedy: bool = True
    fit: Fit = "greedy"

    def start(self, state: DecoderState, max_words: int, blocking: Blocking | None) -> Running:
        return _Sequences(self, state, max_words, blocking)


@dataclass(frozen=True)
class BeamSearch:
    """The best `hypotheses` (K) captions of each image among a beam of `width`, the best first; see `Beam`."""

    width: int = 3
    length_power: float = LENGTH_POWER
    hypotheses: int = 1
    fit: Fit = "beam"

    def __post_init__(self) -> None:
        if not 1 <= self.hypotheses <= self.width:
            raise ValueError(f"{self.hypotheses} hypotheses of a beam of {self.width}")

    def start(self, state: DecoderState, max_words: int, blocking: Blocking | None) -> Running:
        return Beam(state, max_words, self.width, self.length_power, blocking, self.hypotheses)


def decode(
    model: StepModel,
    state: DecoderState,
    *searches: Search,
    max_words: int,
    blocking: Blocking | None = None,
    fixed: bool = False,
    attention: bool = True,
) -> list[Decoded]:
    """Run searches side by side, all over the same steps of the network; returns what each one found.

    state: the decoder's initial state, K = 1. Finished images and sequences leave the batch, which costs a device a
    few waits a step. fixed: they stay, and what they say further is ignored: all steps but the first have one shape,
    and the device is waited for once a step. attention: whether to keep what is looked at.
    """
    running = [search.start(state, max_words, blocking) for search in searches]
    tokens = torch.full((state.hidden.shape[0], 1), START, device=state.hidden.device)
    for t in range(max_words):
        logits, state, looked = model.step(tokens, state)
        looked = looked if attention else None
        distribution = word_log_probs(logits, t)  # (B', K, V)
        order, place = [], 0
        for search in running:
            if t == 0:  # all captions begin alike: one step serves them all
                count = search.tokens.shape[1]
                expanded = None if looked is None else looked.expand(-1, count, -1)
                order.append(search.advance(distribution.expand(-1, count, -1), expanded, t, fixed) * 0)
            elif count := search.tokens.shape[1]:
                part = slice(place, place + count)
                regions = None if looked is None else looked[:, part]
                order.append(search.advance(distribution[:, part], regions, t, fixed) + place)
                place += count
        over = torch.stack([search.over() for search in running]).all(dim=0)  # (B',)
        if bool(over.all()):
            break
        index = torch.cat(order, dim=1)
        if not fixed and bool(over.any()):
            keep = ~over
            state, index = state.images(keep), index[keep]
            for search in running:
                search.keep(keep)
        state = state.reorder(index)
        tokens = torch.cat([search.tokens for search in running], dim=1)
    for search in running:
        search.finish()
    return [_trimmed(search, blocking) for search in running]


class _Sequences:
    """A greedy caption and sampled ones: sequences that each go on by themselves.

    Those that are over are dropped as soon as the rest of all images fits into fewer.
    """

    def __init__(self, search: Stepwise, state: DecoderState, max_words: int, blocking: Blocking | None) -> None:
        samples, greedy = search.samples, search.greedy
        images, device, first = state.hidden.shape[0], state.hidden.device, int(greedy)
        count = first + samples
        uniform = uniform_numbers(search.seeds or [0] * images, samples, max_words).to(device)
        self.uniform = torch.cat([uniform.new_zeros(images, first, max_words), uniform], dim=1)  # (B, K, T)
        self.words = torch.full((images, count, max_words), PAD, device=device)
        self.log_probs = torch.zeros((images, count, max_words), device=device)
        self.attention: Tensor | None = None
        self.image = torch.arange(images, device=device).unsqueeze(1).expand(-1, count)  # (B', K'): whose turn each
        self.turn = torch.arange(count, device=device).expand(images, -1)  # sequence is; rows and columns of words
        self.tokens = torch.full((images, count), START, device=device)
        self.finished = torch.zeros((images, count), dtype=torch.bool, device=device)
        self.samples, self.greedy, self.blocking = samples, greedy, blocking
        self.sampling = search.sampling or Sampling()

    def advance(self, distribution: Tensor, looked: Tensor | None, t: int, fixed: bool) -> Tensor:
        allowed = distribution
        if self.blocking is not None:
            allowed = self.blocking.apply(distribution, self.words[self.image, self.turn, :t])
        if self.greedy:
            self.tokens = allowed.argmax(dim=-1)
        if self.samples:
            guess = allowed.shape[-1] if fixed else _NUCLEUS_GUESS
            drawn = _draw(*candidates(allowed, self.sampling, t, guess), self.uniform[self.image, self.turn, t])
            self.tokens = torch.where(self.turn == 0, self.tokens, drawn) if self.greedy else drawn
        self.finished = self.finished | (self.tokens == END)
        chosen = distribution.gather(-1, self.tokens.unsqueeze(-1)).squeeze(-1)
        self.words[self.image, self.turn, t] = self.tokens.masked_fill(self.finished, PAD)
        self.log_probs[self.image, self.turn, t] = chosen.masked_fill(self.finished, 0.0)
        if looked is not None:
            if self.attention is None:
                self.attention = self.log_probs.new_zeros(*self.words.shape, looked.shape[-1])
            self.attention[self.image, self.turn, t] = looked.masked_fill(self.finished.unsqueeze(-1), 0.0)
        live = ~self.finished
        columns = live.shape[1]
        left = columns if fixed else int(live.sum(dim=1).max())
        most = min(columns, max(2, left) if left else 0)  # not 1: matrices of one row are rounded otherwise
        order = torch.arange(columns, device=live.device).expand_as(live)
        if most < columns:
            order = self.finished.to(torch.int8).argsort(dim=1, stable=True)[:, :most]  # the live ones first
            self.image, self.turn, self.tokens, self.finished = (
                x.gather(1, order) for x in (self.image, self.turn, self.tokens, self.finished)
            )
        return order

    def over(self) -> Tensor:
        return self.finished.all(dim=1)

    def keep(self, images: Tensor) -> None:
        self.image, self.turn = self.image[images], self.turn[images]
        self.tokens, self.finished = self.tokens[images], self.finished[images]

    def finish(self) -> None:
        pass  # each word is stored when it is chosen


def _trimmed(search: Running, blocking: Blocking | None) -> Decoded:
    """Captions (B, K, max_words) cut to the longest, without bad endings at the length cap."""
    words, log_probs, attention = search.words, search.log_probs, search.attention
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
