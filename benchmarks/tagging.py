"""What tags and ranked descriptions cost beside an ordinary answer: `python -m benchmarks.tagging`.

Times are the medians of one run in which the kinds take turns, on the shipped weights: from the decoded photo to the
result, the encoder included. An ordinary answer is the beam's caption and five sampled ones, as in the bot.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence

from PIL import Image
from torch import Tensor

from model.captioner import Captioner
from model.decoding.search import USUAL_BEAM
from model.media.images import open_image
from model.tagging.lists import DESCRIPTIONS, MOST_TAGS, dictionary, names

SUBJECTS = ("a man", "two dogs", "a little girl", "a group of people", "a black cat")
ACTIONS = ("is standing on", "are running across", "in a red shirt sits on", "jumps over", "is looking at")
PLACES = ("a wooden table", "the beach near the water", "a street in the city", "a field of green grass", "a white bed")


def descriptions(count: int) -> list[str]:
    """Of the usual length, different from each other."""
    every = [" ".join(parts) for parts in itertools.product(SUBJECTS, ACTIONS, PLACES)]
    return [every[(7 * n) % len(every)] for n in range(count)]


def free_tags(count: int) -> list[str]:
    """Without classifiers: each is judged by PMI."""
    nouns = [entry.name for entry in dictionary("default") if " " not in entry.name]
    return [f"{colour} {noun}" for noun, colour in itertools.product(nouns, ("red", "black"))][:count]


def kinds(captioner: Captioner) -> dict[str, Callable[[Image.Image], object]]:
    """What is timed, by its name."""
    texts, free, default = descriptions(DESCRIPTIONS[1]), free_tags(MOST_TAGS), names("default")

    def features(photo: Image.Image) -> Tensor:
        return captioner.encode(captioner.squares([photo]))[0]

    return {
        "an ordinary answer": lambda photo: captioner.caption([photo], samples=5, beam=USUAL_BEAM),
        f"{len(default)} tags of the dictionary": lambda photo: captioner.tags(features(photo), default),
        f"{len(free)} free tags": lambda photo: captioner.tags(features(photo), free),
        f"{len(texts)} descriptions": lambda photo: captioner.rank(features(photo), texts),
        "the encoder alone": features,
    }


def measure(captioner: Captioner, photo: Image.Image, rounds: int) -> dict[str, float]:
    """Seconds by kind, the median of the rounds; one round before them is not counted."""
    found: dict[str, list[float]] = {}
    for number in range(rounds + 1):
        for name, run in kinds(captioner).items():
            began = time.perf_counter()
            run(photo)
            if number:
                found.setdefault(name, []).append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def report(seconds: dict[str, float]) -> list[str]:
    """Lines of Markdown."""
    ordinary = next(iter(seconds.values()))
    rows = [f"| {name} | {1000 * value:.0f} | {value / ordinary:.2f} |" for name, value in seconds.items()]
    return ["| what | ms | ratio |", "| --- | --- | --- |", *rows]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tagging", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--photo", default="tests/photos/cat.jpg")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    captioner = Captioner.load(options.weights, options.device, precision="fp32")
    with open(options.photo, "rb") as file:
        photo = open_image(file.read())
    print(*report(measure(captioner, photo, options.rounds)), sep="\n")


if __name__ == "__main__":
    main()
