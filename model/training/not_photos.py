"""Pictures that are no photos, drawn by a script: what the gate is fitted to, and other kinds that measure it.

Each drawing takes a random number generator and a size and returns an RGB picture; `FITTED` and `HELD_OUT` name them
with the kind that the gate should call them. No drawing is in both: figures speak of pictures unlike those fitted.
"""

import functools
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Size = tuple[int, int]
Draw = Callable[[random.Random, Size], Image.Image]
Colour = tuple[int, int, int]

_TEXT: Final = """
the of and to in is that for it was on are as with his they at be this have from or one had by word but not what all
were we when your can said there use an each which she do how their if will up other about out many then them these
so some her would make like him into time has look two more write go see number no way could people my than first
water been call who oil its now find long down day did get come made may part report invoice total settings account
"""
WORDS: Final = tuple(_TEXT.split())


@functools.cache
def fonts() -> tuple[Path, ...]:
    """The TrueType fonts of this machine, matplotlib's among them if it is installed. Never empty."""
    folders = [Path("/usr/share/fonts"), Path("model/drawing/fonts")]
    try:
        import matplotlib

        folders.append(Path(matplotlib.get_data_path()) / "fonts" / "ttf")
    except ImportError:
        pass
    found = {path.name: path for folder in folders for path in sorted(folder.rglob("*.ttf"))}
    symbols = ("STIXSiz", "cmex", "cmsy", "cmmi", "STIXNonUni", "LastResort")  # without letters
    return tuple(path for name, path in sorted(found.items()) if not name.startswith(symbols) and _scales(path))


def _scales(path: Path) -> bool:
    """Whether a font can be drawn in any size; one of pixels, such as of emoji, has its own."""
    try:
        ImageFont.truetype(str(path), 12)
    except OSError:
        return False
    return True


def font(rng: random.Random, points: float) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(rng.choice(fonts())), max(6, int(points)))


def dark(rng: random.Random) -> Colour:
    return (rng.randint(0, 90), rng.randint(0, 90), rng.randint(0, 90))


def light(rng: random.Random) -> Colour:
    return (rng.randint(200, 255), rng.randint(200, 255), rng.randint(200, 255))


def any_colour(rng: random.Random) -> Colour:
    return (rng.randint(0, 255), rng.randint(0, 255), rng.randint(0, 255))


def sheet(rng: random.Random, size: Size, *, night: float = 0.2) -> tuple[Image.Image, ImageDraw.ImageDraw, Colour]:
    """An empty page, a pen, and the colour of its ink."""
    paper, ink = ((255, 255, 255) if rng.random() < 0.5 else light(rng)), dark(rng)
    if rng.random() < night:
        paper, ink = dark(rng), light(rng)
    image = Image.new("RGB", size, paper)
    return image, ImageDraw.Draw(image), ink


def blend(rng: random.Random, share: npt.NDArray[np.float64]) -> Image.Image:
    """Two colours, mixed by the share of the first, (rows, columns, 1)."""
    mixed = np.array(any_colour(rng)) * share + np.array(any_colour(rng)) * (1 - share)
    return Image.fromarray(mixed.astype(np.uint8))


def phrase(rng: random.Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words))


def lines(
    rng: random.Random, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], ink: Colour, points: float
) -> None:
    """A paragraph in a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    face, y = font(rng, points), float(top)
    while y < bottom - points:
        text = phrase(rng, 30)
        while text and draw.textlength(text, font=face) > right - left:
            text = text.rpartition(" ")[0]
        if rng.random() > 0.12:
            draw.text((left, y), text, fill=ink, font=face)
        y += 1.4 * points


def page(rng: random.Random, size: Size) -> Image.Image:
    image, draw, ink = sheet(rng, size)
    margin = int(size[0] * rng.uniform(0.03, 0.12))
    points = size[1] / rng.uniform(14, 40)
    draw.text((margin, margin), phrase(rng, 3).title(), fill=ink, font=font(rng, 1.8 * points))
    lines(rng, draw, (margin, int(margin + 3 * points), size[0] - margin, size[1] - margin), ink, points)
    return image


def big_words(rng: random.Random, size: Size) -> Image.Image:
    image, draw, ink = sheet(rng, size, night=0.5)
    for row in range(rng.randint(1, 3)):
        text = phrase(rng, rng.randint(1, 2)).upper()
        face = font(rng, size[0] / max(4, len(text)) * 1.3)
        draw.text((size[0] * rng.uniform(0.02, 0.15), size[1] * (0.15 + 0.27 * row)), text, fill=ink, font=face)
    return image


def form(rng: random.Random, size: Size) -> Image.Image:
    """A window: a bar on top, perhaps a list at the side, rows with fields and buttons."""
    image, draw, ink = sheet(rng, size, night=0.3)
    width, height = size
    bar, side, accent = height * rng.uniform(0.06, 0.12), width * rng.choice((0, 0.22, 0.3)), any_colour(rng)
    draw.rectangle((0, 0, width, bar), fill=accent)
    draw.text((bar / 3, bar / 5), phrase(rng, 2).title(), fill=light(rng), font=font(rng, bar * 0.5))
    if side:
        draw.rectangle((0, bar, side, height), fill=any_colour(rng))
    step = height * rng.uniform(0.06, 0.11)
    y = bar + step / 2
    while y < height - step:
        face = font(rng, step * 0.4)
        if side:
            draw.text((step / 3, y), phrase(rng, 1), fill=ink, font=face)
        draw.text((side + step / 2, y), phrase(rng, 2), fill=ink, font=face)
        shape = (width * 0.6, y, width * rng.uniform(0.75, 0.96), y + step * 0.6)
        fill = accent if rng.random() < 0.3 else None
        draw.rounded_rectangle(shape, radius=step * rng.uniform(0, 0.3), outline=ink, fill=fill)
        y += step
    return image


def cards(rng: random.Random, size: Size) -> Image.Image:
    """A page of tiles with a line of text each."""
    image, draw, ink = sheet(rng, size, night=0.3)
    columns, rows = rng.randint(2, 4), rng.randint(2, 5)
    width, height = size[0] / columns, size[1] / rows
    for column in range(columns):
        for row in range(rows):
            x, y = column * width, row * height
            draw.rectangle((x + 6, y + 6, x + width - 6, y + height * 0.7), fill=any_colour(rng), outline=ink)
            draw.text((x + 8, y + height * 0.74), phrase(rng, 2), fill=ink, font=font(rng, height * 0.12))
    return image


def axes(rng: random.Random, draw: ImageDraw.ImageDraw, size: Size, ink: Colour) -> tuple[float, float, float, float]:
    """Draws the axes of a plot and returns its box."""
    width, height = size
    box = (width * 0.12, height * 0.1, width * 0.95, height * 0.88)
    draw.line([(box[0], box[1]), (box[0], box[3]), (box[2], box[3])], fill=ink, width=2)
    for tick in range(6):
        y = box[3] - (box[3] - box[1]) * tick / 6
        draw.text((box[0] * 0.3, y - 6), str(tick * rng.choice((1, 5, 20))), fill=ink, font=font(rng, height * 0.035))
    draw.text((width * 0.3, height * 0.02), phrase(rng, 3), fill=ink, font=font(rng, height * 0.05))
    return box


def line_plot(rng: random.Random, size: Size) -> Image.Image:
    image, draw, ink = sheet(rng, size)
    left, top, right, bottom = axes(rng, draw, size, ink)
    for _ in range(rng.randint(1, 4)):
        y, points = rng.random(), []
        for step in range(41):
            y = min(1.0, max(0.0, y + rng.gauss(0, 0.06)))
            points.append((left + (right - left) * step / 40, bottom - (bottom - top) * y))
        draw.line(points, fill=any_colour(rng), width=rng.randint(1, 4))
    return image


def bar_plot(rng: random.Random, size: Size) -> Image.Image:
    image, draw, ink = sheet(rng, size)
    left, top, right, bottom = axes(rng, draw, size, ink)
    count, colour = rng.randint(3, 14), any_colour(rng)
    for bar in range(count):
        x = left + (right - left) * (bar + 0.15) / count
        y = bottom - (bottom - top) * rng.random()
        draw.rectangle((x, y, x + 0.7 * (right - left) / count, bottom), fill=colour, outline=ink)
    return image


def shapes(rng: random.Random, size: Size) -> Image.Image:
    """Circles, boxes and polygons of plain colours."""
    image, draw, _ = sheet(rng, size)
    for _ in range(rng.randint(1, 9)):
        x, y = rng.uniform(0, size[0]), rng.uniform(0, size[1])
        r = rng.uniform(0.05, 0.3) * size[0]
        kind, colour = rng.randrange(3), any_colour(rng)
        if kind == 0:
            draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        elif kind == 1:
            draw.rectangle((x - r, y - r / 2, x + r, y + r / 2), fill=colour)
        else:
            draw.regular_polygon((x, y, r), rng.randint(3, 8), rotation=rng.randint(0, 90), fill=colour)
    return image


def plain(rng: random.Random, size: Size) -> Image.Image:
    """One colour, perhaps with a trace of noise."""
    colour = rng.choice((any_colour, dark, light))(rng)
    field = np.full((size[1], size[0], 3), colour, float)
    noise = np.random.default_rng(rng.getrandbits(32)).normal(0, rng.choice((0, 0, 1, 3)), field.shape)
    return Image.fromarray(np.clip(field + noise, 0, 255).astype(np.uint8))


def gradient(rng: random.Random, size: Size) -> Image.Image:
    """From one colour to another, in any direction."""
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    angle = rng.uniform(0, 2 * np.pi)
    return blend(rng, ((np.cos(angle) * x + np.sin(angle) * y) / 2.83 + 0.5)[..., None])


def noise(rng: random.Random, size: Size) -> Image.Image:
    """White noise, grey or coloured, at any grain."""
    grain = rng.choice((1, 1, 2, 4))
    shape = (size[1] // grain, size[0] // grain, rng.choice((1, 3)))
    values = np.random.default_rng(rng.getrandbits(32)).uniform(0, 255, shape)
    if rng.random() < 0.5:
        values = 128 + (values - 128) * rng.uniform(0.2, 0.7)
    image = Image.fromarray(np.broadcast_to(values, (*shape[:2], 3)).astype(np.uint8))
    return image.resize(size, Image.Resampling.NEAREST)


def terminal(rng: random.Random, size: Size) -> Image.Image:
    image = Image.new("RGB", size, rng.choice(((0, 0, 0), (12, 12, 30), (40, 42, 54))))
    draw = ImageDraw.Draw(image)
    points, y = size[1] / rng.uniform(22, 36), 4.0
    monospaced = [path for path in fonts() if "Mono" in path.name or "tt10" in path.name] or list(fonts())
    face = ImageFont.truetype(str(rng.choice(monospaced)), int(points))
    while y < size[1] * rng.uniform(0.5, 1.0):
        x = points * rng.randint(0, 4)
        for _ in range(rng.randint(1, 8)):
            word = rng.choice(("$", "=", "()", "def", "return", "for", "{", "}", *WORDS[:40]))
            draw.text((x, y), word, fill=rng.choice(((220, 220, 220), (80, 250, 123), (255, 121, 198))), font=face)
            x += draw.textlength(word + " ", font=face)
        y += 1.25 * points
    return image


def chat(rng: random.Random, size: Size) -> Image.Image:
    """Messages in bubbles, left and right."""
    image, draw, _ = sheet(rng, size, night=0.3)
    width, height = size
    y = height * 0.05
    while y < height * 0.9:
        tall, wide = height * rng.uniform(0.06, 0.16), width * rng.uniform(0.3, 0.7)
        x = 8 if rng.random() < 0.5 else width - wide - 8
        draw.rounded_rectangle((x, y, x + wide, y + tall), radius=tall / 4, fill=light(rng))
        lines(rng, draw, (int(x + 8), int(y + 4), int(x + wide - 8), int(y + tall)), dark(rng), height * 0.03)
        y += tall + height * 0.03
    return image


def table(rng: random.Random, size: Size) -> Image.Image:
    """A spreadsheet."""
    image, draw, ink = sheet(rng, size, night=0.1)
    columns, rows = rng.randint(4, 9), rng.randint(10, 24)
    width, height = size[0] / columns, size[1] / rows
    face = font(rng, height * 0.55)
    for row in range(rows):
        draw.line((0, row * height, size[0], row * height), fill=(190, 190, 190))
        for column in range(columns):
            text = rng.choice(WORDS) if column == 0 or row == 0 else f"{rng.uniform(0, 999):.2f}"
            draw.text((column * width + 3, row * height + 1), text, fill=ink, font=face)
    for column in range(columns):
        draw.line((column * width, 0, column * width, size[1]), fill=(190, 190, 190))
    return image


def pie(rng: random.Random, size: Size) -> Image.Image:
    image, draw, ink = sheet(rng, size)
    r, start = min(size) * rng.uniform(0.25, 0.4), 0.0
    cx, cy = size[0] * rng.uniform(0.4, 0.6), size[1] * 0.55
    while start < 360:
        end = min(360.0, start + rng.uniform(20, 140))
        draw.pieslice((cx - r, cy - r, cx + r, cy + r), start, end, fill=any_colour(rng), outline=ink)
        draw.text((4, 4 + start / 360 * size[1]), phrase(rng, 1), fill=ink, font=font(rng, size[1] * 0.04))
        start = end
    return image


def flow_chart(rng: random.Random, size: Size) -> Image.Image:
    """Boxes with words and lines between them."""
    image, draw, ink = sheet(rng, size)
    width, height = size
    centres = [
        (width * (0.2 + 0.6 * column / 2), height * (0.15 + 0.7 * row / 3)) for row in range(4) for column in range(3)
    ]
    centres = rng.sample(centres, rng.randint(4, 10))
    draw.line(centres, fill=ink, width=2)
    for x, y in centres:
        dx, dy = width * 0.11, height * 0.06
        corner = rng.choice((0, 10))
        draw.rounded_rectangle((x - dx, y - dy, x + dx, y + dy), radius=corner, fill=light(rng), outline=ink)
        draw.text((x - 0.8 * dx, y - dy / 2), phrase(rng, 1), fill=dark(rng), font=font(rng, height * 0.04))
    return image


def scatter(rng: random.Random, size: Size) -> Image.Image:
    image, draw, ink = sheet(rng, size)
    left, top, right, bottom = axes(rng, draw, size, ink)
    for _ in range(rng.randint(1, 3)):
        cx, cy, colour = rng.uniform(0.2, 0.8), rng.uniform(0.2, 0.8), any_colour(rng)
        for _ in range(rng.randint(30, 150)):
            x, y = left + (right - left) * rng.gauss(cx, 0.1), top + (bottom - top) * rng.gauss(cy, 0.1)
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
    return image


def blocks(rng: random.Random, size: Size) -> Image.Image:
    """A square code of black and white cells."""
    count = rng.randint(21, 45)
    cells = np.random.default_rng(rng.getrandbits(32)).random((count, count)) < 0.5
    image = Image.fromarray(np.where(cells, 0, 255).astype(np.uint8)).convert("RGB")
    framed = Image.new("RGB", size, "white")
    edge = int(min(size) * rng.uniform(0.5, 0.95))
    framed.paste(image.resize((edge, edge), Image.Resampling.NEAREST), ((size[0] - edge) // 2, (size[1] - edge) // 2))
    return framed


def logo(rng: random.Random, size: Size) -> Image.Image:
    """A mark of two shapes with a name below."""
    image, draw, _ = sheet(rng, size, night=0.3)
    cx, cy, r, colour = size[0] / 2, size[1] * 0.4, min(size) * rng.uniform(0.15, 0.28), any_colour(rng)
    draw.ellipse((cx - r, cy - r, cx + r, cy + r), fill=colour)
    draw.regular_polygon((cx, cy, r * 0.6), rng.randint(3, 6), rotation=rng.randint(0, 90), fill=light(rng))
    name = phrase(rng, 1).upper()
    face = font(rng, size[1] * 0.12)
    draw.text((cx - draw.textlength(name, font=face) / 2, size[1] * 0.75), name, fill=colour, font=face)
    return image


def soft_gradient(rng: random.Random, size: Size) -> Image.Image:
    """A bright spot on a plain colour, blurred: what a lens cap or a wall gives."""
    x, y = np.meshgrid(np.linspace(-1, 1, size[0]), np.linspace(-1, 1, size[1]))
    share = np.exp(-((x - rng.uniform(-1, 1)) ** 2 + (y - rng.uniform(-1, 1)) ** 2) / rng.uniform(0.3, 3))[..., None]
    return blend(rng, share)


def cloud(rng: random.Random, size: Size) -> Image.Image:
    """Blurred noise of several sizes."""
    generator = np.random.default_rng(rng.getrandbits(32))
    total = np.zeros((size[1], size[0], 3))
    for cells in (4, 8, 16, 64):
        small = Image.fromarray(generator.integers(0, 255, (cells, cells, 3), dtype=np.uint8))
        total += np.asarray(small.resize(size, Image.Resampling.BICUBIC), float) / 4
    return Image.fromarray(total.astype(np.uint8)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 2)))


def pepper(rng: random.Random, size: Size) -> Image.Image:
    """White and black dots on a plain colour."""
    field = np.full((size[1], size[0], 3), any_colour(rng), np.uint8)
    chance = np.random.default_rng(rng.getrandbits(32)).random(size[::-1])
    density = rng.uniform(0.05, 0.4)
    field[chance < density / 2] = 0
    field[chance > 1 - density / 2] = 255
    return Image.fromarray(field)


def photographed_page(rng: random.Random, size: Size) -> Image.Image:
    """A page held askew before a plain surface: uneven light, a little blur and the noise of a camera."""
    width, height = size
    x, y = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    surface = Image.new("RGB", size, any_colour(rng))
    surface.paste(page(rng, size).resize((int(0.85 * width), int(0.85 * height))), (width // 14, height // 14))
    corners = [  # upper left, lower left, lower right, upper right
        (edge + rng.uniform(-0.1, 0.1)) * length
        for edge, length in zip((0, 0, 0, 1, 1, 1, 1, 0), (width, height) * 4, strict=True)
    ]
    askew = surface.transform(size, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    light_here = 0.75 + 0.25 * np.cos(x * rng.uniform(0, 2) + y * rng.uniform(0, 2) + rng.uniform(-1, 1))
    grain = np.random.default_rng(rng.getrandbits(32)).normal(0, 4, (height, width, 3))
    shot = (
        np.asarray(askew.filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.2))), float) * light_here[..., None] + grain
    )
    return Image.fromarray(np.clip(shot, 0, 255).astype(np.uint8))


def handwriting(rng: random.Random, size: Size) -> Image.Image:
    """Curly strokes on ruled paper."""
    image, draw, ink = sheet(rng, size, night=0.0)
    step = size[1] / rng.randint(8, 16)
    for row in range(1, int(size[1] / step)):
        base, x = row * step, size[0] * 0.06
        draw.line((0, base, size[0], base), fill=(170, 190, 220))
        while x < size[0] * rng.uniform(0.7, 0.95):
            points = []
            for part in range(rng.randint(8, 30)):
                points.append((x, base - step * 0.3 * (1 + np.sin(part * 1.3 + rng.uniform(-0.6, 0.6)))))
                x += step * rng.uniform(0.02, 0.14)
            draw.line(points, fill=ink, width=2)
            x += step * 0.3
    return image


def street_map(rng: random.Random, size: Size) -> Image.Image:
    """Parks, water, streets and their names."""
    width, height = size
    image = Image.new("RGB", size, (240, 236, 226))
    draw = ImageDraw.Draw(image)

    def anywhere() -> tuple[float, float]:
        return rng.uniform(-0.2, 1.2) * width, rng.uniform(-0.2, 1.2) * height

    for colour in ((170, 211, 223), (200, 230, 190), (200, 230, 190)):
        draw.polygon([anywhere() for _ in range(5)], fill=colour)
    for broad in (3, 3, 3, 3, 3, 3, 3, 7, 7, 11):
        ends = [anywhere(), anywhere(), anywhere()]
        draw.line(ends, fill=(150, 150, 150), width=broad + 2)
        draw.line(ends, fill=(255, 255, 255) if broad < 8 else (250, 200, 120), width=broad)
    for _ in range(rng.randint(4, 10)):
        draw.text(anywhere(), phrase(rng, 2).title(), fill=(60, 60, 60), font=font(rng, height * 0.04))
    return image


def cartoon(rng: random.Random, size: Size) -> Image.Image:
    """A house, a sun and trees, outlined and filled."""
    width, height = size
    image = Image.new("RGB", size, light(rng))
    draw = ImageDraw.Draw(image)
    ground = height * rng.uniform(0.6, 0.8)
    draw.rectangle((0, ground, width, height), fill=(rng.randint(40, 140), rng.randint(140, 210), 80))
    draw.ellipse((width * 0.75, height * 0.05, width * 0.92, height * 0.05 + width * 0.17), fill=(250, 210, 60))
    left, side = width * rng.uniform(0.1, 0.5), width * rng.uniform(0.2, 0.35)
    draw.rectangle((left, ground - side, left + side, ground), fill=any_colour(rng), outline="black", width=3)
    roof = [(left - 9, ground - side), (left + side / 2, ground - 1.6 * side), (left + side + 9, ground - side)]
    draw.polygon(roof, fill=any_colour(rng), outline="black", width=3)
    for _ in range(rng.randint(1, 4)):
        x, tall = rng.uniform(0, width), height * rng.uniform(0.1, 0.25)
        draw.rectangle((x - 5, ground - tall, x + 5, ground + 8), fill=(110, 70, 30), outline="black")
        draw.ellipse(
            (x - tall / 2, ground - 1.8 * tall, x + tall / 2, ground - 0.8 * tall), fill=(40, 140, 60), outline=0
        )
    return image


FITTED: Final[dict[str, tuple[str, Draw]]] = {
    "page": ("text", page),
    "big words": ("text", big_words),
    "form": ("screen", form),
    "cards": ("screen", cards),
    "line plot": ("drawing", line_plot),
    "bar plot": ("drawing", bar_plot),
    "shapes": ("drawing", shapes),
    "plain": ("blank", plain),
    "gradient": ("blank", gradient),
    "noise": ("noise", noise),
}
HELD_OUT: Final[dict[str, tuple[str, Draw]]] = {
    "terminal": ("screen", terminal),
    "chat": ("screen", chat),
    "table": ("text", table),
    "pie": ("drawing", pie),
    "flow chart": ("drawing", flow_chart),
    "scatter": ("drawing", scatter),
    "square code": ("drawing", blocks),
    "logo": ("drawing", logo),
    "spot": ("blank", soft_gradient),
    "cloud": ("noise", cloud),
    "pepper": ("noise", pepper),
    "photographed page": ("text", photographed_page),
    "handwriting": ("text", handwriting),
    "map": ("drawing", street_map),
    "cartoon": ("drawing", cartoon),
}
KINDS: Final = tuple(dict.fromkeys(kind for kind, _ in FITTED.values()))


def pictures(draw: Draw, count: int, seed: str) -> list[Image.Image]:
    """So many pictures of one drawing, in sizes and shapes of every day; the same for the same seed."""
    rng = random.Random(seed)
    sizes: Sequence[Size] = ((320, 320), (420, 320), (320, 480), (480, 300), (240, 420))
    return [draw(rng, rng.choice(sizes)) for _ in range(count)]
