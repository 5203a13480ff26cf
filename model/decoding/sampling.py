"""Settings of sampled captions. Free of torch: the bot reads them too."""

from dataclasses import dataclass
from typing import Final

TEMPERATURES: Final = (0.1, 2.0)
LADDER: Final = ((3, 4), (6, 2))  # (up to this many words, choose among so many); then 1


@dataclass(frozen=True)
class Sampling:
    """Temperature, then at most `top_k` words (0: all), then the nucleus of mass `top_p` (Holtzman et al., 2020).

    `ladder` chooses among the 4 likeliest words for words 1–3, among 2 for words 4–6, and takes the likeliest
    from there on: variety at the start of a caption, a safe end.
    Raises ValueError for values out of range.
    """

    temperature: float = 0.6
    top_k: int = 20
    top_p: float = 1.0
    ladder: bool = False

    def __post_init__(self) -> None:
        low, high = TEMPERATURES
        if not low <= self.temperature <= high:
            raise ValueError(f"temperature must be in [{low}, {high}], not {self.temperature}")
        if self.top_k < 0:
            raise ValueError(f"top_k must not be negative: {self.top_k}")
        if not 0.0 < self.top_p <= 1.0:
            raise ValueError(f"top_p must be in (0, 1], not {self.top_p}")

    def limit(self, position: int) -> int:
        """The number of likeliest words to choose from at `position` (from 0); 0: all."""
        if not self.ladder:
            return self.top_k
        limit = next((limit for words, limit in LADDER if position < words), 1)
        return min(limit, self.top_k) if self.top_k else limit
