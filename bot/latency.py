"""Latencies as counts in buckets that grow geometrically, and the percentiles that can be told from them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

SHORTEST: Final = 0.01  # seconds; what is faster counts as this
PER_DOUBLING: Final = 4  # buckets; each is 19 % wider than the one before
BUCKETS: Final = 72  # up to 2,621 s; what is slower is in the last one


def bucket_of(seconds: float) -> int:
    """Which of the `BUCKETS` it is in: number i holds SHORTEST · 2^(i/4) to SHORTEST · 2^((i+1)/4)."""
    if seconds <= SHORTEST:
        return 0
    return min(BUCKETS - 1, int(PER_DOUBLING * math.log2(seconds / SHORTEST)))


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """About how many seconds this share of all took at most; None where there are none. `share`: in (0, 1].

    An estimate: the true value lies in the same bucket as what is returned, the bucket's geometric middle, so it is off
    by 9 % at most.
    """
    wanted = share * sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted and counts[bucket]:
            return float(SHORTEST * 2 ** ((bucket + 0.5) / PER_DOUBLING))
    return None
