"""A chat as a person sees it, drawn: bubbles with words and pictures, and the buttons below them."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

import matplotlib
from PIL import Image, ImageDraw, ImageFont

Message = dict[str, Any]
FileOf = Callable[[str], bytes]

WIDTH: Final = 420  # of a screen, pixels
MARGIN: Final = 10
PADDING: Final = 9
BUBBLE: Final = 350
LINE: Final = 21
BUTTON: Final = 32
SIZE: Final = 15
GROUND: Final = "#c9d9c3"
COLOURS: Final = {True: "#ffffff", False: "#e2f7cb"}  # the bot's, the person's
EMOJI: Final = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")  # Debian: fonts-noto-color-emoji
EMOJI_SIZE: Final = 109  # the only one that font has


@cache
def _font(bold: bool = False, size: int = SIZE) -> ImageFont.FreeTypeFont:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


@cache
def _emoji(character: str) -> Image.Image | None:
    """In colours; None where the font is not installed."""
    if not EMOJI.exists():
        return None
    font = ImageFont.truetype(str(EMOJI), EMOJI_SIZE)
    picture = Image.new("RGBA", (136, 128))
    ImageDraw.Draw(picture).text((0, 0), character, font=font, embedded_color=True)
    return picture.resize((SIZE + 4, SIZE + 3), Image.Resampling.LANCZOS)


def _is_emoji(character: str) -> bool:
    return ord(character) >= 0x1F300 or (unicodedata.category(character) == "So" and ord(character) >= 0x2300)


def _pieces(text: str) -> Iterator[tuple[str, bool]]:
    """Runs of text, and emoji one by one."""
    run = ""
    for character in text:
        if unicodedata.category(character) == "Mn" or character == "\ufe0f":
            continue
        if _is_emoji(character):
            if run:
                yield run, False
            run = ""
            yield character, True
        else:
            run += character
    if run:
        yield run, False


def _length(text: str, bold: bool) -> float:
    return sum(SIZE + 5 if emoji else _font(bold).getlength(piece) for piece, emoji in _pieces(text))


def _write(sheet: Image.Image, text: str, at: tuple[float, float], *, bold: bool = False, ink: str = "#111111") -> None:
    """At the left end of the line's middle."""
    draw, (left, middle) = ImageDraw.Draw(sheet), at
    for piece, emoji in _pieces(text):
        if emoji and (picture := _emoji(piece)) is not None:
            sheet.paste(picture, (int(left), int(middle - picture.height / 2)), picture)
        elif emoji:
            piece = "▫"
            draw.text((left, middle), piece, fill=ink, font=_font(bold), anchor="lm")
        else:
            draw.text((left, middle), piece, fill=ink, font=_font(bold), anchor="lm")
        left += SIZE + 5 if emoji else _font(bold).getlength(piece)


def _wrapped(text: str, bold: int, width: float) -> Iterator[tuple[str, bool]]:
    """Lines of at most `width`; `bold`: of how many characters the beginning is bold."""
    for line in text.split("\n"):
        heavy = bold > 0
        bold -= len(line) + 1
        words = line.split(" ")
        current = words[0]
        for word in words[1:]:
            if _length(f"{current} {word}", heavy) > width:
                yield current, heavy
                current = word
            else:
                current += f" {word}"
        yield current, heavy


def _picture(message: Message, file_of: FileOf) -> Image.Image | None:
    if "photo" in message:
        picture = Image.open(io.BytesIO(file_of(message["photo"][-1]["file_id"]))).convert("RGB")
    elif any(kind in message for kind in ("video", "animation", "video_note", "voice", "document")):
        kind = next(kind for kind in ("voice", "video_note", "animation", "video", "document") if kind in message)
        picture = Image.new("RGB", (300, 44), "#8aa0b4")
        name = message[kind].get("file_name", "")
        _write(picture, f"▶ {kind} {name}", (10, 22), ink="#ffffff")
        return picture
    else:
        return None
    picture.thumbnail((BUBBLE, 460))
    return picture


def _bubble(message: Message, file_of: FileOf) -> Image.Image:
    mine = bool(message["from"]["is_bot"])
    text = message.get("text") or message.get("caption") or ""
    entities = message.get("entities") or message.get("caption_entities") or ()
    bold = max((e["offset"] + e["length"] for e in entities if e["type"] == "bold" and e["offset"] == 0), default=0)
    lines = list(_wrapped(text, bold, BUBBLE - 2 * PADDING)) if text else []
    picture = _picture(message, file_of)
    replied = message.get("reply_to_message") if mine else None
    quote = 20 if replied else 0
    top = PADDING + quote + (picture.height + PADDING if picture else 0)
    height = top + LINE * len(lines) + (PADDING if lines else 0)
    bubble = Image.new("RGB", (BUBBLE, height), COLOURS[mine])
    if replied:
        kind = next((kind for kind in ("photo", "video") if kind in replied), "")
        words = replied.get("text") or replied.get("caption") or kind
        _write(bubble, f"│ {words.splitlines()[0][:34]}", (PADDING, PADDING + 7), ink="#3a7ca5")
    if picture:
        bubble.paste(picture, ((BUBBLE - picture.width) // 2, PADDING + quote))
    for number, (line, heavy) in enumerate(lines):
        _write(bubble, line, (PADDING, top + LINE * number + LINE / 2), bold=heavy)
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    whole = Image.new("RGB", (BUBBLE, height + (BUTTON + 3) * len(rows)), GROUND)
    whole.paste(bubble, (0, 0))
    draw = ImageDraw.Draw(whole)
    for number, row in enumerate(rows):
        y, width = height + 3 + (BUTTON + 3) * number, BUBBLE / len(row)
        for place, button in enumerate(row):
            x = place * width
            draw.rounded_rectangle((x + 1, y, x + width - 2, y + BUTTON - 1), 6, fill="#7d9a86")
            long = _length(button["text"], bold=False)
            _write(whole, button["text"], (x + max(3, (width - long) / 2), y + BUTTON / 2), ink="#ffffff")
    return whole


def draw_chat(title: str, messages: Sequence[Message], file_of: FileOf) -> Image.Image:
    """A column of bubbles: the bot's on the left, people's on the right. `file_of`: the bytes of a file id."""
    bubbles = [(bool(m["from"]["is_bot"]), _bubble(m, file_of)) for m in messages]
    height = 44 + sum(b.height + MARGIN for _, b in bubbles) + MARGIN
    screen = Image.new("RGB", (WIDTH, height), GROUND)
    ImageDraw.Draw(screen).rectangle((0, 0, WIDTH, 36), fill="#517da2")
    _write(screen, title, (MARGIN, 18), bold=True, ink="#ffffff")
    top = 44
    for mine, bubble in bubbles:
        screen.paste(bubble, (MARGIN if mine else WIDTH - MARGIN - bubble.width, top))
        top += bubble.height + MARGIN
    return screen


def side_by_side(screens: Sequence[Image.Image]) -> Image.Image:
    """Several screens on one sheet."""
    width, height = sum(screen.width + MARGIN for screen in screens) + MARGIN, max(screen.height for screen in screens)
    sheet = Image.new("RGB", (width, height), "#333333")
    left = MARGIN
    for screen in screens:
        sheet.paste(screen, (left, 0))
        left += screen.width + MARGIN
    return sheet
