"""Whether the maps of words lie on what they name: `python -m benchmarks.grounding --weights weights`.

Two measures that need no labels made for maps (Liu et al., AAAI 2017, have more for attention). Captions are
references, said to the network word by word, so that two networks are asked for the same words:

* collages of two validation photos side by side, with a caption of one. Scored are the content words that no reference
  of the other photo says: the share of their maps on the right photo, and how often the peak lies there
  (chance: 0.5);
* words for people, in photos whose people are boxed: how often the peak lies in a box, beside the share of the photo
  that boxes cover (chance) and how often the middle of the photo lies in one (a guess without looking).

The peak is the middle of the region with the largest share. `--attention` measures the decoder's attention.
"""

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.captioner import Captioner
from model.captions import Caption
from model.decoding.explain import tokens_of
from model.errors import Unexplainable
from model.network.checkpoint import CheckpointError
from model.network.vocabulary import tokenize
from model.training.data import DataError, Example, compose, load_split, resolve_data
from model.training.fit_localizer import BOXES_FILE, HALVES, PEOPLE, Box, inside, load_boxes
from model.words import FUNCTION_WORDS

BATCH: Final = 16
Map = npt.NDArray[np.float32]  # (rows, columns), summing to 1


@dataclass(frozen=True)
class Collages:
    words: int
    share: float  # of the map on the photo that the word is of, mean over words
    pointing: float  # share of words whose peak is there


@dataclass(frozen=True)
class People:
    words: int
    pointing: float  # share of words whose peak is in a box
    chance: float  # share of the photo in boxes, mean over words
    middle: float  # share of words in whose photo the middle is in a box


def peak(attention: Map) -> tuple[float, float]:
    """Where a map looks most: x and y, as shares of the photo."""
    row, column = np.unravel_index(int(attention.argmax()), attention.shape)
    return (float(column) + 0.5) / attention.shape[1], (float(row) + 0.5) / attention.shape[0]


def covered(boxes: Sequence[Box], fineness: int = 50) -> float:
    """The share of the photo that lies in any of the boxes, on a grid of points."""
    places = [(i + 0.5) / fineness for i in range(fineness)]
    return fmean(inside(x, y, boxes) for x in places for y in places)


def sayable(captioner: Captioner, example: Example) -> list[str]:
    """The references that this network can have said."""
    found = []
    for text in example.captions:
        try:
            tokens_of(text, captioner.vocabulary, captioner.decoder.config.max_words)
        except Unexplainable:
            continue
        found.append(text)
    return found


def mapped(captioner: Captioner, images: Sequence[Image.Image], texts: Sequence[str]) -> Iterator[Caption]:
    """The captions of images with their maps."""
    for start in range(0, len(images), BATCH):
        features = captioner.encode(captioner.squares(images[start : start + BATCH]))
        yield from captioner.explain(features, texts[start : start + BATCH])


def measure_collages(captioner: Captioner, examples: Sequence[Example], count: int, seed: int = 0) -> Collages:
    """On so many pairs of the examples' photos. Raises ValueError where there is nothing to score."""
    rng = random.Random(seed)
    images, texts, wanted = [], [], []
    for _ in range(count):
        named, other = rng.sample(examples, 2)
        choice = sayable(captioner, named)
        strange = {word for caption in other.captions for word in tokenize(caption)} | FUNCTION_WORDS
        if not choice:
            continue
        text, on_left = rng.choice(choice), rng.random() < 0.5
        with Image.open(named.path) as own, Image.open(other.path) as their:
            pair = (own, their) if on_left else (their, own)
            images.append(compose(zip(pair, HALVES, strict=True)))
        texts.append(text)
        wanted.append((on_left, strange))
    shares, hits = [], []
    for caption, (on_left, strange) in zip(mapped(captioner, images, texts), wanted, strict=True):
        for word, attention in _maps(caption):
            if word in strange:
                continue
            left = float(attention[:, : attention.shape[1] // 2].sum())
            shares.append(left if on_left else 1 - left)
            hits.append((peak(attention)[0] < 0.5) == on_left)
    if not shares:
        raise ValueError("no collage has a word to score")
    return Collages(len(shares), fmean(shares), fmean(hits))


def measure_people(captioner: Captioner, examples: Sequence[Example], boxes: dict[str, list[Box]]) -> People:
    """On the photos that have boxes, by file name. Raises ValueError where there is nothing to score."""
    images, texts, places = [], [], []
    for example in examples:
        for text in sayable(captioner, example) if example.path.name in boxes else []:
            if PEOPLE & set(tokenize(text)):
                with Image.open(example.path) as photo:
                    images.append(photo.convert("RGB"))
                texts.append(text)
                places.append(boxes[example.path.name])
    hits, chance, middle = [], [], []
    for caption, own in zip(mapped(captioner, images, texts), places, strict=True):
        for word, attention in _maps(caption):
            if word in PEOPLE:
                hits.append(inside(*peak(attention), own))
                chance.append(covered(own))
                middle.append(inside(0.5, 0.5, own))
    if not hits:
        raise ValueError("no photo with boxes has a caption that names people")
    return People(len(hits), fmean(hits), fmean(chance), fmean(middle))


def _maps(caption: Caption) -> Iterator[tuple[str, Map]]:
    if caption.attention is None:
        raise ValueError("this model looks at no regions")
    yield from zip(caption.words, caption.attention, strict=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.grounding", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights", help="the folder of the weights")
    parser.add_argument("--data", default="flickr8k", help="of the collages: a folder, or its name in DATASETS_DIR")
    parser.add_argument("--split", default="val")
    parser.add_argument("--count", type=int, default=300, help="collages, default 300")
    parser.add_argument("--people", default="coco", help="a data set with person_boxes.json; '': none")
    parser.add_argument("--people-split", default="dev")
    parser.add_argument("--attention", action="store_true", help="the decoder's attention, not the localizer's maps")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args(arguments)
    try:
        captioner = Captioner.load(options.weights, options.device, precision="fp32")
        if options.attention:
            captioner.localizer = None
        examples = load_split(resolve_data(options.data), options.split)
        collages = measure_collages(captioner, examples, options.count)
        print(
            f"collages: {options.count} of {options.data} {options.split}, {collages.words} words: share on the"
            f" right photo {collages.share:.3f}, peak there {collages.pointing:.3f} (chance 0.5)",
            flush=True,
        )
        if options.people:
            root = resolve_data(options.people)
            if not (boxes := load_boxes(root)):
                raise DataError(f"{root}: no {BOXES_FILE}")
            people = measure_people(captioner, load_split(root, options.people_split), boxes)
            print(
                f"people: {options.people} {options.people_split}, {people.words} words: peak in a box"
                f" {people.pointing:.3f} (area in boxes {people.chance:.3f}, the photo's middle {people.middle:.3f})"
            )
    except (CheckpointError, DataError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
