"""What one web process did, for Prometheus. See `docs/operations.md` for what each metric tells."""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from model.serving.metrics import SECONDS, process_registry
from model.serving.queue import LINES, Status

ROUTES: Final = (
    *("captions", "explain", "colours", "features", "words", "tags", "rank", "find", "clips", "pictures"),
    *("page", "info"),
)


class WebMetrics:
    """Times in seconds. Labels are bounded: no address, no id."""

    def __init__(self) -> None:
        self.registry: CollectorRegistry = process_registry()
        self._requests = Counter(
            "caption_web_requests", "Requests answered.", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "caption_web_request_seconds",
            "From the first byte of a request to its answer.",
            ["route"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._bytes = Counter("caption_web_received_bytes", "Bytes of bodies.", registry=self.registry)
        self._cancelled = Counter(
            "caption_web_cancelled_jobs", "Jobs that were cancelled, by why.", ["why"], registry=self.registry
        )
        self._waiting = Gauge("caption_queue_jobs", "Jobs waiting to be taken.", ["line"], registry=self.registry)
        self._open = Gauge("caption_queue_open_requests", "Requests admitted and not answered.", registry=self.registry)
        self._workers = Gauge("caption_queue_workers", "Workers alive.", registry=self.registry)
        for why in ("gone", "asked", "timeout"):
            self._cancelled.labels(why)

    def answered(self, route: str, status: int, seconds: float) -> None:
        route = route if route in ROUTES else "other"
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def received(self, size: int) -> None:
        self._bytes.inc(size)

    def cancelled(self, why: str) -> None:
        """ "gone": the client hung up; "asked": it said so; "timeout": no worker finished it."""
        self._cancelled.labels(why).inc()

    def queue(self, status: Status) -> None:
        for line in LINES:
            self._waiting.labels(line).set(status.waiting.get(line, 0))
        self._open.set(status.open_requests)
        self._workers.set(status.workers)

    def text(self) -> bytes:
        return generate_latest(self.registry)
