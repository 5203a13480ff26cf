"""Where a word's attention belongs: truth that training makes itself (Liu et al., AAAI 2017).

Two kinds of places are known without labels for words:

* of two photos in one picture, the half of the photo that a caption is about, for content words that no caption of the
  other photo says;
* the boxes of people (`person_boxes.json` in a data set's folder), for words that name people.

A collage is made of pixels, as in `benchmarks.grounding`: each photo has one fixed partner, so that an encoder that is
not in training sees each collage once. (In collages joined from the features of two photos nothing of the one is in the
regions of the other, as it is where a network sees both: attention trained on those pointed little better in these.)
"""

import json
import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self, TypeAlias

import torch
from torch import Tensor

from model.network.vocabulary import UNKNOWN, Vocabulary
from model.training.data import DataError, Example, Features, Shown, resolve_data
from model.training.networks import Networks
from model.words import FUNCTION_WORDS

BOXES_FILE: Final = "person_boxes.json"
PEOPLE: Final = frozenset(
    "man men woman women boy boys girl girls person people child children kid kids guy guys lady ladies".split()  # noqa: SIM905
)
NOWHERE: Final = -1
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


@dataclass(frozen=True)
class Looks:
    """Where the words of a batch should be looked at."""

    places: Tensor  # (P, R) float32, 1 in the regions of a place
    words: list[list[list[int]]]  # for each image, caption and word the row of its place, or NOWHERE


class Grounding:
    """Photos shown beside another, and the places of words in these and in photos whose people are boxed."""

    def __init__(
        self,
        examples: Sequence[Example],
        captions: Sequence[Sequence[Sequence[int]]],
        vocabulary: Vocabulary,
        boxes: dict[str, list[Box]],
        grid: tuple[int, int],
        share: float,
    ) -> None:
        """captions: of each example, as indices; boxes: by file name; grid: rows and columns of the encoder; share: of
        a batch's photos, how many are shown beside another.

        Raises ValueError for a grid with an odd number of columns, which has no halves.
        """
        rows, columns = grid
        if columns % 2:
            raise ValueError(f"a grid of {columns} columns has no halves")
        self.grid, self.captions, self.examples, self.share = grid, captions, examples, share
        order = random.Random(0).sample(range(len(examples)), len(examples))
        # The rows of the photos on the left and on the right; of an odd number, one is in two pairs.
        self.pairs = [(left, order[(2 * n + 1) % len(order)]) for n, left in enumerate(order[::2])]
        self.pair_of = {row: n for n, pair in reversed([*enumerate(self.pairs)]) for row in pair}
        self.joined: Features | None = None  # of each pair, where the encoder is not in training
        self.said = [frozenset(word for caption in several for word in caption) for several in captions]
        words = vocabulary.words
        self.people = frozenset(i for i, word in enumerate(words) if word in PEOPLE)
        self.placeless = frozenset({UNKNOWN, *(i for i, word in enumerate(words) if word in FUNCTION_WORDS)})
        left = torch.arange(columns).expand(rows, columns).flatten() < columns // 2  # (R,)
        self.halves = torch.stack([left, ~left]).float()  # (2, R)
        self.boxed = {
            row: self.place(boxes[example.path.name])
            for row, example in enumerate(examples)
            if boxes.get(example.path.name)
        }

    @classmethod
    def of(
        cls,
        examples: Sequence[Example],
        captions: Sequence[Sequence[Sequence[int]]],
        networks: Networks,
        data: Sequence[str],
        share: float,
    ) -> Self:
        """For the examples of data sets, with the boxes that these come with. Raises DataError and ValueError."""
        boxes = {file: each for name in data for file, each in load_boxes(resolve_data(name)).items()}
        grid = networks.encoder.config.rows, networks.encoder.config.columns
        return cls(examples, captions, networks.vocabulary, boxes, grid, share)

    def place(self, boxes: Sequence[Box]) -> Tensor:
        """The regions whose middles lie in any box, (R,); of boxes that hold none, those with the boxes' middles."""
        rows, columns = self.grid
        mask = torch.zeros(self.grid)
        for row in range(rows):
            for column in range(columns):
                mask[row, column] = inside((column + 0.5) / columns, (row + 0.5) / rows, boxes)
        if not mask.any():
            for x, y, _, _ in boxes:
                mask[min(rows - 1, int(y * rows)), min(columns - 1, int(x * columns))] = 1.0
        return mask.flatten()

    def prepare(self, cached: Callable[[Sequence[Shown]], Features]) -> None:
        """Have the features of all pairs at hand. cached: of an encoder that is not in training."""
        if self.share:
            self.joined = cached([(self.examples[left], self.examples[right]) for left, right in self.pairs])

    def paired(self, rows: Sequence[int]) -> list[int]:
        """The first rows of a batch, whose photos are shown beside their partners: the pair of each."""
        return [self.pair_of[row] for row in rows[: round(self.share * len(rows))]]

    def shown(self, rows: Sequence[int]) -> list[Shown]:
        """What a batch looks like. rows: of its examples."""
        pairs = [self.pairs[pair] for pair in self.paired(rows)]
        together: list[Shown] = [(self.examples[left], self.examples[right]) for left, right in pairs]
        return [*together, *(self.examples[row] for row in rows[len(together) :])]

    def collages(self, features: Tensor, rows: Sequence[int]) -> Tensor:
        """The features of `shown`, from those of the photos (B, R, C) and what `prepare` has."""
        pairs = self.paired(rows)
        if self.joined is None or not pairs:
            return features
        return torch.cat([self.joined[pairs].to(features), features[len(pairs) :]])

    def looks(self, rows: Sequence[int]) -> Looks:
        """The places of the words of a batch. rows: of its examples."""
        places, words, paired = [*self.halves], [], self.paired(rows)
        for i, row in enumerate(rows):
            if i < len(paired):
                left, right = self.pairs[paired[i]]
                half, partner = (0, right) if row == left else (1, left)
                known = self.placeless | self.said[partner]
                words.append([self._beyond_first(caption, half, known) for caption in self.captions[row]])
            elif row in self.boxed:
                own = len(places)
                places.append(self.boxed[row])
                words.append([[own if w in self.people else NOWHERE for w in c] for c in self.captions[row]])
            else:
                words.append([[NOWHERE] * len(caption) for caption in self.captions[row]])
        return Looks(torch.stack(places), words)

    def _beyond_first(self, caption: Sequence[int], half: int, known: Collection[int]) -> list[int]:
        """The half for each word that is not `known`, but for those before which nothing tells the photos apart."""
        found, told = [], False
        for word in caption:
            found.append(half if told and word not in known else NOWHERE)
            told = told or word not in known
        return found
