"""Find captions for photos and photos for captions: `python -m model.training.retrieval --data flickr8k --split test`.

Every photo of a split against every caption of it. Three ways in one run: the joint embedding alone; PMI alone among
the embedding's first twenty (`model.tagging`); both, cosine and PMI added. The share of PMI in the sum is chosen on
photos of another split. What the decoder has found is kept in the cache: a run that was stopped goes on, and another
embedding costs only the pairs that are new.
"""

import argparse
import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from model.captioner import Captioner
from model.decoding.scoring import text_log_probs
from model.embedding import EMBEDDING_FILE, JointEmbedding
from model.network.checkpoint import ENCODER_FILE, CheckpointError, fingerprint, read_tensors, write_tensors
from model.network.vocabulary import UNKNOWN
from model.tagging.tagger import TAGGING, Tagger
from model.training.data import Example, Features, encode_captions, load_split, resolve_data
from model.training.embed import MOST_WORDS, embed_all, ranks_of, recalls
from model.training.fit_tags import chosen, read
from model.training.options import exit_status

SHORTLIST = 20
EVERY = 25  # photos, or parts of the captions, between two writes
SHARES = (0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1)  # of PMI, beside a cosine


@dataclass
class Known:
    """What the decoder says of some pairs and captions; NaN where it has not been asked."""

    path: Path
    log_probs: Tensor  # (P, N)
    marginal: Tensor  # (N,)

    @classmethod
    def open(cls, path: Path, photos: int, captions: int) -> Self:
        if path.exists():
            tensors, _ = read_tensors(path)
            return cls(path, tensors["log_probs"], tensors["marginal"])
        return cls(path, torch.full((photos, captions), torch.nan), torch.full((captions,), torch.nan))

    def write(self) -> None:
        write_tensors(self.path, {"log_probs": self.log_probs, "marginal": self.marginal}, {})


def ask_marginals(
    known: Known, tagger: Tagger, captioner: Captioner, texts: Sequence[Sequence[int]], part: int
) -> None:
    """log p of each caption over the bank. part: captions at a time."""
    order = sorted(range(len(texts)), key=lambda row: list(texts[row]))
    for number, start in enumerate(range(0, len(texts), part)):
        rows = [row for row in order[start : start + part] if known.marginal[row].isnan()]
        if rows:
            known.marginal[rows] = tagger.marginal(captioner.decoder, [texts[row] for row in rows], end=True).cpu()
            if number % EVERY == 0:
                known.write()
                print(f"captions: {start + len(rows)} of {len(texts)}", flush=True)
    known.write()


def ask_pairs(
    known: Known,
    captioner: Captioner,
    features: Features,
    rows: Sequence[int],
    texts: Sequence[Sequence[int]],
    wanted: Tensor,
) -> None:
    """log p of the captions that are wanted for each photo. rows: of the photos' features; wanted: (P, N) bool."""
    missing = wanted & known.log_probs.isnan()
    for photo, row in enumerate(rows):
        columns = missing[photo].nonzero()[:, 0].tolist()
        if columns:
            state = captioner.decoder.init_state(features[[row]].to(captioner.device))
            found = text_log_probs(captioner.decoder, state, [texts[column] for column in columns], end=True)
            known.log_probs[photo, columns] = found[0].cpu()
        if photo % EVERY == 0 and columns:
            known.write()
            print(f"photos: {photo + 1} of {len(rows)}", flush=True)
    known.write()


def shortlisted(scores: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """(P, N) bool each: the first captions of each photo, and the first photos of each caption."""
    texts = torch.zeros_like(scores, dtype=torch.bool).scatter(
        1, scores.topk(min(most, scores.shape[1]), 1).indices, True
    )
    photos = torch.zeros_like(texts).scatter(0, scores.topk(min(most, len(scores)), 0).indices, True)
    return texts, photos


def reranked(scores: Tensor, finer: Tensor, owner: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """Ranks as `ranks_of`, the shortlist in the order of `finer`, the rest behind it. All (P, N)."""
    texts, photos = shortlisted(scores, most)
    behind = scores - 1e6
    found = torch.where(texts, finer, behind), torch.where(photos, finer, behind)
    return ranks_of(found[0], owner)[0], ranks_of(found[1], owner)[1]


@dataclass(frozen=True)
class Split:
    """Photos with their captions, as indices; owner: each caption's photo."""

    scores: Tensor
    pmi: Tensor
    owner: Tensor

    def rows(self, share: float) -> dict[str, tuple[Tensor, Tensor]]:
        return {
            "joint embedding": ranks_of(self.scores, self.owner),
            f"PMI, first {SHORTLIST}": reranked(self.scores, self.pmi, self.owner, SHORTLIST),
            f"both, first {SHORTLIST}": reranked(self.scores, self.scores + share * self.pmi, self.owner, SHORTLIST),
        }


def judged(
    options: argparse.Namespace, captioner: Captioner, embedding: JointEmbedding, root: Path, split: str, most: int
) -> Split:
    """What both say of a split, or of a choice of its photos."""
    weights, cache = Path(options.weights), Path(options.cache)
    assert captioner.tagger is not None
    examples = load_split(root, split)
    sha256 = fingerprint(weights / ENCODER_FILE)
    features = Features.cached(cache, captioner.encoder, sha256, examples)
    rows = chosen(examples, most, "retrieval") if most else list(range(len(examples)))
    photos: list[Example] = [examples[row] for row in rows]
    captions = encode_captions(photos, captioner.vocabulary, MOST_WORDS)
    seen, texts, owner = embed_all(embedding, read(features, len(examples))[rows], captions)
    scores = seen @ texts.T
    said = [[word for word in words if word != UNKNOWN] or words for each in captions for words in each]
    made = [sha256, fingerprint(weights / f"{TAGGING}.safetensors"), str(captioner.tagger.bank.double().sum().item())]
    name = hashlib.sha256("\n".join([*made, *(str(photo.path) for photo in photos)]).encode()).hexdigest()[:16]
    known = Known.open(cache / f"retrieval-{name}.safetensors", len(photos), len(said))
    ask_marginals(known, captioner.tagger, captioner, said, options.part)
    first, last = shortlisted(scores, SHORTLIST)
    ask_pairs(known, captioner, features, rows, said, first | last)
    return Split(scores, (known.log_probs - known.marginal).nan_to_num(nan=-1e6), owner)


def run(options: argparse.Namespace) -> None:
    weights = Path(options.weights)
    captioner = Captioner.load(weights, options.device, model=TAGGING, precision="fp32")
    if captioner.tagger is None:
        raise CheckpointError(f"{weights}: no tags.safetensors")
    path = Path(options.embedding or weights / EMBEDDING_FILE)
    embedding = JointEmbedding.load(path, fingerprint(weights / ENCODER_FILE))
    root = resolve_data(options.data)
    fitted = judged(options, captioner, embedding, root, options.fit, options.fit_photos)

    def first(share: float) -> float:
        ranks = reranked(fitted.scores, fitted.scores + share * fitted.pmi, fitted.owner, SHORTLIST)
        return sum(recalls(each)[0] for each in ranks)

    share = max(SHARES, key=first)
    print(f"share of PMI: {share}, chosen on {root.name} {options.fit}", flush=True)
    found = judged(options, captioner, embedding, root, options.split, 0)
    print(f"\n{root.name} {options.split}: {len(found.scores)} photos, {len(found.owner)} captions; R@1/5/10\n")
    print("| by | caption for photo | photo for caption |\n| --- | --- | --- |")
    for name, ranks in found.rows(share).items():
        print(f"| {name} |", " | ".join("{:.1f} / {:.1f} / {:.1f}".format(*recalls(each)) for each in ranks), "|")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.retrieval", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights")
    parser.add_argument("--embedding", default="", metavar="FILE", help=f"default: {EMBEDDING_FILE} there")
    parser.add_argument("--data", default="flickr8k")
    parser.add_argument("--split", default="test")
    parser.add_argument("--fit", default="val", help="the split that chooses the share of PMI, default val")
    parser.add_argument("--fit-photos", type=int, default=150, help="of it, default 150")
    parser.add_argument("--part", type=int, default=160, help="captions at a time, default 160")
    parser.add_argument(
        "--cache", default="cache", help="the folder of encoder features, and of what the decoder found"
    )
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
