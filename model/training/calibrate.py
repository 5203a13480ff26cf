"""Calibrate confidence: `python -m model.training.calibrate --model attention --data flickr8k --split val`.

Captions the validation split of one or several data sets, asks which captions are right (CIDEr against their references
above a threshold), fits `model.calibration` for greedy and beam captions and keeps the fit in the decoder's file, or in
that of the consensus where there is one, tensors untouched. A `<model>-sampling` decoder gets a fit of its own greedy
captions. The expected calibration error is estimated by cross-validation; `--check` measures it on splits that were not
fitted. Draws a reliability plot of the last one.

The weight of a photo's domain (`model.consensus`) is fitted where there are several data sets. The decoder must not
have been trained on photos of `--split`. Where only one data set has such photos, `--domain` gives weights that were
fitted for another decoder.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from model.calibration import (
    FITS,
    THRESHOLD,
    Bin,
    Calibration,
    Evidence,
    Fit,
    Floats,
    calibration_error,
    chance_error,
    cross_validated,
    fit_logistic,
    predict,
    reliability,
)
from model.captioner import Caption, Captioner
from model.consensus import CONSENSUS_FILE, Consensus
from model.decoding.search import USUAL_BEAM
from model.network.checkpoint import ENCODER_FILE, SAMPLER_SUFFIX, fingerprint, write_calibration
from model.training.data import Example, load_split, resolve_data
from model.training.evaluate import add_data_options, caption_examples, tokenised
from model.training.options import exit_status
from model.training.scores import EvaluationError, Tokenizer, java, score


@dataclass(frozen=True)
class Judged:
    """One decoding's captions of a split, and which of them are right."""

    evidence: list[Evidence]
    geometric_means: Floats
    right: list[bool]

    @classmethod
    def of(cls, captions: Sequence[Caption], cider: Floats, threshold: float) -> Self:
        return cls(
            evidence=[caption.evidence for caption in captions],
            geometric_means=np.array([caption.geometric_mean for caption in captions]),
            right=(cider > threshold).tolist(),
        )

    @classmethod
    def together(cls, parts: Sequence[Self]) -> Self:
        """The captions of several data sets as one."""
        return cls(
            evidence=[each for part in parts for each in part.evidence],
            geometric_means=np.concatenate([part.geometric_means for part in parts]),
            right=[each for part in parts for each in part.right],
        )


def judge(
    captioner: Captioner,
    examples: Sequence[Example],
    *,
    beam: int,
    threshold: float = THRESHOLD,
    tokenizer: Tokenizer = "PTB",
    batch: int = 32,
) -> dict[Fit, Judged]:
    """Greedy and beam captions of a split's images against their references. Raises EvaluationError."""
    decodings = caption_examples(captioner, examples, beams=[beam], batch=batch).main
    runs: dict[Fit, list[Caption]] = {"greedy": decodings["greedy"], "beam": decodings[f"beam {beam}"]}
    found, truth = tokenised(runs, [example.captions for example in examples], tokenizer)
    return {
        search: Judged.of(captions, score(found[search], truth).each_cider, threshold)
        for search, captions in runs.items()
    }


def report(judged: dict[Fit, Judged], estimates: dict[Fit, Floats], how: str) -> None:
    for search, captions in judged.items():
        right = captions.right
        after = calibration_error(estimates[search], right)
        before = calibration_error(captions.geometric_means, right)
        chance = chance_error(estimates[search])
        brier = float(np.mean((estimates[search] - np.asarray(right)) ** 2))
        constant = float(np.mean(right) * (1 - np.mean(right)))
        print(
            f"  {search:6}  right {np.mean(right):.1%}  ECE {after:.3f} ({how}; {chance:.3f} by chance alone),"
            f" geometric mean {before:.3f}"
            f"  Brier {brier:.3f}, of the constant {constant:.3f}",
            flush=True,
        )


Curve = tuple[str, str, Sequence[Bin]]  # its name and style, and its points


def draw_reliability(path: Path, curves: Iterable[Curve], **titles: str) -> None:
    """Plot, for estimates that are alike, the share that is right. titles: of the plot and its axes.

    Raises EvaluationError where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EvaluationError("the plot needs matplotlib: pip install -r requirements-dev.txt, or --plot ''") from error
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    for name, style, bins in curves:
        axes.plot([part.estimate for part in bins], [part.share for part in bins], style, label=name)
    axes.set(xlim=(0, 1), ylim=(0, 1), **titles)
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)


def curves_of(judged: dict[Fit, Judged], estimates: dict[Fit, Floats]) -> Iterator[Curve]:
    """Of each search: calibrated, and the geometric mean of the words' probabilities."""
    for search, captions in judged.items():
        yield f"{search}, calibrated", "o-", reliability(estimates[search], captions.right)
        yield f"{search}, geometric mean", "x:", reliability(captions.geometric_means, captions.right)


def weights_of_domain(options: argparse.Namespace, captioner: Captioner) -> dict[Fit, float | None]:
    """Those that are given, or None, to be fitted, with several data sets. With one they stay as they are."""
    if options.domain:
        return dict(zip(FITS, options.domain, strict=True))
    if len(options.data) > 1:
        return dict.fromkeys(FITS)
    present = captioner.calibration
    return {search: 0.0 if present is None else present.fit_of(search).domain for search in FITS}


def calibrate(options: argparse.Namespace, captioner: Captioner, name: str) -> None:
    """Fit, report, draw and keep the calibration of one decoder, whose file is `<name>.safetensors`."""
    tokenizer: Tokenizer = "PTB" if java() else "simple"
    fitted = [(data, options.split) for data in options.data]
    checked = [(data or options.data[0], split) for data, _, split in (each.rpartition(":") for each in options.check)]
    examples = {part: load_split(resolve_data(part[0]), part[1])[: options.limit] for part in (*fitted, *checked)}
    names = {part: f"{Path(part[0]).name} {part[1]}" for part in examples}

    def judged_on(part: tuple[str, str]) -> dict[Fit, Judged]:
        return judge(
            captioner,
            examples[part],
            beam=options.beam,
            threshold=options.threshold,
            tokenizer=tokenizer,
            batch=options.batch,
        )

    parts = [judged_on(part) for part in fitted]
    judged = {search: Judged.together([part[search] for part in parts]) for search in FITS}
    domain = weights_of_domain(options, captioner)
    fits = {search: fit_logistic(c.evidence, c.right, domain=domain[search]) for search, c in judged.items()}
    calibration = Calibration(options.threshold, fits)
    shown = " and ".join(names[part] for part in fitted)
    print(f"{name}, {shown}, {tokenizer} tokeniser, right: CIDEr > {options.threshold:g}")
    estimates = {search: cross_validated(c.evidence, c.right, domain=domain[search]) for search, c in judged.items()}
    report(judged, estimates, "10-fold cross-validation")
    for search, fit in fits.items():
        print(f"  {search:6}  {fit}")
    for part in checked:
        judged = judged_on(part)
        estimates = {search: predict(fits[search], c.evidence) for search, c in judged.items()}
        shown = names[part]
        print(f"{name}, {shown}, by the fit to {options.split}")
        report(judged, estimates, "not fitted")
    if options.plot:
        file = Path(options.plot) / f"calibration-{name}.png"
        right = f"share with CIDEr > {options.threshold:g}"
        curves = curves_of(judged, estimates)
        draw_reliability(file, curves, xlabel="confidence", ylabel=right, title=f"{name}, {shown}")
        print(f"plot: {file}")
    if not options.dry_run:
        folder = Path(options.weights)
        file = folder / f"{name}.safetensors"
        if captioner.consensus is None:
            write_calibration(file, calibration)
        else:
            decoder, encoder, file = fingerprint(file), fingerprint(folder / ENCODER_FILE), folder / CONSENSUS_FILE
            now = Consensus.load(file, encoder)  # another decoder may have been calibrated meanwhile
            now.calibrations[decoder] = calibration
            now.save(file, encoder)
        print(f"kept in {file}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.training.calibrate", description=__doc__.split("\n")[0])
    add_data_options(parser, several=True)
    parser.add_argument("--split", default="val", help="what is fitted, default val")
    parser.add_argument(
        "--check", nargs="*", default=[], metavar="[DATA:]SPLIT", help="splits to measure on, e.g. test coco:dev"
    )
    parser.add_argument(
        "--beam", type=int, default=USUAL_BEAM, help=f"of the captions that are fitted, default {USUAL_BEAM}"
    )
    parser.add_argument("--threshold", type=float, default=THRESHOLD, help=f"of CIDEr, default {THRESHOLD}")
    parser.add_argument(
        "--domain",
        type=float,
        nargs=len(FITS),
        metavar=("GREEDY", "BEAM"),
        help="the weights of the photo's domain; default: fitted to several data sets, else as they were",
    )
    parser.add_argument("--plot", default="docs", metavar="DIR", help="where the plot goes, default docs; '': none")
    parser.add_argument("--dry-run", action="store_true", help="change no weights file")
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


def run(options: argparse.Namespace) -> None:
    """Calibrate the decoder and, where there is one, its sampler."""
    captioner = Captioner.load(options.weights, options.device, model=options.model, precision="fp32")
    calibrate(options, captioner, options.model)
    if captioner.sampler is not None:
        calibrate(options, captioner.sampler, options.model + SAMPLER_SUFFIX)


if __name__ == "__main__":
    sys.exit(main())
