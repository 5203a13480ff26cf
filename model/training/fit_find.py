"""Fit what says whether a text fits a photo: `python -m model.training.fit_find --data flickr8k coco`.

The bank is a choice of training photos. Validation photos are shared out to chats, in which their captions (each in
its own chat and in another) and the tags of the default dictionary are looked for. A photo fits a caption that is its
own, or of whose content words its captions say most; it fits a tag that its captions say. z of the best photo of a
search is turned into the probability that it fits. To be run again whenever the embedding changes.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import torch
from torch import Tensor
from torch.nn import functional

from model.captioner import Captioner
from model.embedding import EMBEDDING_FILE, JointEmbedding
from model.finding import FIND_FILE, Finder, FindFit, coarse, fingerprint_of, marginal_score
from model.found import MOST_FOUND
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.network.vocabulary import tokenize
from model.tagging.lists import dictionary
from model.training.data import Example, Features, encode_captions, load_split, resolve_data
from model.training.embed import MOST_WORDS, embed_all, ranks_of, recalls
from model.training.fit_gate import roc_area
from model.training.fit_tags import chosen, labels, logistic, read
from model.training.options import exit_status, fit_options
from model.words import FUNCTION_WORDS

CHAT: Final = 200  # photos
MOST: Final = 0.6  # of what a text says
RECALL: Final = 2.0  # times as much as precision: to be told that nothing fits is worse than to see what does not
LEFT_OUT: Final = 0.05  # of the photos that fit


def chats_of(photos: int, size: int, seed: int = 0) -> list[list[int]]:
    """Photos, by their numbers, shared out at random; a rest of fewer than `size` is left out."""
    order = random.Random(seed).sample(range(photos), photos)
    return [order[start : start + size] for start in range(0, photos - size + 1, size)]


def content(text: str) -> frozenset[str]:
    """What a text says but for function words, without endings."""
    return frozenset(_stem(word) for word in tokenize(text) if word not in FUNCTION_WORDS)


def _stem(word: str) -> str:
    ending = next((each for each in ("ing", "ed", "es", "s") if word.endswith(each) and len(word) > len(each) + 2), "")
    return word.removesuffix(ending)


def fits(texts: Sequence[str], examples: Sequence[Example]) -> Tensor:
    """(T, P) bool: whether the captions of a photo say at least MOST of what a text does."""
    said = [frozenset().union(*map(content, example.captions)) for example in examples]
    asked = [content(text) for text in texts]
    return torch.tensor([[bool(words) and len(words & each) >= MOST * len(words) for each in said] for words in asked])


@dataclass(frozen=True)
class Searches:
    """Of texts in chats: the scores of the first photos and whether they fit, (N, MOST_FOUND), the best first."""

    scores: Tensor
    right: Tensor

    @classmethod
    def of(cls, scores: Tensor, right: Tensor, searches: Sequence[tuple[int, Sequence[int]]]) -> Self:
        """scores and right: (T, P); searches: a text and the photos of the chat."""
        found = []
        for text, chat in searches:
            best = scores[text, list(chat)].topk(min(MOST_FOUND, len(chat)))
            found.append((best.values, right[text, torch.tensor(chat)[best.indices]]))
        return cls(torch.stack([each for each, _ in found]), torch.stack([each for _, each in found]))

    @property
    def first(self) -> tuple[Tensor, Tensor]:
        """Score of the best photo and whether it fits, (N,)."""
        return self.scores[:, 0], self.right[:, 0]


def f_score(shown: Tensor, right: Tensor, beta: float) -> float:
    """Both (N,) bool. beta: how many times as much recall counts as precision."""
    weight = beta**2
    return float((1 + weight) * (shown & right).sum() / (shown.sum() + weight * right.sum()).clamp(min=1))


def run(options: argparse.Namespace) -> None:
    weights, cache = Path(options.weights), Path(options.cache)
    captioner = Captioner.load(weights, options.device, precision="fp32")
    sha256 = fingerprint(weights / ENCODER_FILE)
    embedding = JointEmbedding.load(weights / EMBEDDING_FILE, sha256)
    roots = [resolve_data(name) for name in options.data]
    train = [example for root in roots for example in load_split(root, "train")]
    examples = [train[row] for row in chosen(train, options.bank, "find")]
    val = load_split(roots[0], options.split)

    def pooled(photos: Sequence[Example]) -> Tensor:
        return read(Features.cached(cache, captioner.encoder, sha256, photos), len(photos))

    with torch.inference_mode():
        bank = coarse(embedding.photos(pooled(examples)))
    captions = encode_captions(val, embedding.vocabulary, MOST_WORDS)
    photos, texts, owner = embed_all(embedding, pooled(val), captions)
    written = [caption for example in val for caption in example.captions if tokenize(caption)]
    chats = chats_of(len(val), options.chat)
    home = {photo: number for number, chat in enumerate(chats) for photo in chat}
    own = owner[:, None] == torch.arange(len(val))
    places = [(text, home[photo]) for text, photo in enumerate(owner.tolist()) if photo in home]
    asked = [(text, chats[(number + other) % len(chats)]) for text, number in places for other in (0, 1)]
    kept, bank_kept = (functional.normalize(each.float(), dim=-1) for each in (coarse(photos), bank))
    cosines, in_bank = texts @ kept.T, texts @ bank_kept.T
    ranks = torch.cat([ranks_in(cosines, owner, chat) for chat in chats])
    print("its own photo for a caption, in its chat: R@1/5/10 {:.1f}/{:.1f}/{:.1f}".format(*recalls(ranks)), flush=True)
    right = fits(written, val) | own
    for name, scores in (("cosine", cosines), ("z", marginal_score(cosines, in_bank))):
        by_captions = Searches.of(scores, right, asked)
        first, good = by_captions.first
        print(f"captions, {name}: area under the ROC curve {roc_area(first[good], first[~good]):.3f}", flush=True)

    entries = dictionary("default")
    with torch.inference_mode():
        names = torch.cat([embedding.encode([entry.name]) for entry in entries])
    z = marginal_score(names @ kept.T, names @ bank_kept.T)
    by_tags = Searches.of(z, labels(val, entries).T, [(text, chat) for text in range(len(entries)) for chat in chats])
    fit = fitted(by_captions, by_tags)
    for name, searches in (("captions", by_captions), ("tags", by_tags)):
        print(f"{name}: {report(fit, searches)}", flush=True)
    print(fit)
    Finder.save(Path(options.out or weights / FIND_FILE), bank, fit, fingerprint_of(weights / EMBEDDING_FILE))


def ranks_in(scores: Tensor, owner: Tensor, chat: Sequence[int]) -> Tensor:
    """The ranks, from 0, of the own photos of those texts that are of one of a chat's photos. scores: (T, P)."""
    place = {photo: column for column, photo in enumerate(chat)}
    texts = [text for text, photo in enumerate(owner.tolist()) if photo in place]
    own = torch.tensor([place[photo] for photo in owner[texts].tolist()])
    return ranks_of(scores[texts][:, list(chat)].T, own)[1]


def fitted(*groups: Searches) -> FindFit:
    """To the best photos of all searches; `least` is best for the groups together, each counting as much."""
    firsts = [group.first for group in groups]
    scores, right = (torch.cat(each) for each in zip(*firsts, strict=True))
    slope, intercept = logistic(scores[:, None], right.float())
    fit = FindFit(slope, intercept, 0.0, 0.0)

    def worth(least: float) -> float:
        return sum(f_score(fit(score) >= least, good, RECALL) for score, good in firsts)

    least = max((step / 100 for step in range(1, 100)), key=worth)
    good = torch.cat([group.scores[group.right] for group in groups[:1]])
    return replace(fit, least=least, floor=min(least, float(fit(good.quantile(LEFT_OUT)))))


def report(fit: FindFit, searches: Searches) -> str:
    score, good = searches.first
    p = fit(score)
    shown = p >= fit.least
    levels = ((0.6, 1.1), (0.4, 0.6), (fit.least, 0.4))
    right = [f"{float(good[(p >= low) & (p < high)].float().mean()):.0%}" for low, high in levels]
    fitting, there = good.float().mean(), shown.float().mean()
    return (
        f"{len(p)} searches, in {float(fitting):.1%} the best photo fits; {float(there):.1%} show any, rightly "
        f"{float(good[shown].float().mean()):.1%} of them, which is {float(shown[good].float().mean()):.1%} of those "
        f"that should; right from 0.6, from 0.4, and below: {', '.join(right)}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = fit_options(__doc__, file=FIND_FILE, data="data sets with a split train; the first also with val")
    parser.add_argument("--split", default="val", help="of the photos that are searched, default val")
    parser.add_argument("--bank", type=int, default=1000, help="training photos in the bank, default 1000")
    parser.add_argument("--chat", type=int, default=CHAT, help=f"photos in a chat, default {CHAT}")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
