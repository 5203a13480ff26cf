"""The encoder and decoder of a training run: initial weights and export."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.network.checkpoint import (
    ENCODER_FILE,
    CheckpointError,
    fingerprint,
    load_decoder,
    load_encoder,
    pretrained_encoder,
    save_decoder,
    save_encoder,
)
from model.network.config import ENCODERS, DecoderConfig
from model.network.decoder import Decoder, build_decoder
from model.network.encoder import Encoder
from model.network.vocabulary import Vocabulary


@dataclass(frozen=True)
class Networks:
    """An encoder, the file that it came from, and a decoder of its features."""

    encoder: Encoder
    encoder_file: Path
    encoder_sha256: str  # of the file
    decoder: Decoder
    vocabulary: Vocabulary

    def export(self, out: Path, config: Any, *, tuned: bool) -> None:
        """Write what the captioner loads: both networks as fp16 safetensors, and the options of the run.

        tuned: the encoder is no longer what its file holds.
        """
        file, sha256 = out / ENCODER_FILE, self.encoder_sha256
        if tuned:
            save_encoder(file, self.encoder)
            sha256 = fingerprint(file)
        elif not (file.exists() and file.samefile(self.encoder_file)):
            out.mkdir(parents=True, exist_ok=True)
            partial = file.with_suffix(".partial")
            shutil.copyfile(self.encoder_file, partial)
            partial.replace(file)
        save_decoder(out / f"{self.decoder.config.kind}.safetensors", self.decoder, self.vocabulary, sha256)
        (out / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=1))


def named_encoder(name: str, weights: str, out: Path, size: int = 0) -> Path:
    """The file of a named backbone in the run's folder, written there unless it is; other names are files already.

    size: as in `encoder_config`. Raises ConfigError and CheckpointError as `pretrained_encoder` does.
    """
    if Path(name).exists():
        return Path(name)
    if name not in ENCODERS:
        raise CheckpointError(f"{name}: neither a file nor the name of an encoder; known names: {', '.join(ENCODERS)}")
    file = out / "backbone.safetensors"
    if not file.exists():
        save_encoder(file, pretrained_encoder(name, Path(weights) if weights else None, size))
    return file


def continued(encoder_file: Path, decoder_file: Path, *, dropout: float) -> Networks:
    """A decoder to go on from, sizes and words as it has them, with an encoder that may be another than its own was.

    Raises CheckpointError when a file cannot be read or the encoder's channels are not those that the decoder reads.
    """
    encoder, checkpoint = load_encoder(encoder_file), load_decoder(decoder_file)
    decoder = checkpoint.decoder
    if decoder.config.channels != encoder.config.channels:
        raise CheckpointError(
            f"{decoder_file} reads {decoder.config.channels} channels, "
            f"but {encoder_file} gives {encoder.config.channels}"
        )
    decoder.config = dataclasses.replace(decoder.config, dropout=dropout)
    decoder.dropout.p = dropout
    return Networks(encoder, encoder_file, fingerprint(encoder_file), decoder, checkpoint.vocabulary)


def fresh(encoder_file: Path, vocabulary: Vocabulary, **sizes: Any) -> Networks:
    """A decoder of random weights. sizes: fields of DecoderConfig.

    Raises CheckpointError for the encoder's file, ConfigError for sizes that no decoder has.
    """
    encoder = load_encoder(encoder_file)
    decoder = build_decoder(DecoderConfig(vocabulary_size=len(vocabulary), channels=encoder.config.channels, **sizes))
    return Networks(encoder, encoder_file, fingerprint(encoder_file), decoder, vocabulary)
