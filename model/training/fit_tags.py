"""Fit what judges tags and ranks descriptions: `python -m model.training.fit_tags --data flickr8k coco`.

Classifiers of the default dictionary are fitted to the words of the training captions: a photo has a tag when one of
its captions says it. The bank is a choice of training photos. Validation photos calibrate the probabilities, choose
the threshold of each tag, and fit what turns PMI into probabilities. To be run again whenever the encoder or the
decoder changes.
"""

import argparse
import hashlib
import itertools
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from model.captioner import Captioner
from model.decoding.scoring import text_log_probs
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.network.vocabulary import UNKNOWN, tokenize
from model.tagging.lists import Entry, dictionary
from model.tagging.tagger import TAGS_FILE, Fit, Head, Tagger, free_text, pooled
from model.training.data import Example, Features, load_split, resolve_data
from model.training.options import exit_status

BATCH: Final = 64
GRID: Final = 8  # regions a side of the encoder's grid, where it is square
SHRINK: Final = 20.0  # photos' worth of the common threshold in that of a tag
SIZES: Final = (2, 3, 5, 10, 20, 50)  # of the sets of descriptions that are fitted
COMMON: Final = frozenset(
    re.findall(
        r"\w+",
        "a an the of in on at to with and or is are be being by for from his her its their it he she they them him that"
        " this there who which while as into onto up down out off over next near some one another other each all very"
        " two three",
    )
)


def labels(examples: Sequence[Example], entries: Sequence[Entry]) -> Tensor:
    """(N, T) bool: whether a caption of the photo says the tag, in any of its forms."""
    said = [" | ".join(" ".join(tokenize(caption)) for caption in example.captions) for example in examples]
    return torch.tensor(
        [[any(f" {form} " in f" {text} " for form in entry.forms) for entry in entries] for text in said]
    )


def fit_head(inputs: Tensor, targets: Tensor, *, decay: float, epochs: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Logistic regressions side by side: weight (T, D) and bias (T,). inputs: (N, D); targets: (N, T)."""
    mean, deviation = inputs.mean(dim=0), inputs.std(dim=0).clamp(min=1e-4)
    standard, targets = (inputs - mean) / deviation, targets.float()
    rate = targets.mean(dim=0).clamp(1e-4, 1 - 1e-4)
    weight = torch.zeros(targets.shape[1], inputs.shape[1], requires_grad=True)
    bias = torch.logit(rate).requires_grad_()
    optimizer = torch.optim.Adam([weight, bias], lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(inputs), generator=generator) for _ in range(epochs)]
    batches = [rows for order in orders for rows in torch.split(order, 256)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=len(batches) + 1)
    for rows in batches:
        logits = standard[rows] @ weight.T + bias
        loss = functional.binary_cross_entropy_with_logits(logits, targets[rows], reduction="none").mean(dim=0).sum()
        optimizer.zero_grad()
        (loss + decay * weight.square().sum()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    folded = weight.detach() / deviation
    return folded, bias.detach() - folded @ mean


def logistic(inputs: Tensor, targets: Tensor) -> list[float]:
    """The weights of a logistic regression, then its intercept. inputs: (N, D); targets: (N,)."""
    design = torch.cat([inputs.double(), torch.ones(len(inputs), 1, dtype=torch.float64)], dim=1)
    weights = torch.zeros(design.shape[1], dtype=torch.float64, requires_grad=True)
    _minimise([weights], lambda: functional.binary_cross_entropy_with_logits(design @ weights, targets.double()))
    return weights.detach().tolist()


def thresholds(probabilities: Tensor, targets: Tensor) -> tuple[Tensor, float]:
    """Of each tag, (T,), and of all in common: where F1 is highest; few photos leave a tag near the common one.

    Both arguments: (N, T).
    """
    common = _best_threshold(probabilities.flatten(), targets.flatten())
    found = []
    for p, y in zip(probabilities.T, targets.T, strict=True):
        count = float(y.sum())
        own = _best_threshold(p, y) if count else common
        found.append((count * own + SHRINK * common) / (count + SHRINK))
    return torch.tensor(found), common


def _best_threshold(probabilities: Tensor, targets: Tensor) -> float:
    """Between 0.2 and 0.8: what holds must be likely enough to be worth saying."""
    grid = torch.arange(0.2, 0.8, 0.01)
    holds = probabilities >= grid[:, None]  # (G, N)
    right = (holds & targets.bool()).sum(dim=1)
    return float(grid[(2 * right / (holds.sum(dim=1) + targets.sum()).clamp(min=1)).argmax()])


def common_phrases(examples: Sequence[Example], count: int) -> list[tuple[str, ...]]:
    """The commonest pairs of neighbouring words that say something, such as "black dog"; those fitted as free tags."""
    pairs: Counter[tuple[str, ...]] = Counter()
    for example in examples:
        said = {pair for caption in example.captions for pair in itertools.pairwise(tokenize(caption))}
        pairs.update(pair for pair in said if not COMMON.intersection(pair))
    return sorted(pairs, key=lambda pair: (-pairs[pair], pair))[:count]


def fit_free(pmi: Tensor, marginal: Tensor, targets: Tensor) -> tuple[float, float, float, float]:
    """Slope, rarity, intercept and threshold of free tags. pmi, targets: (P, N); marginal: (N,)."""
    inputs = torch.stack([pmi.flatten(), marginal.expand_as(pmi).flatten()], dim=1)
    slope, rarity, intercept = logistic(inputs, targets.flatten())
    estimates = torch.sigmoid(slope * pmi + rarity * marginal + intercept)
    return slope, rarity, intercept, _best_threshold(estimates.flatten(), targets.flatten())


def fit_ranking(pmi: Tensor, *, draws: int = 400, seed: int = 0) -> tuple[float, float]:
    """Sharpness and the logit of none. pmi: (P, P), row and column of a photo and of its own description alike.

    Sets of descriptions are drawn; in half of them the photo's own is missing.
    """
    rng = random.Random(seed)
    rows, columns, targets = [], [], []
    for size, there, _ in itertools.product([s for s in SIZES if s < len(pmi)], (True, False), range(draws)):
        photo = rng.randrange(len(pmi))
        others = rng.sample([n for n in range(len(pmi)) if n != photo], size - there)
        rows.append(photo)
        columns.append([photo, *others] if there else others)
        targets.append(0 if there else size)
    groups = {size: [n for n, each in enumerate(columns) if len(each) == size] for size in SIZES}
    sharpness, none = torch.tensor(0.1, dtype=torch.float64), torch.tensor(0.0, dtype=torch.float64)

    def loss() -> Tensor:
        losses = []
        for size, chosen in groups.items():
            if chosen:
                own = torch.tensor([rows[n] for n in chosen])[:, None]
                scores = pmi[own, torch.tensor([columns[n] for n in chosen])].double()
                logits = torch.cat([sharpness * scores, none.expand(len(chosen), 1)], dim=1)
                losses.append(functional.cross_entropy(logits, torch.tensor([min(targets[n], size) for n in chosen])))
        return torch.stack(losses).mean()

    sharpness.requires_grad_()
    none.requires_grad_()
    _minimise([sharpness, none], loss)
    return sharpness.item(), none.item()


def _minimise(parameters: Sequence[Tensor], loss: Callable[[], Tensor]) -> None:
    optimizer = torch.optim.LBFGS(list(parameters), max_iter=100, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def coarse(features: Tensor, side: int) -> Tensor:
    """Features of a square grid, averaged to `side` × `side` regions. (N, R, C) → (N, side², C)."""
    grid = features.reshape(len(features), GRID, GRID, -1).permute(0, 3, 1, 2)
    return functional.adaptive_avg_pool2d(grid, side).flatten(2).transpose(1, 2)


def chosen(examples: Sequence[Example], count: int, salt: str) -> list[int]:
    """Rows of a choice that depends on the names of the photos alone."""
    order = sorted(range(len(examples)), key=lambda n: hashlib.sha256(f"{salt} {examples[n].name}".encode()).digest())
    return sorted(order[:count])


def read(features: Features, count: int) -> Tensor:
    """What the classifiers read of all photos, (N, D)."""
    starts = range(0, count, BATCH)
    return torch.cat([pooled(features[range(start, min(start + BATCH, count))]) for start in starts])


def own_captions(captioner: Captioner, examples: Sequence[Example]) -> list[list[int]]:
    """The first caption of each photo whose words are all known, as indices."""
    found = []
    for example in examples:
        encoded = [captioner.vocabulary.encode(caption) for caption in example.captions]
        found.append(next((words for words in encoded if words and UNKNOWN not in words), encoded[0]))
    return found


def run(options: argparse.Namespace) -> None:
    weights, cache = Path(options.weights), Path(options.cache)
    captioner = Captioner.load(weights, options.device)
    vocabulary, sha256 = captioner.vocabulary, fingerprint(weights / ENCODER_FILE)
    entries = dictionary("default")
    roots = [resolve_data(name) for name in options.data]
    train = [example for root in roots for example in load_split(root, "train")]
    features = Features.cached(cache, captioner.encoder, sha256, train)
    weight, bias = fit_head(
        read(features, len(train)), labels(train, entries), decay=options.decay, epochs=options.epochs
    )
    bank = coarse(features[chosen(train, options.bank, "bank")], options.side)

    splits = [load_split(root, options.split) for root in roots]
    kept = [Features.cached(cache, captioner.encoder, sha256, split) for split in splits]
    inputs = torch.cat([read(each, len(split)) for each, split in zip(kept, splits, strict=True)])
    targets = torch.cat([labels(split, entries) for split in splits])
    logits = inputs @ weight.T + bias
    slope, intercept = logistic(logits.flatten()[:, None], targets.flatten())
    print(f"classifiers: calibrated by {slope:.3f} x {intercept:+.3f}", flush=True)
    weight, bias = slope * weight, slope * bias + intercept
    own, common = thresholds(torch.sigmoid(inputs @ weight.T + bias), targets)
    print(f"thresholds: {float(own.min()):.2f} to {float(own.max()):.2f}, in common {common:.2f}", flush=True)
    head = Head(tuple(entry.name for entry in entries), weight, bias, own)

    tagger = Tagger(head, bank, Fit(1.0, 0.0, 0.0, 0.5, 1.0, 0.0)).to(captioner.device)
    places = [chosen(split, options.photos // len(splits), "photos") for split in splits]
    photos = [split[row] for split, rows in zip(splits, places, strict=True) for row in rows]
    seen = torch.cat([each[rows] for each, rows in zip(kept, places, strict=True)])
    phrases = [pair for pair in common_phrases(train, options.phrases) if UNKNOWN not in free_text(vocabulary, pair)]
    said = labels(photos, [Entry((" ".join(pair),), ()) for pair in phrases])
    pmi, marginal = pmi_of(tagger, captioner, seen, [free_text(vocabulary, pair) for pair in phrases], end=False)
    slope, rarity, intercept, threshold = fit_free(pmi, marginal, said)
    print(f"free tags: {slope:.3f} PMI {rarity:+.3f} log p {intercept:+.3f}, threshold {threshold:.2f}", flush=True)
    some = chosen(photos, options.ranked, "ranked")
    pmi, _ = pmi_of(tagger, captioner, seen[some], own_captions(captioner, [photos[n] for n in some]), end=True)
    sharpness, none = fit_ranking(pmi)
    right = float((pmi.argmax(dim=1) == torch.arange(len(pmi))).float().mean())
    print(f"descriptions: {right:.1%} first of {len(pmi)}; sharpness {sharpness:.3f}, none {none:.3f}", flush=True)
    tagger = Tagger(head, bank, Fit(slope, rarity, intercept, threshold, sharpness, none))
    tagger.save(Path(options.out or weights / TAGS_FILE), sha256)


def pmi_of(
    tagger: Tagger, captioner: Captioner, features: Tensor, texts: Sequence[Sequence[int]], *, end: bool
) -> tuple[Tensor, Tensor]:
    """As `Tagger.pmi`, some photos at a time, on the CPU."""
    decoder, marginal = captioner.decoder, tagger.marginal(captioner.decoder, texts, end=end)
    states = (decoder.init_state(part.to(captioner.device)) for part in torch.split(features, BATCH))
    log_probs = [text_log_probs(decoder, state, texts, end=end) for state in states]
    return (torch.cat(log_probs) - marginal).cpu(), marginal.cpu()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.fit_tags", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights", help="the folder of the weights; the file is written there")
    parser.add_argument("--out", default="", metavar="FILE", help=f"where to write it instead of {TAGS_FILE} there")
    parser.add_argument(
        "--data", nargs="+", default=["flickr8k", "coco"], help="data sets with the splits train and val"
    )
    parser.add_argument("--split", default="val", help="of the photos that calibrate, default val")
    parser.add_argument("--decay", type=float, default=1e-2, help="of the classifiers' squared weights, default 0.01")
    parser.add_argument("--epochs", type=int, default=8, help="of the classifiers, default 8")
    parser.add_argument("--bank", type=int, default=24, help="photos in the bank, default 24")
    parser.add_argument("--side", type=int, default=4, help="regions a side that are kept of each, default 4")
    parser.add_argument("--photos", type=int, default=400, help="validation photos that fit free tags, default 400")
    parser.add_argument("--phrases", type=int, default=150, help="free tags that are fitted, default 150")
    parser.add_argument("--ranked", type=int, default=120, help="validation photos that fit the ranking, default 120")
    parser.add_argument("--cache", default="cache", help="the folder of encoder features")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
