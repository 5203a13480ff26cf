"""Tags of photos, and how well descriptions fit them, by the encoder's features and a captioner's decoder.

A tag of the default dictionary has a classifier of its own: logistic regression on the features, pooled over the
regions. Everything else is judged by pointwise mutual information: the log-probability that the decoder gives a text
for the photo, less that for photos at large,

    PMI = log p(text | photo) - log (1/N) Σ_n p(text | photo n of the bank),

without which common texts would win. The bank is a choice of training photos, whose features are kept coarsely.
PMI is at most -log p(text), so of short texts it is small even where they are right: in the ranking of descriptions
log p(text) counts too, and so do the classifiers of the tags that a description names. Probabilities are fitted to
validation photos by `python -m model.training.fit_tags`.

Shapes: B images, R regions, C channels, T tags, N photos of the bank, S regions kept of each.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor

from model.decoding.scoring import text_log_probs
from model.network.checkpoint import reading_fitted, write_tensors
from model.network.config import DecoderKind
from model.network.decoder import Decoder, DecoderState
from model.network.vocabulary import SPECIAL, Vocabulary
from model.tagging.answers import Choice, Ranking, Tag
from model.tagging.lists import ARTICLES, Words, dictionary

TAGS_FILE: Final = "tags.safetensors"
TAGGING: Final[DecoderKind] = "attention"  # the decoder whose PMI the probabilities are fitted to
LEAST: Final = 1e-9  # of a tag's probability, whose logarithm must be finite


def pooled(features: Tensor) -> Tensor:
    """What the classifiers read of grid features: (B, R, C) → (B, C) float32, the mean over the regions.

    With maximum or deviation beside it they learn the training photos by heart and judge others worse.
    """
    return features.float().mean(dim=1)


@dataclass(frozen=True)
class Fit:
    """What turns PMI into probabilities, fitted to validation photos.

    A free tag holds with p = σ(slope · PMI + rarity · log p(text) + intercept), log p over the bank. Descriptions
    have a softmax of sharpness · PMI + common · log p(text) + lift · `Tagger.lift`, beside which "none fits" has the
    logit `none`. `common` and `lift` are 0 in files from before they were fitted.
    """

    slope: float
    rarity: float
    intercept: float
    threshold: float  # of a free tag's probability
    sharpness: float
    none: float
    common: float = 0.0
    lift: float = 0.0

    def descriptions(self, evidence: Tensor) -> Tensor:
        """Logits of N descriptions, then that of none: (…, N + 1). evidence: (…, N, 3), of `Tagger.evidence`."""
        logits = evidence @ evidence.new_tensor([self.sharpness, self.common, self.lift])
        return torch.cat([logits, torch.full_like(logits[..., :1], self.none)], dim=-1)


@dataclass(frozen=True)
class Head:
    """Classifiers of tags. weight: (T, C); bias, threshold (of the probability): (T,); all float32."""

    tags: tuple[str, ...]
    weight: Tensor
    bias: Tensor
    threshold: Tensor

    def probabilities(self, features: Tensor) -> Tensor:
        """(B, T). features: (B, R, C)."""
        return torch.sigmoid(pooled(features) @ self.weight.T + self.bias)


class Tagger:
    """Judges tags and ranks descriptions. It is given the decoder with each call, as captioners share one."""

    def __init__(self, head: Head, bank: Tensor, fit: Fit) -> None:
        """bank: (N, S, C) features of training photos, float16 or float32."""
        if not (len(head.tags) == len(head.weight) == len(head.bias) == len(head.threshold)):
            raise ValueError(f"{len(head.tags)} tags do not fit weights of {tuple(head.weight.shape)}")
        if head.weight.shape[1] != bank.shape[-1]:
            raise ValueError(f"weights of {tuple(head.weight.shape)} for features of {bank.shape[-1]} channels")
        self.head, self.bank, self.fit = head, bank, fit
        row = {tag: place for place, tag in enumerate(head.tags)}
        entries = [entry for entry in dictionary("default") if entry.name in row]
        self._row_of = row | {form: row[entry.name] for entry in entries for form in entry.forms}
        self._states: dict[Decoder, DecoderState] = {}  # of the bank, by the decoder

    @torch.inference_mode()
    def tags(self, decoder: Decoder, vocabulary: Vocabulary, features: Tensor, tags: Sequence[str]) -> list[Tag]:
        """Judge each of the tags of one photo, in their order. features: (R, C)."""
        meanings = [Words(vocabulary.words[len(SPECIAL) :]).meaning(tag) for tag in tags]
        rows = [None if meaning.unknown else self._classifier(meaning.words) for meaning in meanings]
        judged = self.head.probabilities(features[None])[0].tolist() if any(row is not None for row in rows) else []
        thresholds = self.head.threshold.tolist()
        free = [n for n, (m, row) in enumerate(zip(meanings, rows, strict=True)) if row is None and not m.unknown]
        said = [meanings[n].words for n in free]
        estimates = dict(zip(free, self._free(decoder, vocabulary, features, said), strict=True))
        found = []
        for n, (tag, meaning, row) in enumerate(zip(tags, meanings, rows, strict=True)):
            if row is not None:
                found.append(Tag(tag, judged[row], judged[row] >= thresholds[row]))
            elif n in estimates:
                found.append(Tag(tag, estimates[n], estimates[n] >= self.fit.threshold))
            else:
                found.append(Tag(tag, None, unknown=meaning.unknown))
        return found

    @torch.inference_mode()
    def rank(self, decoder: Decoder, vocabulary: Vocabulary, features: Tensor, texts: Sequence[str]) -> Ranking:
        """Rank descriptions of one photo. features: (R, C)."""
        words = Words(vocabulary.words[len(SPECIAL) :])
        meanings = [words.meaning(text) for text in texts]
        judged = [n for n, meaning in enumerate(meanings) if not meaning.unknown]
        unjudged = [Choice(text, None, m.unknown) for text, m in zip(texts, meanings, strict=True) if m.unknown]
        if not judged:
            return Ranking(tuple(unjudged), 1.0)
        evidence = self.evidence(decoder, vocabulary, features[None], [meanings[n].words for n in judged])[0]
        *shares, none = self.fit.descriptions(evidence).softmax(dim=-1).tolist()
        choices = [Choice(texts[n], share) for n, share in zip(judged, shares, strict=True)]
        choices.sort(key=lambda choice: -(choice.probability or 0.0))
        return Ranking((*choices, *unjudged), none)

    @torch.inference_mode()
    def evidence(
        self, decoder: Decoder, vocabulary: Vocabulary, features: Tensor, texts: Sequence[Sequence[str]]
    ) -> Tensor:
        """What the ranking of N descriptions goes by: PMI, log p(text) and `lift`, (B, N, 3). features: (B, R, C)."""
        pmi, marginal = self.pmi(decoder, features, [vocabulary.encode(" ".join(words)) for words in texts], end=True)
        return torch.stack([pmi, marginal.expand_as(pmi), self.lift(features, texts)], dim=-1)

    def lift(self, features: Tensor, texts: Sequence[Sequence[str]]) -> Tensor:
        """By how much likelier the photo makes the tags that a text names than photos of the bank do, (B, N).

        The mean over the tags of log p(tag | photo) - log (1/N) Σ_n p(tag | photo n); 0 for a text that names none.
        features: (B, R, C).
        """
        bank = self.head.probabilities(self.bank.to(self.head.weight.device))
        gained = self.head.probabilities(features).clamp(min=LEAST).log() - bank.mean(dim=0).clamp(min=LEAST).log()
        named = gained.new_zeros(len(texts), len(self.head.tags))
        for n, words in enumerate(texts):
            said = f" {' '.join(words)} "
            rows = [row for form, row in self._row_of.items() if f" {form} " in said]
            named[n, rows] = 1.0
        return gained @ (named / named.sum(dim=1, keepdim=True).clamp(min=1)).T

    @torch.inference_mode()
    def pmi(
        self, decoder: Decoder, features: Tensor, texts: Sequence[Sequence[int]], *, end: bool
    ) -> tuple[Tensor, Tensor]:
        """PMI of each text for each photo, (B, N), and log p(text) over the bank, (N,), as `text_log_probs` says.

        features: (B, R, C).
        """
        marginal = self.marginal(decoder, texts, end=end)
        return text_log_probs(decoder, decoder.init_state(features), texts, end=end) - marginal, marginal

    @torch.inference_mode()
    def marginal(self, decoder: Decoder, texts: Sequence[Sequence[int]], *, end: bool) -> Tensor:
        """log p(text) over the bank, (N,)."""
        if decoder not in self._states:
            device = decoder.embedding.weight.device
            self._states[decoder] = decoder.init_state(self.bank.to(device).float())
        log_probs = text_log_probs(decoder, self._states[decoder], texts, end=end)
        return log_probs.logsumexp(dim=0) - math.log(len(log_probs))

    def _classifier(self, words: Sequence[str]) -> int | None:
        """The row of the classifier for these words."""
        return self._row_of.get(" ".join(words[1:] if words and words[0] in ARTICLES else words))

    def _free(
        self, decoder: Decoder, vocabulary: Vocabulary, features: Tensor, tags: Sequence[Sequence[str]]
    ) -> list[float]:
        """The probabilities of tags that have no classifier."""
        if not tags:
            return []
        pmi, marginal = self.pmi(decoder, features[None], [free_text(vocabulary, words) for words in tags], end=False)
        return torch.sigmoid(self.fit.slope * pmi[0] + self.fit.rarity * marginal + self.fit.intercept).tolist()

    def to(self, device: torch.device) -> Self:
        """The same on a device, in place."""
        head = self.head
        self.head = Head(head.tags, *(tensor.to(device) for tensor in (head.weight, head.bias, head.threshold)))
        return self

    def save(self, path: Path, encoder_sha256: str) -> None:
        """Write it, in fp16, for the encoder whose features it reads."""
        head = self.head
        tensors = {
            "weight": head.weight.half(),
            "bias": head.bias,
            "threshold": head.threshold,
            "bank": self.bank.half(),
        }
        metadata = {
            "tags": json.dumps(head.tags),
            "fit": json.dumps(asdict(self.fit)),
            "encoder_sha256": encoder_sha256,
        }
        write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path, encoder_sha256: str) -> Self:
        """Raises CheckpointError for a file that is damaged or was fitted to another encoder."""
        with reading_fitted(path, encoder_sha256) as (tensors, metadata):
            tags, fit = tuple(json.loads(metadata["tags"])), Fit(**json.loads(metadata["fit"]))
            head = Head(tags, *(tensors[name].float() for name in ("weight", "bias", "threshold")))
            return cls(head, tensors["bank"], fit)


def free_text(vocabulary: Vocabulary, words: Sequence[str]) -> list[int]:
    """What is asked of the decoder for a tag without a classifier."""
    return vocabulary.encode(" ".join(words))
