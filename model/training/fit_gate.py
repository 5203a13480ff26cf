"""Fit the gate that tells photos from other pictures: `python -m model.training.fit_gate --data flickr8k coco`.

Photos are those of the train splits; the other pictures are drawn (`model.training.not_photos`). The fit is then
shifted so that it refuses as much as it may: `--refused` of the validation photos of a data set. Figures are of
drawings of kinds that were not fitted, and of the validation photos; nothing is fitted to or chosen by test photos.
"""

import argparse
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from model.captioner import Captioner
from model.gate import GATE_FILE, PHOTO, Gate, pooled
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.training.data import Example, Features, load_split, resolve_data
from model.training.fit_tags import minimise
from model.training.not_photos import FITTED, HELD_OUT, KINDS, Draw, pictures
from model.training.options import exit_status, fit_options

BATCH = 32


def fit(inputs: Tensor, targets: Tensor, kinds: int, decay: float) -> tuple[Tensor, Tensor]:
    """A softmax regression whose kinds weigh alike: weight (K, D) and bias (K,).

    inputs: (N, D); targets: (N,) int64; decay: of the squared weights of standardised inputs.
    """
    mean, deviation = inputs.mean(dim=0), inputs.std(dim=0).clamp(min=1e-4)
    standard = (inputs - mean) / deviation
    weight = torch.zeros(kinds, inputs.shape[1], requires_grad=True)
    bias = torch.zeros(kinds, requires_grad=True)
    shares = 1 / torch.bincount(targets, minlength=kinds).clamp(min=1)
    shares[0] = shares[1:].sum()  # photos weigh as much as all that is none

    def loss() -> Tensor:
        value = functional.cross_entropy(standard @ weight.T + bias, targets, weight=shares)
        return value + decay * weight.square().sum()

    minimise([weight, bias], loss, steps=200)
    folded = weight.detach() / deviation
    return folded, bias.detach() - folded @ mean


def log_odds(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Of no photo, (N,). inputs: (N, D)."""
    logits = inputs @ weight.T + bias
    return logits[:, 1:].logsumexp(dim=1) - logits[:, 0]


def operating_point(photos: Sequence[Tensor], refused: float) -> float:
    """The least log-odds of no photo that no more than this share of the photos of any set exceed."""
    return max(float(each.sort(descending=True).values[int(refused * len(each))]) for each in photos)


def roc_area(present: Tensor, absent: Tensor) -> float:
    """The area under the ROC curve: how often a score of `present` is above one of `absent`; ties count half."""
    ordered = absent.sort().values
    below, upto = (torch.searchsorted(ordered, present, right=right) for right in (False, True))
    return float((below + upto).double().mean() / (2 * len(absent)))


def drawn(captioner: Captioner, draw: Draw, count: int, seed: str) -> Tensor:
    """What the gate reads of drawings, (count, 2 C)."""
    images = pictures(draw, count, seed)
    return torch.cat([read(captioner, images[start : start + BATCH]) for start in range(0, count, BATCH)])


def read(captioner: Captioner, images: Sequence[Image.Image]) -> Tensor:
    return pooled(captioner.encode(captioner.squares(images))).cpu()


def photographed(captioner: Captioner, sha256: str, examples: Sequence[Example], cache: Path) -> Tensor:
    """What the gate reads of photos, (N, 2 C), from the cache that training uses as well."""
    features = Features.cached(cache, captioner.encoder, sha256, examples)
    starts = range(0, len(examples), BATCH)
    return torch.cat([pooled(features[range(start, min(start + BATCH, len(examples)))]) for start in starts])


def report(held_out: Mapping[str, Tensor], photos: Mapping[str, Tensor]) -> Iterable[str]:
    """Lines of Markdown. Both map a name to the log-odds that pictures are no photos."""
    everything = torch.cat(list(photos.values()))
    yield "| pictures | count | refused % | ROC area against the photos |"
    yield "| --- | --- | --- | --- |"
    for name, values in [*held_out.items(), ("all drawings", torch.cat(list(held_out.values())))]:
        share = float((values > 0).float().mean())
        yield f"| {name} | {len(values)} | {100 * share:.1f} | {roc_area(values, everything):.4f} |"
    for name, values in photos.items():
        yield f"| photos, {name} | {len(values)} | {100 * float((values > 0).float().mean()):.1f} | – |"


def run(options: argparse.Namespace) -> None:
    weights = Path(options.weights)
    captioner = Captioner.load(weights, options.device, precision="fp32", alone=True)
    sha256 = fingerprint(weights / ENCODER_FILE)
    cache = Path(options.cache)
    roots = [resolve_data(name) for name in options.data]
    train = photographed(captioner, sha256, [e for root in roots for e in load_split(root, "train")], cache)
    validation = {
        f"{root.name} {options.split}": photographed(captioner, sha256, load_split(root, options.split), cache)
        for root in map(resolve_data, options.validation or options.data)
    }
    fitted = {name: drawn(captioner, draw, options.count, f"fit {name}") for name, (_, draw) in FITTED.items()}
    kinds = (PHOTO, *KINDS)
    targets = [torch.zeros(len(train), dtype=torch.long)]
    targets += [torch.full((options.count,), kinds.index(FITTED[name][0])) for name in fitted]
    weight, bias = fit(torch.cat([train, *fitted.values()]), torch.cat(targets), len(kinds), options.decay)

    photos = {name: log_odds(inputs, weight, bias) for name, inputs in validation.items()}
    shift = operating_point(list(photos.values()), options.refused)
    bias[1:] -= shift
    held_out = {
        name: log_odds(drawn(captioner, draw, options.count, f"held out {name}"), weight, bias)
        for name, (_, draw) in HELD_OUT.items()
    }
    print(*report(held_out, {name: values - shift for name, values in photos.items()}), sep="\n", flush=True)
    Gate(kinds, weight, bias).save(Path(options.out or weights / GATE_FILE), sha256)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = fit_options(__doc__, file=GATE_FILE, data="data sets whose train photos are fitted")
    parser.add_argument(
        "--validation", nargs="+", default=[], metavar="DATA", help="data sets of the threshold; default: --data"
    )
    parser.add_argument("--split", default="val", help="of --validation, default val")
    parser.add_argument("--refused", type=float, default=0.005, help="share of validation photos, default 0.005")
    parser.add_argument("--count", type=int, default=100, help="pictures of each drawing, default 100")
    parser.add_argument("--decay", type=float, default=1e-3)
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
