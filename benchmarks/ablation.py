"""What each choice is worth: `python -m benchmarks.ablation --variant NAME ENCODER DECODER …`.

Each variant is an encoder's file and the file of a decoder that was trained on it. All caption the same validation
images, greedily, by beams and sampled, each with blocking and without, from features that training has left in its
cache (fp16; they are computed once where they are not there), so that a comparison costs minutes and not hours. The
figures are those of `model.training.evaluate`, except that its encoder computes as the shipped captioner does.

The figures of each variant are kept in `--json` when they are there; `--table` prints the table of all that it holds.
Never name a test split here: what is compared on it is chosen by it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch

from model.captioner import Captioner
from model.network.checkpoint import CheckpointError, fingerprint, load_decoder, load_encoder
from model.training.data import DataError, Example, Features, load_split, resolve_data
from model.training.evaluate import Decodings, Row, as_markdown, caption_features, evaluate
from model.training.scores import EvaluationError

COLUMNS: Final = ("BLEU-4", "METEOR", "ROUGE-L", "CIDEr", "words", "repeats %", "distinct of 5", "mBLEU-4")
FREE: Final = ", no blocking"  # the end of the name of a row


def decodings(
    captioner: Captioner, features: Features, count: int, *, beams: Sequence[int], samples: int, blocking: bool
) -> Decodings:
    """Captions of the first `count` images; an image's seed is its place, as in `model.training.evaluate`."""
    batches = (features[range(start, min(start + 32, count))] for start in range(0, count, 32))
    on_device = (batch.to(captioner.device) for batch in batches)
    return caption_features(captioner, on_device, beams=beams, samples=samples, blocking=blocking, total=count)


def cached(
    encoder_file: Path, decoder_file: Path, data: str, split: str, cache: str
) -> tuple[Captioner, Features, list[Example]]:
    """A decoder in fp32, and the features and examples of a split. Raises CheckpointError and DataError."""
    checkpoint, sha256 = load_decoder(decoder_file), fingerprint(encoder_file)
    if checkpoint.encoder_sha256 != sha256:
        raise CheckpointError(f"{decoder_file} was not trained on {encoder_file}")
    encoder = load_encoder(encoder_file)
    examples = load_split(resolve_data(data), split)
    features = Features.cached(Path(cache), encoder, sha256, examples)
    calibration = checkpoint.calibration
    captioner = Captioner(encoder, checkpoint.decoder, checkpoint.vocabulary, torch.float32, calibration=calibration)
    return captioner, features, examples


def measure(encoder_file: Path, decoder_file: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What is kept of one variant. Raises CheckpointError, DataError and EvaluationError."""
    captioner, features, examples = cached(encoder_file, decoder_file, options.data, options.split, options.cache)
    examples = examples[: options.limit]
    references = [example.captions for example in examples]
    rows: dict[str, Row] = {}
    for blocking in (True, False):
        found = decodings(
            captioner, features, len(examples), beams=options.beam, samples=options.samples, blocking=blocking
        )
        figures = evaluate(found, references)
        rows |= {name if blocking else name + FREE: row for name, row in figures.items()}
    return {
        "decoder": fingerprint(decoder_file),
        "data": f"{Path(options.data).name} {options.split}",
        "images": len(examples),
        "figures": {
            name: {column: None if value is None else round(value, 2) for column, value in row.items()}
            for name, row in rows.items()
        },
    }


def table(results: dict[str, Any]) -> str:
    rows: dict[str, Row] = {
        f"{variant}, {name}": {column: row[column] for column in COLUMNS if column in row}
        for variant, result in results.items()
        for name, row in result["figures"].items()
    }
    return as_markdown(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ablation", description=__doc__.split("\n")[0])
    parser.add_argument("--variant", nargs=3, action="append", default=[], metavar=("NAME", "ENCODER", "DECODER"))
    parser.add_argument("--data", default="flickr8k", help="a folder, or its name in DATASETS_DIR")
    parser.add_argument("--split", choices=["val", "dev"], default="val")
    parser.add_argument("--cache", default="cache", help="where training keeps encoder features")
    parser.add_argument("--beam", type=int, nargs="*", default=[3, 5], metavar="WIDTH")
    parser.add_argument("--samples", type=int, default=5, help="sampled captions per image")
    parser.add_argument("--limit", type=int, help="only the first so many images")
    parser.add_argument("--json", type=Path, default=Path("docs/training/ablation.json"), metavar="FILE")
    parser.add_argument("--table", action="store_true", help="print all figures that the file holds")
    options = parser.parse_args(arguments)
    results: dict[str, Any] = json.loads(options.json.read_text("utf-8")) if options.json.exists() else {}
    for name, encoder, decoder in options.variant:
        try:
            results[name] = measure(Path(encoder), Path(decoder), options)
        except (CheckpointError, DataError, EvaluationError) as error:
            print(f"error: {name}: {error}", file=sys.stderr)
            return 2
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    if options.table or not options.variant:
        print(table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
