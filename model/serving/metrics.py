"""Metrics of a worker, and the HTTP server that shows a process's registry. No torch.

    with worker_metrics(settings.metrics_port, kinds=TASKS, lines=LINES) as metrics:  # None: not served
        ...
        metrics.batch(len(batch), seconds)

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

from model.errors import KINDS, MetricsError

ADDRESS: Final = "0.0.0.0"  # noqa: S104 Prometheus is elsewhere; nothing secret or personal is shown
OTHER: Final = "other"
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


class WorkerMetrics:
    """What one worker process did. Times in seconds. See `docs/operations.md` for what each metric tells."""

    def __init__(
        self, registry: CollectorRegistry | None = None, *, kinds: Collection[str] = (), lines: Collection[str] = ()
    ) -> None:
        """kinds, lines: those of jobs and of the queue; what is not in them counts as "other"."""
        registry = registry or CollectorRegistry()
        self._kinds, self._lines = kinds, lines
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
        for line in lines:
            self._wait.labels(line)
        for kind in kinds:
            self._jobs.labels(kind, "done")  # 0 rather than absent, so that a rate has a beginning

    def ready(self, model: str, device: str, precision: str) -> None:
        """The networks are loaded, and jobs are taken from now on."""
        self._info.labels(model, device, precision).set(1)

    def job_taken(self, line: str, waited: float, attempt: int = 1) -> None:
        """A job came into this worker's hands, `waited` after it was put; `attempt` as in its `Lease`."""
        if attempt > 1:
            self._redelivered.inc()  # what it waited since it was put is a dead worker's time
            return
        self._wait.labels(bounded(line, self._lines)).observe(max(0.0, waited))  # the bot's clock may be ahead

    def decoded(self, kind: str, seconds: float) -> None:
        """A picture or clip was decoded and squared."""
        self._decode.labels(bounded(kind, self._kinds)).observe(seconds)

    def features(self, *, kept: bool) -> None:
        """Features of a picture with a name were looked for; `kept`: they were there, and the encoder is spared."""
        self._features.labels("yes" if kept else "no").inc()

    def batch(self, size: int, seconds: float) -> None:
        """The networks ran once over `size` pictures, from features to words."""
        self._size.observe(size)
        self._forward.observe(seconds)

    def drawn(self, seconds: float) -> None:
        """A heatmap sheet was drawn and written as JPEG."""
        self._draw.observe(seconds)

    def job_done(self, kind: str, failure: str | None = None) -> None:
        """A job has its outcome: a result, or a failure of this kind (of `model.errors.KINDS`)."""
        outcome = "done" if failure is None else bounded(failure, KINDS)
        self._jobs.labels(bounded(kind, self._kinds), outcome).inc()


@contextmanager
def worker_metrics(port: int | None, *, kinds: Collection[str], lines: Collection[str]) -> Iterator[WorkerMetrics]:
    """A worker's metrics, served on `port` while the block runs; None: not served. Raises MetricsError."""
    if port is None:
        yield WorkerMetrics()
        return
    registry = create_registry()
    metrics = WorkerMetrics(registry, kinds=kinds, lines=lines)
    with served(registry, port):
        yield metrics
