"""Hyper-parameters, stored as JSON inside each checkpoint. Free of torch."""

import dataclasses
import json
from dataclasses import dataclass
from typing import Any, Final, Literal, Self, get_args

DecoderKind = Literal["attention", "baseline"]
NetworkKind = Literal["attention", "baseline", "transformer"]  # those that can be trained, too
NETWORKS: Final[tuple[NetworkKind, ...]] = get_args(NetworkKind)
Rnn = Literal["lstm", "gru"]
Precision = Literal["auto", "fp32", "bf16", "int8"]  # of the encoder; auto: the fastest


@dataclass(frozen=True)
class Model:
    """A kind of captioning model, as people choose it."""

    name: DecoderKind
    has_attention: bool  # whether its captions have heatmaps
    label: str  # in English, for figures and tables
    compared_with: DecoderKind  # the model whose caption a comparison shows


MODELS: Final[dict[DecoderKind, Model]] = {
    model.name: model
    for model in (
        Model("attention", has_attention=True, label="attention model", compared_with="baseline"),
        Model("baseline", has_attention=False, label="baseline", compared_with="attention"),
    )
}

# By torchvision's names but for EfficientNet-Lite2, families whose last grid is known: see `build_backbone`.
ENCODERS: Final = (
    "inception_v3",
    "efficientnet_lite2",
    "alexnet",
    *(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
    *(f"efficientnet_b{number}" for number in range(8)),
    *(f"efficientnet_v2_{size}" for size in "sml"),
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    *(f"resnet{layers}" for layers in (18, 34, 50, 101, 152)),
    *(f"vgg{layers}" for layers in (11, 13, 16, 19)),
    *(f"vgg{layers}_bn" for layers in (11, 13, 16, 19)),
)


class ConfigError(ValueError):
    """A configuration that no network can be built from."""


@dataclass(frozen=True)
class Config:
    """A dataclass as JSON."""

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
class EncoderConfig(Config):
    """The grid encoder: an image of (3, image_size, image_size) becomes (rows * columns, channels).

    Pixels in [0, 1] have `mean` taken off and are divided by `std`, channel by channel.
    """

    name: str = "inception_v3"
    image_size: int = 299
    rows: int = 8
    columns: int = 8
    channels: int = 1280
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        object.__setattr__(self, "mean", tuple(self.mean))  # JSON knows lists alone
        object.__setattr__(self, "std", tuple(self.std))
        if self.name not in ENCODERS:
            raise ConfigError(f"unknown encoder {self.name!r}; known: {', '.join(ENCODERS)}")
        if (len(self.mean), len(self.std)) != (3, 3) or min(self.std) <= 0:
            raise ConfigError("an encoder's mean and std must be three numbers each, those of std positive")
        if min(self.image_size, self.rows, self.columns, self.channels) < 1:
            raise ConfigError("encoder sizes must be positive")

    @property
    def regions(self) -> int:
        return self.rows * self.columns


@dataclass(frozen=True)
class DecoderConfig(Config):
    """One decoder. `embedding` is also the width of the tied output layer."""

    kind: NetworkKind
    vocabulary_size: int
    channels: int = 1280
    embedding: int = 512
    hidden: int = 512
    attention: int = 512
    dropout: float = 0.5
    max_words: int = 20
    rnn: Rnn = "lstm"
    layers: int = 3  # of a transformer
    heads: int = 8

    def __post_init__(self) -> None:
        if self.kind not in NETWORKS:
            raise ConfigError(f"unknown decoder {self.kind!r}; known: {', '.join(NETWORKS)}")
        if self.rnn not in ("lstm", "gru"):
            raise ConfigError(f"unknown recurrent network {self.rnn!r}; known: lstm, gru")
        sizes = (self.vocabulary_size, self.channels, self.embedding, self.hidden, self.attention, self.max_words)
        if min(*sizes, self.layers, self.heads) < 1:
            raise ConfigError("decoder sizes must be positive")
        if self.kind == "transformer" and self.embedding % self.heads:
            raise ConfigError(f"{self.heads} heads do not share {self.embedding} numbers evenly")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout must be in [0, 1), not {self.dropout}")
