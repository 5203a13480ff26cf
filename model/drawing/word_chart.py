"""A chart of one caption: the likeliest words of each step, with their probabilities. Free of torch.

┌────────────────┐ ┌────────────────┐
│   a          1 │ │   dog        2 │    the chosen word
│ ▸ a    ███ 83 %│ │   man  ██  41 %│    the likeliest words, and the chosen one if it is not among them
│   two  █    9 %│ │ ▸ dog  █   22 %│
└────────────────┘ └────────────────┘

Upright and narrow like a phone, so that the type is large there. The chosen word is marked by its colour, which also
differs from the others' in lightness, and by a triangle.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from PIL import Image, ImageDraw

from model.captions import Step
from model.drawing.labels import ENGLISH, Labels, likelihood
from model.drawing.style import BACKGROUND, INK, font, write

WIDTH: Final = 640  # pixels, at most
HEIGHT: Final = 1280  # at most
LARGEST: Final = 30  # type, pixels
READABLE: Final = 18  # type smaller than this makes room by telling of fewer words
SMALLEST: Final = 11
FEWEST: Final = 3  # words of a step
MOST_COLUMNS: Final = 4
_SAID: Final = (250, 170, 50)
_BAR: Final = (128, 113, 186)
_TRACK: Final = (48, 48, 54)
_FAINT: Final = (165, 165, 172)
_CELL: Final = (32, 32, 37)
# In heights of the type:
_LINE: Final = 1.28
_TITLE: Final = 1.5
_INSIDE: Final = 0.45  # between a cell's edge and what is in it
_BETWEEN: Final = 0.35  # cells
_INDENT: Final = 0.75  # of the words, behind the triangle
_SPACE: Final = 0.35  # before and after the bars
_BARS: Final = 2.2  # at least, for a probability of 1
_WORD: Final = 8.0  # a longer word is set smaller
_FIGURES: Final = "100 %"


@dataclass(frozen=True)
class _Row:
    """One word of a step."""

    word: str
    probability: float
    said: bool


@dataclass(frozen=True)
class _Layout:
    """Cells in columns, from top to bottom. All in pixels."""

    size: int  # of the type
    down: int  # cells in a column
    words: float  # width of the words before the bars
    width: int  # of a cell

    @property
    def gap(self) -> int:
        return round(_BETWEEN * self.size)

    @property
    def inside(self) -> int:
        return round(_INSIDE * self.size)

    def height(self, rows: Sequence[_Row]) -> int:
        """The height of a cell."""
        return round((_TITLE + _LINE * len(rows)) * self.size) + 2 * self.inside

    def columns(self, cells: Sequence[Sequence[_Row]]) -> list[Sequence[Sequence[_Row]]]:
        return [cells[start : start + self.down] for start in range(0, len(cells), self.down)]

    def bounds(self, cells: Sequence[Sequence[_Row]]) -> tuple[int, int]:
        """Width and height of the whole chart."""
        columns = self.columns(cells)
        heights = [sum(self.height(rows) + self.gap for rows in column) for column in columns]
        return len(columns) * (self.width + self.gap) + self.gap, max(heights) + self.gap


def draw_chart(steps: Sequence[Step], labels: Labels = ENGLISH, translated: Sequence[str] = ()) -> Image.Image:
    """The chart of one caption's steps (`Captioner.explain`): RGB, WIDTH × HEIGHT pixels at most.

    translated: the words of its translation that come from each of the first steps; they stand before the chosen word.
    The chart of a long caption shows fewer words of each step, FEWEST at least. Raises ValueError for no steps.
    """
    if not steps:
        raise ValueError("a caption that was not explained has no chart")
    for most in range(max(FEWEST, *(len(step.likeliest) for step in steps)), FEWEST - 1, -1):
        cells = [_rows(step, most, labels.end) for step in steps]
        layout = _layout(cells)
        if layout.size >= READABLE:
            break
    chart = Image.new("RGB", layout.bounds(cells), BACKGROUND)
    draw = ImageDraw.Draw(chart)
    left, number = layout.gap, 0
    for column in layout.columns(cells):
        top = layout.gap
        for rows in column:
            title = steps[number].word or labels.end
            if "".join(translated[number : number + 1]):
                title = f"{translated[number]} · {title}"
            _draw_cell(draw, number + 1, title, rows, (left, top), layout)
            top += layout.height(rows) + layout.gap
            number += 1
        left += layout.width + layout.gap
    chart.thumbnail((WIDTH, HEIGHT))  # where nothing fits
    return chart


def _rows(step: Step, most: int, end: str) -> list[_Row]:
    """The likeliest words, then the chosen one unless it is among them."""
    rows = [_Row(word or end, p, word == step.word) for word, p in step.likeliest[:most]]
    if not any(row.said for row in rows):
        rows.append(_Row(step.word or end, step.probability, said=True))
    return rows


def _layout(cells: Sequence[Sequence[_Row]]) -> _Layout:
    """The one with the largest type that fits; among those, with the fewest columns."""
    longest = min(_WORD, max(font(LARGEST, row.word).getlength(row.word) for rows in cells for row in rows) / LARGEST)
    needed = longest + font(LARGEST).getlength(_FIGURES) / LARGEST + _INDENT + 2 * _SPACE + _BARS + 2 * _INSIDE
    best: _Layout | None = None
    for columns in range(1, min(len(cells), MOST_COLUMNS) + 1):
        for size in range(LARGEST, SMALLEST - 1 if best is None else best.size, -1):
            gap = round(_BETWEEN * size)
            width = min((WIDTH - gap) // columns - gap, round(16 * size))
            layout = _Layout(size, -(-len(cells) // columns), longest * size, width)
            if width >= needed * size and layout.bounds(cells)[1] <= HEIGHT:
                best = layout
                break
    if best is None:  # more words than any caption here has
        best = _Layout(SMALLEST, -(-len(cells) // MOST_COLUMNS), _WORD * SMALLEST, WIDTH // MOST_COLUMNS - SMALLEST)
    return best


def _draw_cell(
    draw: ImageDraw.ImageDraw,
    number: int,
    title: str,
    rows: Sequence[_Row],
    corner: tuple[int, int],
    layout: _Layout,
) -> None:
    """One step at `corner`, its left and top."""
    size = layout.size
    left, top = corner
    draw.rounded_rectangle((left, top, left + layout.width, top + layout.height(rows)), size // 3, fill=_CELL)
    left, right = left + layout.inside, left + layout.width - layout.inside
    words = left + _INDENT * size
    bars, bars_end = words + layout.words + _SPACE * size, right - font(size).getlength(_FIGURES) - _SPACE * size
    y = top + layout.inside + _TITLE * size / 2
    write(draw, title, (words, y), right - words - 1.2 * size, round(1.15 * size), smallest=6)
    draw.text((right, y), str(number), _FAINT, font(round(0.8 * size)), anchor="rm")
    y += (_TITLE + _LINE) * size / 2
    for row in rows:
        ink = INK
        if row.said:
            ink, tip = _SAID, 0.26 * size
            draw.polygon([(left, y - tip), (left, y + tip), (left + 1.6 * tip, y)], fill=_SAID)
        write(draw, row.word, (words, y), layout.words, size, smallest=6, fill=ink)
        above, below = y - 0.34 * size, y + 0.34 * size
        draw.rectangle((bars, above, bars_end, below), fill=_TRACK)
        length = max(1.0, (bars_end - bars) * row.probability)
        draw.rectangle((bars, above, bars + length, below), fill=_SAID if row.said else _BAR)
        draw.text((right, y), likelihood(row.probability), ink, font(size), anchor="rm")
        y += _LINE * size
