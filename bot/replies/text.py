"""Lengths as Telegram counts them, and texts made to fit."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

MAX_CAPTION: Final = 1024  # characters under a photo
MAX_TEXT: Final = 4096  # characters of a message
MAX_TITLE: Final = 100  # characters in a list of results
ELLIPSIS: Final = "…"
LONGEST_SPOKEN: Final = 1000  # characters, as many as model/speech.py speaks


def length(text: str) -> int:
    """How long Telegram finds a text: in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def shortened(text: str, limit: int) -> str:
    """The text, or as much of its beginning as fits, with an ellipsis."""
    if length(text) <= limit:
        return text
    while text and length(text) > limit - length(ELLIPSIS):
        text = text[:-1]
    return text.rstrip() + ELLIPSIS


def cut_at_word(text: str, limit: int) -> str:
    """As `shortened`, but no word is broken, unless the first one alone is too long."""
    short = shortened(text, limit)
    if short == text:
        return text
    kept = short.removesuffix(ELLIPSIS)
    words = kept if text[len(kept) :][:1].isspace() else kept.rpartition(" ")[0].rstrip()
    return words + ELLIPSIS if words else short


def one_line(text: str) -> str:
    return " ".join(text.split())


def escaped(text: str) -> str:
    return html.escape(text, quote=False)


def spoken(captions: Iterable[str]) -> str:
    """Several captions, to be read aloud one after the other; of too many, the first ones."""
    return ". ".join(fitting(captions, LONGEST_SPOKEN))


def fitting(lines: Iterable[str], room: int) -> list[str]:
    """The first lines that fit into `room`, each with the line break before it."""
    kept = []
    for line in lines:
        room -= length(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def clock(seconds: float) -> str:
    """0:07, 12:30, 1:00:05."""
    minutes, rest = divmod(int(seconds + 1e-6), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
