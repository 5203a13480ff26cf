"""Metrics through prometheus-client: those of a worker, and the HTTP server that shows a process's registry.

No label carries an id of a person, a chat or a job, nor anything else without a bound: what is not in the list of a
label's values counts as "other".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from model.errors import KINDS
from model.serving.metrics import MetricsError, WorkerMetrics
from model.serving.tasks import LINES, TASKS

ADDRESS: Final = "0.0.0.0"  # noqa: S104 Prometheus is elsewhere; nothing secret or personal is shown
OTHER: Final = "other"
JOB_KINDS: Final = tuple(TASKS)
# A photo takes tens of milliseconds, a clip seconds, a wait behind a crowd or a dead worker minutes.
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
STEP_SECONDS: Final = (0.001, 0.0025, *SECONDS[:-2])  # one step of the work: decoding, a batch, drawing
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)


def bounded(value: str, values: Collection[str]) -> str:
    """`value` where it is one of `values`, else "other"."""
    return value if value in values else OTHER


def create_registry() -> CollectorRegistry:
    """A registry with what every process tells: memory, processor time, open files, garbage collection, version."""
    disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each counter, of no use here
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


@contextmanager
def served(registry: CollectorRegistry, port: int) -> Iterator[int]:
    """Serve a registry on all addresses of this machine while the block runs; the port (that it got, for port 0).

    Raises MetricsError when the port cannot be had. A thread of its own answers, also while the event loop is busy.
    """
    try:
        server, thread = start_http_server(port, ADDRESS, registry)
    except OSError as error:
        raise MetricsError(
            f"METRICS_PORT {port} cannot be used ({error.strerror}): each process needs a port of its own, and the "
            "bot's own worker takes the next one"
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class PrometheusWorkerMetrics(WorkerMetrics):
    """What one worker process did. See `docs/operations.md` for what each metric tells."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._info = Gauge(
            "caption_worker_info", "1: the worker is ready.", ["model", "device", "precision"], registry=registry
        )
        self._wait = Histogram(
            "caption_job_wait_seconds",
            "From being put in line to being taken by a worker.",
            ["line"],
            buckets=SECONDS,
            registry=registry,
        )
        self._redelivered = Counter(
            "caption_jobs_redelivered", "Jobs taken that a worker had in its hands before.", registry=registry
        )
        self._decode = Histogram(
            "caption_decode_seconds", "Decoding of one file.", ["kind"], buckets=STEP_SECONDS, registry=registry
        )
        self._features = Counter(
            "caption_features_looked_for", "Photos by whether their features were kept.", ["kept"], registry=registry
        )
        self._size = Histogram("caption_batch_size", "Pictures in one batch.", buckets=SIZES, registry=registry)
        self._forward = Histogram(
            "caption_forward_seconds",
            "The networks on one batch: encoder and all searches.",
            buckets=STEP_SECONDS,
            registry=registry,
        )
        self._draw = Histogram(
            "caption_draw_seconds", "Drawing of one heatmap sheet.", buckets=STEP_SECONDS, registry=registry
        )
        self._jobs = Counter(
            "caption_jobs", "Jobs that have their outcome here.", ["kind", "outcome"], registry=registry
        )
        for kept in ("yes", "no"):
            self._features.labels(kept)
        for line in LINES:
            self._wait.labels(line)
        for kind in JOB_KINDS:
            self._jobs.labels(kind, "done")  # 0 rather than absent, so that a rate has a beginning

    def ready(self, model: str, device: str, precision: str) -> None:
        self._info.labels(model, device, precision).set(1)

    def job_taken(self, line: str, waited: float, attempt: int = 1) -> None:
        if attempt > 1:
            self._redelivered.inc()  # what it waited since it was put is a dead worker's time
            return
        self._wait.labels(bounded(line, LINES)).observe(max(0.0, waited))  # the bot's clock may be ahead

    def decoded(self, kind: str, seconds: float) -> None:
        self._decode.labels(bounded(kind, JOB_KINDS)).observe(seconds)

    def features(self, *, kept: bool) -> None:
        self._features.labels("yes" if kept else "no").inc()

    def batch(self, size: int, seconds: float) -> None:
        self._size.observe(size)
        self._forward.observe(seconds)

    def drawn(self, seconds: float) -> None:
        self._draw.observe(seconds)

    def job_done(self, kind: str, failure: str | None = None) -> None:
        outcome = "done" if failure is None else bounded(failure, KINDS)
        self._jobs.labels(bounded(kind, JOB_KINDS), outcome).inc()
