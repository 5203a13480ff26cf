"""The pictures of docs/model.md: `python -m docs.figures`.

`architecture` and `curves` need no weights and no data: the curves are those of `docs/training/*.jsonl`, the tidy
logs of the runs that made the shipped weights. `photos` captions the photos of `tests/photos` and `docs/photos`,
and what was made of some, with the shipped weights. `python -m docs.figures --keep runs/tuned …` takes over the logs
of new runs. The reliability plots are drawn by `python -m model.training.calibrate`.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageEnhance, ImageFont, ImageOps

from docs.architecture import draw_architecture

DOCS: Final = Path(__file__).parent
LOGS: Final = DOCS / "training"
PHOTOS: Final = (DOCS.parent / "tests" / "photos", DOCS / "photos")
KEPT: Final = ("loss", "validation_loss", "validation_cider", "reward", "words", "log_prob")
# Runs in their order, each begun where the one before it ended.
CHAINS: Final = {
    "attention": ("frozen", "tuned", "longer", "tuned2"),
    "baseline": ("baseline", "baseline2", "baseline3"),
}
SELF_CRITICAL: Final = {"attention": "scst", "baseline": "baseline-scst"}

Log = list[dict[str, float]]


def keep(run: Path) -> None:
    """Take over the log of a run's folder: one line a step, the last where a killed run has repeated some."""
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text("utf-8").splitlines()]
    tidy: dict[tuple[int, bool], dict[str, float]] = {}
    for line in lines:
        key = (line["step"], "validation_loss" in line)
        tidy[key] = {"step": line["step"], **{name: line[name] for name in KEPT if name in line}}
    LOGS.mkdir(exist_ok=True)
    text = "".join(json.dumps(tidy[key]) + "\n" for key in sorted(tidy))
    (LOGS / f"{run.name}.jsonl").write_text(text, encoding="utf-8")


def read(run: str) -> Log:
    """A kept log; empty for a run that has none."""
    file = LOGS / f"{run}.jsonl"
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()] if file.exists() else []


def points(log: Log, name: str, offset: float = 0) -> tuple[list[float], list[float]]:
    """Steps and values of one quantity."""
    found = [(line["step"] + offset, line[name]) for line in log if name in line]
    return [step for step, _ in found], [value for _, value in found]


def draw_chain(axes: Axes, title: str, runs: Sequence[str]) -> None:
    """Training and validation loss of runs that follow each other."""
    start = 0.0
    for number, run in enumerate(runs):
        log = read(run)
        if not log:
            continue
        axes.plot(
            *points(log, "loss", start),
            color="tab:blue",
            linewidth=1,
            label=None if number else "training, smoothed labels",
        )
        axes.plot(*points(log, "validation_loss", start), "o-", color="tab:red", label=None if number else "validation")
        end = start + log[-1]["step"]
        if number % 2:
            axes.axvspan(start, end, color="0.94", zorder=0)
        axes.text((start + end) / 2, 5.35, run, ha="center", va="top", fontsize=8)
        start = end
    axes.set(title=title, xlabel="steps of 32 photos", ylabel="cross-entropy, nats a word", ylim=(2.6, 5.4))
    axes.set_xlim(left=0)
    axes.legend(loc="upper right", bbox_to_anchor=(1, 0.9))


def draw_curves(path: Path) -> None:
    trained = {model: read(run) for model, run in SELF_CRITICAL.items() if read(run)}
    panels = len(CHAINS) + bool(trained)
    figure = Figure(figsize=(4.3 * panels, 3.7), layout="constrained")
    axes = figure.subplots(1, panels, squeeze=False)[0]
    for place, (model, runs) in zip(axes, CHAINS.items(), strict=False):
        draw_chain(place, f"{model}: cross-entropy", runs)
    for number, (model, log) in enumerate(trained.items()):
        colour = f"C{number}"
        axes[-1].plot(*points(log, "validation_cider"), "o-", color=colour, label=f"{model}, validation, greedy")
        steps, rewards = points(log, "reward")
        axes[-1].plot(steps, [100 * value for value in rewards], ":", color=colour, label=f"{model}, training, sampled")
        axes[-1].set(title="self-critical training", xlabel="steps of 32 photos", ylabel="CIDEr-D × 100")
        axes[-1].legend()
    figure.savefig(path, dpi=80)


def _words(text: str) -> Image.Image:
    """White words on a red ground, as on a sign."""
    sign = Image.new("RGB", (400, 300), (170, 20, 30))
    ImageDraw.Draw(sign).text((200, 150), text, "white", ImageFont.load_default(64), anchor="mm", align="center")
    return sign


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two photos as one."""
    both = Image.new("RGB", (800, 400))
    for place, photo in enumerate((left, right)):
        both.paste(ImageOps.fit(photo, (400, 400)), (400 * place, 0))
    return both


def cases() -> dict[str, Image.Image]:
    """The photos, and what was made of them to lead the network astray."""
    photos = {file.stem: Image.open(file).convert("RGB") for folder in PHOTOS for file in sorted(folder.glob("*.jpg"))}
    cat, coffee = photos["cat"], photos["coffee"]
    changed = {
        "flower, in grey": ImageOps.grayscale(photos["flower"]).convert("RGB"),
        "cat, mirrored": ImageOps.mirror(cat),
        "cat, upside down": cat.transpose(Image.Transpose.ROTATE_180),
        "cat, at night": ImageEnhance.Brightness(cat).enhance(0.12),
        "photographer and cat": _beside(photos["photographer"], cat),
        "coffee, from near": ImageOps.crop(coffee, min(coffee.size) // 4),
        "words": _words("NO\nPARKING"),
        "nothing": Image.new("RGB", (400, 300), (128, 128, 128)),
    }
    return photos | changed


def draw_photos(path: Path) -> None:
    """Each case with what is said first and its confidence, in fp32, which is the same on all machines."""
    from model.captioner import Captioner
    from model.decoding.search import USUAL_BEAM

    captioner = Captioner.load(DOCS.parent / "weights", "cpu", precision="fp32")
    pictures = cases()
    answers = [captioner.caption([picture], samples=0, beam=USUAL_BEAM)[0] for picture in pictures.values()]
    columns = 6
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(2.3 * columns, 2.4 * rows), layout="constrained")
    places = figure.subplots(rows, columns).flatten()
    for place in places[len(pictures) :]:
        place.axis("off")
    for place, (name, picture), answer in zip(places, pictures.items(), answers, strict=False):
        refused = answer.not_photo
        sure = f"{answer.main.confidence if refused is None else refused.probability:.0%}"
        place.imshow(ImageOps.pad(picture, (320, 240), color="white"))
        place.set(xticks=[], yticks=[], frame_on=False)
        place.set_title(name, fontsize=8, color="0.45", pad=2)
        place.set_xlabel("\n".join([*textwrap.wrap(answer.headline, 30), sure]), fontsize=8.5)
        print(f"{name}: {answer.headline} ({sure}); the beam: {answer.main.text}")
    figure.savefig(path, dpi=100, pil_kwargs={"quality": 82})


FIGURES: Final[dict[str, tuple[str, Callable[[Path], None]]]] = {
    "architecture": ("architecture.png", draw_architecture),
    "curves": ("training-curves.png", draw_curves),
    "photos": ("captions.jpg", draw_photos),
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.figures", description=__doc__.split("\n")[0])
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=f"of {', '.join(FIGURES)}; default: all")
    parser.add_argument("--keep", nargs="+", type=Path, default=[], metavar="RUN", help="folders of runs, see above")
    options = parser.parse_args(arguments)
    if unknown := set(options.figures) - set(FIGURES):
        parser.error(f"no such figure: {', '.join(sorted(unknown))}")
    for run in options.keep:
        keep(run)
    for name in options.figures or FIGURES:
        file, draw = FIGURES[name]
        draw(DOCS / file)
        print(DOCS / file)


if __name__ == "__main__":
    main()
