"""Average decoders of one lineage: `python -m model.training.average FILE FILE --shares 0.25 0.75 --out FILE`.

A decoder and what further training made of it lie in one basin, and a point between them can be better than either
(Wortsman et al., *Model soups*, ICML 2022): here, between one that cross-entropy trained and one trained for CIDEr-D.
Where their encoders were trained further, too, `--encoders` names them, and the mean of these is written beside the
mean of the decoders.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from model.network.checkpoint import (
    ENCODER_FILE,
    CheckpointError,
    DecoderCheckpoint,
    fingerprint,
    load_decoder,
    load_encoder,
    save_decoder,
    save_encoder,
)
from model.network.encoder import Encoder


def mean_into(networks: Sequence[nn.Module], shares: Sequence[float]) -> None:
    """Give the first network the weighted mean of all their numbers but integers. They have the same names and shapes.

    shares: one of each, in any scale. Raises ValueError unless they are so many, none is negative and one is positive.
    """
    if len(networks) != len(shares) or not networks or sum(shares) <= 0 or min(shares) < 0:
        raise ValueError(f"{len(networks)} files and shares {list(shares)}: one each, not negative, not all zero")
    states = [network.state_dict() for network in networks]
    mean = {
        name: torch.stack([share / sum(shares) * state[name] for share, state in zip(shares, states, strict=True)])
        for name, tensor in states[0].items()
        if tensor.is_floating_point()
    }
    networks[0].load_state_dict(states[0] | {name: parts.sum(dim=0) for name, parts in mean.items()})


def average_encoders(encoders: Sequence[Encoder], shares: Sequence[float]) -> Encoder:
    """The weighted mean of encoders' parameters, as `mean_into`. Raises ValueError for encoders of different kinds."""
    if any(other.config != encoders[0].config for other in encoders):
        raise ValueError("the encoders are of different kinds")
    mean_into(encoders, shares)
    return encoders[0]


def average(checkpoints: Sequence[DecoderCheckpoint], shares: Sequence[float]) -> DecoderCheckpoint:
    """The weighted mean of decoders' parameters, as `mean_into`; all else but calibration is the first one's.

    Raises ValueError for decoders of different shapes or words.
    """
    first, *others = checkpoints
    for other in others:
        if other.vocabulary.words != first.vocabulary.words:
            raise ValueError("the decoders know different words")
        if other.decoder.state_dict().keys() != first.decoder.state_dict().keys():
            raise ValueError("the decoders are of different kinds")
    mean_into([checkpoint.decoder for checkpoint in checkpoints], shares)
    return DecoderCheckpoint(first.decoder, first.vocabulary, first.encoder_sha256)


def run(options: argparse.Namespace) -> None:
    """Raises CheckpointError and ValueError."""
    out: Path = options.out
    checkpoints = [load_decoder(path) for path in options.decoders]
    trained_on = [checkpoint.encoder_sha256 for checkpoint in checkpoints]
    encoder = None
    if options.encoders:
        if trained_on != [fingerprint(path) for path in options.encoders]:
            raise ValueError("--encoders: name the encoder of each decoder, in the order of the decoders")
        encoder = average_encoders([load_encoder(path) for path in options.encoders], options.shares)
    elif len(set(trained_on)) > 1:
        raise ValueError("the decoders were trained on different encoders; --encoders averages these, too")
    found = average(checkpoints, options.shares)
    sha256 = found.encoder_sha256
    out.parent.mkdir(parents=True, exist_ok=True)
    if encoder is not None:
        save_encoder(out.parent / ENCODER_FILE, encoder)
        sha256 = fingerprint(out.parent / ENCODER_FILE)
    save_decoder(out, found.decoder, found.vocabulary, sha256)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.average", description=__doc__)
    parser.add_argument("decoders", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--shares", nargs="+", type=float, required=True, help="one for each file")
    parser.add_argument(
        "--encoders",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help=f"the decoders' encoders; their mean is written to {ENCODER_FILE} beside --out",
    )
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (CheckpointError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
