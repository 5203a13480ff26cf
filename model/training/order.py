"""In what order a run sees its examples, and its random numbers: functions of the seed and the step alone."""

from __future__ import annotations

import random


def shuffled_batches(examples: int, batch: int, *, seed: int, epoch: int, least: int = 1) -> list[list[int]]:
    """Rows of the examples in the order of this epoch, `batch` at a time; a rest of fewer than `least` is left out."""
    order = list(range(examples))
    random.Random(seed * 1000 + epoch).shuffle(order)
    batches = [order[start : start + batch] for start in range(0, examples, batch)]
    return [rows for rows in batches if len(rows) >= least]


def step_seed(seed: int, step: int, process: int = 0) -> int:
    """What a step's dropout and sampling are seeded with, so that a resumed run draws as one that never stopped."""
    return (seed + 1) * 1_000_003 + step + process * 500_000_003
