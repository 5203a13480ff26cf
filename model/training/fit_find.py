"""Fit what says whether a text fits a photo: `python -m model.training.fit_find --data flickr8k coco`.

The bank is a choice of training photos. Validation photos are shared out to chats; each of their captions is searched
for in its chat twice, with its photo and without it. What turns the best score into a probability is fitted to tell the
two apart. To be run again whenever the embedding changes.
"""

import argparse
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional

from model.captioner import Captioner
from model.embedding import EMBEDDING_FILE, JointEmbedding
from model.finding import FIND_FILE, LEAST, Finder, FindFit, coarse, fingerprint_of, marginal_score
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.training.data import Example, Features, encode_captions, load_split, resolve_data
from model.training.embed import MOST_WORDS, embed_all, recalls
from model.training.fit_tags import chosen, logistic, read
from model.training.options import exit_status

CHAT: Final = 200  # photos


def chats_of(photos: int, size: int, seed: int = 0) -> list[list[int]]:
    """Photos, by their numbers, shared out at random; a rest of fewer than `size` is left out."""
    order = random.Random(seed).sample(range(photos), photos)
    return [order[start : start + size] for start in range(0, photos - size + 1, size)]


def searched(scores: Tensor, owner: Tensor, chat: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Of each text of a chat's photos: the best score with its photo and without it, and the rank of its photo from 0.

    scores: (T, P), the higher the better; owner: (T,), each text's photo.
    """
    place = {photo: column for column, photo in enumerate(chat)}
    texts = [row for row, photo in enumerate(owner.tolist()) if photo in place]
    own = torch.tensor([place[photo] for photo in owner[texts].tolist()])
    there = scores[texts][:, list(chat)]
    mine = there.gather(1, own[:, None])
    absent = there.scatter(1, own[:, None], -torch.inf).amax(dim=1)
    return there.amax(dim=1), absent, (there >= mine).sum(dim=1) - 1


def separation(present: Tensor, absent: Tensor) -> float:
    """The area under the ROC curve: how often a score of `present` is above one of `absent`."""
    order = torch.cat([absent, present]).argsort().argsort().double() + 1
    ranks = order[len(absent) :].sum()
    return float((ranks - len(present) * (len(present) + 1) / 2) / (len(present) * len(absent)))


def run(options: argparse.Namespace) -> None:
    weights, cache = Path(options.weights), Path(options.cache)
    captioner = Captioner.load(weights, options.device)
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
    photos, texts, owner = embed_all(embedding, pooled(val), encode_captions(val, embedding.vocabulary, MOST_WORDS))
    kept = functional.normalize(coarse(photos).float(), dim=-1)
    in_bank = texts @ functional.normalize(bank.float(), dim=-1).T
    cosines = texts @ kept.T
    ways = {
        "cosine": cosines,
        "share of the bank that is farther": (cosines[:, :, None] > in_bank[:, None, ::8]).float().mean(dim=-1)
        if options.compare
        else None,
        "z": marginal_score(cosines, in_bank),
    }
    chats = chats_of(len(val), options.chat)
    for name, scores in ways.items():
        if scores is None:
            continue
        present, absent, ranks = (
            torch.cat(each) for each in zip(*(searched(scores, owner, c) for c in chats), strict=True)
        )
        found = "{:.1f}/{:.1f}/{:.1f}".format(*recalls(ranks))
        print(f"{name}: R@1/5/10 {found}, area under the ROC curve {separation(present, absent):.3f}", flush=True)
    best = torch.cat([present, absent])
    slope, intercept = logistic(best[:, None], torch.cat([torch.ones(len(present)), torch.zeros(len(absent))]))
    fit = FindFit(slope, intercept)
    for least in (LEAST, 0.7, 0.9):
        shown = [float((fit(each) >= least).float().mean()) for each in (present, absent)]
        print(f"probability {least}: reached by {shown[0]:.1%} with the photo, {shown[1]:.1%} without it", flush=True)
    print(f"z of {LEAST}: {-intercept / slope:.2f}; slope {slope:.3f}, intercept {intercept:.3f}", flush=True)
    Finder.save(Path(options.out or weights / FIND_FILE), bank, fit, fingerprint_of(weights / EMBEDDING_FILE))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.fit_find", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights", help="the folder of the weights; the file is written there")
    parser.add_argument("--out", default="", metavar="FILE", help=f"where to write it instead of {FIND_FILE} there")
    parser.add_argument(
        "--data", nargs="+", default=["flickr8k", "coco"], help="data sets with a split train; the first also with val"
    )
    parser.add_argument("--split", default="val", help="of the photos that are searched, default val")
    parser.add_argument("--bank", type=int, default=1000, help="training photos in the bank, default 1000")
    parser.add_argument("--chat", type=int, default=CHAT, help=f"photos in a chat, default {CHAT}")
    parser.add_argument("--compare", action="store_true", help="print another score, which takes memory, as well")
    parser.add_argument("--cache", default="cache", help="the folder of encoder features")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
