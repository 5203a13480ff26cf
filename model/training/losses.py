"""Losses: cross-entropy by teacher forcing, and the policy gradient of sampled captions."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.network.decoder import Decoder
from model.training.data import pad_captions


class CaptionLoss(NamedTuple):
    mean: Tensor  # over the words, of all that is minimised
    words: int


def caption_loss(
    decoder: Decoder,
    features: Tensor,
    captions: Sequence[Sequence[Sequence[int]]],
    *,
    label_smoothing: float = 0.0,
    own_words: float = 0.0,
    coverage: float = 0.0,
) -> CaptionLoss:
    """Mean cross-entropy of a batch's words (teacher forcing), and their number.

    features: (B, R, C); captions[b]: the captions of image b, as indices. The captions are sorted by length, so
    that each step runs only the sequences that are not yet over.
    own_words: the probability that the decoder reads a word that it has drawn itself in place of the reference's
    (scheduled sampling, Bengio et al., NeurIPS 2015). coverage: λ of Show, Attend and Tell, eq. 14: the regions of an
    image should be looked at equally over a caption's words, Σ_i (1 - Σ_t α_ti)².
    """
    flat = [(image, caption) for image, several in enumerate(captions) for caption in several]
    flat.sort(key=lambda each: -len(each[1]))
    rows = torch.tensor([image for image, _ in flat])  # (N,)
    inputs, targets = pad_captions([caption for _, caption in flat])  # (N, T)
    lengths = [len(caption) + 1 for _, caption in flat]
    inputs, targets = inputs.to(features.device), targets.to(features.device)
    state = decoder.init_state(features).images(rows.to(features.device))
    total = features.new_zeros((), dtype=torch.float32)
    logits = torch.empty(0)
    seen: list[Tensor] = []  # (active, 1, R) of each step
    for t in range(inputs.shape[1]):
        active = sum(length > t for length in lengths)
        state = state.images(slice(active))
        words = inputs[:active, t : t + 1]  # (active, 1)
        if t and own_words:
            drawn = draw(logits[:active].detach().log_softmax(dim=-1))
            words = torch.where(torch.rand(words.shape, device=words.device) < own_words, drawn, words)
        logits, state, attention = decoder.step(words, state)  # (active, 1, V)
        logits = logits.float()
        total = total + functional.cross_entropy(
            logits.squeeze(1), targets[:active, t], reduction="sum", label_smoothing=label_smoothing
        )
        if coverage and attention is not None:
            seen.append(attention)
    if seen:
        looked = torch.zeros_like(seen[0])  # (N, 1, R)
        for attention in seen:
            looked = looked + functional.pad(attention, (0, 0, 0, 0, 0, len(looked) - len(attention)))
        total = total + coverage * (1 - looked).square().sum()
    return CaptionLoss(total / sum(lengths), sum(lengths))


def draw(log_probs: Tensor) -> Tensor:
    """One word of each distribution, by PyTorch's global random numbers. log_probs: (…, V) → (…) int64."""
    cumulative = log_probs.exp().cumsum(dim=-1)
    place = torch.rand(*cumulative.shape[:-1], 1, device=cumulative.device) * cumulative[..., -1:]
    return torch.searchsorted(cumulative, place, right=True).squeeze(-1).clamp_(max=log_probs.shape[-1] - 1)


def leave_one_out(rewards: Tensor) -> Tensor:
    """Advantages: each sample's reward less the mean of the image's other samples. rewards: (B, K ≥ 2) → (B, K)."""
    samples = rewards.shape[1]
    return (rewards - rewards.mean(dim=1, keepdim=True)) * (samples / (samples - 1))


def policy_loss(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """REINFORCE: minus the mean over words of advantage · log p(word). Both (M,), for each word its caption's."""
    return -(advantages * log_probs).mean()
