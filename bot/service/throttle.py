"""How often one person may ask."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from aiogram.enums import ChatType
from aiogram.types import Message

from bot.errors import TooFast
from bot.storage.inbox import Accepted
from model.serving.worker.recent import Recent

BURST: Final = 20  # two full albums, sent picture by picture
INTERVAL: Final = 3.0  # seconds; 20 a minute, as many messages as Telegram lets a bot send to one group
SWEEP_SECONDS: Final = 60.0
REFUSED_SECONDS: Final = 60.0
WAITED: Final = 30.0  # seconds; as long as the bot may pause between two tries of an outage of Telegram


@dataclass
class _Person:
    """A bucket of tokens as the time at which it is full (generic cell rate algorithm, ITU-T I.371)."""

    full: float
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
        self._burst = burst
        self._interval = interval
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
        person = self._people.setdefault(user, _Person(now))
        wait = person.full - now - (self._burst - 1) * self._interval
        if request not in person.verdicts:
            person.verdicts[request] = wait <= 0
            if wait <= 0:
                person.full = max(person.full, now) + self._interval
            if len(person.verdicts) > self._burst:
                person.verdicts.popitem(last=False)
        if not person.verdicts[request]:
            raise TooFast(max(wait, 0.0))

    def _sweep(self, now: float) -> None:
        if now > self._swept + SWEEP_SECONDS:
            self._people = {user: person for user, person in self._people.items() if person.full > now}
            self._swept = now

    @property
    def people(self) -> int:
        """How many are kept in mind."""
        return len(self._people)


class Refusals:
    """Keeps groups quiet: there a person hears once a minute that there is no room for what they ask."""

    def __init__(self) -> None:
        self._said: Recent[tuple[int, int], bool] = Recent(10_000, seconds=REFUSED_SECONDS)

    def are_said(self, message: Message, user: int) -> bool:
        """Whether one more may be said in answer to this message."""
        if message.chat.type == ChatType.PRIVATE:
            return True
        key = message.chat.id, user
        if self._said.get(key) is not None:
            return False
        self._said.keep(key, True)
        return True


def waited(accepted: Accepted, message: Message, user: int, began: float) -> bool:
    """Whether an update waited while the bot, which `began` its work then (seconds since the epoch), was down.

    Of a press (`message` is the one with the button then) Telegram does not say when it was: those count as waited
    that come right after the start.
    """
    if accepted.again:
        return True
    if message.from_user is not None and message.from_user.id != user:
        return accepted.received < began + WAITED
    sent = message.date.timestamp()  # in whole seconds
    return sent < int(began) or accepted.received - sent > WAITED
