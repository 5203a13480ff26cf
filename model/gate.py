"""Whether a picture is a photo of something at all: a small classifier on the encoder's features.

It knows photos and a few kinds of picture that the captioner cannot describe: blank ones, noise, text, screens and
drawings. A softmax regression reads the mean and the standard deviation of each channel over the regions, which cost
nothing beside the encoder. `python -m model.training.fit_gate` fits it; captioners without its file know photos only.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from model.doubt import NotPhoto
from model.network.checkpoint import reading_fitted, write_tensors

GATE_FILE: Final = "gate.safetensors"
PHOTO: Final = "photo"


def pooled(features: Tensor) -> Tensor:
    """What the gate reads of grid features: (B, R, C) → (B, 2 C) float32, the mean and deviation over the regions."""
    features = features.float()
    mean = features.mean(dim=1)
    variance = features.square().mean(dim=1) - mean.square()  # fifty times as fast as torch.std on a CPU
    return torch.cat([mean, variance.clamp(min=0).sqrt()], dim=-1)


class Gate:
    """A softmax regression over photo and the kinds of what is none; refuses what is probably no photo."""

    def __init__(self, kinds: Sequence[str], weight: Tensor, bias: Tensor) -> None:
        """kinds: the first is PHOTO; weight: (K, 2 C); bias: (K,)."""
        if not kinds or kinds[0] != PHOTO or weight.shape[0] != len(kinds) or bias.shape != (len(kinds),):
            raise ValueError(
                f"kinds {list(kinds)} do not fit weights of {tuple(weight.shape)}, or photos are not first"
            )
        self.kinds = tuple(kinds)
        self.weight, self.bias = weight.float(), bias.float()

    @torch.inference_mode()
    def probabilities(self, features: Tensor) -> Tensor:
        """Of each kind, (B, K). features: (B, R, C)."""
        return (pooled(features) @ self.weight.T + self.bias).softmax(dim=-1)

    def __call__(self, features: Tensor) -> list[NotPhoto | None]:
        """For each picture, what it is if it is no photo. features: (B, R, C)."""
        found: list[NotPhoto | None] = []
        for each in self.probabilities(features).tolist():
            probability = 1.0 - each[0]
            kind = max(range(1, len(each)), key=each.__getitem__)
            found.append(NotPhoto(self.kinds[kind], probability) if probability > 0.5 else None)
        return found

    def to(self, device: torch.device) -> Self:
        """The same on a device, in place."""
        self.weight, self.bias = self.weight.to(device), self.bias.to(device)
        return self

    def save(self, path: Path, encoder_sha256: str) -> None:
        """Write it for the encoder whose features it reads."""
        metadata = {"kinds": json.dumps(self.kinds), "encoder_sha256": encoder_sha256}
        write_tensors(path, {"weight": self.weight, "bias": self.bias}, metadata)

    @classmethod
    def load(cls, path: Path, encoder_sha256: str) -> Self:
        """Raises CheckpointError for a file that is damaged or was fitted to another encoder."""
        with reading_fitted(path, encoder_sha256) as (tensors, metadata):
            return cls(json.loads(metadata["kinds"]), tensors["weight"], tensors["bias"])
