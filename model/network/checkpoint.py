"""Weights on disk: safetensors whose metadata carry the configuration and the vocabulary.

No pickle, but for state dicts of torchvision's, which are read as tensors alone.
"""

import contextlib
import hashlib
import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from model.calibration import Calibration
from model.network.config import ConfigError, DecoderConfig, EncoderConfig
from model.network.decoder import Decoder, build_decoder
from model.network.efficientnet import LITE2
from model.network.encoder import Encoder, encoder_config, torchvision_models
from model.network.vocabulary import Vocabulary

ENCODER_FILE = "encoder.safetensors"
SAMPLER_SUFFIX = "-sampling"  # attention-sampling.safetensors: an optional decoder for the sampled captions


class CheckpointError(Exception):
    """A checkpoint that is missing, damaged, or does not belong with its encoder; the message names the file."""


@dataclass(frozen=True)
class DecoderCheckpoint:
    decoder: Decoder
    vocabulary: Vocabulary
    encoder_sha256: str
    calibration: Calibration | None = None  # None: a file from before it was calibrated
    sha256: str = ""  # of its file


def fingerprint(path: Path) -> str:
    """SHA-256 of a file, as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, which replaces the one there when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata)
    partial.replace(path)


def _save(path: Path, module: torch.nn.Module, metadata: dict[str, str], dtype: torch.dtype) -> None:
    write_tensors(path, {name: tensor.to(dtype) for name, tensor in module.state_dict().items()}, metadata)


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file. Raises CheckpointError."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such weights file") from error
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def read_fitted(path: Path, encoder_sha256: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The same of a file that was made on the features of this encoder. Raises CheckpointError for another's, too."""
    tensors, metadata = read_tensors(path)
    if metadata.get("encoder_sha256") != encoder_sha256:
        raise CheckpointError(f"{path} was not fitted to this encoder")
    return tensors, metadata


@contextlib.contextmanager
def reading_fitted(path: Path, encoder_sha256: str) -> Iterator[tuple[dict[str, torch.Tensor], dict[str, str]]]:
    """The same, to make something of: what is missing or does not fit then is a CheckpointError, too."""
    tensors, metadata = read_fitted(path, encoder_sha256)
    try:
        yield tensors, metadata
    except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error!r}") from error


def save_encoder(path: Path, encoder: Encoder) -> None:
    """Write the encoder in fp16."""
    _save(path, encoder.backbone, {"config": encoder.config.to_json()}, torch.float16)


def load_encoder(path: Path) -> Encoder:
    """An encoder in fp32, from a file of ours, or of Inception v3 with torchvision's names for the same layers.

    Raises CheckpointError.
    """
    tensors, metadata = read_tensors(path)
    try:
        encoder = Encoder(EncoderConfig.from_json(metadata.get("config", "{}")))
        _fill(encoder, tensors)
    except (ConfigError, RuntimeError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return encoder.eval()


def pretrained_encoder(name: str, weights: Path | None = None, size: int = 0) -> Encoder:
    """A backbone by its name, in fp32, with pretrained weights. size: as in `encoder_config`.

    weights: a state dict (.safetensors or .pth), whole or up to the grid; None: torchvision's own, which are
    downloaded unless they are in PyTorch's cache. Raises ConfigError for an unknown name, CheckpointError for weights
    that cannot be had or do not fit.
    """
    encoder = Encoder(encoder_config(name, size))
    if weights is None:
        tensors = _download(name)
    elif weights.suffix == ".safetensors":
        tensors, _ = read_tensors(weights)
    else:
        try:
            tensors = {n: t.float() for n, t in torch.load(weights, map_location="cpu", weights_only=True).items()}
        except (OSError, RuntimeError, pickle.UnpicklingError, AttributeError) as error:
            raise CheckpointError(f"{weights}: not a readable state dict ({error})") from error
    own = encoder.backbone.state_dict()
    try:
        _fill(encoder, {name: tensor for name, tensor in tensors.items() if name in own})  # the classifier is left out
    except RuntimeError as error:
        raise CheckpointError(f"{weights or name}: {error}") from error
    return encoder.eval()


def _fill(encoder: Encoder, tensors: dict[str, torch.Tensor]) -> None:
    """Load a state dict, which may lack the counters of batch normalisation. Raises RuntimeError."""
    own = encoder.backbone.state_dict()
    counters = {name: tensor for name, tensor in own.items() if name.endswith("num_batches_tracked")}
    encoder.backbone.load_state_dict({**counters, **{n: t for n, t in tensors.items() if n not in counters}})


def _download(name: str) -> dict[str, torch.Tensor]:
    if name == LITE2:
        raise CheckpointError(
            f"{name}: torchvision has no weights of it; name a file that holds them with --encoder-weights"
        )
    try:
        tensors: dict[str, torch.Tensor] = (
            torchvision_models().get_model_weights(name).DEFAULT.get_state_dict(check_hash=True)
        )
    except (OSError, RuntimeError) as error:  # no network, a damaged file
        raise CheckpointError(
            f"{name}: torchvision's pretrained weights cannot be downloaded ({error}); "
            "name a file that holds them with --encoder-weights"
        ) from error
    return tensors


def save_decoder(
    path: Path, decoder: Decoder, vocabulary: Vocabulary, encoder_sha256: str, dtype: torch.dtype = torch.float16
) -> None:
    metadata = {
        "config": decoder.config.to_json(),
        "vocabulary": vocabulary.to_json(),
        "encoder_sha256": encoder_sha256,
    }
    _save(path, decoder, metadata, dtype)


def load_decoder(path: Path) -> DecoderCheckpoint:
    """A decoder in fp32 with its vocabulary. Raises CheckpointError."""
    tensors, metadata = read_tensors(path)
    try:
        decoder = build_decoder(DecoderConfig.from_json(metadata["config"]))
        vocabulary = Vocabulary.from_json(metadata["vocabulary"])
        if len(vocabulary) != decoder.config.vocabulary_size:
            raise CheckpointError(f"{path}: {len(vocabulary)} words, but {decoder.config.vocabulary_size} outputs")
        decoder.load_state_dict(tensors)
        calibration = Calibration.from_json(metadata["calibration"]) if "calibration" in metadata else None
        encoder = metadata["encoder_sha256"]
        return DecoderCheckpoint(decoder.eval(), vocabulary, encoder, calibration, fingerprint(path))
    except (ConfigError, RuntimeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Put a calibration into a decoder's file, in place of any there; its tensors stay as they are, bit by bit.

    Raises CheckpointError.
    """
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, {**metadata, "calibration": calibration.to_json()})
