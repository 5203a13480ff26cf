"""The picture of the network: what is computed once an image, and what once a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

ENCODER: Final = "#dce9f7"
ATTENTION: Final = "#fbe3cf"
RECURRENT: Final = "#dff0dc"
WORDS: Final = "#eee4f5"
INK: Final = "#202428"
PHOTO: Final = Path(__file__).parent.parent / "tests" / "photos" / "cat.jpg"


def _box(axes: Axes, x: float, y: float, width: float, height: float, text: str, colour: str) -> None:
    """A box whose lower left corner is at (x, y)."""
    shape = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.12", facecolor=colour, edgecolor=INK, linewidth=0.9
    )
    axes.add_patch(shape)
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=9, color=INK)


def _arrow(axes: Axes, *points: tuple[float, float], text: str = "", at: tuple[float, float] = (0, 0)) -> None:
    """A line through the points, with a head at the last; `text` stands at `at`."""
    style: dict[str, Any] = {"color": INK, "linewidth": 1.0}
    if len(points) > 2:
        axes.plot(*zip(*points[:-1], strict=True), **style, solid_capstyle="round")
    axes.annotate("", points[-1], points[-2], arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **style})
    if text:
        axes.text(*at, text, ha="center", va="center", fontsize=8.5, color=INK)


def _region(axes: Axes, x: float, y: float, width: float, height: float, title: str) -> None:
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor="0.6", linestyle=(0, (4, 3)), linewidth=1.0))
    axes.text(x + 0.12, y + height - 0.12, title, ha="left", va="top", fontsize=9.5, style="italic", color="0.35")


def _grid(axes: Axes, x: float, y: float, side: float) -> None:
    """The 8 × 8 regions, one of them looked at."""
    cell = side / 8
    for row in range(8):
        for column in range(8):
            near = np.exp(-((row - 3) ** 2 + (column - 4) ** 2) / 4)
            face = (1.0, 0.93 - 0.35 * near, 0.86 - 0.6 * near)
            corner = (x + column * cell, y + side - (row + 1) * cell)
            axes.add_patch(Rectangle(corner, cell, cell, facecolor=face, edgecolor="white", linewidth=0.6))


def draw_architecture(path: Path) -> None:
    """Draw both decoders' common encoder and one step of the attention decoder to `path`, a PNG."""
    figure = Figure(figsize=(11, 5.9))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 16), ylim=(0, 8.6))
    axes.axis("off")

    _region(axes, 0.15, 5.2, 15.7, 3.25, "once an image")
    photo = Image.open(PHOTO).convert("RGB").resize((299, 299))
    axes.imshow(photo, extent=(0.5, 2.5, 5.75, 7.75), aspect="auto", zorder=2)
    axes.text(1.5, 5.5, "299 × 299 × 3", ha="center", va="center", fontsize=8.5)
    _arrow(axes, (2.5, 6.75), (3.2, 6.75))
    _box(axes, 3.2, 6.05, 2.6, 1.4, "Inception v3\nup to Mixed_7a\n(10.7 M, trained)", ENCODER)
    _arrow(axes, (5.8, 6.75), (6.5, 6.75))
    _grid(axes, 6.5, 5.75, 2.0)
    axes.text(7.5, 5.5, r"$A$: 64 regions $\times$ 1,280", ha="center", va="center", fontsize=8.5)
    _arrow(axes, (8.5, 6.75), (9.0, 6.75))
    _box(axes, 9.0, 6.3, 1.3, 0.9, "layer\nnorm", ENCODER)
    _arrow(axes, (10.3, 6.95), (10.65, 6.95), (10.65, 7.55), (11.1, 7.55))
    _arrow(axes, (10.3, 6.55), (10.65, 6.55), (10.65, 6.05), (11.1, 6.05))
    _box(axes, 11.1, 7.15, 1.9, 0.8, "keys\n$k_i = W_k a_i$", ATTENTION)
    _box(axes, 11.1, 5.65, 1.9, 0.8, "values\n$v_i = W_v a_i$", ATTENTION)
    _arrow(axes, (13.0, 6.05), (13.45, 6.05))
    _box(axes, 13.45, 5.65, 2.1, 0.8, "$h_0, c_0$ from\nthe mean value", RECURRENT)

    _region(axes, 0.15, 0.15, 15.7, 4.85, "once a word")
    _box(axes, 0.55, 3.05, 1.7, 0.85, "query\n$W_q h_{t-1}$", ATTENTION)
    _box(axes, 3.2, 3.05, 3.0, 0.85, r"$e_i = w\cdot\tanh(k_i + W_q h_{t-1})$", ATTENTION)
    _box(axes, 6.75, 3.05, 1.75, 0.85, r"$\alpha = $ softmax$(e)$", ATTENTION)
    _box(axes, 9.0, 3.05, 1.7, 0.85, r"$\sum_i \alpha_i v_i$", ATTENTION)
    _box(axes, 11.2, 3.05, 2.4, 0.85, r"$z = \beta \odot \sum_i \alpha_i v_i$", ATTENTION)
    _arrow(axes, (2.25, 3.47), (3.2, 3.47))
    _arrow(axes, (6.2, 3.47), (6.75, 3.47))
    _arrow(axes, (8.5, 3.47), (9.0, 3.47))
    _arrow(axes, (10.7, 3.47), (11.2, 3.47))
    _arrow(axes, (13.0, 7.55), (13.25, 7.55), (13.25, 7.02), (10.85, 7.02), (10.85, 5.1), (4.7, 5.1), (4.7, 3.9))
    axes.text(4.5, 4.55, "$k_i$", ha="right", va="center", fontsize=8.5)
    _arrow(axes, (12.05, 5.65), (12.05, 4.6), (9.85, 4.6), (9.85, 3.9), text="$v_i$", at=(10.1, 4.3))
    _box(axes, 13.95, 3.05, 1.65, 0.85, "gate\n" + r"$\beta = \sigma(W_\beta h_{t-1})$", ATTENTION)
    _arrow(axes, (13.95, 3.47), (13.6, 3.47))

    _box(axes, 0.55, 0.6, 2.2, 0.95, "word $y_{t-1}$\nembedding $E y_{t-1}$", WORDS)
    _box(axes, 5.6, 0.6, 2.6, 0.95, "LSTM (or GRU)\n$h_t, c_t$ — 512", RECURRENT)
    _arrow(axes, (2.75, 1.07), (5.6, 1.07))
    _arrow(axes, (12.4, 3.05), (12.4, 2.1), (6.9, 2.1), (6.9, 1.55), text="$z$", at=(9.4, 2.3))
    _box(axes, 9.6, 0.6, 2.7, 0.95, "$E y_{t-1} + W_h h_t + W_z z$", WORDS)
    _arrow(axes, (8.2, 1.07), (9.6, 1.07), text="$h_t$", at=(8.9, 1.25))
    _arrow(axes, (10.95, 2.1), (10.95, 1.55))
    _arrow(axes, (1.65, 0.6), (1.65, 0.35), (10.95, 0.35), (10.95, 0.6))
    _box(axes, 13.1, 0.6, 2.5, 0.95, "softmax over words\n$E^\\top$ (tied) $\\to p(y_t)$", WORDS)
    _arrow(axes, (12.3, 1.07), (13.1, 1.07))
    _arrow(
        axes,
        (5.95, 1.55),
        (5.95, 2.35),
        (1.4, 2.35),
        (1.4, 3.05),
        text="$h_{t-1}$, from the step before",
        at=(3.6, 2.55),
    )
    figure.savefig(path, dpi=100, facecolor="white")
