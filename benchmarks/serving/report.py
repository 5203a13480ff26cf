"""Figures, the goals beside them, and how they are printed."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Cell: TypeAlias = str | int | float


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the two nearest values."""
    ordered = sorted(values)
    at = (len(ordered) - 1) * percent / 100
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


@dataclass(frozen=True)
class Figure:
    """One figure and its goal: at most, or at least."""

    name: str
    value: float
    unit: str = ""
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool | None:
        """None where there is no goal."""
        if self.at_most is not None:
            return self.value <= self.at_most
        if self.at_least is not None:
            return self.value >= self.at_least
        return None

    @property
    def goal(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return "" if self.at_least is None else f"≥ {self.at_least:g}"


@dataclass
class Part:
    """The results of one part: a table, and the figures that have goals."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[Cell]] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        figures = [
            {**dataclasses.asdict(figure), "goal": figure.goal or None, "met": figure.met} for figure in self.figures
        ]
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        return {"title": self.title, "rows": rows, "figures": figures, "notes": self.notes}

    def print(self) -> None:
        print(f"\n{self.title}")
        _print_table([self.columns, *self.rows])
        if self.figures:
            print()
        verdicts = {None: "", True: "met", False: "not met"}
        _print_table(
            [
                (f.name, f"{f.value:.2f} {f.unit}".strip(), f.goal and f"goal {f.goal}", verdicts[f.met])
                for f in self.figures
            ]
        )
        for note in self.notes:
            print(f"  {note}")


def _print_table(rows: Sequence[Sequence[Cell]]) -> None:
    """The first column to the left, the others to the right."""
    texts = [[f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    for text in texts:
        first, *others = (
            cell.rjust(width) if at else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(text, widths, strict=True))
        )
        print(f"  {'  '.join([first, *others]).rstrip()}", flush=True)
