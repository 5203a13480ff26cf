"""The order of a run's examples and the height of its learning rate: functions of seed and step alone."""

from __future__ import annotations

import math
import random


def shuffled_batches(examples: int, batch: int, *, seed: int, epoch: int) -> list[list[int]]:
    """Rows of the examples, in batches, in the order of this epoch."""
    order = list(range(examples))
    random.Random(seed * 1000 + epoch).shuffle(order)
    return [order[start : start + batch] for start in range(0, examples, batch)]


def rate_share(step: int, *, total: int, warmup: int, floor: float) -> float:
    """The share of the peak learning rate: linear warm-up, then a cosine down to `floor` at step `total`."""
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, total - warmup)
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def step_seed(seed: int, step: int) -> int:
    """What dropout and sampling of one step are seeded with, so that a resumed run draws as one never stopped."""
    return (seed + 1) * 1_000_003 + step
