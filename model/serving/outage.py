"""Growing pauses between tries, and one line in the log when an outage begins and one when it ends. No torch."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from typing import Final

log = logging.getLogger(__name__)

# redis-py quotes the command when it is one of several: it may be about a person.
_QUOTED: Final = re.compile(r"Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)


class Backoff:
    """Pauses between tries, in seconds: `first`, then twice as long each time, up to `longest`.

    Each is shortened at random by up to a half, so that many clients do not come back at once.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = self._pause = first
        self._longest = longest

    def next(self) -> float:
        pause = self._pause
        self._pause = min(self._longest, 2 * pause)
        return pause * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._pause = self._first


class Outage:
    """Whether something fails, for all calls that share this: logged once when it begins and once when it is over.

    A call that has failed and works ends it; one that never failed does not. `call` names one of several at a time.
    """

    def __init__(self, what: str, first_pause: float = 0.5, longest_pause: float = 30.0) -> None:
        self._what = what
        self._failing: set[object] = set()  # calls that have failed and go on trying
        self._backoff = Backoff(first_pause, longest_pause)

    @property
    def on(self) -> bool:
        return bool(self._failing)

    def failed(self, reason: str, remedy: str = "trying again until it works", call: object = None) -> None:
        if not self._failing:
            log.warning("%s fails: %s; %s", self._what, reason, remedy)
        self._failing.add(call)

    async def pause(self, reason: str, at_least: float = 0.0) -> None:
        """As `failed`, and wait: `at_least` seconds and a pause that grows until something works."""
        self.failed(reason)
        await asyncio.sleep(at_least + self._backoff.next())

    def worked(self, call: object = None) -> None:
        if call in self._failing:
            self._failing.clear()  # those who are still waiting have not tried since
            self._backoff.reset()
            log.info("%s works again", self._what)

    def given_up(self, call: object) -> None:
        self._failing.discard(call)


def reason_of(error: Exception) -> str:
    """On one line, and without the server's whole answer or the command that failed."""
    return f"{type(error).__name__}: {_QUOTED.sub('', str(error))}".splitlines()[0]
