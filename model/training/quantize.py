"""Measure the ranges in which the encoder runs in int8: `python -m model.training.quantize --data flickr8k coco`.

They are those of training photos, first the widest, then for each layer the share of it that loses least: what is
beyond is cut off, what is within is rounded more finely (the least mean squared error, of a histogram).
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, fx

from model.network.checkpoint import ENCODER_FILE, fingerprint, load_encoder, write_tensors
from model.network.int8 import INT8_FILE, LEVELS, Range, rectified, rounded, trace
from model.training.data import load_split, prefetch, resolve_data
from model.training.options import exit_status

BINS: Final = 4096
BATCH: Final = 8
SHARES: Final = [share / 100 for share in range(20, 101, 2)]


class _Watched(fx.Interpreter):
    """Runs a graph of `trace` and shows the values of what is rounded, by the names of its ranges."""

    def __init__(self, module: fx.GraphModule, seen: Callable[[str, Tensor], None]) -> None:
        super().__init__(module)
        self._names, self._seen = rounded(module), seen

    def run_node(self, n: fx.Node) -> Any:
        found = super().run_node(n)
        if n in self._names:
            self._seen(self._names[n], found.relu() if rectified(n) else found)
        return found


def cut(histogram: Tensor, limits: Range) -> Range:
    """The share of a range that loses least. histogram: (BINS,), of the values within `limits`."""
    low, high = limits
    centres = low + (torch.arange(BINS, dtype=torch.float64) + 0.5) * (high - low) / BINS

    def loss(share: float) -> float:
        beyond = (centres - centres.clamp(low * share, high * share)).square()
        within = ((high - low) * share / LEVELS) ** 2 / 12  # of rounding
        return float((histogram * torch.where(beyond > 0, beyond, within)).sum())

    best = min(SHARES, key=loss)
    return low * best, high * best


@torch.inference_mode()
def measure(module: fx.GraphModule, batches: Callable[[], Iterable[Tensor]]) -> dict[str, Range]:
    """The range of each of `rounded`. batches: of images, (B, 3, size, size) normalised floats, the same each time."""
    widest: dict[str, Range] = {}

    def widen(name: str, values: Tensor) -> None:
        low, high = widest.get(name, (0.0, 1e-6))
        widest[name] = min(low, float(values.min())), max(high, float(values.max()))

    for images in batches():
        _Watched(module, widen).run(images)
    counts = {name: torch.zeros(BINS, dtype=torch.float64) for name in widest}

    def count(name: str, values: Tensor) -> None:
        low, high = widest[name]
        counts[name] += torch.histc(values, BINS, low, high).double()
        counts[name][int(-low / (high - low) * BINS)] -= int((values == 0).sum())  # these lose nothing

    for images in batches():
        _Watched(module, count).run(images)
    return {name: cut(counts[name], limits) for name, limits in widest.items()}


def run(options: argparse.Namespace) -> None:
    weights = Path(options.weights)
    encoder = load_encoder(weights / ENCODER_FILE).fuse().to(memory_format=torch.channels_last)
    photos = [example for name in options.data for example in load_split(resolve_data(name), "train")]
    chosen = random.Random(options.seed).sample(photos, min(options.photos, len(photos)))

    def batches() -> Iterator[Tensor]:
        chunks = [chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH)]
        for images in prefetch(chunks, encoder.config.image_size, None):
            yield encoder.normalised(images).contiguous(memory_format=torch.channels_last)

    ranges = measure(trace(encoder), batches)
    write_tensors(
        Path(options.out or weights / INT8_FILE),
        {name: torch.tensor(limits) for name, limits in ranges.items()},
        {"encoder_sha256": fingerprint(weights / ENCODER_FILE)},
    )
    print(f"{len(ranges)} ranges from {len(chosen)} training photos")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.quantize", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights", help="the folder of the weights")
    parser.add_argument("--out", default="", metavar="FILE", help=f"where to write them instead of {INT8_FILE} there")
    parser.add_argument("--data", nargs="+", default=["flickr8k", "coco"], help="data sets whose train photos are read")
    parser.add_argument("--photos", type=int, default=128, help="drawn of all of theirs, default 128")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
