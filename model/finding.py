"""Find photos by words, in the space of the joint embedding (`model.embedding`).

How well a text t fits a photo i is measured against how well it fits photos at large, a bank of N training photos, for
some texts are near to everything:

    z = (cos(t, i) - mean_n cos(t, n)) / deviation_n cos(t, n)

`python -m model.training.fit_find` makes the bank, and fits the probability σ(slope · z + intercept) to validation
photos.

Shapes: B photos, R regions, C channels, S dimensions of the space, N photos of the bank, K kept photos.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn import functional

from model.embedding import EMBEDDING_FILE, JointEmbedding
from model.found import MOST_FOUND, NAME_BYTES, Found, Hit, Kept, Vector
from model.network.checkpoint import CheckpointError, fingerprint, read_tensors, write_tensors
from model.network.vocabulary import SPECIAL
from model.tagging.lists import Words

FIND_FILE: Final = "find.safetensors"
MODEL_DIGITS: Final = 16  # of the fingerprint that names a model


@dataclass(frozen=True)
class FindFit:
    """What turns z into the probability that most of what was asked for is in the photo."""

    slope: float
    intercept: float
    least: float  # of the best photo; else nothing fits well
    floor: float  # of each photo that is shown

    def __call__(self, z: Tensor) -> Tensor:
        return torch.sigmoid(self.slope * z + self.intercept)


def coarse(vectors: Tensor) -> Tensor:
    """Vectors as they are kept: (B, S) → (B, S) int8, each as long as fits."""
    return (vectors * (127 / vectors.abs().amax(dim=-1, keepdim=True).clamp(min=1e-9))).round().to(torch.int8)


def marginal_score(cosines: Tensor, bank: Tensor) -> Tensor:
    """z of photos, (T, K), for T texts. cosines: (T, K); bank: (T, N), those with the bank."""
    return (cosines - bank.mean(dim=-1, keepdim=True)) / bank.std(dim=-1, keepdim=True).clamp(min=1e-6)


class Finder:
    """Makes vectors of photos and finds those that a text fits. On the CPU: it takes milliseconds."""

    def __init__(self, embedding: JointEmbedding, model: str, bank: Tensor, fit: FindFit) -> None:
        """model: names the embedding; vectors of others are not compared. bank: (N, S) int8."""
        self.model = model
        self.fit = fit
        self._embedding = embedding
        self._bank = functional.normalize(bank.float(), dim=-1)
        self._words = Words(embedding.vocabulary.words[len(SPECIAL) :])

    @classmethod
    def load(cls, weights: Path, encoder_sha256: str) -> Self:
        """Raises CheckpointError for files that are missing, damaged, or not fitted to each other."""
        sha256 = fingerprint_of(weights / EMBEDDING_FILE)
        embedding = JointEmbedding.load(weights / EMBEDDING_FILE, encoder_sha256)
        path = weights / FIND_FILE
        tensors, metadata = read_tensors(path)
        if metadata.get("embedding_sha256") != sha256:
            raise CheckpointError(f"{path} was not fitted to this {EMBEDDING_FILE}")
        try:
            return cls(embedding, sha256[:MODEL_DIGITS], tensors["bank"], FindFit(**json.loads(metadata["fit"])))
        except (KeyError, ValueError, TypeError) as error:
            raise CheckpointError(f"{path}: {error!r}") from error

    @torch.inference_mode()
    def vectors(self, features: Tensor) -> list[Vector]:
        """Of photos. features: (B, R, C)."""
        found = coarse(self._embedding.photos(features.float().mean(dim=1).cpu()))
        return [Vector(self.model, row.numpy().tobytes()) for row in found]

    @torch.inference_mode()
    def find(self, text: str, kept: Sequence[Kept], vectors: bytes) -> Found:
        """Which of the kept photos a text fits, English or Russian. vectors: those of all of `kept`, one after another.

        Raises ValueError where they are not as `kept` says.
        """
        meaning = self._words.meaning(text)
        if not meaning.known:
            return Found((), meaning.unknown, understood=False)
        names, photos = self._own(kept, vectors)
        said = self._embedding.encode([" ".join(meaning.known)])
        scores = marginal_score(said @ functional.normalize(photos.float(), dim=-1).T, said @ self._bank.T)[0]
        best = scores.topk(min(MOST_FOUND, len(names)))
        likely = self.fit(best.values).tolist()
        least = self.fit.floor if likely and likely[0] >= self.fit.least else 1.0
        hits = [
            Hit(names[row], round(probability, 4))
            for row, probability in zip(best.indices.tolist(), likely, strict=True)
            if probability >= least
        ]
        return Found(tuple(hits), meaning.unknown, compared=len(names))

    def _own(self, kept: Sequence[Kept], vectors: bytes) -> tuple[list[str], Tensor]:
        """Names and vectors, (K, S) int8, of those that this model made."""
        size = self._bank.shape[1]
        names: list[str] = []
        photos = torch.zeros(0, size, dtype=torch.int8)
        start = 0
        for part in kept:
            step = NAME_BYTES + part.size
            end = start + part.count * step
            if part.model == self.model and part.count:
                if part.size != size or end > len(vectors):
                    raise ValueError(f"{part} does not fit {len(vectors)} bytes and {size} dimensions")
                names += [vectors[at : at + NAME_BYTES].hex() for at in range(start, end, step)]
                rows = torch.frombuffer(bytearray(vectors[start:end]), dtype=torch.int8).reshape(part.count, step)
                photos = torch.cat([photos, rows[:, NAME_BYTES:]])
            start = end
        if start != len(vectors):
            raise ValueError(f"{len(vectors)} bytes in place of {start}")
        return names, photos

    @staticmethod
    def save(path: Path, bank: Tensor, fit: FindFit, embedding_sha256: str) -> None:
        """Write what `load` reads beside an embedding."""
        write_tensors(path, {"bank": bank}, {"fit": json.dumps(asdict(fit)), "embedding_sha256": embedding_sha256})


def fingerprint_of(path: Path) -> str:
    """Raises CheckpointError where there is no such file."""
    try:
        return fingerprint(path)
    except OSError as error:
        raise CheckpointError(f"{path}: {error.strerror}") from error
