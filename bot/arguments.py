"""The words after a command, understood or refused."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from model.sampling import Sampling

COUNTS: Final = (1, 10)
NUMBER: Final = r"\d{1,6}(?:[.,]\d{1,9})?|[.,]\d{1,9}"
FORM: Final = re.compile(
    r"(?P<count>\d{1,6})?"
    rf"(?:(?:^| )(?:t|т|temp|temperature) ?= ?(?P<named>{NUMBER})| (?P<bare>{NUMBER}))?",  # т: a Russian keyboard's
    re.IGNORECASE,
)


class WrongArguments(ValueError):
    """A command with words after it that it does not take."""


@dataclass(frozen=True)
class SampleRequest:
    """How many captions /sample is to draw, and how."""

    count: int = 5
    sampling: Sampling = Sampling()


def parse_sample(arguments: str | None) -> SampleRequest:
    """Understands "", "8", "8 t=1.2", "8 1.2" and "t=1.2". Raises WrongArguments."""
    text = " ".join((arguments or "").split())
    found = FORM.fullmatch(text)
    if found is None:
        raise WrongArguments(text)
    count = int(found["count"]) if found["count"] else SampleRequest.count
    if not COUNTS[0] <= count <= COUNTS[1]:
        raise WrongArguments(text)
    temperature = found["named"] or found["bare"]
    if temperature is None:
        return SampleRequest(count)
    try:
        return SampleRequest(count, Sampling(temperature=float(temperature.replace(",", "."))))
    except ValueError as error:
        raise WrongArguments(text) from error
