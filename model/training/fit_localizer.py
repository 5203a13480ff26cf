"""Train what finds a caption's words in its photo: `python -m model.training.fit_localizer`.

Words of captions have no labelled places, but two kinds of places are known all the same (Liu et al., AAAI 2017,
supervise attention with such):

* in a collage of training photos, a content word that the captions of one of them alone say is in that photo: two
  halves, four quarters, or a photo in a corner of another;
* the boxes of people (`person_boxes.json` in a data set's folder) hold what the words for people name.

What is minimised is -log of a word's share in its place, by AdamW. Where in its place a word looks is not told: it
learns to look where the word can be told best.
"""

import argparse
import json
import random
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Final, TypeAlias

import torch
from torch import Tensor, nn

from model.localizer import CONTEXT, LOCALIZER_FILE, Localizer, normalised
from model.network.checkpoint import ENCODER_FILE, fingerprint, load_encoder
from model.network.device import choose_device
from model.network.vocabulary import tokenize
from model.training.data import (
    Area,
    Collage,
    DataError,
    Example,
    Features,
    Pasted,
    load_split,
    resolve_data,
    shuffled_batches,
)
from model.training.options import exit_status, fit_options
from model.words import WITHOUT_PLACE

BOXES_FILE: Final = "person_boxes.json"
PEOPLE: Final = frozenset(
    "man men woman women boy boys girl girls person people child children kid kids guy guys lady ladies".split()  # noqa: SIM905
)
BATCH: Final = 64
MOST: Final = 3  # how often a word counts at most that several captions of a photo say
HALVES: Final[tuple[Area, ...]] = ((0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 0.5, 1.0))
ABOVE: Final[tuple[Area, ...]] = ((0.0, 0.0, 1.0, 0.5), (0.0, 0.5, 1.0, 0.5))
QUARTERS: Final[tuple[Area, ...]] = tuple((x, y, 0.5, 0.5) for y in (0.0, 0.5) for x in (0.0, 0.5))
Box: TypeAlias = tuple[float, float, float, float]  # centre x, centre y, width, height, as shares of the photo


def inside(x: float, y: float, boxes: Sequence[Box]) -> bool:
    """Whether a point lies in any of the boxes."""
    return any(abs(x - cx) <= width / 2 and abs(y - cy) <= height / 2 for cx, cy, width, height in boxes)


def load_boxes(root: Path) -> dict[str, list[Box]]:
    """The boxes of people in a data set's photos, by file name; none where it has no such file. Raises DataError."""
    path = root / BOXES_FILE
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [(x, y, w, h) for x, y, w, h in boxes] for name, boxes in found.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: not lists of boxes by file name ({error!r})") from error


def draw_collages(examples: Sequence[Example], count: int, seed: int) -> list[Collage]:
    """Collages of random examples: 45 % halves (a fifth of these above each other), 20 % quarters, and 35 % a photo
    with another, 0.3 to 0.7 as wide and as high, somewhere on it. Raises DataError for fewer than four examples.
    """
    if len(examples) < len(QUARTERS):
        raise DataError(f"{len(examples)} photos are too few for collages")
    rng, found = random.Random(seed), list[Collage]()
    for _ in range(count):
        kind = rng.random()
        if kind < 0.45:
            areas = ABOVE if rng.random() < 0.2 else HALVES
        elif kind < 0.65:
            areas = QUARTERS
        else:
            width, height = rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7)
            areas = (0.0, 0.0, 1.0, 1.0), (rng.uniform(0, 1 - width), rng.uniform(0, 1 - height), width, height)
        found.append(tuple(map(Pasted, rng.sample(examples, len(areas)), areas)))
    return found


@dataclass(frozen=True)
class Places:
    """Where words of one picture are."""

    row: int  # of its features
    masks: Tensor  # (P, R) bool, the regions of each place
    words: list[tuple[int, int, int]]  # a word's index, the place it is in, how often it counts


def places_of(row: int, collage: Collage, index: dict[str, int], grid: tuple[int, int]) -> Places:
    """Of the words of a collage that the captions of one of its photos alone say. index: of the words that count."""
    masks = torch.stack([covered(part.area, grid) for part in collage])
    for part in range(len(collage)):  # what lies above hides it
        masks[part] &= ~masks[part + 1 :].any(dim=0)
    said = [Counter(word for text in part.example.captions for word in tokenize(text)) for part in collage]
    words = [
        (index[word], part, min(count, MOST))
        for part, counts in enumerate(said)
        for word, count in counts.items()
        if word in index and not any(word in other for place, other in enumerate(said) if place != part)
        if masks[part].any()  # on a coarse grid, a small photo covers half of no region
    ]
    return Places(row, masks, words)


def people_of(row: int, example: Example, boxes: Sequence[Box], index: dict[str, int], grid: tuple[int, int]) -> Places:
    """Of the words for people in a photo's captions. boxes: at least one; of any that hold no region's middle, the
    regions of their own middles.
    """
    rows, columns = grid
    middles = [((column + 0.5) / columns, (line + 0.5) / rows) for line in range(rows) for column in range(columns)]
    mask = torch.tensor([inside(x, y, boxes) for x, y in middles])
    if not mask.any():
        for x, y, _, _ in boxes:
            mask[min(rows - 1, int(y * rows)) * columns + min(columns - 1, int(x * columns))] = True
    said = Counter(word for text in example.captions for word in tokenize(text) if word in PEOPLE and word in index)
    return Places(row, mask[None], [(index[word], 0, min(count, MOST)) for word, count in said.items()])


def covered(area: Area, grid: tuple[int, int]) -> Tensor:
    """The regions of which an area covers half or more, (R,) bool."""
    rows, columns = grid
    left, top, width, height = area

    def shares(start: float, length: float, count: int) -> Tensor:
        """Of each of `count` equal parts of [0, 1] how much of it lies in the stretch."""
        edges = torch.arange(count + 1, dtype=torch.float64) / count
        return (edges[1:].clamp(max=start + length) - edges[:-1].clamp(min=start)).clamp(min=0) * count

    both = shares(top, height, rows)[:, None] * shares(left, width, columns)[None]
    return (both > 0.5 - 1e-6).flatten()


class Training(nn.Module):
    """What becomes a `Localizer`."""

    def __init__(self, words: Sequence[str], channels: int, width: int, dropout: float) -> None:
        super().__init__()
        self.words = words
        self.key = nn.Linear(channels, width)
        self.query = nn.Embedding(len(words), width)
        nn.init.normal_(self.query.weight, std=0.05)
        self.dropout = nn.Dropout(dropout)

    def missed(self, features: Tensor, places: Sequence[Places]) -> tuple[Tensor, Tensor]:
        """-log of each word's share in its place, (N,), and how often each counts, (N,). features: (B, R, C)."""
        keys = self.key(self.dropout(normalised(features)))  # (B, R, D)
        rows, words, masks, counts = [], [], [], []
        for row, each in enumerate(places):
            for word, place, count in each.words:
                rows.append(row)
                words.append(word)
                masks.append(each.masks[place])
                counts.append(count)
        distinct, which = torch.unique(torch.tensor(words, device=features.device), return_inverse=True)
        scores = (keys.flatten(0, 1) @ self.query(distinct).T).unflatten(0, keys.shape[:2])  # (B, R, U)
        shares = scores.transpose(1, 2)[torch.tensor(rows, device=features.device), which].log_softmax(dim=-1)
        in_place = shares.masked_fill(~torch.stack(masks).to(features.device), -torch.inf).logsumexp(dim=-1)
        return -in_place, torch.tensor(counts, dtype=torch.float32, device=features.device)

    def localizer(self, *, temperature: float = 1.0, context: float = CONTEXT) -> Localizer:
        """temperature: by which scores are divided."""
        queries = self.query.weight.detach() / temperature
        return Localizer(self.words, queries, self.key.weight.detach(), self.key.bias.detach(), context)


def vocabulary_of(examples: Sequence[Example], least: int) -> list[str]:
    """The words with a place that so many captions say."""
    said = Counter(word for each in examples for text in each.captions for word in set(tokenize(text)))
    return sorted(word for word, count in said.items() if count >= least and word not in WITHOUT_PLACE)


def run(options: argparse.Namespace) -> None:
    weights, cache = Path(options.weights), Path(options.cache)
    device, sha256 = choose_device(options.device), fingerprint(weights / ENCODER_FILE)
    encoder = load_encoder(weights / ENCODER_FILE).fuse().to(device).to(memory_format=torch.channels_last)
    grid = encoder.config.rows, encoder.config.columns
    roots = [resolve_data(name) for name in options.data]
    train = [example for root in roots for example in load_split(root, "train")]
    boxes = {file: each for root in roots for file, each in load_boxes(root).items()}
    words = vocabulary_of(train, options.words)
    index = {word: row for row, word in enumerate(words)}

    torch.manual_seed(options.seed)
    collages = draw_collages(train, options.collages, options.seed)
    joined = Features.cached(cache, encoder, sha256, collages, workers=2)
    photos = Features.cached(cache, encoder, sha256, train)
    pictures = [(joined, places_of(row, collage, index, grid)) for row, collage in enumerate(collages)]
    pictures += [
        (photos, people_of(row, example, boxes[example.path.name], index, grid))
        for row, example in enumerate(train)
        if boxes.get(example.path.name)
    ]
    pictures = [each for each in pictures if each[1].words]
    print(f"{len(words)} words, {len(pictures)} pictures, {sum(each[0] is photos for each in pictures)} with boxes")

    network = Training(words, encoder.config.channels, options.width, options.dropout).to(device)
    steps = options.epochs * -(-len(pictures) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), options.rate, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, options.rate, total_steps=steps + 1, pct_start=0.1)
    for epoch in range(options.epochs):
        losses = []
        for rows in shuffled_batches(len(pictures), BATCH, seed=options.seed, epoch=epoch):
            batch = [pictures[row] for row in rows]
            features = torch.cat([source[[each.row]] for source, each in batch]).to(device)
            missed, counts = network.missed(features, [each for _, each in batch])
            loss = (missed * counts).sum() / counts.sum()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        print(f"epoch {epoch}: -log of a word's share in its place {fmean(losses):.3f}", flush=True)
    made = network.localizer(temperature=options.temperature, context=options.context)
    made.save(Path(options.out or weights / LOCALIZER_FILE), sha256)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = fit_options(__doc__, file=LOCALIZER_FILE, data="data sets whose train photos are put together")
    parser.add_argument("--collages", type=int, default=24000, help="default 24000")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=2e-3, help="peak learning rate, default 0.002")
    parser.add_argument("--width", type=int, default=256, help="of keys and queries, default 256")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--words", type=int, default=3, help="captions that say a word that is kept, default 3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--context", type=float, default=CONTEXT, help=f"see model.localizer, default {CONTEXT}")
    parser.add_argument("--temperature", type=float, default=2.0, help="softens the maps once trained, default 2")
    options = parser.parse_args(arguments)
    if options.temperature <= 0:
        parser.error(f"a temperature must be positive, not {options.temperature:g}")
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
