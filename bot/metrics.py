"""The bot's metrics. Prometheus reads them where METRICS_PORT is set; /stats shows some of them."""

import asyncio
import math
from collections.abc import Collection
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bot.config import MODELS
from bot.errors import COUNTED
from bot.stats import Stats
from bot.storage.inbox import Inbox
from model.serving.metrics import SECONDS, STEP_SECONDS
from model.serving.outage import Outage
from model.serving.queue import LINES, JobProducer, Status

QUEUE_EVERY: Final = 5.0  # seconds between two looks at the queue
QUEUE_PATIENCE: Final = 10.0  # seconds for one look
ANSWERS: Final = (
    *("photo", "album", "clip", "sample", "colours", "tags", "rank", "edit", "find", "guest"),
    *("more", "heatmap", "chart", "compare", "album_sheet"),  # to buttons alone
)
OUTCOMES: Final = ("ok", "flood", "server", "network", "refused", "cancelled")
DECODINGS: Final = ("beam", "greedy", "top-k", "top-p", "ladder")
VERDICTS: Final = ("good", "bad", "other")
LONG_POLL: Final = "getUpdates"  # it waits on purpose: its time says nothing
METHODS: Final = 64  # aiogram's names are many, those that this bot calls few
OTHER: Final = "other"


def bounded(value: str, values: Collection[str]) -> str:
    """`value` where it is one of `values`, else "other"."""
    return value if value in values else OTHER


class BotMetrics:
    """What one bot process did. Times in seconds. See `docs/operations.md` for what each metric tells."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, buckets=SECONDS, registry=registry)
        self.stats: Stats | None = None  # what /stats shows is counted there, too
        self._methods: set[str] = set()
        self._updates = counter("caption_updates", "Updates received from Telegram.")
        self._last_poll = gauge("caption_telegram_last_poll_timestamp_seconds", "When Telegram last answered.")
        self._answers = counter("caption_answers", "Answers delivered.", ["kind"])
        self._latency = histogram(
            "caption_answer_seconds", "From the arrival of an update to the delivery of its answer.", ["kind"]
        )
        self._failures = counter("caption_failures", "Requests that were answered with a reason instead.", ["kind"])
        self._reactions = counter(
            "caption_reactions",
            "People's reactions to answers, by how these were made.",
            ["model", "decoding", "verdict", "change"],
        )
        self._bytes = counter("caption_downloaded_bytes", "Bytes of media fetched from Telegram.")
        self._download = histogram("caption_download_seconds", "Fetching of one file.")
        self._requests = counter("caption_telegram_requests", "Requests to Telegram.", ["method", "outcome"])
        self._seconds = histogram(
            "caption_telegram_request_seconds", "One request to Telegram, all but getUpdates.", buckets=STEP_SECONDS
        )
        self._retries = counter("caption_telegram_retries", "Requests to Telegram that were repeated.", ["method"])
        self._waiting = gauge("caption_queue_jobs", "Jobs waiting to be taken.", ["line"])
        self._in_work = gauge("caption_queue_in_work", "Jobs in workers' hands.")
        self._open = gauge("caption_queue_open_requests", "Requests admitted and not yet answered.")
        self._workers = gauge("caption_queue_workers", "Workers alive.")
        self._dead = gauge("caption_queue_dead_letters", "Jobs given up and kept for a look.")
        self._reachable = gauge("caption_queue_reachable", "Whether the queue's state could be read.")
        for kind in ANSWERS:
            self._answers.labels(kind)
            self._latency.labels(kind)
        self.queue_unknown()  # until the first look

    def polled(self, updates: int) -> None:
        """Telegram answered getUpdates, or brought updates itself, or confirmed the webhook."""
        self._updates.inc(updates)
        self._last_poll.set_to_current_time()

    def answered(self, kind: str, seconds: float | None = None) -> None:
        """An answer was delivered, `seconds` after its update came; None: it waited for this start of the bot."""
        if self.stats is not None:
            self.stats.answered(kind, seconds)
        kind = bounded(kind, ANSWERS)
        self._answers.labels(kind).inc()
        if seconds is not None:
            self._latency.labels(kind).observe(max(0.0, seconds))

    def failed(self, kind: str) -> None:
        """A person was told why there is no answer: a kind of `bot.errors.COUNTED`."""
        if self.stats is not None:
            self.stats.failed(kind)
        self._failures.labels(bounded(kind, COUNTED)).inc()

    def reaction(self, model: str, decoding: str, verdict: str, *, taken_back: bool = False) -> None:
        """Somebody reacted to an answer that was made so, or took such a reaction back; `verdict`: of `VERDICTS`."""
        model, decoding = bounded(model, MODELS), bounded(decoding, DECODINGS)
        if self.stats is not None:
            self.stats.reacted(model, decoding, verdict, -1 if taken_back else 1)
        change = "taken_back" if taken_back else "added"
        self._reactions.labels(model, decoding, bounded(verdict, VERDICTS), change).inc()

    def downloaded(self, size: int, seconds: float) -> None:
        """A file of `size` bytes was fetched from Telegram."""
        self._bytes.inc(size)
        self._download.observe(seconds)

    def request(self, method: str, outcome: str, seconds: float) -> None:
        """Telegram was asked once; `outcome` is one of `OUTCOMES`."""
        self._requests.labels(self._method(method), bounded(outcome, OUTCOMES)).inc()
        if method != LONG_POLL:
            self._seconds.observe(seconds)

    def retry(self, method: str) -> None:
        """A request to Telegram is about to be repeated."""
        self._retries.labels(self._method(method)).inc()

    def _method(self, method: str) -> str:
        if len(self._methods) < METHODS:
            self._methods.add(method)
        return bounded(method, self._methods)

    def queue(self, status: Status, dead_letters: int) -> None:
        """What the queue holds now, and how many dead letters are kept."""
        for line in LINES:
            self._waiting.labels(line).set(status.waiting.get(line, 0))
        self._in_work.set(status.in_work)
        self._open.set(status.open_requests)
        self._workers.set(status.workers)
        self._dead.set(dead_letters)
        self._reachable.set(1)

    def queue_unknown(self) -> None:
        """The queue could not be asked."""
        for gauge in (*map(self._waiting.labels, LINES), self._in_work, self._open, self._workers, self._dead):
            gauge.set(math.nan)
        self._reachable.set(0)


async def watch_queue(queue: JobProducer, inbox: Inbox, metrics: BotMetrics, every: float = QUEUE_EVERY) -> None:
    """Show the state of the queue and the number of dead letters, again and again until cancelled.

    A queue that cannot be reached does not end it.
    """
    outage = Outage("reading the queue's state")
    while True:
        try:
            async with asyncio.timeout(QUEUE_PATIENCE):
                metrics.queue(await queue.status(), len(await inbox.dead()))
            outage.worked()
        except Exception as error:  # whatever the engine's client raises: metrics must not end the bot
            metrics.queue_unknown()
            outage.failed(type(error).__name__)
        await asyncio.sleep(every)
