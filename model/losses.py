"""What training minimises: cross-entropy by teacher forcing, and the policy gradient of sampled captions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from model.data import pad_captions
from model.decoder import Decoder


def caption_loss(
    decoder: Decoder, features: Tensor, captions: Sequence[Sequence[Sequence[int]]], label_smoothing: float
) -> tuple[Tensor, int]:
    """Mean cross-entropy of a batch's words (teacher forcing), and their number.

    features: (B, R, C); captions[b]: the captions of image b, as indices. The captions are sorted by length, so
    that each step runs only the sequences that are not yet over.
    """
    flat = [(image, caption) for image, several in enumerate(captions) for caption in several]
    flat.sort(key=lambda pair: -len(pair[1]))
    rows = torch.tensor([image for image, _ in flat])  # (N,)
    inputs, targets = pad_captions([caption for _, caption in flat])  # (N, T)
    lengths = [len(caption) + 1 for _, caption in flat]
    inputs, targets = inputs.to(features.device), targets.to(features.device)
    state = decoder.init_state(features).images(rows.to(features.device))
    total = features.new_zeros(())
    for t in range(inputs.shape[1]):
        active = sum(length > t for length in lengths)
        state = state.images(slice(active))
        logits, state, _ = decoder.step(inputs[:active, t : t + 1], state)  # (active, 1, V)
        total = total + functional.cross_entropy(
            logits.squeeze(1).float(), targets[:active, t], reduction="sum", label_smoothing=label_smoothing
        )
    words = sum(lengths)
    return total / words, words


def leave_one_out(rewards: Tensor) -> Tensor:
    """Advantages: each sample's reward less the mean of the image's other samples. rewards: (B, K ≥ 2) → (B, K)."""
    samples = rewards.shape[1]
    return (rewards - rewards.mean(dim=1, keepdim=True)) * (samples / (samples - 1))


def policy_loss(log_probs: Tensor, advantages: Tensor) -> Tensor:
    """REINFORCE: minus the mean over words of advantage · log p(word). Both (M,), for each word its caption's."""
    return -(advantages * log_probs).mean()
