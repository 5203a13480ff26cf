"""Hyper-parameters, stored as JSON inside each checkpoint. Free of torch."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Literal, Self

DecoderKind = Literal["attention", "baseline"]


class ConfigError(ValueError):
    """A configuration that no network can be built from."""


@dataclass(frozen=True)
class _Config:
    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ConfigError for unknown or missing fields, or values out of range."""
        try:
            fields: dict[str, Any] = json.loads(text)
            return cls(**fields)
        except (TypeError, json.JSONDecodeError) as error:
            raise ConfigError(f"{cls.__name__}: {error}") from error


@dataclass(frozen=True)
class EncoderConfig(_Config):
    """The grid encoder: an image of (3, image_size, image_size) becomes (rows * columns, channels)."""

    name: str = "inception_v3"
    image_size: int = 299
    rows: int = 8
    columns: int = 8
    channels: int = 1280

    def __post_init__(self) -> None:
        if self.name != "inception_v3":
            raise ConfigError(f"unknown encoder {self.name!r}; known: inception_v3")
        if min(self.image_size, self.rows, self.columns, self.channels) < 1:
            raise ConfigError("encoder sizes must be positive")

    @property
    def regions(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class DecoderConfig(_Config):
    """One decoder. `embedding` is also the width of the tied output layer."""

    kind: DecoderKind
    vocabulary_size: int
    channels: int = 1280
    embedding: int = 512
    hidden: int = 512
    attention: int = 512
    dropout: float = 0.5
    max_words: int = 20

    def __post_init__(self) -> None:
        if self.kind not in ("attention", "baseline"):
            raise ConfigError(f"unknown decoder {self.kind!r}; known: attention, baseline")
        sizes = (self.vocabulary_size, self.channels, self.embedding, self.hidden, self.attention, self.max_words)
        if min(sizes) < 1:
            raise ConfigError("decoder sizes must be positive")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout must be in [0, 1), not {self.dropout}")
