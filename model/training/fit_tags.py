"""Fit what judges tags and ranks descriptions: `python -m model.training.fit_tags --data flickr8k coco`.

Classifiers of the default dictionary are fitted to the words of the training captions: a photo has a tag when one of
its captions says it. The bank is a choice of training photos. Validation photos calibrate the probabilities, choose
the threshold of each tag, and fit what turns PMI into probabilities. To be run again whenever the encoder or the
decoder changes.
"""

import argparse
import functools
import hashlib
import itertools
import random
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from model.calibration import calibration_error
from model.captioner import Captioner
from model.decoding.scoring import text_log_probs
from model.network.checkpoint import ENCODER_FILE, CheckpointError, fingerprint
from model.network.vocabulary import UNKNOWN, Vocabulary, tokenize
from model.tagging.lists import ARTICLES, NUMBERS, Entry, dictionary
from model.tagging.tagger import TAGS_FILE, Fit, Head, Tagger, free_text, pooled
from model.training.data import Example, Features, load_split, resolve_data
from model.training.options import exit_status, fit_options
from model.words import COLOURS, FUNCTION_WORDS, phrase_ends

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
    minimise([weights], lambda: functional.binary_cross_entropy_with_logits(design @ weights, targets.double()))
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


def fit_ranking(evidence: Tensor, right: Tensor, whole: int, *, draws: int = 400) -> tuple[list[float], float]:
    """The weights of the evidence and the logit of none. Arguments: as of `description_sets`; evidence: (P, N, E)."""
    sets = description_sets(right, whole, draws=draws)
    evidence = evidence.double()
    weights = torch.zeros(evidence.shape[-1], dtype=torch.float64, requires_grad=True)
    none = torch.zeros(1, dtype=torch.float64, requires_grad=True)

    def loss() -> Tensor:
        losses, scores = [], evidence @ weights
        for each in sets:
            logits = torch.cat([scores[each.photos[:, None], each.columns], none.expand(len(each.photos), 1)], dim=1)
            losses.append(functional.cross_entropy(logits, each.answers))
        return torch.stack(losses).mean()

    minimise([weights, none], loss)
    return weights.detach().tolist(), none.item()


@dataclass(frozen=True)
class Sets:
    """D sets of descriptions of one kind and size S. The right one, if there is any, is the first."""

    kind: str
    photos: Tensor  # (D,) rows of `right`
    columns: Tensor  # (D, S) of `right`
    answers: Tensor  # (D,) 0, or S where none of them is right


def description_sets(right: Tensor, whole: int, *, draws: int, seed: int = 0) -> list[Sets]:
    """Sets are drawn of whole captions, of short texts, and of both; in half of them nothing is right.

    right: (P, N) bool, whether each text is right of each photo; the first `whole` texts are whole captions.
    """
    rng = random.Random(seed)
    wholes, shorts = range(whole), range(whole, right.shape[1])
    kinds = {"whole captions": [wholes], "short texts": [shorts], "both": [wholes, shorts]}
    found = []
    for (kind, parts), size in itertools.product(kinds.items(), SIZES):
        fit = [[good for part in parts if (good := [n for n in part if row[n]])] for row in right.tolist()]
        unfit = [[n for part in parts for n in part if not row[n]] for row in right.tolist()]
        able = [p for p, bad in enumerate(unfit) if fit[p] and len(bad) >= size]
        if not able:
            continue
        photos, answers = [rng.choice(able) for _ in range(2 * draws)], [0, size] * draws
        drawn = [
            [] if answer else [rng.choice(rng.choice(fit[photo]))]
            for photo, answer in zip(photos, answers, strict=True)
        ]
        for photo, texts in zip(photos, drawn, strict=True):
            texts += rng.sample(unfit[photo], size - len(texts))
        found.append(Sets(kind, torch.tensor(photos), torch.tensor(drawn), torch.tensor(answers)))
    return found


def ranking_table(fit: Fit, evidence: Tensor, right: Tensor, whole: int, *, draws: int = 400) -> Iterator[str]:
    """Lines of Markdown: texts, how many; how often the right text comes before the others, how often none wins where
    a text is right, and a text where none is; the calibration error of the answers. Arguments: as of `fit_ranking`.
    """
    logits = fit.descriptions(evidence)
    sets = description_sets(right, whole, draws=draws, seed=1)
    for kind, some in itertools.product(dict.fromkeys(each.kind for each in sets), (SIZES[:3], SIZES)):
        first, refused, wrong, estimates, hits = [], [], [], [], []
        for each in (each for each in sets if each.kind == kind and each.columns.shape[1] in some):
            none = logits[each.photos, -1:]
            found = torch.cat([logits[each.photos[:, None], each.columns], none], dim=1).softmax(dim=1)
            size, there, best = found.shape[1] - 1, each.answers == 0, found.argmax(dim=1)
            first.append((found[there, :-1].argmax(dim=1) == 0).float().mean())
            refused.append((best[there] == size).float().mean())
            wrong.append((best[~there] != size).float().mean())
            estimates.append(found.amax(dim=1).double())
            hits.append(best == each.answers)
        error = calibration_error(torch.cat(estimates).numpy(), torch.cat(hits).tolist())
        shares = " | ".join(f"{100 * float(torch.stack(each).mean()):.1f} %" for each in (first, refused, wrong))
        yield f"| {kind} | {some[0]} to {some[-1]} | {shares} | {error:.3f} |"


def minimise(parameters: Sequence[Tensor], loss: Callable[[], Tensor], *, steps: int = 100) -> None:
    """Change the parameters, in place, so that the loss is least; in so many steps of L-BFGS at most."""
    optimizer = torch.optim.LBFGS(list(parameters), max_iter=steps, line_search_fn="strong_wolfe")

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


def short_texts(caption: str) -> list[tuple[str, ...]]:
    """What of a caption could stand for the photo: its phrases of up to four words that end in a word of the default
    dictionary, and the nouns of those that say more.

    >>> short_texts("A brown dog runs after two men.")
    [('a', 'brown', 'dog'), ('a', 'dog'), ('two', 'men')]
    """
    words = tokenize(caption)
    found: list[tuple[str, ...]] = []
    for start, word in enumerate(words):
        phrase = tuple(words[start : start + phrase_ends(words[start:])[0]])
        if (
            word in ARTICLES | NUMBERS
            and 2 <= len(phrase) <= 4
            and phrase[-1] in _meanings()
            and phrase[-1] not in COLOURS
        ):
            found.append(phrase)
            if len(phrase) > 2 and word in ARTICLES and not {"and", "of"}.intersection(phrase):
                found.append(("an" if phrase[-1][0] in "aeiou" else "a", phrase[-1]))
    return found


@functools.cache
def _meanings() -> dict[str, str]:
    """The tag of each word that means one."""
    return {form: entry.name for entry in dictionary("default") for form in entry.forms if " " not in form}


def meant(words: Iterable[str]) -> frozenset[str]:
    """What words say, whatever the form: tags, and other words that are no function words."""
    return frozenset(_meanings().get(word, word) for word in words if word in NUMBERS or word not in FUNCTION_WORDS)


def descriptions(vocabulary: Vocabulary, examples: Sequence[Example]) -> tuple[list[tuple[str, ...]], Tensor, int]:
    """Texts to rank, which of them are right of each photo, (P, N) bool, and how many are whole captions: the first.

    Of each photo: a caption, a phrase and a noun with its article. A short text is right where the photo's captions
    say all that it says, a caption of its own photo alone. The network must know all words.
    """
    rng, wholes, shorts = random.Random(0), list[tuple[str, ...]](), list[tuple[str, ...]]()
    for example in examples:
        known = [words for words in map(tuple, map(tokenize, example.captions)) if words and _knows(vocabulary, words)]
        wholes += known[:1]
        short = dict.fromkeys(text for caption in example.captions for text in short_texts(caption))
        parts = [text for text in short if _knows(vocabulary, text)]
        for kind in ([text for text in parts if len(text) > 2], [text for text in parts if len(text) == 2]):
            shorts += [rng.choice(kind)] if kind else []
    wholes, shorts = list(dict.fromkeys(wholes)), list(dict.fromkeys(shorts))
    rows = []
    for example in examples:
        own = {tuple(tokenize(caption)) for caption in example.captions}
        said = meant(itertools.chain.from_iterable(own))
        rows.append([text in own for text in wholes] + [meant(text) <= said for text in shorts])
    return wholes + shorts, torch.tensor(rows), len(wholes)


def _knows(vocabulary: Vocabulary, words: Sequence[str]) -> bool:
    return UNKNOWN not in vocabulary.encode(" ".join(words))


def run(options: argparse.Namespace) -> None:
    weights, cache = Path(options.weights), Path(options.cache)
    captioner = Captioner.load(weights, options.device, precision="fp32")
    sha256 = fingerprint(weights / ENCODER_FILE)
    roots = [resolve_data(name) for name in options.data]
    before = captioner.tagger.fit if captioner.tagger is not None else None

    def seen(split: str, count: int) -> tuple[list[Example], Tensor]:
        """As many photos of a split of all roots together, and their features."""
        splits = [load_split(root, split) for root in roots]
        kept = [Features.cached(cache, captioner.encoder, sha256, each) for each in splits]
        places = [chosen(each, count // len(splits), "photos") for each in splits]
        photos = [each[row] for each, rows in zip(splits, places, strict=True) for row in rows]
        return photos, torch.cat([each[rows] for each, rows in zip(kept, places, strict=True)])

    def ranked(split: str) -> tuple[Tensor, Tensor, int]:
        """What the ranking is fitted to or judged by: as `fit_ranking` takes it."""
        photos, features = seen(split, options.photos)
        some = chosen(photos, options.ranked, "ranked")
        texts, right, whole = descriptions(captioner.vocabulary, [photos[n] for n in some])
        return evidence_of(tagger, captioner, features[some], texts), right, whole

    if not options.ranking_only:
        tagger = fit_tagger(options, captioner, roots, sha256, *seen(options.split, options.photos))
    elif captioner.tagger is not None:
        tagger = captioner.tagger
    else:
        raise CheckpointError(f"{weights}: no {TAGS_FILE}")
    evidence, right, whole = ranked(options.split)
    (sharpness, common, lift), none = fit_ranking(evidence, right, whole)
    tagger.fit = replace(tagger.fit, sharpness=sharpness, common=common, lift=lift, none=none)
    print(
        f"descriptions: {whole} whole, {right.shape[1] - whole} short; {sharpness:.3f} PMI {common:+.3f} log p "
        f"{lift:+.3f} lift, none {none:.3f}",
        flush=True,
    )
    tagger.save(Path(options.out or weights / TAGS_FILE), sha256)
    if options.check:
        evidence, right, whole = ranked(options.check)
        for name, fit in ("before", before), ("now", tagger.fit):
            if fit is not None:
                print(f"\n{options.check}, {name}\n", *ranking_table(fit, evidence, right, whole), sep="\n", flush=True)


def fit_tagger(
    options: argparse.Namespace,
    captioner: Captioner,
    roots: Sequence[Path],
    sha256: str,
    photos: Sequence[Example],
    seen: Tensor,
) -> Tagger:
    """Classifiers, bank and free tags; what ranks descriptions is still to be fitted.

    photos, seen: the photos that fit free tags, and their features.
    """
    vocabulary, cache, entries = captioner.vocabulary, Path(options.cache), dictionary("default")
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

    unfitted = Fit(1.0, 0.0, 0.0, 0.5, 1.0, 0.0)
    tagger = Tagger(head, bank, unfitted).to(captioner.device)
    phrases = [pair for pair in common_phrases(train, options.phrases) if UNKNOWN not in free_text(vocabulary, pair)]
    said = labels(photos, [Entry((" ".join(pair),), ()) for pair in phrases])
    pmi, marginal = pmi_of(tagger, captioner, seen, [free_text(vocabulary, pair) for pair in phrases], end=False)
    slope, rarity, intercept, threshold = fit_free(pmi, marginal, said)
    print(f"free tags: {slope:.3f} PMI {rarity:+.3f} log p {intercept:+.3f}, threshold {threshold:.2f}", flush=True)
    tagger.fit = replace(unfitted, slope=slope, rarity=rarity, intercept=intercept, threshold=threshold)
    return tagger


def evidence_of(tagger: Tagger, captioner: Captioner, features: Tensor, texts: Sequence[tuple[str, ...]]) -> Tensor:
    """As `Tagger.evidence`, some photos at a time, on the CPU."""
    encoded = [captioner.vocabulary.encode(" ".join(words)) for words in texts]
    pmi, marginal = pmi_of(tagger, captioner, features, encoded, end=True)
    lift = torch.cat([tagger.lift(part.to(captioner.device), texts) for part in torch.split(features, BATCH)]).cpu()
    return torch.stack([pmi, marginal.expand_as(pmi), lift], dim=-1)


def pmi_of(
    tagger: Tagger, captioner: Captioner, features: Tensor, texts: Sequence[Sequence[int]], *, end: bool
) -> tuple[Tensor, Tensor]:
    """As `Tagger.pmi`, some photos at a time, on the CPU."""
    decoder, marginal = captioner.decoder, tagger.marginal(captioner.decoder, texts, end=end)
    states = (decoder.init_state(part.to(captioner.device)) for part in torch.split(features, BATCH))
    log_probs = [text_log_probs(decoder, state, texts, end=end) for state in states]
    return (torch.cat(log_probs) - marginal).cpu(), marginal.cpu()


def main(arguments: Sequence[str] | None = None) -> int:
    parser = fit_options(__doc__, file=TAGS_FILE, data="data sets with the splits train and val")
    parser.add_argument("--split", default="val", help="of the photos that calibrate, default val")
    parser.add_argument("--decay", type=float, default=1e-2, help="of the classifiers' squared weights, default 0.01")
    parser.add_argument("--epochs", type=int, default=8, help="of the classifiers, default 8")
    parser.add_argument("--bank", type=int, default=24, help="photos in the bank, default 24")
    parser.add_argument("--side", type=int, default=4, help="regions a side that are kept of each, default 4")
    parser.add_argument("--photos", type=int, default=400, help="validation photos that fit free tags, default 400")
    parser.add_argument("--phrases", type=int, default=150, help="free tags that are fitted, default 150")
    parser.add_argument("--ranked", type=int, default=120, help="validation photos that fit the ranking, default 120")
    parser.add_argument("--ranking-only", action="store_true", help="keep all else as the file there has it")
    parser.add_argument(
        "--check", default="", metavar="SPLIT", help="whose descriptions are ranked for a table, at the end"
    )
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
