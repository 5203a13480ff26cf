"""The log of a training run: JSON lines, a progress line on a terminal, and TensorBoard if it is installed."""

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.captioner import Captioner
from model.drawing.heatmap import draw_sheet
from model.media.images import open_image


class Journal:
    """`log.jsonl` and the event files of TensorBoard in a run's folder."""

    def __init__(self, out: Path) -> None:
        self.out = out
        out.mkdir(parents=True, exist_ok=True)
        self._writer: Any = None
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            print("TensorBoard is not installed (pip install tensorboard): log.jsonl alone is written", file=sys.stderr)
        else:
            self._writer = SummaryWriter(str(out / "tensorboard"))

    def write(self, step: int, **values: float) -> None:
        """Log the values of a step: a line of JSON, and a point on each of TensorBoard's curves."""
        line = json.dumps({"step": step, **{name: round(value, 4) for name, value in values.items()}})
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
        print(line, flush=True)
        with (self.out / "log.jsonl").open("a") as file:
            file.write(line + "\n")
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)
            self._writer.flush()

    def show(self, step: int, captioner: Captioner, photos: Sequence[Path]) -> None:
        """Show captions of photos and the heatmap of the greedy one in TensorBoard."""
        if self._writer is None or not photos:
            return
        images = [open_image(photo.read_bytes()) for photo in photos]
        for photo, image, captions in zip(photos, images, captioner.caption(images), strict=True):
            greedy = captions.greedy
            lines = [f"**{greedy.text}**", *(f"* {sample.text}" for sample in captions.samples)]
            self._writer.add_text(photo.name, "\n".join(lines), step)
            attention = greedy.attention
            sheet = image if attention is None else draw_sheet(image, greedy.words, attention)
            sheet.thumbnail((640, 640))  # they are many
            self._writer.add_image(photo.name, np.asarray(sheet), step, dataformats="HWC")
        self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Pace:
    """Smoothed values of the last steps, seconds a step, and a line of progress on a terminal."""

    def __init__(self, step: int, total: int, *, shown: bool = True) -> None:
        self.step, self.total = step, total
        self._shown = shown and sys.stderr.isatty()
        self._began, self._started = step, time.monotonic()
        self._means: dict[str, float] = {}

    def update(self, step: int, **values: float) -> None:
        self.step = step
        weight = max(0.02, 1 / (step - self._began))  # a plain mean of the first fifty
        for name, value in values.items():
            self._means[name] = (1 - weight) * self._means.get(name, 0.0) + weight * value
        if self._shown:
            share = step / self.total
            bar = ("█" * round(30 * share)).ljust(30, "·")
            left = (self.total - step) * self.means()["seconds_per_step"]
            shown = "  ".join(f"{name} {value:.3g}" for name, value in self.means().items())
            print(f"\r\x1b[K{bar} {step}/{self.total}  {shown}  {left / 60:.0f} min left", end="", file=sys.stderr)

    def means(self) -> dict[str, float]:
        seconds = (time.monotonic() - self._started) / max(1, self.step - self._began)
        return {**self._means, "seconds_per_step": seconds}
