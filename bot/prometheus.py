"""The bot's metrics through prometheus-client, and the count of requests to Telegram."""

from __future__ import annotations

import math
import time
from typing import Final

from aiogram import Bot
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import AiogramError, TelegramNetworkError, TelegramRetryAfter, TelegramServerError
from aiogram.methods import Response, TelegramMethod
from aiogram.methods.base import TelegramType
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from bot.metrics import BotMetrics
from bot.telegram.session import is_passing
from model.errors import KINDS
from model.serving.prometheus import SECONDS, STEP_SECONDS, bounded
from model.serving.queue import LINES, Status

FAILURES: Final = frozenset(
    (*KINDS, "busy", "too_fast", "too_big", "gone", "no_picture", "refused", "unforeseen", "given_up")
)
ANSWERS: Final = ("photo", "album", "clip", "sample", "more", "heatmap", "chart", "compare", "album_sheet")
OUTCOMES: Final = ("ok", "flood", "server", "network", "refused", "cancelled")
LONG_POLL: Final = "getUpdates"  # it waits on purpose: its time says nothing
METHODS: Final = 64  # aiogram's names are many, those that this bot calls few


class PrometheusBotMetrics(BotMetrics):
    """What one bot process did. See `docs/operations.md` for what each metric tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._methods: set[str] = set()
        self._updates = Counter("caption_updates", "Updates received from Telegram.", registry=registry)
        self._last_poll = Gauge(
            "caption_telegram_last_poll_timestamp_seconds", "When Telegram was last heard of.", registry=registry
        )
        self._answers = Counter("caption_answers", "Answers delivered.", ["kind"], registry=registry)
        self._latency = Histogram(
            "caption_answer_seconds",
            "From the arrival of an update to the delivery of its answer.",
            ["kind"],
            buckets=SECONDS,
            registry=registry,
        )
        self._failures = Counter(
            "caption_failures", "Requests that were answered with a reason instead.", ["kind"], registry=registry
        )
        self._bytes = Counter("caption_downloaded_bytes", "Bytes of media fetched from Telegram.", registry=registry)
        self._download = Histogram(
            "caption_download_seconds", "Fetching of one file.", buckets=SECONDS, registry=registry
        )
        self._requests = Counter(
            "caption_telegram_requests", "Requests to Telegram.", ["method", "outcome"], registry=registry
        )
        self._seconds = Histogram(
            "caption_telegram_request_seconds",
            "One request to Telegram, all but getUpdates.",
            buckets=STEP_SECONDS,
            registry=registry,
        )
        self._retries = Counter(
            "caption_telegram_retries", "Requests to Telegram that were repeated.", ["method"], registry=registry
        )
        self._waiting = Gauge("caption_queue_jobs", "Jobs waiting to be taken.", ["line"], registry=registry)
        self._in_work = Gauge("caption_queue_in_work", "Jobs in workers' hands.", registry=registry)
        self._open = Gauge("caption_queue_open_requests", "Requests admitted and not yet answered.", registry=registry)
        self._workers = Gauge("caption_queue_workers", "Workers alive.", registry=registry)
        self._dead = Gauge("caption_queue_dead_letters", "Jobs given up and kept for a look.", registry=registry)
        self._reachable = Gauge(
            "caption_queue_reachable", "Whether the queue's state could be read.", registry=registry
        )
        for kind in ANSWERS:
            self._answers.labels(kind)
            self._latency.labels(kind)
        self.queue_unknown()  # until the first look

    def polled(self, updates: int) -> None:
        self._updates.inc(updates)
        self._last_poll.set_to_current_time()

    def answered(self, kind: str, seconds: float | None = None) -> None:
        kind = bounded(kind, ANSWERS)
        self._answers.labels(kind).inc()
        if seconds is not None:
            self._latency.labels(kind).observe(max(0.0, seconds))

    def failed(self, kind: str) -> None:
        self._failures.labels(bounded(kind, FAILURES)).inc()

    def downloaded(self, size: int, seconds: float) -> None:
        self._bytes.inc(size)
        self._download.observe(seconds)

    def request(self, method: str, outcome: str, seconds: float) -> None:
        self._requests.labels(self._method(method), bounded(outcome, OUTCOMES)).inc()
        if method != LONG_POLL:
            self._seconds.observe(seconds)

    def retry(self, method: str) -> None:
        self._retries.labels(self._method(method)).inc()

    def _method(self, method: str) -> str:
        if len(self._methods) < METHODS:
            self._methods.add(method)
        return bounded(method, self._methods)

    def queue(self, status: Status) -> None:
        for line in LINES:
            self._waiting.labels(line).set(status.waiting.get(line, 0))
        self._in_work.set(status.in_work)
        self._open.set(status.open_requests)
        self._workers.set(status.workers)
        self._reachable.set(1)

    def queue_unknown(self) -> None:
        for line in LINES:
            self._waiting.labels(line).set(math.nan)
        for gauge in (self._in_work, self._open, self._workers, self._dead):
            gauge.set(math.nan)
        self._reachable.set(0)

    def dead_letters(self, count: int) -> None:
        self._dead.set(count)


class CountRequests(BaseRequestMiddleware):
    """Counts each single try of a request: to be added to the session after the middleware that repeats them."""

    def __init__(self, metrics: BotMetrics) -> None:
        self._metrics = metrics

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            response = await make_request(bot, method)
        except AiogramError as error:
            outcome = outcome_of(error)
            raise
        else:
            outcome = "ok"
            return response
        finally:
            self._metrics.request(method.__api_method__, outcome, time.perf_counter() - started)


def outcome_of(error: AiogramError) -> str:
    """Of `OUTCOMES`, the one that this error is."""
    if isinstance(error, TelegramRetryAfter):
        return "flood"
    if isinstance(error, TelegramServerError):
        return "server"
    if isinstance(error, TelegramNetworkError) and is_passing(error):
        return "network"
    return "refused"
