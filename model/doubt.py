"""When a caption is unsure, and what is said of what is probably no photo. Free of torch and numpy.

Confidence is the probability that a caption is right: a caption of which one is "sure" is right at least twice as often
as it is wrong, and one of which one is "unsure" is wrong more than twice as often as it is right.
"""

from dataclasses import dataclass
from typing import Final

SURE: Final = 2 / 3
FAIRLY_SURE: Final = 1 / 3


def percent(confidence: float) -> int:
    """Confidence as it is shown."""
    return round(100 * min(1.0, max(0.0, confidence)))


def is_unsure(confidence: float) -> bool:
    """Whether a caption is to be hedged; decided by the figure that is shown."""
    return percent(confidence) < 100 * FAIRLY_SURE


@dataclass(frozen=True)
class NotPhoto:
    """A picture that is probably no photo of anything."""

    kind: str  # what it looks like: one of SENTENCES
    probability: float  # that it is no photo, in [0, 1]


SENTENCES: Final = {  # of the kinds that `model.training.fit_gate` knows
    "blank": "This picture looks blank; I only describe photos.",
    "drawing": "This looks like a drawing, a diagram or a logo; I only describe photos.",
    "noise": "This looks like noise; I only describe photos.",
    "screen": "This looks like text or a screenshot; I only describe photos.",
    "text": "This looks like text or a screenshot; I only describe photos.",
}
SENTENCE: Final = "This does not look like a photo; I only describe photos."  # of a kind from another gate


def english(found: NotPhoto) -> str:
    """What to say instead of a caption."""
    return SENTENCES.get(found.kind, SENTENCE)
