"""A worker's metrics, and the port where Prometheus reads those of a process. No torch.

No label carries an id of a person, a chat or a job, nor anything else without a bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, start_http_server
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from model.errors import MetricsError

ADDRESS: Final = "0.0.0.0"  # noqa: S104 Prometheus is elsewhere; nothing secret or personal is shown
# A photo takes tens of milliseconds, a clip seconds, a wait behind a crowd or a dead worker minutes.
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
STEP_SECONDS: Final = (0.001, 0.0025, *SECONDS[:-2])  # one step of the work: decoding, a batch, drawing
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128)


@contextmanager
def served_registry(port: int | None) -> Iterator[CollectorRegistry]:
    """A registry that is served on `port`, on all addresses, while the block runs; None: on none.

    It also tells of the process: memory, processor time, open files, garbage collection, version. A thread of its own
    answers, also while the event loop is busy. Raises MetricsError when the port cannot be had.
    """
    registry = CollectorRegistry()
    if port is None:
        yield registry
        return
    disable_created_metrics()  # type: ignore[no-untyped-call] # a series more for each counter, of no use here
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)
    try:
        server, thread = start_http_server(port, ADDRESS, registry)
    except OSError as error:
        raise MetricsError(
            f"METRICS_PORT {port} cannot be used ({error.strerror}): each process needs a port of its own, and the "
            "bot's own worker takes the next one"
        ) from error
    try:
        yield registry
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class WorkerMetrics:
    """What one worker process did. Times in seconds. See `docs/operations.md` for what each metric tells."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        registry = registry or CollectorRegistry()
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        histogram = partial(Histogram, buckets=STEP_SECONDS, registry=registry)
        self.info = gauge("caption_worker_info", "1: the worker is ready.", ["model", "device", "precision"])
        self.wait = histogram(
            "caption_job_wait_seconds", "From being put in line to being taken by a worker.", ["line"], buckets=SECONDS
        )
        self.redelivered = counter("caption_jobs_redelivered", "Jobs taken that a worker had in its hands before.")
        self.decode = histogram("caption_decode_seconds", "Decoding of one file.", ["kind"])
        self.features = counter(
            "caption_features_looked_for", "Photos by whether their features were kept: yes or no.", ["kept"]
        )
        self.batch_size = histogram("caption_batch_size", "Pictures in one batch.", buckets=SIZES)
        self.forward = histogram("caption_forward_seconds", "The networks on one batch: encoder and all searches.")
        self.draw = histogram("caption_draw_seconds", "Drawing of one heatmap sheet.")
        self.jobs = counter(
            "caption_jobs", "Jobs that have their outcome here: done, or a kind of failure.", ["kind", "outcome"]
        )
        for kept in ("yes", "no"):
            self.features.labels(kept)

    def job_taken(self, line: str, waited: float, attempt: int = 1) -> None:
        """A job came into this worker's hands, `waited` after it was put; `attempt` as in its `Lease`."""
        if attempt > 1:
            self.redelivered.inc()  # what it waited since it was put is a dead worker's time
        else:
            self.wait.labels(line).observe(max(0.0, waited))  # the bot's clock may be ahead
