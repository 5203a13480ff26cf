"""One step of an optimiser, the height of its learning rate, and the average of the weights that it leaves behind."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def rate_share(step: int, *, total: int, warmup: int, floor: float) -> float:
    """The share of the peak learning rate: linear warm-up, then a cosine down to `floor` at step `total`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def set_rates(optimizer: torch.optim.Optimizer, share: float) -> None:
    """Each group's learning rate becomes this share of its `peak`."""
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * share


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, clip: float) -> None:
    """Backward and one step; the gradients of each group are clipped to the norm `clip` apart from the others'."""
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
    scaler.unscale_(optimizer)
    for group in optimizer.param_groups:
        nn.utils.clip_grad_norm_(group["params"], clip)
    scaler.step(optimizer)
    scaler.update()


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average: average ← decay · average + (1 - decay) · module, in place.

    In the first steps the decay is smaller, (1 + step) / (10 + step), so that a short run's average is of that run.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, parameter in zip(average.parameters(), module.parameters(), strict=True):
        mean.lerp_(parameter, 1 - decay)
