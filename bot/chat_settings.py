"""What can be set for a chat, and what it means for its jobs."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

from model.decoding.sampling import TEMPERATURES, Sampling

Strategy = Literal["top-k", "top-p", "ladder"]

STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)
NUCLEUS: Final = 0.9  # of the strategy top-p
SAMPLES: Final = (0, 10)
BEAM: Final = 5  # width of the search for the main caption


@dataclass(frozen=True)
class ChatSettings:
    """The settings of one chat. Raises ValueError for values out of range."""

    model: Literal["attention", "baseline", ""] = ""  # empty: the operator's choice
    samples: int = 5
    strategy: Strategy = "top-k"
    temperature: float = Sampling.temperature
    beam: bool = True  # else the main caption is the greedy one
    heatmap: bool = True
    language: str = ""  # of the interface; empty: as each person's Telegram says
    voice: bool = False
    short_first: bool = False  # the caption alone in a message of its own, for screen readers; then the whole answer

    def __post_init__(self) -> None:
        if self.model not in ("", "attention", "baseline"):
            raise ValueError(f"no such model: {self.model!r}")
        if self.strategy not in STRATEGIES:
            raise ValueError(f"no such strategy: {self.strategy!r}")
        if not SAMPLES[0] <= self.samples <= SAMPLES[1]:
            raise ValueError(f"samples must be in {SAMPLES}, not {self.samples}")
        if not TEMPERATURES[0] <= self.temperature <= TEMPERATURES[1]:
            raise ValueError(f"temperature must be in {TEMPERATURES}, not {self.temperature}")

    @property
    def sampling(self) -> Sampling:
        """How sampled captions are drawn."""
        match self.strategy:
            case "top-p":
                return Sampling(temperature=self.temperature, top_k=0, top_p=NUCLEUS)
            case "ladder":
                return Sampling(temperature=self.temperature, ladder=True)
        return Sampling(temperature=self.temperature)

    @property
    def beam_width(self) -> int | None:
        """Of the search for the main caption; None: greedy."""
        return BEAM if self.beam else None

    def changes(self) -> dict[str, Any]:
        """What differs from the defaults, to be kept."""
        default = ChatSettings()
        return {name: value for name, value in dataclasses.asdict(self).items() if value != getattr(default, name)}

    @classmethod
    def of(cls, changes: dict[str, Any]) -> Self:
        """From `changes`, perhaps those of another version: what is not understood is passed over."""
        settings = cls()
        for name in {field.name for field in dataclasses.fields(cls)} & changes.keys():
            value, default = changes[name], getattr(settings, name)
            if type(value) is not type(default) and not (type(value) is int and type(default) is float):
                continue
            try:
                settings = dataclasses.replace(settings, **{name: value})
            except ValueError:
                continue
        return settings

    @classmethod
    def read(cls, text: str | bytes | None) -> Self:
        """From the JSON of `changes`; the defaults for what is none."""
        try:
            changes = json.loads(text or "{}")
        except ValueError:
            return cls()
        return cls.of(changes) if isinstance(changes, dict) else cls()
