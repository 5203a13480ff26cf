"""How often a person may ask, and when there is room again."""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from cachetools import TTLCache

from bot.errors import TooFast
from model.serving.limits import Bucket, Rate

RECENT: Final = 32  # completions that an estimate is made from
STALE: Final = 300.0  # seconds after which they say nothing about now
SHORTEST: Final = 5.0
LONGEST: Final = 3600.0
BURST: Final = 20  # two full albums, sent picture by picture
INTERVAL: Final = 3.0  # seconds; 20 a minute, as many messages as Telegram lets a bot send to one group
SWEEP_SECONDS: Final = 60.0
REFUSED_SECONDS: Final = 60.0
QUIET: Final = 2.0


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


class Slots:
    """Room for so many at a time. Who is not heard of for a while gives the slot to the next, and goes on beside it."""

    def __init__(self, most: int, most_open: int, quiet: float | None = None) -> None:
        """`most_open`: with those that gave their slot away. `quiet`: seconds without a sign of life, else `QUIET`."""
        self._free = asyncio.Semaphore(most)
        self._open = asyncio.Semaphore(most_open)
        self._quiet = QUIET if quiet is None else quiet

    @asynccontextmanager
    async def one(self) -> AsyncIterator[Callable[[], None]]:
        """A slot, in turn; what to call at each sign of life."""
        async with self._open:
            await self._free.acquire()
            loop = asyncio.get_running_loop()
            until = loop.time() + self._quiet
            timer: asyncio.TimerHandle | None = None

            def give_away() -> None:
                nonlocal timer
                timer = loop.call_at(until, give_away) if until > loop.time() else None
                if timer is None:
                    self._free.release()

            def heard() -> None:
                nonlocal until
                until = loop.time() + self._quiet

            timer = loop.call_at(until, give_away)
            try:
                yield heard
            finally:
                if timer is not None:
                    timer.cancel()
                    self._free.release()


class Refusals:
    """In groups, sends each user at most one "busy" reply a minute."""

    def __init__(self) -> None:
        self._said: TTLCache[tuple[int, int], bool] = TTLCache(10_000, REFUSED_SECONDS)

    def are_said(self, chat: int, user: int) -> bool:
        """Whether one more may be said to this person there."""
        if chat > 0:  # a private chat
            return True
        said = (chat, user) in self._said
        if not said:
            self._said[chat, user] = True
        return not said


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
