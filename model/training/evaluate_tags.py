"""How well tags are judged: `python -m model.training.evaluate_tags --data flickr8k coco --split test dev`.

Mean average precision over the default dictionary, against two baselines in the same run: the words of the greedy
caption, and how common a tag is in the training captions. By tag: photos in the order of the tag's probability; by
photo: tags in the order of their probabilities. Where scores tie, precision is that of all that tie. Then the list of
a hotel: how each tag is judged, and its average precision where captions name it.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from model.calibration import calibration_error, chance_error, reliability
from model.captioner import Captioner
from model.network.checkpoint import ENCODER_FILE, CheckpointError, fingerprint
from model.network.vocabulary import tokenize
from model.tagging.lists import ARTICLES, Entry, dictionary, names
from model.training.calibrate import Curve, draw_reliability
from model.training.data import Example, Features, load_split, resolve_data
from model.training.fit_tags import labels
from model.training.options import exit_status

Floats = npt.NDArray[np.float64]
BATCH = 32


def average_precision(scores: npt.ArrayLike, right: npt.ArrayLike) -> float:
    """Σ (R_k - R_{k-1}) P_k over the distinct scores, from the highest. At least one must be right."""
    values, positive = np.asarray(scores, np.float64), np.asarray(right, bool)
    order = np.argsort(-values, kind="stable")
    hits = np.cumsum(positive[order])
    last = np.append(np.flatnonzero(np.diff(values[order])), len(values) - 1)  # of each score
    recall = hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * hits[last] / (last + 1)))


def mean_average_precision(scores: Floats, right: npt.NDArray[np.bool_]) -> float:
    """Over the rows that have anything right, × 100. Both: (rows, columns)."""
    return 100 * float(np.mean([average_precision(s, r) for s, r in zip(scores, right, strict=True) if r.any()]))


def caption_says(captions: Sequence[str], entries: Sequence[Entry]) -> Floats:
    """(N, T): 1 where a photo's caption says the tag."""
    return labels([Example("", Path(), (caption,)) for caption in captions], entries).double().numpy()


def table(name: str, runs: Mapping[str, Floats], right: npt.NDArray[np.bool_]) -> Iterator[str]:
    """Lines of Markdown. runs: (N, T) scores by what they are; right: (N, T)."""
    for run, scores in runs.items():
        by_tag, by_photo = mean_average_precision(scores.T, right.T), mean_average_precision(scores, right)
        yield f"| {name} ({len(right)}) | {run} | {by_tag:.1f} | {by_photo:.1f} |"


def hotel(captioner: Captioner, features: Sequence[Tensor], examples: Sequence[Example]) -> Iterator[str]:
    """Lines of Markdown: how each tag of the hotel's list is judged, and its average precision."""
    tagger = captioner.tagger
    assert tagger is not None
    forms = {entry.name: entry.forms for entry in dictionary("default")}
    judged = [captioner.tags(each, names("hotel")) for each in features]
    for n, tag in enumerate(names("hotel")):
        words = tag.split()[1:] if tag.split()[0] in ARTICLES else tag.split()
        said = " ".join(words)
        entry = next((e for e in dictionary("default") if said in e.forms), None)
        unknown = judged[0][n].unknown
        how = f"cannot be judged: {', '.join(unknown)}" if unknown else "classifier" if entry else "PMI"
        right = labels(examples, [Entry(forms[entry.name] if entry else (said,), ())])[:, 0].numpy()
        figure = "–"
        if not unknown and right.any():
            figure = f"{100 * average_precision([each[n].probability or 0.0 for each in judged], right):.1f}"
        yield f"| {tag} | {how} | {int(right.sum())} | {figure} |"


def curves_of(runs: Mapping[str, tuple[Floats, npt.NDArray[np.bool_]]]) -> Iterator[Curve]:
    """Of probabilities, by the names of the photos: of tags with like ones, the share that a caption names."""
    for name, (estimates, right) in runs.items():
        shown = estimates > 0.02  # nearly all others are right to be lower
        yield name, "o-", reliability(estimates[shown], right[shown].tolist(), bins=20)


def run(options: argparse.Namespace) -> None:
    weights, cache = Path(options.weights), Path(options.cache)
    captioner = Captioner.load(weights, options.device, precision="fp32")
    sha256 = fingerprint(weights / ENCODER_FILE)
    if captioner.tagger is None:
        raise CheckpointError(f"{weights}: no tags.safetensors")
    entries = [entry for entry in dictionary("default") if entry.name in captioner.tagger.head.tags]
    columns = [captioner.tagger.head.tags.index(entry.name) for entry in entries]
    roots = [resolve_data(name) for name in options.data]
    training = [example for root in map(resolve_data, options.training) for example in load_split(root, "train")]
    frequency = labels(training, entries).double().mean(dim=0).numpy()
    print(f"{len(entries)} tags\n\n| photos (count) | scores | mAP by tag | mAP by photo |\n| --- | --- | --- | --- |")
    plotted: dict[str, tuple[Floats, npt.NDArray[np.bool_]]] = {}
    last: tuple[list[Tensor], list[Example]] = ([], [])
    for root, split in zip(roots, options.split, strict=True):
        examples = load_split(root, split)
        features = Features.cached(cache, captioner.encoder, sha256, examples)
        starts = [range(start, min(start + BATCH, len(examples))) for start in range(0, len(examples), BATCH)]
        right = labels(examples, entries).numpy()
        found = [captioner.tagger.head.probabilities(features[rows].to(captioner.device)).cpu() for rows in starts]
        probabilities = torch.cat(found)[:, columns].double().numpy()
        captions: list[str] = []
        for rows in starts:
            sets = captioner.caption_features(features[rows].to(captioner.device), samples=0)
            captions += [" ".join(tokenize(each.greedy.text)) for each in sets]
        runs = {
            "tags": probabilities,
            "words of the greedy caption": caption_says(captions, entries),
            "frequency of the tag": np.broadcast_to(frequency, right.shape),
        }
        name = f"{root.name} {split}"
        print(*table(name, runs, right), sep="\n", flush=True)
        plotted[name] = (probabilities.ravel(), right.ravel())
        last = (list(features[range(len(examples))].to(captioner.device)), examples)
    print("\n| photos | expected calibration error | by chance alone |\n| --- | --- | --- |")
    for name, (estimates, truth) in plotted.items():
        error = calibration_error(estimates, truth.tolist(), bins=40)
        print(f"| {name} | {error:.4f} | {chance_error(estimates, bins=40, draws=10):.4f} |")
    print(f"\nThe hotel's list, {roots[-1].name} {options.split[-1]}\n")
    print("| tag | judged by | photos whose captions say it | average precision |\n| --- | --- | --- | --- |")
    print(*hotel(captioner, *last), sep="\n", flush=True)
    if options.plot:
        axes = {"xlabel": "probability", "ylabel": "share that a caption names"}
        draw_reliability(Path(options.plot), curves_of(plotted), **axes, title="tags")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.evaluate_tags", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights")
    parser.add_argument(
        "--data", nargs="+", default=["flickr8k", "coco"], help="the hotel's list is judged on the last"
    )
    parser.add_argument("--split", nargs="+", default=["test", "dev"], help="one for each of --data")
    parser.add_argument("--training", nargs="+", default=["flickr8k", "coco"], help="whose train splits count words")
    parser.add_argument("--plot", default="docs/calibration-tags.png", metavar="FILE", help="''; none")
    parser.add_argument("--cache", default="cache", help="the folder of encoder features")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    if len(options.data) != len(options.split):
        parser.error("as many splits as data sets")
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
