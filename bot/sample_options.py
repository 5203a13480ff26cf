"""The words after a command, understood or refused."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import Any, Final

from bot.errors import WrongArguments
from model.decoding.sampling import TEMPERATURES, Sampling

COUNTS: Final = (1, 10)
TOP_K: Final = (0, 1000)  # 0: all words
TOP_P: Final = (0.01, 1.0)
SEEDS: Final = (0, 999_999_999)
RANGES: Final[dict[str, tuple[float, float]]] = {
    "count": COUNTS,
    "temperature": TEMPERATURES,
    "top_k": TOP_K,
    "top_p": TOP_P,
    "seed": SEEDS,
}
NAMES: Final = {
    **dict.fromkeys(("t", "т", "temp", "temperature"), "temperature"),  # т: a Russian keyboard's
    **dict.fromkeys(("top_k", "topk"), "top_k"),
    **dict.fromkeys(("top_p", "topp"), "top_p"),
    "seed": "seed",
}
WHOLE: Final = re.compile(r"\d{1,9}")
DECIMAL: Final = re.compile(r"\d{1,6}(?:[.,]\d{1,9})?|[.,]\d{1,9}")


@dataclass(frozen=True)
class SampleRequest:
    """How many captions /sample is to draw, and how; None: as the chat's settings say."""

    count: int | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    ladder: bool = False
    seed: int | None = None  # None: another one each time

    def strategy(self, default: str) -> str:
        """How words are chosen, as the settings name it."""
        if self.ladder:
            return "ladder"
        return "top-p" if self.top_p is not None else "top-k" if self.top_k is not None else default

    def sampling(self, default: Sampling) -> Sampling:
        """What restricts the choice of words is taken as a whole: from the request if it names any of it."""
        temperature = default.temperature if self.temperature is None else self.temperature
        if not self.ladder and self.top_k is None and self.top_p is None:
            return dataclasses.replace(default, temperature=temperature)
        top_p = 1.0 if self.top_p is None else self.top_p
        return Sampling(temperature, top_k=self.top_k or 0, top_p=top_p, ladder=self.ladder)


def parse_sample(arguments: str | None) -> SampleRequest:
    """Understands "8", "t=1.2", "top_k=5", "top_p=0,9", "ladder" and "seed=3" in any order, and "8 1.2".

    Raises WrongArguments.
    """
    found: dict[str, Any] = {}
    for word in re.sub(r"\s*=\s*", "=", arguments or "").split():
        name, named, value = word.lower().rpartition("=")
        if named:
            field = NAMES.get(name, "")
        elif value == "ladder":
            field = "ladder"
        else:
            field = "temperature" if "count" in found else "count"
        if not field or field in found:
            raise WrongArguments(word)
        found[field] = True if field == "ladder" else _number(field, value, word)
    return SampleRequest(**found)


def _number(field: str, value: str, word: str) -> int | float:
    decimal = field in ("temperature", "top_p")
    if not (DECIMAL if decimal else WHOLE).fullmatch(value):
        raise WrongArguments(word)
    number = float(value.replace(",", ".")) if decimal else int(value)
    low, high = RANGES[field]
    if not low <= number <= high:
        raise WrongArguments(word)
    return number
