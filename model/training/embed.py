"""Train the joint embedding of photos and texts: `python -m model.training.embed --data flickr8k coco`.

Each step takes photos with one of their captions each; the others of the step are what they must not be confused with.
The loss is a hinge on the cosine: of all wrong pairs while it warms up, then of the hardest one alone (VSE++). Words
start from the decoder's. What is kept are the weights with the most right on the validation photos. A run that was
stopped goes on where it was.
"""

import argparse
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from model.captioner import Captioner
from model.embedding import EMBEDDING_FILE, EmbeddingConfig, JointEmbedding
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.training.data import Example, Features, encode_captions, load_split, resolve_data
from model.training.fit_tags import read
from model.training.optimise import load_state, save_state
from model.training.options import exit_status

STATE = "embedding-resume.safetensors"
MOST_WORDS = 25
Recalls = tuple[float, float, float]


def hinge(photos: Tensor, texts: Tensor, margin: float, *, hardest: bool) -> Tensor:
    """Both (B, S), row by row a pair. The mean over pairs and both directions; all wrong ones, or the hardest alone."""
    scores = photos @ texts.T
    own = scores.diagonal()
    wrong = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    losses = []
    for over in (scores - own[:, None], scores.T - own[:, None]):
        each = (over + margin).clamp(min=0) * wrong
        losses.append(each.amax(dim=1).mean() if hardest else each.sum(dim=1).mean() / 10)
    return torch.stack(losses).sum()


def recalls(ranks: Tensor) -> Recalls:
    """R@1, R@5 and R@10 in percent. ranks: from 0, of the first right one."""
    first, five, ten = (100 * float((ranks < k).float().mean()) for k in (1, 5, 10))
    return first, five, ten


def ranks_of(scores: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """Ranks of the best own text of each photo, and of the own photo of each text.

    scores: (P, N); owner: (N,), each text's photo. A tie counts against.
    """
    own = torch.arange(len(scores))[:, None] == owner
    best = scores.masked_fill(~own, -torch.inf).amax(dim=1)
    texts = (scores.masked_fill(own, -torch.inf) >= best[:, None]).sum(dim=1)
    mine = scores[owner, torch.arange(len(owner))]
    return texts, ((scores >= mine).sum(dim=0) - 1)


@torch.inference_mode()
def embed_all(
    embedding: JointEmbedding, pooled: Tensor, captions: Sequence[Sequence[Sequence[int]]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Photos (P, S), texts (N, S) and each text's photo (N,)."""
    embedding.eval()
    flat = [words for each in captions for words in each]
    owner = torch.tensor([row for row, each in enumerate(captions) for _ in each])
    texts = torch.cat([embedding.texts(flat[start : start + 256]) for start in range(0, len(flat), 256)])
    return embedding.photos(pooled), texts, owner


def start_words(decoder_words: Tensor, dimensions: int) -> Tensor:
    """The decoder's words in fewer dimensions: their principal components, of standard deviation 0.3."""
    centred = decoder_words.float() - decoder_words.float().mean(dim=0)
    left, values, _ = torch.linalg.svd(centred, full_matrices=False)
    words: Tensor = left[:, :dimensions] * values[:dimensions]
    return words / words.std() * 0.3


def run(options: argparse.Namespace) -> None:
    weights, out, cache = Path(options.weights), Path(options.out or options.weights), Path(options.cache)
    torch.manual_seed(options.seed)
    captioner = Captioner.load(weights, "cpu", precision="fp32")
    vocabulary, sha256 = captioner.vocabulary, fingerprint(weights / ENCODER_FILE)
    roots = [resolve_data(name) for name in options.data]
    train = [example for root in roots for example in load_split(root, "train")]
    val = load_split(resolve_data(options.validation or options.data[0]), options.split)

    def pooled(examples: Sequence[Example]) -> Tensor:
        return read(Features.cached(cache, captioner.encoder, sha256, examples), len(examples))

    inputs, checked = pooled(train), pooled(val)
    captions = encode_captions(train, vocabulary, MOST_WORDS)
    check_captions = encode_captions(val, vocabulary, MOST_WORDS)
    config = EmbeddingConfig(inputs.shape[1], len(vocabulary), options.word, options.space)
    embedding = JointEmbedding(config, vocabulary)
    embedding.embed.weight.data.copy_(start_words(captioner.decoder.embedding.weight.data, options.word))
    steps_a_pass = len(train) // options.batch
    optimizer = torch.optim.AdamW(embedding.parameters(), lr=options.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, options.rate, total_steps=options.passes * steps_a_pass + 1
    )
    first, best = _resume(out / STATE, embedding, optimizer, schedule)
    for number in range(first, options.passes):
        torch.manual_seed(options.seed * 1000 + number)  # of dropout, so that a stopped run draws the same
        rng, began, total = random.Random(options.seed * 1000 + number), time.process_time(), 0.0
        order = rng.sample([row for row, each in enumerate(captions) if each], sum(map(bool, captions)))
        embedding.train()
        for start in range(0, len(order) - options.batch + 1, options.batch):
            rows = order[start : start + options.batch]
            with torch.autocast("cpu", torch.bfloat16, enabled=options.bf16):
                photos, texts = (
                    embedding.photos(inputs[rows]),
                    embedding.texts([rng.choice(captions[row]) for row in rows]),
                )
            loss = hinge(photos, texts, options.margin, hardest=number >= options.warm)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(embedding.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            total += float(loss.detach())
        line = f"pass {number + 1}: loss {total / steps_a_pass:.3f}, {time.process_time() - began:.0f} CPU s"
        if (number + 1) % options.every == 0 or number + 1 == options.passes:
            photos, texts, owner = embed_all(embedding, checked, check_captions)
            text_ranks, photo_ranks = ranks_of(photos @ texts.T, owner)
            found = (*recalls(text_ranks), *recalls(photo_ranks))
            line += "; caption for photo {:.1f}/{:.1f}/{:.1f}, photo for caption {:.1f}/{:.1f}/{:.1f}".format(*found)
            if sum(found) > best:
                best = sum(found)
                embedding.save(out / EMBEDDING_FILE, sha256)
            _keep(out / STATE, embedding, optimizer, schedule, number + 1, best)
        print(line, flush=True)


def _keep(
    path: Path,
    embedding: JointEmbedding,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
    passes: int,
    best: float,
) -> None:
    groups, rates = json.dumps(optimizer.state_dict()["param_groups"]), json.dumps(schedule.state_dict())
    progress = {"passes": str(passes), "best": str(best), "groups": groups, "schedule": rates}
    save_state(path, {"model": embedding}, optimizer, progress)


def _resume(
    path: Path,
    embedding: JointEmbedding,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.OneCycleLR,
) -> tuple[int, float]:
    """How many passes are done, and the best sum of recalls until then."""
    progress = load_state(path, {"model": embedding}, optimizer)
    if progress is None:
        return 0, 0.0
    optimizer.load_state_dict({**optimizer.state_dict(), "param_groups": json.loads(progress["groups"])})
    schedule.load_state_dict(json.loads(progress["schedule"]))
    return int(progress["passes"]), float(progress["best"])


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.embed", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights", help="the folder of the weights")
    parser.add_argument("--out", default="", metavar="DIR", help="where the result and the state go instead")
    parser.add_argument("--data", nargs="+", default=["flickr8k", "coco"], help="data sets whose train photos are used")
    parser.add_argument("--validation", default="", metavar="DATA", help="default: the first of --data")
    parser.add_argument("--split", default="val", help="of --validation, default val")
    parser.add_argument("--word", type=int, default=256, help="dimensions of a word, default 256")
    parser.add_argument("--space", type=int, default=512, help="dimensions of the space, default 512")
    parser.add_argument("--passes", type=int, default=40, help="over the photos, a caption of each, default 40")
    parser.add_argument(
        "--warm", type=int, default=6, help="passes before the hardest wrong one alone counts, default 6"
    )
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--margin", type=float, default=0.2)
    parser.add_argument("--every", type=int, default=4, help="passes between two looks at validation, default 4")
    parser.add_argument("--bf16", action="store_true", help="for processors with instructions for it")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", default="cache", help="the folder of encoder features")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
