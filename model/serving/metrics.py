"""What a worker tells of its work, and the port where Prometheus reads it. No torch; prometheus-client only on demand.

Code that measures takes a `WorkerMetrics` and calls it, whether anybody listens or not:

    with worker_metrics(settings.metrics_port) as metrics:  # None: nothing is counted
        ...
        metrics.batch(len(batch), seconds)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class MetricsError(Exception):
    """The metrics cannot be served; the message says why and what to do."""


class WorkerMetrics:
    """Counts nothing. `model.serving.prometheus.PrometheusWorkerMetrics` is the one that does. Times in seconds."""

    def ready(self, model: str, device: str, precision: str) -> None:
        """The networks are loaded, and jobs are taken from now on."""

    def job_taken(self, line: str, waited: float, attempt: int = 1) -> None:
        """A job came into this worker's hands, `waited` after it was put; `attempt` as in its `Lease`."""

    def decoded(self, kind: str, seconds: float) -> None:
        """A picture or clip was decoded and squared."""

    def features(self, *, kept: bool) -> None:
        """Features of a picture with a name were looked for; `kept`: they were there, and the encoder is spared."""

    def batch(self, size: int, seconds: float) -> None:
        """The networks ran once over `size` pictures, from features to words."""

    def drawn(self, seconds: float) -> None:
        """A heatmap sheet was drawn and written as JPEG."""

    def job_done(self, kind: str, failure: str | None = None) -> None:
        """A job has its outcome: a result, or a failure of this kind (of `model.errors.KINDS`)."""


@contextmanager
def worker_metrics(port: int | None) -> Iterator[WorkerMetrics]:
    """A worker's metrics, served on `port` while the block runs; None: not counted at all. Raises MetricsError."""
    if port is None:
        yield WorkerMetrics()
        return
    from model.serving.prometheus import PrometheusWorkerMetrics, create_registry, served

    registry = create_registry()
    metrics = PrometheusWorkerMetrics(registry)
    with served(registry, port):
        yield metrics
