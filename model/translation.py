"""English captions in, Russian ones out.

>>> russian = Translations.load("weights/russian.safetensors")
>>> [found] = russian.translate(["a dog runs"])
>>> found.text, found.probability, found.passed
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import numpy as np
import torch

from model.captions import Translation
from model.decoding.pruned import Floats, pruned_beam
from model.grammar import NO_GRAMMAR, Grammar
from model.network.checkpoint import CheckpointError, read_tensors, write_tensors
from model.network.config import ConfigError
from model.network.device import choose_device
from model.network.flat_translator import FlatTranslator
from model.network.subwords import Subwords
from model.network.translator import Translator, TranslatorConfig
from model.network.vocabulary import tokenize
from model.translation_checks import failures
from model.typography import euphonic, typeset

RUSSIAN_FILE: Final = "russian.safetensors"
BATCH: Final = 64  # sentences
LONGEST: Final = 128  # pieces of a sentence; the rest is not translated
BEAM: Final = 2  # wider ones are hardly better (docs/russian.md), and cost more
GAP: Final = 1.0  # a hypothesis so far below the likeliest is given up (docs/russian.md)
_MOST: Final = 1.5  # target pieces for each of the source, and
_MORE: Final = 8  # a few more


@dataclass(frozen=True)
class RussianFile:
    """A translator and its words. `threshold`: translations of a lower probability are not trusted."""

    translator: Translator
    source: Subwords
    target: Subwords
    known: frozenset[str]  # English words of the training pairs
    threshold: float = 0.0
    grammar: Grammar = NO_GRAMMAR  # of the Russian forms of the training pairs

    def with_translator(self, translator: Translator) -> Self:
        return replace(self, translator=translator)

    def save(self, path: Path) -> None:
        """Write it in fp16."""
        tensors = {name: tensor.to(torch.float16) for name, tensor in self.translator.state_dict().items()}
        metadata = {
            "config": self.translator.config.to_json(),
            "source": self.source.to_json(),
            "target": self.target.to_json(),
            "known": " ".join(sorted(self.known)),
            "threshold": json.dumps(self.threshold),
            "grammar": self.grammar.to_text(),
        }
        write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path) -> Self:
        """In fp32. Raises CheckpointError."""
        tensors, metadata = read_tensors(path)
        try:
            translator = Translator(TranslatorConfig.from_json(metadata["config"]))
            translator.load_state_dict(tensors)
            source, target = (Subwords.from_json(metadata[name]) for name in ("source", "target"))
            known = frozenset(metadata["known"].split())
            threshold, grammar = (
                float(json.loads(metadata["threshold"])),
                Grammar.from_text(metadata.get("grammar", "")),
            )
            return cls(translator.eval(), source, target, known, threshold, grammar)
        except (ConfigError, RuntimeError, KeyError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}") from error


class Translations:
    """A translator, ready to translate. Not thread-safe: one call at a time."""

    def __init__(self, file: RussianFile) -> None:
        self.file = file
        self.translator = FlatTranslator(file.translator)

    @classmethod
    def load(cls, path: str | Path, device: str = "auto") -> Self:
        """It computes in fp32.

        Raises CheckpointError, and ValueError for a device that this machine does not have.
        """
        file, target = RussianFile.load(Path(path)), choose_device(device)
        file.translator.to(target)
        return cls(file)

    def translate(self, captions: Sequence[str], *, beam: int = BEAM) -> list[Translation]:
        """A translation of each caption; of one without words an empty one. beam: width; 1 is greedy."""
        words = {caption: tokenize(caption) for caption in captions}
        wanted = sorted((caption for caption in words if words[caption]), key=lambda caption: len(words[caption]))
        found = {caption: Translation("", "", 0.0, (), (), np.zeros((0, 0), np.float32)) for caption in words}
        for start in range(0, len(wanted), BATCH):
            some = wanted[start : start + BATCH]
            found |= dict(zip(some, self._batch([words[caption] for caption in some], beam), strict=True))
        return [replace(found[text], text=typeset(found[text].plain, like=text)) for text in captions]

    @torch.inference_mode()
    def _batch(self, captions: Sequence[Sequence[str]], beam: int) -> list[Translation]:
        pieces = [each[:LONGEST] for each in self.file.source.encode([" ".join(words) for words in captions])]
        most = int(_MOST * max(map(len, pieces))) + _MORE
        found = pruned_beam(self.translator, pieces, width=beam, length_power=1.0, max_words=most, gap=GAP)
        return [
            self._translation(words, read, each.tokens, each.log_probs, each.attention)
            for words, read, each in zip(captions, pieces, found, strict=True)
        ]

    def _translation(
        self, english: Sequence[str], read: list[int], said: list[int], log_probs: Floats, attention: Floats
    ) -> Translation:
        """log_probs: (T,); attention: (T, S), S at least the number of pieces that were read."""
        words = self.file.target.decode(said)
        plain = euphonic(" ".join(words))
        by_said, by_read = self.file.target.word_numbers(said), self.file.source.word_numbers(read)
        shares = _members(len(words), by_said) @ attention[:, : len(read)] @ _members(len(english), by_read).T
        alignment: Floats = shares / shares.sum(axis=1, keepdims=True).clip(1e-9)
        probability = math.exp(float(log_probs.mean())) if said else 0.0
        wrong = failures(english, plain) + self.file.grammar.failures(plain)
        wrong += [f"unknown: {word}" for word in dict.fromkeys(english) if word not in self.file.known]
        if len(read) == LONGEST:
            wrong.append("too long")
        if probability < self.file.threshold:
            wrong.append("low probability")
        return Translation(plain, plain, probability, tuple(wrong), tuple(plain.split()), alignment)


def _members(words: int, numbers: Sequence[int]) -> Floats:
    """1 where a piece belongs to a word, (words, pieces). numbers: of each piece's word."""
    return np.equal.outer(np.arange(words), numbers).astype(np.float32)
