"""Average decoders of one lineage: `python -m model.training.average FILE FILE --shares 0.25 0.75 --out FILE`.

A decoder and what further training made of it lie in one basin, and a point between them can be better than either
(Wortsman et al., *Model soups*, ICML 2022): here, between one that cross-entropy trained and one trained for CIDEr-D.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from model.network.checkpoint import CheckpointError, DecoderCheckpoint, load_decoder, save_decoder


def average(checkpoints: Sequence[DecoderCheckpoint], shares: Sequence[float]) -> DecoderCheckpoint:
    """The weighted mean of decoders' parameters; everything else, calibration apart, is the first one's.

    shares: one of each, in any scale. Raises ValueError for decoders of different shapes, words or encoders.
    """
    if len(checkpoints) != len(shares) or not checkpoints or sum(shares) <= 0 or min(shares) < 0:
        raise ValueError(f"{len(checkpoints)} decoders and shares {list(shares)}: one each, not negative, not all zero")
    first = checkpoints[0]
    for other in checkpoints[1:]:
        if other.vocabulary.words != first.vocabulary.words:
            raise ValueError("the decoders know different words")
        if other.encoder_sha256 != first.encoder_sha256:
            raise ValueError("the decoders were trained on different encoders")
        if other.decoder.state_dict().keys() != first.decoder.state_dict().keys():
            raise ValueError("the decoders are of different kinds")
    states = [checkpoint.decoder.state_dict() for checkpoint in checkpoints]
    mean = {
        name: torch.stack([share / sum(shares) * state[name] for share, state in zip(shares, states, strict=True)]).sum(
            0
        )
        for name in states[0]
    }
    first.decoder.load_state_dict(mean)
    return DecoderCheckpoint(first.decoder, first.vocabulary, first.encoder_sha256)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.average", description=__doc__)
    parser.add_argument("decoders", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--shares", nargs="+", type=float, required=True, help="one for each file")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args(arguments)
    try:
        found = average([load_decoder(path) for path in options.decoders], options.shares)
    except (CheckpointError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_decoder(options.out, found.decoder, found.vocabulary, found.encoder_sha256)
    return 0


if __name__ == "__main__":
    sys.exit(main())
