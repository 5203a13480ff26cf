"""How well a caption agrees with what people would say of a photo, estimated from the photo alone.

CIDEr (Vedantam et al., CVPR 2015) is a caption's consensus with references: for each length n of n-grams, the mean
cosine between its tf-idf vector and theirs. That is linear in the mean of the references' unit vectors. Here a kernel
ridge regression of low rank on the encoder's features predicts that mean, for single words and pairs. Of a beam's
hypotheses the one wins that is likely and agrees, as those of Fang et al. (CVPR 2015) are ranked by likelihood and by
how alike text and image are; Devlin et al. (arXiv 1505.04467) take the consensus with captions of similar photos. A
word is believed by its own probability and by how much of it the regression expects. From what is predicted a logistic
regression tells which of the training data sets a photo is like: on photos of some, more captions are right.
`python -m model.training.fit_consensus` fits it; captioners without its file take the likeliest hypothesis whole.

Shapes: B photos, R regions, C channels, Z principal components, M landmarks, G n-grams, D the rank.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

import torch
from torch import Tensor

from model.calibration import Calibration
from model.captions import Caption
from model.decoding.search import LENGTH_POWER
from model.network.checkpoint import reading_fitted, write_tensors

CONSENSUS_FILE: Final = "consensus.safetensors"
LEAST: Final = 1e-4  # of what is expected of a word, before its logarithm

Words = Sequence[str]
Ngram = tuple[str, ...]  # of one word or two


@dataclass(frozen=True)
class KernelFeatures:
    """What the regression reads of photos: the principal components z of the mean over the regions, and how near they
    are to landmarks, k(z, l) = 1 / (1 + |z - l|²), a rational quadratic kernel.

    A linear function of both, fitted with the penalty of `model.training.fit_consensus.nystrom`, is the Nyström
    approximation of kernel ridge regression with k(z, z') + z · z' (Williams and Seeger, NIPS 2000).
    """

    components: Tensor  # (C + 1, Z), the last row what is added
    landmarks: Tensor  # (M, Z)

    def __call__(self, means: Tensor) -> Tensor:
        """means: (B, C), over the regions. Returns (B, M + Z) float32."""
        z = means.float() @ self.components[:-1] + self.components[-1]
        return torch.cat([kernel(z, self.landmarks), z], dim=1)

    def to(self, device: torch.device) -> Self:
        return replace(self, components=self.components.to(device), landmarks=self.landmarks.to(device))


def kernel(left: Tensor, right: Tensor) -> Tensor:
    """left: (N, Z); right: (M, Z). Returns (N, M), in (0, 1]."""
    squares = left.square().sum(dim=1)[:, None] + right.square().sum(dim=1) - 2 * left @ right.T
    return 1 / (1 + squares.clamp(min=0))


def ngrams(words: Words) -> tuple[list[Ngram], list[Ngram]]:
    """The words of a caption, and its pairs of neighbours."""
    return [(word,) for word in words], list(pairwise(words))


@dataclass(frozen=True)
class RankingWeights:
    """A hypothesis of n words has the score likelihood · log p / n ** 0.7 + agreement."""

    likelihood: float
    pairs: float  # their share in the agreement, in [0, 1]; the rest is the words'


@dataclass(frozen=True)
class Belief:
    """A word is in what people say with p = σ(slope · log p(word) + expected · log of what is expected + intercept)."""

    slope: float
    expected: float
    intercept: float

    def __call__(self, log_prob: float, log_expected: float) -> float:
        logit = self.slope * log_prob + self.expected * log_expected + self.intercept
        return 0.5 + 0.5 * math.tanh(0.5 * logit)


@dataclass(frozen=True)
class Judgement:
    """Of one caption: its cosines with the references' words and pairs, the share of CIDEr's 1 that is to be expected,
    and of each word the logarithm of how much of it is.
    """

    words: float
    pairs: float
    agreement: float
    log_expected: tuple[float, ...]


class Consensus:
    """Predicts the mean tf-idf vector of a photo's references, and judges captions by it."""

    def __init__(
        self,
        grams: Sequence[Ngram],
        idf: Tensor,
        rarest: float,
        reads: KernelFeatures,
        down: Tensor,
        up: Tensor,
        ranking: RankingWeights,
        belief: Belief,
        calibrations: Mapping[str, Calibration] = MappingProxyType({}),
        domain: Tensor | None = None,
    ) -> None:
        """idf: (G,), and `rarest` of an n-gram that is none of them. down: (M + Z + 1, D), the last row what is added;
        up: (G, D + 1), the last column the mean over training photos. calibrations: of decoders, by the SHA-256 of
        their files. domain: (D + 1,), what makes the log-odds that a photo is like those of the other data sets rather
        than of the validation photos' own; None: there is one data set. Raises ValueError for what does not fit.
        """
        if not (len(grams) == len(idf) == len(up)) or up.shape[1] != down.shape[1] + 1:
            raise ValueError(f"{len(grams)} n-grams do not fit tensors of {tuple(up.shape)} and {tuple(down.shape)}")
        if len(down) != sum(reads.landmarks.shape) + 1 or reads.components.shape[1] != reads.landmarks.shape[1]:
            sizes = tuple(reads.components.shape), tuple(reads.landmarks.shape), tuple(down.shape)
            raise ValueError("components of {}, landmarks of {} and a regression of {} do not fit".format(*sizes))
        if domain is not None and domain.shape != up.shape[1:]:
            raise ValueError(f"a domain of {tuple(domain.shape)} does not fit codes of {up.shape[1]}")
        self.grams, self.rarest, self.ranking, self.belief = tuple(grams), rarest, ranking, belief
        self.calibrations = dict(calibrations)
        self._row = {gram: row for row, gram in enumerate(grams)}
        self._idf, self._idf_of = idf, idf.tolist()
        self.reads = KernelFeatures(reads.components.float(), reads.landmarks.float())
        self.down, self.up = down.float(), up.cpu()
        self._domain = None if domain is None else domain.float().cpu()

    @torch.inference_mode()
    def codes(self, features: Tensor) -> Tensor:
        """What is predicted of photos, (B, D + 1) float32 on the CPU. features: (B, R, C)."""
        found = self.reads(features.float().mean(dim=1)) @ self.down[:-1] + self.down[-1]
        return torch.cat([found, torch.ones_like(found[:, :1])], dim=1).cpu()

    @torch.inference_mode()
    def judge(self, code: Tensor, captions: Sequence[Words]) -> list[Judgement]:
        """Captions of one photo. code: (D + 1,)."""
        counted = [tuple(Counter(grams) for grams in ngrams(words)) for words in captions]
        rows = sorted({self._row[gram] for both in counted for counts in both for gram in counts if gram in self._row})
        expected = dict(zip(rows, (self.up[rows].float() @ code).tolist(), strict=True))
        judged = []
        for words, (ones, twos) in zip(captions, counted, strict=True):
            cosines = self._cosine(ones, expected), self._cosine(twos, expected)
            agreement = (1 - self.ranking.pairs) * cosines[0] + self.ranking.pairs * cosines[1]
            judged.append(Judgement(*cosines, agreement, tuple(self._log_expected(word, expected) for word in words)))
        return judged

    def _cosine(self, counts: Counter[Ngram], expected: dict[int, float]) -> float:
        dot = square = 0.0
        for gram, count in counts.items():
            row = self._row.get(gram)
            weight = count * (self.rarest if row is None else self._idf_of[row])
            square += weight * weight
            dot += 0.0 if row is None else weight * expected[row]
        return dot / math.sqrt(square) if square else 0.0

    def _log_expected(self, word: str, expected: dict[int, float]) -> float:
        row = self._row.get((word,))
        return math.log(LEAST if row is None else max(LEAST, expected[row] / max(LEAST, self._idf_of[row])))

    def judged(self, code: Tensor, captions: Sequence[Caption]) -> list[Caption]:
        """The same captions with their agreement, the photo's domain, and how far each word is believed."""
        domain = 0.0 if self._domain is None else torch.sigmoid(code @ self._domain).item()
        return [
            replace(
                caption,
                agreement=found.agreement,
                domain=domain,
                beliefs=tuple(map(self.belief, caption.log_probs.tolist(), found.log_expected)),
            )
            for caption, found in zip(captions, self.judge(code, [each.words for each in captions]), strict=True)
        ]

    def score(self, caption: Caption) -> float:
        """By which hypotheses are ranked; of one that was judged."""
        return self.ranking.likelihood * length_normalised(caption) + caption.agreement

    def to(self, device: torch.device) -> Self:
        """The same for features on a device, in place."""
        self.reads, self.down = self.reads.to(device), self.down.to(device)
        return self

    def save(self, path: Path, encoder_sha256: str) -> None:
        """Write it, in fp16, for the encoder whose features it reads."""
        halves = {**vars(self.reads), "down": self.down, "up": self.up}
        tensors = {**{name: tensor.half() for name, tensor in halves.items()}, "idf": self._idf.float()}
        if self._domain is not None:
            tensors["domain"] = self._domain
        metadata = {
            "grams": json.dumps([" ".join(gram) for gram in self.grams], ensure_ascii=False),
            "rarest": json.dumps(self.rarest),
            "ranking": json.dumps(asdict(self.ranking)),
            "belief": json.dumps(asdict(self.belief)),
            "calibrations": json.dumps({name: each.to_json() for name, each in self.calibrations.items()}),
            "encoder_sha256": encoder_sha256,
        }
        write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path, encoder_sha256: str) -> Self:
        """Raises CheckpointError for a file that is damaged or was fitted to another encoder."""
        with reading_fitted(path, encoder_sha256) as (tensors, metadata):
            grams = [tuple(text.split(" ")) for text in json.loads(metadata["grams"])]
            ranking = RankingWeights(**json.loads(metadata["ranking"]))
            belief = Belief(**json.loads(metadata["belief"]))
            rarest = float(json.loads(metadata["rarest"]))
            kept = json.loads(metadata["calibrations"])
            calibrations = {name: Calibration.from_json(text) for name, text in kept.items()}
            if "components" not in tensors:
                raise ValueError("of an earlier version: run model.training.fit_consensus again")
            reads = KernelFeatures(tensors["components"], tensors["landmarks"])
            regression = tensors["idf"], rarest, reads, tensors["down"], tensors["up"]
            return cls(grams, *regression, ranking, belief, calibrations, tensors.get("domain"))


def length_normalised(caption: Caption) -> float:
    """The log-probability of a caption's words, without its end, by their number to LENGTH_POWER."""
    return float(caption.log_probs.sum()) / float(max(1, len(caption.words)) ** LENGTH_POWER)
