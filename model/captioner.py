"""Images in, captions out: the library's face.

>>> captioner = Captioner.load("weights")
>>> [captions] = captioner.caption([Image.open("dog.jpg")])
>>> captions.greedy.text, captions.greedy.confidence, [sample.text for sample in captions.samples]
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from model.checkpoint import ENCODER_FILE, CheckpointError, DecoderCheckpoint, fingerprint, load_decoder, load_encoder
from model.config import DecoderKind
from model.decoder import Decoder
from model.encoder import Encoder
from model.images import to_square, upright_rgb
from model.sampling import Sampling
from model.search import Decoded, beam_search, decode
from model.vocabulary import Vocabulary

Precision = Literal["auto", "fp32", "bf16"]


@dataclass(frozen=True)
class Caption:
    """A caption and how the network came to it."""

    words: tuple[str, ...]
    log_probs: npt.NDArray[np.float32]  # (words,), natural logarithms
    attention: npt.NDArray[np.float32] | None  # (words, rows, columns), each map summing to 1; None: baseline

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def confidence(self) -> float:
        """The geometric mean of the word probabilities, in [0, 1]. Not calibrated."""
        return math.exp(float(self.log_probs.mean())) if len(self.words) else 0.0


@dataclass(frozen=True)
class CaptionSet:
    """The captions of one image. `best` is the beam's, where a beam was asked for."""

    greedy: Caption
    samples: tuple[Caption, ...]
    best: Caption | None = None


class Captioner:
    """An encoder and one of its decoders, ready to caption. Not thread-safe: one call at a time."""

    def __init__(self, encoder: Encoder, decoder: Decoder, vocabulary: Vocabulary, dtype: torch.dtype) -> None:
        """`dtype` is the arithmetic of both; words and logits are always in fp32. Both must be on the same device."""
        self.encoder = encoder
        self.decoder = decoder
        self.vocabulary = vocabulary
        self.dtype = dtype
        self.device = next(decoder.parameters()).device

    @classmethod
    def load(
        cls,
        path: str | Path = "weights",
        device: str = "auto",
        *,
        model: DecoderKind = "attention",
        precision: Precision = "auto",
    ) -> Self:
        """Load `encoder.safetensors` and `<model>.safetensors` from a folder.

        device: auto (CUDA where there is one), cpu, cuda, cuda:1 … precision: auto measures once whether this
        machine is faster in bf16.
        Raises CheckpointError for files that are missing, damaged or do not belong together, and ValueError for a
        device that this machine does not have.
        """
        path = Path(path)
        target = _device(device)
        checkpoint = _decoder_of(path, model)
        encoder = load_encoder(path / ENCODER_FILE).fuse().to(memory_format=torch.channels_last)
        dtype = torch.float32
        if precision == "bf16" or (precision == "auto" and _bf16_is_faster(target)):
            dtype = torch.bfloat16
        elif target.type == "cuda":
            torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32
        return cls(encoder.to(target, dtype), checkpoint.decoder.to(target).lower(dtype), checkpoint.vocabulary, dtype)

    def beside(self, path: str | Path, model: DecoderKind) -> Captioner:
        """Another decoder of the same folder, sharing this captioner's encoder. Raises CheckpointError."""
        checkpoint = _decoder_of(Path(path), model)
        decoder = checkpoint.decoder.to(self.device).lower(self.dtype)
        return Captioner(self.encoder, decoder, checkpoint.vocabulary, self.dtype)

    def squares(self, images: Sequence[Image.Image]) -> Tensor:
        """What the encoder sees of upright RGB images: (B, 3, size, size) uint8, on the CPU."""
        size = self.encoder.config.image_size
        return torch.from_numpy(np.stack([to_square(image, size) for image in images])).permute(0, 3, 1, 2)

    @torch.inference_mode()
    def encode(self, squares: Tensor) -> Tensor:
        """Grid features, (B, regions, channels) float32 on the captioner's device. squares: from `squares`."""
        pixels = squares.to(self.device, non_blocking=True)
        features: Tensor = self.encoder(pixels)
        return features.float()

    @torch.inference_mode()
    def caption_features(
        self,
        features: Tensor,
        *,
        samples: int = 5,
        sampling: Sampling | None = None,
        beam: int | None = None,
        seed: int | Sequence[int] = 0,
    ) -> list[CaptionSet]:
        """Captions from grid features; the arguments are those of `caption`."""
        if samples < 0:
            raise ValueError(f"samples must not be negative: {samples}")
        if beam is not None and beam < 1:
            raise ValueError(f"a beam must be at least 1 wide, not {beam}")
        if not len(features):
            return []
        seeds = list(seed) if isinstance(seed, Sequence) else [int(seed)] * len(features)
        if len(seeds) != len(features):
            raise ValueError(f"{len(seeds)} seeds for {len(features)} images")
        max_words = self.decoder.config.max_words
        state = self.decoder.init_state(features)
        decoded = decode(self.decoder, state, max_words=max_words, samples=samples, sampling=sampling, seeds=seeds)
        captions = self._captions(decoded)
        best = beam_search(self.decoder, state, max_words=max_words, width=beam) if beam else None
        bests = self._captions(best) if best else None
        return [
            CaptionSet(greedy=several[0], samples=tuple(several[1:]), best=bests[row][0] if bests else None)
            for row, several in enumerate(captions)
        ]

    @torch.inference_mode()
    def pooled(self, features: Tensor) -> npt.NDArray[np.float32]:
        """The mean over the regions of grid features: (B, channels)."""
        return features.mean(dim=1).cpu().numpy()

    @torch.inference_mode()
    def word_vectors(self, captions: Sequence[Caption]) -> npt.NDArray[np.float32]:
        """The mean embedding of each caption's words, (B, E); zeros for a caption without words."""
        weight = self.decoder.embedding.weight
        vectors = weight.new_zeros(len(captions), weight.shape[1])
        for row, caption in enumerate(captions):
            if caption.words:
                tokens = self.vocabulary.encode(caption.text)
                vectors[row] = weight[torch.tensor(tokens, device=weight.device)].mean(dim=0)
        return vectors.float().cpu().numpy()

    def caption(
        self,
        images: Sequence[Image.Image],
        *,
        samples: int = 5,
        sampling: Sampling | None = None,
        beam: int | None = None,
        seed: int | Sequence[int] = 0,
    ) -> list[CaptionSet]:
        """Caption images of any mode and size; EXIF orientation is honoured.

        samples: how many sampled captions besides the greedy one. sampling: how they are drawn. beam: also search
        with a beam of this width. seed: one for all images, or one each; an image's captions depend on its own
        seed and not on the images beside it.
        The encoder runs once per image, however many captions are drawn. Raises ValueError for bad arguments.
        """
        if not images:
            return []
        features = self.encode(self.squares([upright_rgb(image) for image in images]))
        return self.caption_features(features, samples=samples, sampling=sampling, beam=beam, seed=seed)

    def _captions(self, decoded: Decoded) -> list[list[Caption]]:
        """Per image, its K captions."""
        tokens, lengths = decoded.tokens.tolist(), decoded.lengths.tolist()
        log_probs = decoded.log_probs.cpu().numpy()
        attention = None
        if decoded.attention is not None:
            grid = (self.encoder.config.rows, self.encoder.config.columns)
            attention = decoded.attention.cpu().numpy().reshape(*decoded.attention.shape[:3], *grid)
        return [
            [
                Caption(
                    words=tuple(self.vocabulary.decode(row[:length])),
                    log_probs=log_probs[b, k, :length].copy(),
                    attention=None if attention is None else attention[b, k, :length].copy(),
                )
                for k, (row, length) in enumerate(zip(rows, row_lengths, strict=True))
            ]
            for b, (rows, row_lengths) in enumerate(zip(tokens, lengths, strict=True))
        ]


def _decoder_of(path: Path, model: DecoderKind) -> DecoderCheckpoint:
    """A folder's decoder, made for the encoder that lies beside it. Raises CheckpointError."""
    checkpoint = load_decoder(path / f"{model}.safetensors")
    if not (path / ENCODER_FILE).is_file():
        raise CheckpointError(f"{path / ENCODER_FILE}: no such weights file")
    if checkpoint.encoder_sha256 != fingerprint(path / ENCODER_FILE):
        raise CheckpointError(f"{path}: {model}.safetensors was not trained on this {ENCODER_FILE}")
    return checkpoint


def _device(name: str) -> torch.device:
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"unknown device {name!r}: auto, cpu, cuda or cuda:1 …") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device {name!r}: this machine has {torch.cuda.device_count()} CUDA devices")
    return device


@torch.inference_mode()
def _bf16_is_faster(device: torch.device) -> bool:
    """Time one convolution of the encoder's kind in both precisions, the best of twelve each, in turns."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    best = {}
    work = {}
    for dtype in (torch.float32, torch.bfloat16):
        layer = torch.nn.Conv2d(192, 192, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        work[dtype] = (layer, torch.zeros(2, 192, 35, 35, dtype=dtype).contiguous(memory_format=torch.channels_last))
        best[dtype] = math.inf
    for _ in range(12):
        for dtype, (layer, inputs) in work.items():
            started = time.perf_counter()
            layer(inputs)
            best[dtype] = min(best[dtype], time.perf_counter() - started)
    return best[torch.bfloat16] < 0.8 * best[torch.float32]
