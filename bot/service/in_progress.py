"""What is in work for whom, and how it is stopped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Final

from cachetools import TTLCache

from bot.storage.inbox import Accepted, Order, Place
from model.errors import JobCancelled
from model.serving.jobs import Job, Kind

REMEMBERED: Final = 3600.0  # seconds; what failed in passing is tried again after two minutes at most
MOST_REMEMBERED: Final = 10_000


@dataclass(eq=False, kw_only=True)
class Work:
    """One request, from its acceptance until its answer is out."""

    job: Job
    place: Place
    message: int  # that is answered
    accepted: Accepted
    share: float | None = None  # of the work that is done, in [0, 1], where it is known
    since: float = field(default_factory=time.monotonic)
    sending: bool = False  # the answer is on its way: too late to cancel
    cancelled: bool = False
    scope: asyncio.Timeout | None = None  # what `cancel` ends: see `interruptible`
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def wanted(self) -> bool:
        """Whether there is something to wait for, and to cancel."""
        return not self.sending and not self.cancelled

    def tell(self, share: float) -> None:
        self.share = share

    def cancel(self) -> None:
        """Nobody wants the answer any more: what is interruptible ends at once."""
        if self.wanted:
            self.cancelled = True
            if self.scope is not None:
                self.scope.reschedule(asyncio.get_running_loop().time())

    def check(self) -> None:
        """Raises JobCancelled when nobody wants the answer any more."""
        if self.cancelled:
            raise JobCancelled("cancelled")

    def now_sending(self) -> None:
        """From here on it cannot be cancelled. Raises JobCancelled when it was."""
        self.check()
        self.sending = True


@asynccontextmanager
async def interruptible(*works: Work) -> AsyncIterator[None]:
    """A block that ends when one of these is cancelled. Raises JobCancelled then, or when one was cancelled before."""
    for work in works:
        work.check()
    try:
        async with asyncio.timeout(None) as scope:
            for work in works:
                work.scope = scope
            yield
    except TimeoutError:
        if scope.expired():
            raise JobCancelled("cancelled") from None
        raise
    finally:
        for work in works:
            work.scope = None
    for work in works:
        work.check()


@dataclass(eq=False)
class Group:
    """What is in work at one place, from the first request until nothing is left."""

    place: Place
    works: list[Work] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    watched: bool = False  # somebody tells the person of it
    marked: set[int] = field(default_factory=set)  # the messages that show that they were accepted

    @property
    def wanted(self) -> list[Work]:
        """What is to be waited for, the oldest first."""
        return [work for work in self.works if work.wanted]


class InWork:
    """The requests in work. One for the whole bot."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._groups: dict[Place, Group] = {}
        self._cancelled: TTLCache[Place, Order] = TTLCache(MOST_REMEMBERED, REMEMBERED, timer=clock)
        self._answered: TTLCache[str, bool] = TTLCache(MOST_REMEMBERED, REMEMBERED, timer=clock)

    @contextmanager
    def enter(self, work: Work) -> Iterator[Group]:
        """The request is in work while the block runs.

        Raises JobCancelled when the person cancelled all there was after this one had come: it waited for another
        try then, or for its turn after a restart.
        """
        if (upto := self._cancelled.get(work.place)) is not None and work.accepted.order < upto:
            raise JobCancelled("cancelled before it was taken up")
        group = self._groups.setdefault(work.place, Group(work.place))
        group.works.append(work)
        try:
            yield group
            self._answered[work.job.id] = True
        finally:
            group.works.remove(work)
            work.over.set()
            if not group.works:
                del self._groups[group.place]
                group.over.set()

    def is_answered(self, job: str) -> bool:
        """Whether this was answered here lately; the inbox may not know it yet."""
        return job in self._answered

    def jobs(self, place: Place) -> set[str]:
        """The jobs of all that is in work or being sent there."""
        return {work.job.id for work in self._groups.get(place, Group(place)).works}

    def cancel(self, place: Place, accepted: Accepted) -> dict[str, Kind]:
        """Stop what came before the update `accepted` and is not being sent yet: the kind of each job."""
        self._cancelled[place] = max(accepted.order, self._cancelled.get(place, accepted.order))
        group = self._groups.get(place, Group(place))
        found = [work for work in group.wanted if work.accepted.order < accepted.order]
        for work in found:
            work.cancel()
        return {work.job.id: work.job.line for work in found}
