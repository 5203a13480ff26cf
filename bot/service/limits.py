"""How often a person may ask, and when there is room again."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from bot.errors import TooFast
from model.serving.limits import Bucket, Rate

RECENT: Final = 32  # completions that an estimate is made from
STALE: Final = 300.0  # seconds after which they say nothing about now
SHORTEST: Final = 5.0
LONGEST: Final = 3600.0
BURST: Final = 20  # two full albums, sent picture by picture
INTERVAL: Final = 3.0  # seconds; 20 a minute, as many messages as Telegram lets a bot send to one group
SWEEP_SECONDS: Final = 60.0


@dataclass
class _Person(Bucket):
    verdicts: OrderedDict[str, bool] = field(default_factory=OrderedDict)  # of the last requests


class Throttle:
    """Lets each person ask `burst` times at once, and once more each `interval` seconds.

    Memory is taken only for those who asked within the last `burst` · `interval` seconds.
    """

    def __init__(
        self,
        unlimited: Collection[int] = (),
        *,
        burst: int = BURST,
        interval: float = INTERVAL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._unlimited = unlimited
        self._rate = Rate(interval, burst)
        self._clock = clock
        self._people: dict[int, _Person] = {}
        self._swept = clock()

    def check(self, user: int, request: str) -> None:
        """Count a request. Raises TooFast.

        What is asked under the same name of a request, such as the items of an album, counts once and is all served
        or all refused.
        """
        if user in self._unlimited:
            return
        now = self._clock()
        self._sweep(now)
        person = self._people.setdefault(user, _Person(self._rate, now))
        wait = person.next() - now
        if request not in person.verdicts:
            person.verdicts[request] = wait <= 0
            if wait <= 0:
                person.count(1, now)
            if len(person.verdicts) > self._rate.burst:
                person.verdicts.popitem(last=False)
        if not person.verdicts[request]:
            raise TooFast(max(wait, 0.0))

    def _sweep(self, now: float) -> None:
        if now > self._swept + SWEEP_SECONDS:
            self._people = {user: person for user, person in self._people.items() if person.full > now}
            self._swept = now

    @property
    def people(self) -> int:
        """How many people are in memory."""
        return len(self._people)


class Pace:
    """How fast requests are answered lately, to say when there will be room again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done: deque[float] = deque(maxlen=RECENT)

    def completed(self) -> None:
        self._done.append(self._clock())

    def seconds(self, requests: int) -> float | None:
        """In about how long so many requests will be answered, in steps of 5 s; None when there is no telling."""
        now = self._clock()
        recent = [moment for moment in self._done if now - moment < STALE]
        if len(recent) < 2:
            return None
        each = (now - recent[0]) / (len(recent) - 1)  # up to now: a pause since the last one counts
        return min(LONGEST, max(SHORTEST, SHORTEST * math.ceil(requests * each / SHORTEST)))
