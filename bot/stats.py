"""What /stats tells: counted in memory, added to what is kept every few seconds, summed up when it is asked for.

What is kept is gone after 25 hours: counts by the hour, and a keyed hash of whom the bot served, with the time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import math
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final

from bot.config import Settings
from bot.storage.opening import open_stats_store
from bot.storage.stats import HOUR, HOURS, Field, StatsStore
from model.serving.outage import Outage
from model.serving.queue import Status

log = logging.getLogger(__name__)

WRITE_SECONDS: Final = 5.0  # between two writes; a kill costs the counts of so long
SWEEP_SECONDS: Final = 600.0  # after which what is too old is dropped although nothing was counted
PATIENCE: Final = 5.0  # seconds for what is kept, or the queue, to answer
MOST_FIELDS: Final = 1000  # that are not written yet; a disk that is full for hours must not fill the memory, too
MOST_PEOPLE: Final = 100_000
# Latencies are counted in buckets that grow geometrically.
SHORTEST: Final = 0.01  # seconds; what is faster counts as this
PER_DOUBLING: Final = 4  # buckets; each is 19 % wider than the one before
BUCKETS: Final = 72  # up to 2,621 s; what is slower is in the last one


@dataclass(frozen=True)
class Latency:
    """In seconds, of answers of one kind; estimated, see `percentile`."""

    kind: str
    answers: int
    median: float | None  # None: all had waited for a start of the bot
    p95: float | None


@dataclass(frozen=True)
class Reception:
    """What people thought of the answers of one model and way of decoding, by their reactions."""

    model: str
    decoding: str
    good: int
    bad: int
    other: int


@dataclass(frozen=True)
class Day:
    """What happened in the last 24 hours: in this hour and the 23 before it."""

    answered: int
    failures: dict[str, int]  # by kind
    latencies: list[Latency]
    people: int
    reactions: tuple[Reception, ...] = ()

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

    @property
    def requests(self) -> int:
        """Those that came to an end."""
        return self.answered + self.failed


@dataclass(frozen=True)
class WebhookHealth:
    """What Telegram says of the webhook."""

    pending: int  # updates that wait there
    ours: bool  # Telegram calls the address of this bot
    error: str = ""  # the last one of a delivery, without numbers of people; empty: none
    since: float | None = None  # when that was, in seconds since the epoch


@dataclass(frozen=True)
class Report:
    day: Day | None  # None: what is kept cannot be read
    queue: Status | None  # None: it cannot be reached
    dead_letters: int
    uptime: float  # seconds, of this process
    webhook: WebhookHealth | None = None  # None: there is none, or Telegram cannot be asked


class Stats:
    """Counts answers, failures and people; never a reason for anything else to fail or wait."""

    def __init__(self, store: StatsStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock
        self._started = clock()
        self._counts: Counter[Field] = Counter()
        self._people: dict[int, float] = {}  # who was served → when last
        self._written = clock()
        self._writing = asyncio.Lock()

    def answered(self, kind: str, seconds: float | None = None) -> None:
        self._count(f"answered:{kind}")
        if seconds is not None:
            self._count(f"latency:{kind}:{bucket_of(seconds)}")

    def failed(self, kind: str) -> None:
        self._count(f"failed:{kind}")

    def reacted(self, model: str, decoding: str, verdict: str, change: int) -> None:
        """`change`: 1, or -1 for a reaction that was taken back."""
        self._count(f"reaction:{model}:{decoding}:{verdict}", change)

    def served(self, user_id: int) -> None:
        if len(self._people) < MOST_PEOPLE or user_id in self._people:
            self._people[user_id] = self._clock()

    def _count(self, what: str, by: int = 1) -> None:
        field = (int(self._clock()) // HOUR, what)
        if len(self._counts) < MOST_FIELDS or field in self._counts:
            self._counts[field] += by

    async def forget(self, user_id: int) -> None:
        """Nothing tells any more that this person was served. Raises what the store raises."""
        async with self._writing:
            self._people.pop(user_id, None)
            await self._store.forget(hashed(user_id, await self._store.key()))

    async def write(self) -> None:
        """Add what was counted since the last time to what is kept; after a failure it is tried again next time.

        Raises what the store raises. A write whose confirmation was lost counts twice.
        """
        async with self._writing:
            counts, people = self._counts, self._people
            if not counts and not people and self._clock() < self._written + SWEEP_SECONDS:
                return
            self._counts, self._people = Counter(), {}
            try:
                key = await self._store.key() if people else b""
                now = self._clock()
                await self._store.add(counts, {hashed(user, key): seen for user, seen in people.items()}, now)
            except BaseException:
                self._counts.update(counts)
                self._people = people | self._people
                raise
            self._written = now

    async def keep_writing(self, stop: asyncio.Event, every: float = WRITE_SECONDS) -> None:
        """Until `stop`, and then once more. A failure is logged once."""
        stopping, outage = False, Outage("writing what /stats counts")
        while not stopping:
            with suppress(TimeoutError):
                async with asyncio.timeout(every):
                    stopping = await stop.wait()
            try:
                await self.write()
            except Exception as error:  # whatever the engine's client raises: statistics must not end the bot
                outage.failed(type(error).__name__)
            else:
                outage.worked()

    async def day(self) -> Day:
        """Raises what the store raises."""
        await self.write()
        now = self._clock()
        counts, people = await self._store.read(int(now) // HOUR - HOURS + 1, now - HOURS * HOUR)
        return day_of(counts, people)

    async def report(
        self,
        status: Callable[[], Awaitable[Status]],
        dead_letters: int,
        webhook: Callable[[], Awaitable[WebhookHealth]] | None = None,
    ) -> Report:
        """`status`: asks the queue. `webhook`: asks Telegram; None: the bot polls."""
        day, queue = await _patiently(self.day), await _patiently(status)
        health = None if webhook is None else await _patiently(webhook)
        return Report(day, queue, dead_letters, self._clock() - self._started, health)


async def _patiently(ask: Callable[[], Awaitable[Any]]) -> Any:
    """None where there is no answer in time."""
    try:
        async with asyncio.timeout(PATIENCE):
            return await ask()
    except Exception as error:  # whatever the engine's client raises
        log.warning("/stats is not complete (%s)", type(error).__name__)
        return None


def bucket_of(seconds: float) -> int:
    """Which of the `BUCKETS` it is in: number i holds SHORTEST · 2^(i/4) to SHORTEST · 2^((i+1)/4)."""
    if seconds <= SHORTEST:
        return 0
    return min(BUCKETS - 1, int(PER_DOUBLING * math.log2(seconds / SHORTEST)))


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """About how many seconds this share of all took at most; None where there are none. `share`: in (0, 1].

    An estimate: the true value lies in the same bucket as what is returned, the bucket's geometric middle, so it is off
    by 9 % at most.
    """
    wanted = share * sum(counts.values())
    seen = 0
    for bucket in sorted(counts):
        seen += counts[bucket]
        if seen >= wanted and counts[bucket]:
            return float(SHORTEST * 2 ** ((bucket + 0.5) / PER_DOUBLING))
    return None


def hashed(user_id: int, key: bytes) -> bytes:
    """Tells a person from others, and tells nobody without the key who it is."""
    return hmac.new(key, str(user_id).encode(), hashlib.sha256).digest()[:16]


def day_of(counts: Mapping[str, int], people: int) -> Day:
    """Sums by name → what they mean."""
    answered: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    buckets: dict[str, dict[int, int]] = {}
    reactions: dict[tuple[str, str], Counter[str]] = {}
    for field, count in counts.items():
        what, _, rest = field.partition(":")
        if what == "answered":
            answered[rest] += count
        elif what == "failed":
            failures[rest] += count
        elif what == "latency":
            kind, _, bucket = rest.rpartition(":")
            buckets.setdefault(kind, {})[int(bucket)] = count
        elif what == "reaction":
            model, decoding, verdict = rest.split(":")
            reactions.setdefault((model, decoding), Counter())[verdict] += max(0, count)  # else: added before this day
    latencies = [
        Latency(kind, number, *(percentile(buckets.get(kind, {}), share) for share in (0.5, 0.95)))
        for kind, number in answered.most_common()
    ]
    received = [
        Reception(model, decoding, found["good"], found["bad"], found["other"])
        for (model, decoding), found in sorted(reactions.items())
        if found.total()
    ]
    return Day(answered.total(), dict(failures.most_common()), latencies, people, tuple(received))


@asynccontextmanager
async def open_stats(settings: Settings, bot_id: int) -> AsyncIterator[Stats]:
    """Counts are written while the block runs, and once more at its end."""
    async with open_stats_store(settings, bot_id) as store:
        stats = Stats(store)
        stop = asyncio.Event()
        writing = asyncio.create_task(stats.keep_writing(stop))
        try:
            yield stats
        finally:
            stop.set()
            await asyncio.wait([writing], timeout=PATIENCE)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
