"""What is found of a photo: tags, and how well descriptions fit. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Tag:
    """One tag of a list.

    `probability`: that one of five people who describe the photo mentions it, as far as is known; None: it cannot be
    judged, since the network does not know its words `unknown`. `holds`: the probability is above the tag's threshold.
    """

    name: str
    probability: float | None
    holds: bool = False
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """One description. `probability`: that it is the one that belongs to the photo; None: as `Tag.probability`."""

    text: str
    probability: float | None
    unknown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Ranking:
    """Descriptions, the likeliest first, those that cannot be judged last. `none`: the probability that none fits."""

    choices: tuple[Choice, ...]
    none: float

    @property
    def best(self) -> Choice | None:
        """None where none of them fits."""
        first = self.choices[0]
        return first if first.probability is not None and first.probability > self.none else None


def likeliest_first(tags: Sequence[Tag]) -> list[Tag]:
    """Those that hold before the others, each by probability."""
    return sorted(tags, key=lambda tag: (not tag.holds, -(tag.probability or 0.0)))
