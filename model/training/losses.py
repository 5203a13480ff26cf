"""Losses: cross-entropy by teacher forcing, and the policy gradient of sampled captions."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from model.network.decoder import Decoder
from model.training.data import pad_captions
from model.training.grounding import NOWHERE, Looks

LEAST_MASS: Final = 1e-6  # of attention in a place, so that its logarithm stays finite


class CaptionLoss(NamedTuple):
    mean: Tensor  # over the words, of all that is minimised
    words: int
    misplaced: float = 0.0  # the mean of -log(attention in its place), over the words that have one


def caption_loss(
    decoder: Decoder,
    features: Tensor,
    captions: Sequence[Sequence[Sequence[int]]],
    *,
    label_smoothing: float = 0.0,
    own_words: float = 0.0,
    coverage: float = 0.0,
    looks: Looks | None = None,
    grounding: float = 1.0,
) -> CaptionLoss:
    """Mean cross-entropy of a batch's words (teacher forcing), and their number.

    features: (B, R, C); captions[b]: the captions of image b, as indices. The captions are sorted by length, so
    that each step runs only the sequences that are not yet over.
    own_words: the probability that the decoder reads a word that it has drawn itself in place of the reference's
    (scheduled sampling, Bengio et al., NeurIPS 2015). coverage: λ of Show, Attend and Tell, eq. 14: the regions of an
    image should be looked at equally over a caption's words, Σ_i (1 - Σ_t α_ti)². looks: where words should be looked
    at; `grounding` times -log of the attention there is added for each word that has a place (Liu et al., AAAI 2017).
    """
    wanted = looks.words if looks else [[[NOWHERE] * len(caption) for caption in several] for several in captions]
    flat = [
        (image, caption, at)
        for image, (several, places) in enumerate(zip(captions, wanted, strict=True))
        for caption, at in zip(several, places, strict=True)
    ]
    flat.sort(key=lambda each: -len(each[1]))
    rows = torch.tensor([image for image, _, _ in flat])  # (N,)
    inputs, targets = pad_captions([caption for _, caption, _ in flat])  # (N, T)
    lengths = [len(caption) + 1 for _, caption, _ in flat]
    inputs, targets = inputs.to(features.device), targets.to(features.device)
    state = decoder.init_state(features).images(rows.to(features.device))
    total = features.new_zeros((), dtype=torch.float32)
    logits = torch.empty(0)
    seen: list[Tensor] = []  # (active, 1, R) of each step
    misplaced: list[Tensor] = []  # -log of the attention of words in their places
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
        if looks and attention is not None:
            found = [(n, at[t]) for n, (_, _, at) in enumerate(flat[:active]) if t < len(at) and at[t] != NOWHERE]
            if found:
                which, place = torch.tensor(found, device=features.device).unbind(dim=1)
                mass = (attention[which, 0] * looks.places.to(features.device)[place]).sum(dim=-1)
                misplaced.append(-mass.clamp(min=LEAST_MASS).log())
    if seen:
        looked = torch.zeros_like(seen[0])  # (N, 1, R)
        for attention in seen:
            looked = looked + functional.pad(attention, (0, 0, 0, 0, 0, len(looked) - len(attention)))
        total = total + coverage * (1 - looked).square().sum()
    off = torch.cat(misplaced) if misplaced else total.new_zeros(0)
    total = total + grounding * off.sum()
    return CaptionLoss(total / sum(lengths), sum(lengths), float(off.detach().mean()) if len(off) else 0.0)


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
