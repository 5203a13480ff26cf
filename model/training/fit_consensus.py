"""Fit what ranks a beam's hypotheses by their consensus: `python -m model.training.fit_consensus`.

A kernel ridge regression from the encoder's features to the mean unit tf-idf vector of each training photo's captions,
of words and of pairs, then its best approximation of low rank. How much likelihood counts beside it is chosen by the
CIDEr-D of what wins on validation photos, and how far a word is believed by whether their captions say it. With
several data sets a logistic regression on the predictions tells photos of `--validation` from those of the others.
"""

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.calibration import fit_logistic, logistic_regression
from model.captioner import Captioner
from model.captions import Caption
from model.consensus import (
    CONSENSUS_FILE,
    Belief,
    Consensus,
    KernelFeatures,
    Ngram,
    RankingWeights,
    kernel,
    length_normalised,
    ngrams,
)
from model.decoding.search import USUAL_BEAM, BeamSearch
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.network.vocabulary import tokenize
from model.training.data import DataError, Example, Features, load_split, resolve_data
from model.training.options import exit_status, fit_options
from model.training.scores import CiderD
from model.words import FUNCTION_WORDS, SAME

BATCH: Final = 64
LIKELIHOODS: Final = (0.0, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.2)
LOSS: Final = 0.005  # of CIDEr-D
DOMAIN_DECAY: Final = 100.0
JITTER: Final = 1e-6  # of the penalty: landmarks that are equal make it singular
SHARES: Final = (0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)  # of pairs


@dataclass(frozen=True)
class Corpus:
    """The captions of N photos as tf-idf vectors. Counted once, over all of them."""

    grams: list[Ngram]  # words, then pairs
    idf: Tensor  # (G,)
    rarest: float
    targets: Tensor  # (N, G) float32: of each photo, the mean of its captions' unit vectors

    @classmethod
    def of(cls, photos: Sequence[Sequence[Sequence[str]]], *, least: tuple[int, int]) -> "Corpus":
        """photos: the captions of each, in words. least: how many captions say a word, or a pair, that is kept."""
        captions, frequency = Counter[Ngram](), Counter[Ngram]()
        for each in photos:
            said = [{gram for grams in ngrams(words) for gram in grams} for words in each]
            captions.update(gram for grams in said for gram in grams)
            frequency.update(set().union(*said))
        grams = [gram for gram, count in captions.items() if count >= least[len(gram) - 1]]
        grams.sort(key=lambda gram: (len(gram), -captions[gram], gram))
        rarest = float(np.log(len(photos)))
        idf_of = {gram: rarest - float(np.log(count)) for gram, count in frequency.items()}
        row = {gram: place for place, gram in enumerate(grams)}
        targets = torch.zeros(len(photos), len(grams))
        for place, each in enumerate(photos):
            for words in each:
                for counts in map(Counter, ngrams(words)):
                    weights = {gram: count * idf_of[gram] for gram, count in counts.items()}
                    norm = float(np.sqrt(sum(weight * weight for weight in weights.values())))
                    for gram, weight in weights.items():
                        if gram in row and norm:
                            targets[place, row[gram]] += weight / norm / len(each)
        return cls(grams, torch.tensor([idf_of[gram] for gram in grams]), rarest, targets)


def principal_components(means: Tensor, count: int) -> Tensor:
    """`components` of `KernelFeatures`, of standardised channels; |z|² is 1 on average. means: (N, C).

    Raises DataError where there are no two photos that differ.
    """
    if bool((means == means[:1]).all()):
        raise DataError("no two photos that differ, to fit a regression to")
    mean, deviation = means.mean(dim=0), means.std(dim=0).clamp(min=1e-4)
    standard = (means - mean) / deviation
    values, basis = torch.linalg.eigh((standard.T @ standard).double() / len(means))
    scaled = (basis[:, -count:] / values[-count:].sum().sqrt()).float() / deviation[:, None]
    return torch.cat([scaled, -(mean @ scaled)[None]])


def k_means(points: Tensor, count: int, *, rounds: int = 6, seed: int = 0) -> Tensor:
    """Centres of groups of points, (at most `count`, Z). points: (N, Z)."""
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))
    centres = points[order[:count]]
    for _ in range(rounds):
        group = kernel(points, centres).argmax(dim=1)
        sizes = torch.bincount(group, minlength=len(centres))[:, None]
        means = torch.zeros_like(centres).index_add_(0, group, points) / sizes.clamp(min=1)
        centres = torch.where(sizes > 0, means, centres)
    return centres


def nystrom(means: Tensor, *, components: int, landmarks: int) -> tuple[KernelFeatures, Tensor]:
    """What the regression reads, rounded as in the file, and its penalty: |f|² of f(z) = Σ aⱼ k(z, lⱼ) + b · z, in the
    feature space of the kernel, as a quadratic form of a and b.

    means: (N, C), of training photos. penalty: (M + Z, M + Z). Raises DataError where no two photos differ.
    """
    projection = principal_components(means, min(components, *means.shape)).half().float()
    centres = k_means(means @ projection[:-1] + projection[-1], landmarks).half().float()
    count, size = centres.shape
    penalty = torch.eye(count + size)
    penalty[:count, :count] = kernel(centres, centres) + JITTER * torch.eye(count)
    return KernelFeatures(projection, centres), penalty


def regress(inputs: Tensor, targets: Tensor, penalty: Tensor, *, rank: int) -> tuple[Tensor, Tensor]:
    """`down` and `up` of `Consensus`: of the coefficients A that minimise |inputs A - targets|² + tr(Aᵀ penalty A),
    both centred, what approximates the predictions for the training photos best.

    inputs: (N, P); targets: (N, G); penalty: (P, P), positive definite.
    """
    mean, middle = inputs.mean(dim=0), targets.mean(dim=0)
    centred = inputs - mean
    gram = (centred.T @ centred).double()
    coefficients = torch.linalg.solve(gram + penalty, (centred.T @ targets).double()).float()  # (P, G)
    values, basis = torch.linalg.eigh(gram)
    spread = values.clamp(min=0).sqrt().float()[:, None] * (basis.T.float() @ coefficients)
    # The directions in which the predictions vary most.
    strength, left = torch.linalg.eigh((spread @ spread.T).double())
    left, strength = left[:, -rank:].float(), strength[-rank:].clamp(min=1e-12).float()
    across = (spread.T @ left) / strength.sqrt()  # (G, D), orthonormal
    down = coefficients @ across
    return torch.cat([down, -(mean @ down)[None]]), torch.cat([across, middle[:, None]], dim=1)


@dataclass(frozen=True)
class Hypotheses:
    """Those of one photo's beam."""

    cosines: Tensor  # (K, 2), of words and pairs
    normalised: Tensor  # (K,)
    rewards: Tensor  # (K,), CIDEr-D

    def reward(self, ranking: RankingWeights) -> float:
        """Of the winner."""
        weights = torch.tensor([1 - ranking.pairs, ranking.pairs])
        return float(self.rewards[(self.cosines @ weights + ranking.likelihood * self.normalised).argmax()])


def choose(photos: Sequence[Hypotheses]) -> tuple[RankingWeights, float]:
    """Of the rankings that lose no more than LOSS of the highest mean reward the one in which likelihood counts most,
    and its reward: what the network finds unlikely is seldom well said.
    """
    found = {
        ranking: fmean(each.reward(ranking) for each in photos)
        for ranking in itertools.starmap(RankingWeights, itertools.product(LIKELIHOODS, SHARES))
    }
    good = [ranking for ranking, reward in found.items() if reward >= max(found.values()) - LOSS]
    best = max(good, key=lambda ranking: (ranking.likelihood, found[ranking]))
    return best, found[best]


def fit_belief(log_probs: Sequence[float], log_expected: Sequence[float], right: Sequence[bool]) -> Belief:
    """Of content words: what is known of each, and whether a reference says it."""
    fitted = fit_logistic([(p, 0, e, 0.0) for p, e in zip(log_probs, log_expected, strict=True)], right)
    return Belief(fitted.slope, fitted.agreement, fitted.intercept)


def fit_domain(codes: Tensor, other: Tensor, *, decay: float = DOMAIN_DECAY) -> Tensor:
    """`domain` of `Consensus`: a ridge logistic regression.

    codes: (N, D), of photos; other: (N,) bool, which are of another data set; decay: on standardised codes.
    """
    target = other.double().numpy()
    weights, intercept = logistic_regression(codes.double().numpy(), target, ridge=decay / len(target))
    return torch.tensor([*weights, intercept], dtype=torch.float32)


def said(examples: Sequence[Example]) -> list[list[list[str]]]:
    return [[tokenize(caption) for caption in example.captions] for example in examples]


def run(options: argparse.Namespace) -> None:
    weights, cache = Path(options.weights), Path(options.cache)
    captioner = Captioner.load(weights, options.device, precision="fp32", alone=True)
    sha256 = fingerprint(weights / ENCODER_FILE)
    roots = [resolve_data(name) for name in options.data]
    splits = [load_split(root, "train") for root in roots]
    train = list(itertools.chain.from_iterable(splits))
    kept = Features.cached(cache, captioner.encoder, sha256, train)
    starts = range(0, len(train), BATCH)
    means = torch.cat([kept[range(start, min(start + BATCH, len(train)))].mean(dim=1) for start in starts])
    corpus = Corpus.of(said(train), least=(options.words, options.pairs))
    print(f"{len(train)} photos, {len(corpus.grams)} words and pairs", flush=True)
    reads, penalty = nystrom(means, components=options.components, landmarks=options.landmarks)
    inputs = reads(means)
    down, up = regress(inputs, corpus.targets, options.decay * penalty, rank=options.rank)
    own = resolve_data(options.validation)
    same = [root.resolve() == own.resolve() for root in roots]
    other = torch.tensor([not each for each, split in zip(same, splits, strict=True) for _ in split])
    domain = None
    if any(same) and not all(same):
        predicted = inputs @ down[:-1] + down[-1]
        domain = fit_domain(predicted, other)
        shares = (torch.sigmoid(predicted[rows] @ domain[:-1] + domain[-1]).mean() for rows in (~other, other))
        print("the domain of training photos of --validation {:.2f}, of the others {:.2f}".format(*shares), flush=True)
    else:
        print("no domain: that needs --validation and another data set among --data", flush=True)
    ranking, belief = RankingWeights(0.0, 0.5), Belief(1.0, 0.0, 0.0)
    consensus = Consensus(
        corpus.grams, corpus.idf, corpus.rarest, reads, down.half(), up.half(), ranking, belief, domain=domain
    ).to(captioner.device)

    validation = load_split(own, options.split)
    features = Features.cached(cache, captioner.encoder, sha256, validation)
    references, metric = said(validation), CiderD(said(train))
    beams: list[list[Caption]] = []
    codes: list[Tensor] = []
    for start in range(0, len(validation), BATCH):
        part = features[range(start, min(start + BATCH, len(validation)))].to(captioner.device)
        codes += consensus.codes(part)
        beams += captioner.decode(part, BeamSearch(options.beam, hypotheses=options.beam), ranked=False)[0]
    found = [
        Hypotheses(
            torch.tensor([(each.words, each.pairs) for each in consensus.judge(code, words)]),
            torch.tensor([length_normalised(each) for each in captions]),
            torch.tensor(metric.score(words, truth)),
        )
        for code, captions, truth in zip(codes, beams, references, strict=True)
        for words in ([each.words for each in captions],)
    ]
    if options.ranking is None:
        consensus.ranking, reward = choose(found)
    else:
        consensus.ranking = RankingWeights(*options.ranking)
        reward = fmean(each.reward(consensus.ranking) for each in found)
    likeliest = 100 * fmean(float(each.rewards[0]) for each in found)
    most = 100 * fmean(float(each.rewards.max()) for each in found)
    print(f"{options.validation} {options.split}, beam of {options.beam}; CIDEr-D of the likeliest", end=" ")
    print(f"{likeliest:.1f}, of the winner {100 * reward:.1f}, of the best there is {most:.1f}; {consensus.ranking}")

    words: list[tuple[float, float, bool]] = []  # of the winners
    for code, captions, truth in zip(codes, beams, references, strict=True):
        winner = max(consensus.judged(code, captions), key=consensus.score)
        [judged] = consensus.judge(code, [winner.words])
        known = {SAME.get(word, word) for reference in truth for word in reference}
        words += [
            (log_prob, expected, SAME.get(word, word) in known)
            for word, log_prob, expected in zip(
                winner.words, winner.log_probs.tolist(), judged.log_expected, strict=True
            )
            if word not in FUNCTION_WORDS
        ]
    if not words:
        raise DataError(f"{options.validation} {options.split}: no caption has a content word")
    consensus.belief = fit_belief(*zip(*words, strict=True))
    print(f"{len(words)} content words, {fmean(right for *_, right in words):.1%} of them said; {consensus.belief}")
    consensus.save(Path(options.out or weights / CONSENSUS_FILE), sha256)
    print("it has no calibration yet: run model.training.calibrate for each decoder")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = fit_options(__doc__, file=CONSENSUS_FILE, data="data sets whose train photos are fitted")
    parser.add_argument("--validation", default="flickr8k", metavar="DATA", help="the data set of the ranking")
    parser.add_argument("--split", default="val", help="of --validation, default val")
    parser.add_argument(
        "--beam",
        type=int,
        default=USUAL_BEAM,
        help=f"width of the beam whose hypotheses are ranked, default {USUAL_BEAM}",
    )
    parser.add_argument(
        "--ranking",
        type=float,
        nargs=2,
        metavar=("LIKELIHOOD", "PAIRS"),
        help="rank hypotheses by these weights instead of choosing them",
    )
    parser.add_argument("--decay", type=float, default=0.2, help="of the ridge regression, default 0.2")
    parser.add_argument("--components", type=int, default=256, help="numbers that are read of a photo, default 256")
    parser.add_argument("--landmarks", type=int, default=2048, help="what photos are compared with, default 2048")
    parser.add_argument("--rank", type=int, default=384)
    parser.add_argument("--words", type=int, default=5, help="captions that say a word that is kept, default 5")
    parser.add_argument("--pairs", type=int, default=6, help="the same of a pair, default 6")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
