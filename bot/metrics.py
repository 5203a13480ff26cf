"""What the bot tells of its work. prometheus-client is imported only where METRICS_PORT is set.

`BotMetrics` is what code that measures takes and calls; it counts nothing, `PrometheusBotMetrics` does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Protocol

from model.serving.queue import Status

log = logging.getLogger(__name__)

QUEUE_EVERY: Final = 5.0  # seconds between two looks at the queue
QUEUE_PATIENCE: Final = 10.0  # seconds for one look


class BotMetrics:
    """Counts nothing. Times in seconds."""

    def polled(self, updates: int) -> None:
        """Telegram answered getUpdates, or brought updates itself, or confirmed the webhook."""

    def answered(self, kind: str, seconds: float | None = None) -> None:
        """An answer was delivered, `seconds` after its update came; None: it waited for this start of the bot."""

    def failed(self, kind: str) -> None:
        """A person was told why there is no answer: a kind of `model.errors.KINDS`, or of `FAILURES`."""

    def downloaded(self, size: int, seconds: float) -> None:
        """A file of `size` bytes was fetched from Telegram."""

    def request(self, method: str, outcome: str, seconds: float) -> None:
        """Telegram was asked once; `outcome` is one of `OUTCOMES`."""

    def retry(self, method: str) -> None:
        """A request to Telegram is about to be repeated."""

    def queue(self, status: Status) -> None:
        """What stands in the queue now."""

    def queue_unknown(self) -> None:
        """The queue could not be asked."""

    def dead_letters(self, count: int) -> None:
        """So many jobs lie with the dead letters now."""


class SeveralMetrics(BotMetrics):
    """Tells each of several."""

    def __init__(self, *metrics: BotMetrics) -> None:
        self._all = metrics

    def polled(self, updates: int) -> None:
        for each in self._all:
            each.polled(updates)

    def answered(self, kind: str, seconds: float | None = None) -> None:
        for each in self._all:
            each.answered(kind, seconds)

    def failed(self, kind: str) -> None:
        for each in self._all:
            each.failed(kind)

    def downloaded(self, size: int, seconds: float) -> None:
        for each in self._all:
            each.downloaded(size, seconds)

    def request(self, method: str, outcome: str, seconds: float) -> None:
        for each in self._all:
            each.request(method, outcome, seconds)

    def retry(self, method: str) -> None:
        for each in self._all:
            each.retry(method)

    def queue(self, status: Status) -> None:
        for each in self._all:
            each.queue(status)

    def queue_unknown(self) -> None:
        for each in self._all:
            each.queue_unknown()

    def dead_letters(self, count: int) -> None:
        for each in self._all:
            each.dead_letters(count)


@contextmanager
def bot_metrics(port: int | None) -> Iterator[BotMetrics]:
    """The bot's metrics, served on `port` while the block runs; None: not counted at all.

    Raises `model.serving.metrics.MetricsError`.
    """
    if port is None:
        yield BotMetrics()
        return
    from bot.prometheus import PrometheusBotMetrics
    from model.serving.prometheus import create_registry, served

    registry = create_registry()
    metrics = PrometheusBotMetrics(registry)
    with served(registry, port):
        yield metrics


class Observed(Protocol):
    """As much of a queue as is looked at here."""

    async def status(self) -> Status: ...


class DeadLetters(Protocol):
    """As much of an inbox as is looked at here."""

    async def dead(self) -> Sequence[object]: ...


async def watch_queue(queue: Observed, inbox: DeadLetters, metrics: BotMetrics, every: float = QUEUE_EVERY) -> None:
    """Show what stands in the queue and lies with the dead letters, again and again until cancelled.

    A queue out of reach is no end.
    """
    known = True
    while True:
        try:
            async with asyncio.timeout(QUEUE_PATIENCE):
                metrics.queue(await queue.status())
                metrics.dead_letters(len(await inbox.dead()))
            known = True
        except Exception as error:  # whatever the engine's client raises: metrics must not end the bot
            metrics.queue_unknown()
            if known:
                log.warning("the queue's state cannot be read (%s)", type(error).__name__)
            known = False
        await asyncio.sleep(every)
