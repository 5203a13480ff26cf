"""Official caption metrics: `python -m model.evaluate --data flickr8k --split test --model attention --beam 3`.

BLEU and CIDEr (× 100) are those of pycocoevalcap after its PTB tokeniser, on references and candidates alike; the
tokeniser needs Java. What is evaluated is what is shipped: the weights folder, through `Captioner`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from model.captioner import Captioner, CaptionSet
from model.checkpoint import CheckpointError
from model.data import DataError, Example, load_images, load_split, resolve_data
from model.sampling import Sampling
from model.vocabulary import tokenize


class EvaluationError(Exception):
    """What is missing on this machine for an evaluation."""


@dataclass(frozen=True)
class Scores:
    """× 100, except the number of images and the mean number of words."""

    images: int
    bleu: tuple[float, float, float, float]
    cider: float
    words: float

    def as_dict(self) -> dict[str, float]:
        return {
            **{f"BLEU-{n}": round(score, 1) for n, score in enumerate(self.bleu, start=1)},
            "CIDEr": round(self.cider, 1),
            "words": round(self.words, 1),
            "images": self.images,
        }


def score(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> Scores:
    """Score one caption per image against its references, as written. Raises EvaluationError without Java."""
    if shutil.which("java") is None:
        raise EvaluationError("the PTB tokeniser of pycocoevalcap needs Java 8 or later: install a JRE")
    try:
        from pycocoevalcap.bleu.bleu import Bleu
        from pycocoevalcap.cider.cider import Cider
        from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer
    except ImportError as error:
        raise EvaluationError(f"{error.name} is missing: pip install -r requirements-dev.txt") from error
    tokenizer = PTBTokenizer()
    truth = tokenizer.tokenize({i: [{"caption": c} for c in several] for i, several in enumerate(references)})
    found = tokenizer.tokenize({i: [{"caption": candidate}] for i, candidate in enumerate(candidates)})
    bleu, _ = Bleu(4).compute_score(truth, found, verbose=0)
    cider, _ = Cider().compute_score(truth, found)
    return Scores(
        images=len(candidates),
        bleu=(100 * bleu[0], 100 * bleu[1], 100 * bleu[2], 100 * bleu[3]),
        cider=100 * float(cider),
        words=sum(len(tokenize(candidate)) for candidate in candidates) / len(candidates),
    )


def caption_examples(
    captioner: Captioner,
    examples: Sequence[Example],
    *,
    samples: int = 0,
    sampling: Sampling | None = None,
    beam: int | None = None,
    batch: int = 32,
) -> list[CaptionSet]:
    """Captions of a split's images; each image's seed is its place in the split."""
    results: list[CaptionSet] = []
    for start in range(0, len(examples), batch):
        chunk = examples[start : start + batch]
        features = captioner.encode(load_images(chunk, captioner.encoder.config.image_size))
        seeds = range(start, start + len(chunk))
        results += captioner.caption_features(features, samples=samples, sampling=sampling, beam=beam, seed=seeds)
        print(f"\r{len(results)}/{len(examples)} captioned", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return results


def evaluate(
    captioner: Captioner, examples: Sequence[Example], *, samples: int, sampling: Sampling, beam: int | None
) -> dict[str, dict[str, float]]:
    """Scores by way of decoding: greedy, the beam, and the mean over sampled captions with their variety."""
    captions = caption_examples(captioner, examples, samples=samples, sampling=sampling, beam=beam)
    references = [example.captions for example in examples]
    table = {"greedy": score([c.greedy.text for c in captions], references).as_dict()}
    if beam:
        table[f"beam {beam}"] = score([c.best.text for c in captions if c.best], references).as_dict()
    if samples:
        each = [score([c.samples[i].text for c in captions], references).as_dict() for i in range(samples)]
        mean = {name: round(sum(row[name] for row in each) / samples, 1) for name in each[0]}
        distinct = sum(len({sample.text for sample in c.samples}) for c in captions) / len(captions)
        table["samples"] = {**mean, "distinct": round(distinct, 2)}
    return table


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.evaluate", description=__doc__)
    parser.add_argument("--weights", default="weights")
    parser.add_argument("--model", choices=["attention", "baseline"], default="attention")
    parser.add_argument(
        "--data", default="flickr8k", help="a folder in the Karpathy layout, or its name in DATASETS_DIR"
    )
    parser.add_argument("--split", default="test")
    parser.add_argument("--beam", type=int, default=3, help="beam width; 0: no beam")
    parser.add_argument("--samples", type=int, default=0, help="sampled captions per image, scored one by one")
    parser.add_argument("--temperature", type=float, default=Sampling.temperature)
    parser.add_argument("--top-p", type=float, default=Sampling.top_p)
    parser.add_argument("--limit", type=int, default=None, help="only the first so many images of the split")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    try:
        examples = load_split(resolve_data(options.data), options.split)[: options.limit]
        captioner = Captioner.load(options.weights, options.device, model=options.model)
        table = evaluate(
            captioner,
            examples,
            samples=options.samples,
            sampling=Sampling(temperature=options.temperature, top_p=options.top_p),
            beam=options.beam or None,
        )
    except (DataError, EvaluationError, CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    title = f"{options.model}, {Path(options.data).name} {options.split}"
    if options.json:
        print(json.dumps({"what": title, "scores": table}))
    else:
        print(title)
        for way, row in table.items():
            print(f"  {way:8}", *(f"{name} {value}" for name, value in row.items()), sep="  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
