"""Official caption metrics: `python -m model.training.evaluate --data flickr8k --split test --beam 3 5`.

BLEU, METEOR, ROUGE-L and CIDEr (× 100) are those of pycocoevalcap after its PTB tokeniser, on references and candidates
alike; both need Java 8 or later, see `model.training.scores` for what is done without. Beside them: faults and variety
(`model.training.scores`). What is evaluated is what is shipped: the weights folder, through `Captioner`.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TypeVar, get_args

from torch import Tensor

from model.captioner import Caption, Captioner
from model.decoding.sampling import Sampling
from model.decoding.search import BeamSearch
from model.network.checkpoint import CheckpointError
from model.network.config import NETWORKS, Precision
from model.network.vocabulary import tokenize
from model.training.data import DataError, Example, load_images, load_split, resolve_data
from model.training.scores import (
    EvaluationError,
    Faults,
    MeteorScorer,
    Scores,
    Tokenizer,
    Variety,
    java,
    meteor,
    score,
    words_of,
)

Row = dict[str, float | None]
Run = TypeVar("Run", bound=str)
TRAINING = ("flickr8k", "coco")  # what the shipped weights were trained on


@dataclass(frozen=True)
class Decodings:
    """The captions of a split's images, by way of decoding."""

    main: dict[str, list[Caption]]  # "greedy", "beam 3", "beam 3, likeliest" …: one caption an image
    samples: list[tuple[Caption, ...]]  # per image; empty tuples where none were asked for


def caption_examples(
    captioner: Captioner,
    examples: Sequence[Example],
    *,
    beams: Sequence[int] = (),
    samples: int = 0,
    sampling: Sampling | None = None,
    batch: int = 32,
    blocking: bool = True,
) -> Decodings:
    """Captions of a split's images, the encoder run once for each; an image's seed is its place in the split."""
    size = captioner.encoder.config.image_size
    chunks = (examples[start : start + batch] for start in range(0, len(examples), batch))
    features = (captioner.encode(load_images(chunk, size)) for chunk in chunks)
    return caption_features(
        captioner, features, beams=beams, samples=samples, sampling=sampling, blocking=blocking, total=len(examples)
    )


def caption_features(
    captioner: Captioner,
    batches: Iterable[Tensor],
    *,
    beams: Sequence[int],
    samples: int,
    sampling: Sampling | None = None,
    blocking: bool,
    total: int,
) -> Decodings:
    """Captions of a split's images from their features, (B, regions, channels) at a time; as `caption_examples`."""
    # The bot's captions; where a consensus chose them, the likeliest as well.
    ways = {f"beam {width}": (width, True) for width in beams}
    if captioner.consensus is not None:
        ways |= {f"beam {width}, likeliest": (width, False) for width in beams}
    main: dict[str, list[Caption]] = {"greedy": [], **{name: [] for name in ways}}
    drawn: list[tuple[Caption, ...]] = []
    for features in batches:
        seeds = range(len(drawn), len(drawn) + len(features))
        captions = captioner.caption_features(
            features, samples=samples, sampling=sampling, seed=seeds, blocking=blocking
        )
        main["greedy"] += [several.greedy for several in captions]
        drawn += [several.samples for several in captions]
        for name, (width, ranked) in ways.items():
            [found] = captioner.decode(features, BeamSearch(width), blocking=blocking, ranked=ranked)
            main[name] += [caption for [caption] in found]
        print(f"\r{len(drawn)}/{total} captioned", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return Decodings(main, drawn)


def training_captions(names: Sequence[str]) -> set[str] | None:
    """The words of the train splits' captions, joined by spaces; None, with a warning, if one is missing."""
    found: set[str] = set()
    for name in names:
        try:
            examples = load_split(resolve_data(name), "train")
        except DataError as error:
            print(f"novel captions are not counted: {error}", file=sys.stderr)
            return None
        found.update(" ".join(tokenize(caption)) for example in examples for caption in example.captions)
    return found


def evaluate(
    decodings: Decodings,
    references: Sequence[Sequence[str]],
    *,
    training: set[str] | None = None,
    tokenizer: Tokenizer = "PTB",
) -> dict[str, Row]:
    """A row of figures for each way of decoding; that of sampled captions is the mean over them.

    references: each image's, as written. Scores and shares × 100. Raises EvaluationError.
    """
    count = len(decodings.samples[0]) if decodings.samples else 0
    runs = dict(decodings.main) | {f"sample {k}": [several[k] for several in decodings.samples] for k in range(count)}
    found, truth = tokenised(runs, references, tokenizer)
    with contextlib.ExitStack() as stack:
        scorer: MeteorScorer | None = stack.enter_context(meteor()) if tokenizer == "PTB" else None
        scores = {name: score(captions, truth, scorer) for name, captions in found.items()}
    table = {
        name: _row([scores[name]], Faults.of([caption.words for caption in captions], training))
        for name, captions in decodings.main.items()
    }
    if count:
        all_words = [[caption.words for caption in several] for several in decodings.samples]
        faults = Faults.of([words for several in all_words for words in several], training)
        name = f"mean of {count} samples"
        table[name] = _row([scores[f"sample {k}"] for k in range(count)], faults)
        if count > 1:
            variety = Variety.of(all_words)
            table[name] |= {f"distinct of {count}": variety.distinct}
            table[name] |= {"div-2": 100 * variety.div_2, "mBLEU-4": 100 * variety.mbleu_4}
    return table


def tokenised(
    runs: Mapping[Run, Sequence[Caption]], references: Sequence[Sequence[str]], tokenizer: Tokenizer
) -> tuple[dict[Run, list[str]], list[list[str]]]:
    """The tokens of each run's captions and of each image's references, joined by spaces. Raises EvaluationError."""
    flat = [caption for several in references for caption in several]
    flat += [caption.text for captions in runs.values() for caption in captions]
    words = iter(words_of(flat, tokenizer))  # all at once: starting Java costs more than the work
    truth = [[next(words) for _ in several] for several in references]
    return {name: [next(words) for _ in captions] for name, captions in runs.items()}, truth


def _row(scores: Sequence[Scores], faults: Faults) -> Row:
    meteors = [each.meteor for each in scores if each.meteor is not None]
    return {
        **{f"BLEU-{n + 1}": fmean(each.bleu[n] for each in scores) for n in range(4)},
        "METEOR": fmean(meteors) if meteors else None,
        "ROUGE-L": fmean(each.rouge for each in scores),
        "CIDEr": fmean(each.cider for each in scores),
        "words": faults.words,
        "bad endings %": 100 * faults.bad_endings,
        "repeats %": 100 * faults.repeats,
        "novel %": None if faults.novel is None else 100 * faults.novel,
    }


def as_markdown(table: dict[str, Row]) -> str:
    """A table with a column for each figure that any row has."""
    columns = list(dict.fromkeys(name for row in table.values() for name, value in row.items() if value is not None))
    lines = [["decoding", *columns], ["---"] * (len(columns) + 1)]
    for name, row in table.items():
        values = [row.get(column) for column in columns]
        digits = (2 if column.startswith("distinct") else 1 for column in columns)
        lines.append([name, *("–" if v is None else f"{v:.{d}f}" for d, v in zip(digits, values, strict=True))])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def load_examples(data: str, split: str | None) -> tuple[str, list[Example]]:
    """A split's name and examples; without a name the test split, or dev where there is none. Raises DataError."""
    root = resolve_data(data)
    if split is not None:
        return split, load_split(root, split)
    try:
        return "test", load_split(root, "test")
    except DataError:
        return "dev", load_split(root, "dev")


def add_data_options(parser: argparse.ArgumentParser, *, several: bool = False) -> None:
    """The options of all programs that caption a data set, or `several`, with the shipped weights."""
    parser.add_argument("--weights", default="weights", help="the folder of the weights")
    parser.add_argument("--model", choices=NETWORKS, default="attention")
    parser.add_argument(
        "--data",
        nargs="+" if several else None,
        default=["flickr8k"] if several else "flickr8k",
        help="a folder in the Karpathy layout, or its name in DATASETS_DIR",
    )
    parser.add_argument("--batch", type=int, default=32, help="images in one run of the network")
    parser.add_argument("--limit", type=int, help="only the first so many images of the split")
    parser.add_argument("--device", default="auto")


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m model.training.evaluate", description=__doc__.split("\n")[0])
    add_data_options(parser)
    parser.add_argument("--precision", choices=get_args(Precision), default="auto", help="of the encoder")
    parser.add_argument("--split", help="default: test, or dev where there is no test split")
    parser.add_argument(
        "--beam", type=int, nargs="*", default=[3], metavar="WIDTH", help="beams beside greedy, default 3; 0: none"
    )
    parser.add_argument("--samples", type=int, default=5, help="sampled captions per image, default 5")
    parser.add_argument("--temperature", type=float, default=Sampling.temperature)
    parser.add_argument("--top-k", type=int, default=Sampling.top_k)
    parser.add_argument("--top-p", type=float, default=Sampling.top_p)
    parser.add_argument("--no-blocking", action="store_true", help="let captions repeat and break off")
    parser.add_argument(
        "--training", nargs="*", default=TRAINING, metavar="DATA", help="data sets whose train captions are not novel"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    for name, least in (("samples", 0), ("batch", 1), ("limit", 1)):
        if getattr(options, name) is not None and getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}")
    options.beam = list(dict.fromkeys(width for width in options.beam if width > 0))
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    options = options_of(arguments)
    tokenizer: Tokenizer = "PTB" if java() else "simple"
    if tokenizer == "simple":
        print(
            "no Java: no METEOR, and the project's own tokeniser; for official figures install a JRE", file=sys.stderr
        )
    try:
        split, examples = load_examples(options.data, options.split)
        examples = examples[: options.limit]
        captioner = Captioner.load(options.weights, options.device, model=options.model, precision=options.precision)
        decodings = caption_examples(
            captioner,
            examples,
            beams=options.beam,
            samples=options.samples,
            sampling=Sampling(temperature=options.temperature, top_k=options.top_k, top_p=options.top_p),
            batch=options.batch,
            blocking=not options.no_blocking,
        )
        references = [example.captions for example in examples]
        training = training_captions(options.training) if options.training else None
        table = evaluate(decodings, references, training=training, tokenizer=tokenizer)
    except (DataError, EvaluationError, CheckpointError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    what = {
        "model": options.model,
        "data": Path(options.data).name,
        "split": split,
        "images": len(examples),
        "tokenizer": "PTB (official)" if tokenizer == "PTB" else "simple (not official)",
        "blocking": not options.no_blocking,
        "arithmetic": captioner.arithmetic,
    }
    print(", ".join(f"{name} {value}" for name, value in what.items()) + "\n")
    print(as_markdown(table))
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({**what, "figures": table}, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
