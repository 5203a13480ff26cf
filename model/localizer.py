"""Where in a photo a word of its caption is: an attention over the regions that knows the word.

The attention of a decoder is computed before it chooses a word, and need not lie on what the word names. This one is
asked for the word: each region has a key, each word a query, and the map of a word is the softmax of their products,
as in the localizer of Ma et al. (ECCV 2020). A share of what all known words of the caption look for is added, for
"red" or "two" alone may be anywhere; a word that is not known is where they are.
`python -m model.training.fit_localizer` trains it on collages, whose words have known places; captioners without its
file show the decoder's attention.

Shapes: B photos, R regions, C channels, D the width, W words known, T words of a caption.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from model.network.checkpoint import reading_fitted, write_tensors
from model.words import WITHOUT_PLACE

LOCALIZER_FILE: Final = "localizer.safetensors"
CONTEXT: Final = 0.5

Floats = npt.NDArray[np.float32]


class Localizer:
    """Maps of words over the regions of a photo."""

    def __init__(
        self, words: Sequence[str], queries: Tensor, weight: Tensor, bias: Tensor, context: float = CONTEXT
    ) -> None:
        """queries: (W, D), of the words, each of which has a place; weight: (D, C) and bias: (D,), of the regions'
        keys. context: the share of what the caption's words look for together. Raises ValueError for what does not fit.
        """
        if queries.shape != (len(words), len(weight)) or bias.shape != weight.shape[:1]:
            raise ValueError(
                f"{len(words)} words do not fit {tuple(queries.shape)}, {tuple(weight.shape)} and {tuple(bias.shape)}"
            )
        self.words, self.context = tuple(words), context
        self._row = {word: row for row, word in enumerate(words)}
        self.queries, self.weight, self.bias = queries.float().cpu(), weight.float(), bias.float()

    @torch.inference_mode()
    def keys(self, features: Tensor) -> Tensor:
        """Of the regions, (B, R, D) float32 on the CPU. features: (B, R, C)."""
        return functional.linear(normalised(features), self.weight, self.bias).cpu()

    @torch.inference_mode()
    def maps(self, keys: Tensor, captions: Sequence[Sequence[str]]) -> list[Floats]:
        """For each word of captions of one photo its share in each region, (T, R), each row summing to 1: the same
        everywhere for words without a place ("a", "of"), and where no word of a caption is known. keys: (R, D).
        """
        known = list(dict.fromkeys(word for words in captions for word in words if word in self._row))
        scores: Floats = (self.queries[[self._row[word] for word in known]] @ keys.T).numpy()  # (W', R)
        own_of: dict[str, Floats] = dict(zip(known, scores, strict=True))
        found = []
        for words in captions:
            own = [own_of[word] for word in words if word in own_of]
            context: Floats = np.stack(own).mean(axis=0) if own else np.zeros(len(keys), np.float32)
            sums = np.zeros((len(words), len(keys)), np.float32)  # (T, R)
            for place, word in enumerate(words):
                if word not in WITHOUT_PLACE:
                    sums[place] = own_of.get(word, context) + self.context * context
            shares = np.exp(sums - sums.max(axis=1, keepdims=True, initial=-np.inf))
            found.append(shares / shares.sum(axis=1, keepdims=True))
        return found

    def to(self, device: torch.device) -> Self:
        """The same for features on a device, in place."""
        self.weight, self.bias = self.weight.to(device), self.bias.to(device)
        return self

    def save(self, path: Path, encoder_sha256: str) -> None:
        """Write it, in fp16, for the encoder whose features it reads."""
        tensors = {"queries": self.queries.half(), "weight": self.weight.half(), "bias": self.bias}
        metadata = {
            "words": json.dumps(self.words, ensure_ascii=False),
            "context": json.dumps(self.context),
            "encoder_sha256": encoder_sha256,
        }
        write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path, encoder_sha256: str) -> Self:
        """Raises CheckpointError for a file that is damaged or was fitted to another encoder."""
        with reading_fitted(path, encoder_sha256) as (tensors, metadata):
            words, context = json.loads(metadata["words"]), float(json.loads(metadata["context"]))
            return cls(words, tensors["queries"], tensors["weight"], tensors["bias"], context)


def normalised(features: Tensor) -> Tensor:
    """What keys are computed of: (B, R, C) float32, of each region mean 0 and variance 1 over its channels."""
    return functional.layer_norm(features.float(), features.shape[-1:])
