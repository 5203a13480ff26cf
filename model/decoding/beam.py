"""Beam search as one of the searches that `model.decoding.search` runs side by side.

Shapes: B images, B' those not over, K hypotheses of each, T words, t of them said, R regions, V vocabulary.
"""

import torch
from torch import Tensor

from model.decoding.blocking import Blocking
from model.network.decoder import DecoderState
from model.network.vocabulary import END, PAD, START


class Beam:
    """The K likeliest hypotheses of each image, and the best N of them when they are over.

    Each hypothesis has a state and attention of its own. A finished one keeps its place and its score; at the end
    they are ranked by score / length ** length_power, finished or not, so that there always is one.
    """

    def __init__(
        self,
        state: DecoderState,
        max_words: int,
        width: int,
        length_power: float,
        blocking: Blocking | None,
        best: int = 1,
    ) -> None:
        """best: N, of K = width."""
        images, device = state.hidden.shape[0], state.hidden.device
        self.words = torch.full((images, best, max_words), PAD, device=device)  # what was found
        self.log_probs = torch.zeros((images, best, max_words), device=device)
        self.attention: Tensor | None = None  # (B, N, max_words, R)
        self.length_power, self.blocking = length_power, blocking
        self.image = torch.arange(images, device=device)  # (B',), the place of each in the batch
        self.tokens = torch.full((images, width), START, device=device)  # (B', K'), read next
        self.scores = torch.full((images, width), -torch.inf, device=device)  # sums of log-probabilities, <end> too
        self.scores[:, 0] = 0.0  # all hypotheses are the same at first: go on from one
        self.finished = torch.zeros((images, width), dtype=torch.bool, device=device)
        self.said = torch.empty((images, width, 0), dtype=torch.long, device=device)  # (B', K, t)
        self.said_log_probs = torch.empty((images, width, 0), device=device)
        self.looked: Tensor | None = None  # (B', K, t, R)

    def advance(self, distribution: Tensor, looked: Tensor | None, t: int, fixed: bool) -> Tensor:
        """The likeliest K hypotheses of those that were over and of what the others may become by a word.

        distribution: (B', K', V), of the first K' hypotheses; the rest is over. Those that go on come first. Returns
        the parent of each of the next K' among these, (B', K').
        """
        live, vocabulary = distribution.shape[1:]
        width, over = self.scores.shape[1], self.finished
        allowed = distribution if self.blocking is None else self.blocking.apply(distribution, self.said[:, :live])
        allowed = allowed.masked_fill(over[:, :live].unsqueeze(-1), -torch.inf)
        totals = (self.scores[:, :live].unsqueeze(-1) + allowed).flatten(1)  # (B', K' * V)
        most, picked = totals.topk(min(width, totals.shape[1]), dim=-1)
        places = torch.arange(width, device=picked.device).expand_as(over)
        none = torch.zeros_like(self.scores)
        self.scores, order = torch.cat([most, self.scores.masked_fill(~over, -torch.inf)], dim=1).topk(width, dim=-1)
        parent = torch.cat([picked // vocabulary, places], dim=1).gather(1, order)  # (B', K)
        tokens = torch.cat([picked % vocabulary, torch.full_like(places, PAD)], dim=1).gather(1, order)
        chosen = torch.cat([distribution.flatten(1).gather(1, picked), none], dim=1).gather(1, order)
        self.finished = over.gather(1, parent) | (tokens == END)
        left = width
        if not fixed:
            order = self.finished.to(torch.int8).argsort(dim=1, stable=True)  # those that go on first
            self.scores, self.finished = self.scores.gather(1, order), self.finished.gather(1, order)
            parent, tokens, chosen = parent.gather(1, order), tokens.gather(1, order), chosen.gather(1, order)
            going = int((~self.finished).sum(dim=1).max())
            left = min(width, max(2, going) if going else 0)  # not 1: matrices of one row are rounded otherwise
        self.said = _append(self.said, parent, tokens.masked_fill(self.finished, PAD))
        self.said_log_probs = _append(self.said_log_probs, parent, chosen.masked_fill(self.finished, 0.0))
        row = parent.clamp(max=live - 1)  # what a hypothesis that is over looks at does not matter
        if looked is not None:
            now = _picked(looked, row)  # (B', K, R)
            self.looked = now.unsqueeze(2) if self.looked is None else _append(self.looked, parent, now)
        self.tokens = tokens
        if not left:
            self.finish()
        self.tokens = tokens[:, :left]  # none where nothing is left to say, though other searches may go on
        return row[:, :left]

    def over(self) -> Tensor:
        return self.finished.all(dim=1)

    def keep(self, images: Tensor) -> None:
        """Continue with these images only, (B',) bool; store the captions of the others."""
        if not self.tokens.shape[1]:  # all were found before
            self.finished, self.tokens = self.finished[images], self.tokens[images]
            return
        self._find(~images)
        self.image, self.tokens, self.scores = self.image[images], self.tokens[images], self.scores[images]
        self.finished, self.said = self.finished[images], self.said[images]
        self.said_log_probs = self.said_log_probs[images]
        self.looked = None if self.looked is None else self.looked[images]

    def finish(self) -> None:
        if self.tokens.shape[1]:
            self._find(torch.ones_like(self.image, dtype=torch.bool))

    def _find(self, images: Tensor) -> None:
        """Store the winning hypotheses of each of these images, (B',) bool."""
        lengths = (self.said != PAD).sum(dim=-1)
        normalised = self.scores / (lengths + self.finished) ** self.length_power  # <end> counts as a word
        rows, said = self.image[images], self.said.shape[-1]
        best = normalised[images].topk(self.words.shape[1], dim=1).indices  # (b, N)
        self.words[rows, :, :said] = _picked(self.said[images], best)
        self.log_probs[rows, :, :said] = _picked(self.said_log_probs[images], best)
        if self.looked is not None:
            if self.attention is None:
                self.attention = self.log_probs.new_zeros(*self.words.shape, self.looked.shape[-1])
            self.attention[rows, :, :said] = _picked(self.looked[images], best)


def _picked(values: Tensor, index: Tensor) -> Tensor:
    """values (B, K, …) in the order of index (B, N): (B, N, …)."""
    index = index.view(*index.shape, *[1] * (values.dim() - 2)).expand(-1, -1, *values.shape[2:])
    return values.gather(1, index)


def _append(history: Tensor, parent: Tensor, column: Tensor) -> Tensor:
    """history (B, K, t, …) of the parents (B, K), one column (B, K, …) longer."""
    return torch.cat([_picked(history, parent), column.unsqueeze(2)], dim=2)
