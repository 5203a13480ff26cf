"""What may be asked of an edit: words, strength and seed, understood or refused. No torch."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

STRENGTHS: Final = (10, 100)  # percent
STRENGTH: Final = 60
SEEDS: Final = (0, 999_999_999)
LONGEST: Final = 500  # characters; the networks read about 75 pieces of words
STEPS: Final = 30  # of denoising
SECONDS: Final = 600.0  # that one edit may take

Fault: TypeAlias = Literal["none", "too_long", "no_words", "option"]

_OPTION: Final = re.compile(r"(strength|seed|сила)\s*=\s*(\S+)", re.IGNORECASE)
_PERCENT: Final = re.compile(r"(\d{1,3})\s*%?|([01][.,]\d{1,4})")
_WHOLE: Final = re.compile(r"\d{1,9}", re.ASCII)


class EditFault(ValueError):
    """What was asked for is no edit: `item` is what is wrong, `count` how many characters it has."""

    def __init__(self, fault: Fault, item: str = "", count: int = 0) -> None:
        super().__init__(_SAID[fault].format(item=item, count=count))
        self.fault = fault
        self.item = item
        self.count = count


_SAID: Final[dict[Fault, str]] = {
    "none": "no words say what to change",
    "too_long": f"{{count}} characters are more than the {LONGEST} that are read",
    "no_words": "there are no words in it",
    "option": f"{{item!r}}: strength= takes {STRENGTHS[0]} to {STRENGTHS[1]} percent, seed= {SEEDS[0]} to {SEEDS[1]}",
}


@dataclass(frozen=True)
class EditRequest:
    """What is to be changed, and how."""

    text: str  # as it was written
    strength: int = STRENGTH  # percent
    seed: int | None = None  # None: another one each time


def parse_edit(arguments: str) -> EditRequest:
    """Understands words with "strength=70" (or 0.7) and "seed=3" before or after them. Raises EditFault."""
    if len(arguments) > 2 * LONGEST:  # whatever else is in it
        raise EditFault("too_long", count=len(arguments))
    text, found = arguments.strip(), {}
    while option := _OPTION.match(text) or re.search(rf"(?<!\S){_OPTION.pattern}$", text, re.IGNORECASE):
        name = "seed" if option[1].lower() == "seed" else "strength"
        if name in found:
            raise EditFault("option", option[0])
        found[name] = _seed(option) if name == "seed" else _strength(option)
        text = (text[: option.start()] + text[option.end() :]).strip()
    return EditRequest(checked_text(text), **found)


def checked_text(text: str) -> str:
    """The words of an edit, stripped. Raises EditFault."""
    text = text.strip()
    if not text:
        raise EditFault("none")
    if len(text) > LONGEST:
        raise EditFault("too_long", count=len(text))
    if not any(map(str.isalpha, text)):
        raise EditFault("no_words", text)
    return text


def strength_of(text: str) -> int | None:
    """A strength as it is written, "70", "70 %" or "0.7", in percent; None where it is none."""
    written = _PERCENT.fullmatch(text)
    if written is None:
        return None
    share = written[2]
    percent = int(written[1]) if share is None else math.floor(100 * float(share.replace(",", ".")) + 0.5)
    return percent if STRENGTHS[0] <= percent <= STRENGTHS[1] else None


def _strength(option: re.Match[str]) -> int:
    if (strength := strength_of(option[2])) is None:
        raise EditFault("option", option[0])
    return strength


def _seed(option: re.Match[str]) -> int:
    if not _WHOLE.fullmatch(option[2]):
        raise EditFault("option", option[0])
    return int(option[2])
