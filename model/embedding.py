"""Photos and texts in one space (VSE++, Faghri et al., BMVC 2018): what belongs together has a high cosine.

A photo is the mean of the encoder's features under a linear layer; a text is the last state of a GRU (Cho et al., 2014)
over its words. `python -m model.training.embed` trains both; the file names the encoder whose features it reads.

Shapes: B photos or texts, R regions, C channels, T words, S the space's dimensions.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence

from model.network.checkpoint import reading_fitted, write_tensors
from model.network.vocabulary import PAD, Vocabulary

EMBEDDING_FILE: Final = "embedding.safetensors"


@dataclass(frozen=True)
class EmbeddingConfig:
    channels: int
    words: int  # of the vocabulary
    word: int = 256  # dimensions of a word
    space: int = 512


class JointEmbedding(nn.Module):
    """Both sides give unit vectors, (B, S)."""

    def __init__(self, config: EmbeddingConfig, vocabulary: Vocabulary) -> None:
        super().__init__()
        if config.words != len(vocabulary):
            raise ValueError(f"{len(vocabulary)} words, but {config.words} vectors")
        self.config, self.vocabulary = config, vocabulary
        self.norm = nn.LayerNorm(config.channels)
        self.project = nn.Linear(config.channels, config.space)
        self.embed = nn.Embedding(config.words, config.word)
        self.gru = nn.GRU(config.word, config.space)
        self.dropout = nn.Dropout(0.2)

    def photos(self, pooled: Tensor) -> Tensor:
        """pooled: (B, C), the mean over the regions of the encoder's features."""
        return functional.normalize(self.project(self.dropout(self.norm(pooled.float()))).float(), dim=-1)

    def texts(self, texts: Sequence[Sequence[int]]) -> Tensor:
        """texts: indices of at least one word each; <unk> for words that are not known."""
        device = self.embed.weight.device
        tokens = pad_sequence([torch.tensor(text, device=device) for text in texts], padding_value=PAD)  # (T, B)
        lengths = torch.tensor([len(text) for text in texts])
        words = self.dropout(self.embed(tokens))  # (T, B, word)
        _, last = self.gru(pack_padded_sequence(words, lengths, enforce_sorted=False))  # (1, B, S)
        return functional.normalize(last[0].float(), dim=-1)

    def encode(self, texts: Sequence[str]) -> Tensor:
        """The same of written texts, which need words."""
        return self.texts([self.vocabulary.encode(text) for text in texts])

    def save(self, path: Path, encoder_sha256: str) -> None:
        """Write it, in fp16, for the encoder whose features it reads."""
        tensors = {name: tensor.half() for name, tensor in self.state_dict().items()}
        config, vocabulary = json.dumps(asdict(self.config)), self.vocabulary.to_json()
        write_tensors(path, tensors, {"config": config, "vocabulary": vocabulary, "encoder_sha256": encoder_sha256})

    @classmethod
    def load(cls, path: Path, encoder_sha256: str) -> Self:
        """In fp32. Raises CheckpointError for a file that is damaged or was trained on another encoder's features."""
        with reading_fitted(path, encoder_sha256) as (tensors, metadata):
            config = EmbeddingConfig(**json.loads(metadata["config"]))
            embedding = cls(config, Vocabulary.from_json(metadata["vocabulary"]))
            embedding.load_state_dict(tensors)
        return embedding.eval()
