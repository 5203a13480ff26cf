"""A clip on one picture: its moments above, the novelty curve of the whole clip below.

┌──────┐ ┌──────┐ ┌──────┐
│ 0:02 │ │ 0:07 │ │ 0:11 │    the moments, in the order of time
└──┬───┘ └───┬──┘ └──┬───┘
   ╰─╮       │       ╰──╮     each tied to its place on the curve
▁▁▁▁▁●▂▂▂▂▂▂▂●▁▁▁▁▅▅▅▅▅▅●▁▁   how unlike the rest of the clip each frame is, 0 to 1
0:00   0:03   0:06   0:09
"""

import itertools
from collections.abc import Sequence
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from model.clip_moments import Moment, Moments
from model.drawing.labels import ENGLISH, Labels, percent
from model.drawing.style import ACCENT, BACKGROUND, GAP, INK, fit, font

WIDTH: Final = 1280
_MARGIN: Final = 28
_TALLEST: Final = 400  # of a moment's picture
_LEADERS: Final = 44  # pixels between pictures and film
_FILM: Final = 54
_CURVE: Final = 150
_AXIS: Final = 40
_TITLE: Final = 40
_FAINT: Final = (120, 120, 124)
_AREA: Final = (92, 60, 110)
_LINE: Final = (190, 140, 215)
_GRID: Final = (44, 44, 48)
_STEPS: Final = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
_OVER: Final = 2  # lines are drawn so much larger, and reduced


def clock(seconds: float, *, tenths: bool = False) -> str:
    """0:07, 12:30, 1:00:05; with tenths 0:07.5."""
    whole = int(seconds + 1e-6)
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
    return f"{text}.{int(seconds * 10 + 1e-6) % 10}" if tenths else text


def draw_timeline(clip: Moments, labels: Labels = ENGLISH) -> Image.Image:
    """The timeline of a clip: RGB, WIDTH pixels wide and less high. Raises ValueError for no frames."""
    if not clip.frames:
        raise ValueError("a clip without frames has no timeline")
    inner = WIDTH - 2 * _MARGIN
    pictures = _row(clip.moments, inner)
    row = max(picture.height for picture in pictures)
    tops = {"row": _TITLE}
    tops["film"] = tops["row"] + row + _LEADERS
    tops["curve"] = tops["film"] + _FILM + GAP
    sheet = Image.new("RGB", (WIDTH, tops["curve"] + _CURVE + _AXIS), BACKGROUND)
    _draw_film(sheet, clip, tops["film"])
    _draw_curve(sheet, clip, tops["curve"])
    draw = ImageDraw.Draw(sheet)
    _draw_title(draw, clip, labels)
    _draw_axis(draw, clip.duration, tops["curve"] + _CURVE)
    _draw_moments(sheet, clip, pictures, tops)
    return sheet


def _across(time: float, duration: float) -> float:
    """The horizontal position of a time on the sheet, in pixels."""
    return _MARGIN + (WIDTH - 2 * _MARGIN) * min(1.0, max(0.0, time / duration if duration > 0 else 0.5))


def _row(moments: Sequence[Moment], inner: int) -> list[Image.Image]:
    """The pictures of the moments at one height, as large as the row allows."""
    sources = [moment.image(max(_TALLEST, inner // len(moments)) * 2) for moment in moments]
    room = inner - GAP * (len(sources) - 1)
    ratios = [min(3.0, max(1 / 3, source.width / source.height)) for source in sources]
    height = min(_TALLEST, int(room / sum(ratios)))
    return [fit(each, (max(1, int(height * ratio)), height)) for each, ratio in zip(sources, ratios, strict=True)]


def _draw_title(draw: ImageDraw.ImageDraw, clip: Moments, labels: Labels) -> None:
    if clip.still:
        said = labels.still
    else:
        said = labels.moments.format(count=len(clip.moments), variedness=percent(clip.variedness))
    draw.text(
        (_MARGIN, _TITLE / 2), clock(clip.duration, tenths=clip.duration < 1), fill=INK, font=font(20), anchor="lm"
    )
    draw.text((WIDTH - _MARGIN, _TITLE / 2), said, fill=_FAINT, font=font(20, said), anchor="rm")


def _draw_film(sheet: Image.Image, clip: Moments, top: int) -> None:
    """A strip of frames, aligned with the time axis."""
    first = clip.frames[0].image(160)
    tile = min(_FILM * 3, max(_FILM // 3, round(_FILM * first.width / first.height)))
    inner = WIDTH - 2 * _MARGIN
    tiles = max(1, round(inner / tile))
    times = np.array([frame.time for frame in clip.frames])
    edges = np.linspace(_MARGIN, WIDTH - _MARGIN, tiles + 1).round().astype(int).tolist()
    for left, right in itertools.pairwise(edges):
        middle = ((left + right) / 2 - _MARGIN) / inner * clip.duration
        picture = clip.frames[int(np.abs(times - middle).argmin())].image(160)
        scale = max((right - left) / picture.width, _FILM / picture.height)
        box = ((right - left) / scale / 2, _FILM / scale / 2)  # the middle of the frame fills the tile
        centre = (picture.width / 2, picture.height / 2)
        crop = (centre[0] - box[0], centre[1] - box[1], centre[0] + box[0], centre[1] + box[1])
        sheet.paste(picture.resize((right - left, _FILM), Image.Resampling.BICUBIC, box=crop), (left, top))


def _draw_curve(sheet: Image.Image, clip: Moments, top: int) -> None:
    """The scores over time as an area, and a dot for each moment."""
    canvas = Image.new("RGB", (WIDTH * _OVER, _CURVE * _OVER), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    left, right, floor = _MARGIN * _OVER, (WIDTH - _MARGIN) * _OVER, _height(0.0) * _OVER
    for level in (0.5, 1.0):
        draw.line([(left, _height(level) * _OVER), (right, _height(level) * _OVER)], fill=_GRID, width=_OVER)
    points = [(_across(f.time, clip.duration) * _OVER, _height(f.score) * _OVER) for f in clip.frames]
    points = [(left, points[0][1]), *points, (right, points[-1][1])]
    draw.polygon([(left, floor), *points, (right, floor)], fill=_AREA)
    draw.line(points, fill=_LINE, width=3 * _OVER, joint="curve")
    draw.line([(left, floor), (right, floor)], fill=_FAINT, width=_OVER)
    for moment in clip.moments:
        x, y = _across(moment.time, clip.duration) * _OVER, _height(moment.score) * _OVER
        draw.line([(x, 0), (x, floor)], fill=ACCENT, width=2 * _OVER)
        radius = 7 * _OVER
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), ACCENT, BACKGROUND, 2 * _OVER)
    sheet.paste(canvas.reduce(_OVER), (0, top))


def _height(score: float) -> float:
    """Pixels below the curve's top edge."""
    return 8 + (1 - score) * (_CURVE - 12)


def _draw_axis(draw: ImageDraw.ImageDraw, duration: float, top: int) -> None:
    step = next((step for step in _STEPS if duration / step <= 10), duration or 1.0)
    tenths = step < 1
    time = 0.0
    while time <= duration + 1e-6:
        x, text = _across(time, duration), clock(time, tenths=tenths)
        draw.line([(x, top), (x, top + 6)], fill=_FAINT, width=1)
        half = draw.textlength(text, font=font(16)) / 2
        x = min(max(x, _MARGIN / 2 + half), WIDTH - _MARGIN / 2 - half)
        draw.text((x, top + 21), text, fill=INK, font=font(16), anchor="mm")
        time += step


def _draw_moments(sheet: Image.Image, clip: Moments, pictures: list[Image.Image], tops: dict[str, int]) -> None:
    """The pictures, centred in their row, each with its time and a line to its place in the film and on the curve."""
    draw = ImageDraw.Draw(sheet)
    lines = Image.new("RGB", (WIDTH * _OVER, _LEADERS * _OVER), BACKGROUND)
    pen = ImageDraw.Draw(lines)
    bottom = tops["film"] - _LEADERS
    tenths = len({clock(moment.time) for moment in clip.moments}) < len(clip.moments)
    left = (WIDTH - sum(picture.width for picture in pictures) - GAP * (len(pictures) - 1)) // 2
    for moment, picture in zip(clip.moments, pictures, strict=True):
        sheet.paste(picture, (left, bottom - picture.height))
        middle, x = left + picture.width / 2, _across(moment.time, clip.duration)
        way = [(middle, 0), (middle, 8), (x, _LEADERS - 8), (x, _LEADERS)]
        pen.line([(a * _OVER, b * _OVER) for a, b in way], fill=ACCENT, width=2 * _OVER, joint="curve")
        draw.line([(x, tops["film"]), (x, tops["curve"])], fill=ACCENT, width=2)
        text = clock(moment.time, tenths=tenths)
        half = draw.textlength(text, font=font(17)) / 2 + 6
        draw.rectangle((left, bottom - 26, left + round(2 * half), bottom - 1), fill=ACCENT)
        draw.text((left + half, bottom - 13), text, fill=BACKGROUND, font=font(17), anchor="mm")
        left += picture.width + GAP
    sheet.paste(lines.reduce(_OVER), (0, bottom))
