"""What all kinds of work have in common, and what the worker offers them. No torch.

A task is a frozen dataclass of options whose `work` makes its result. Its module may be imported by the bot: torch,
numpy and PIL are imported within functions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, TypeVar

if TYPE_CHECKING:
    from model.media.clips import ClipLimits
    from model.serving.jobs import Job
    from model.serving.metrics import WorkerMetrics
    from model.serving.tasks.cache import Cache
    from model.serving.worker.network import Findings, Network, Picture

T = TypeVar("T")


@dataclass(frozen=True)
class Result:
    """What a task makes."""


@dataclass(frozen=True)
class Task:
    """Options of one kind of work. Subclasses set the class variables and `work`."""

    NAME: ClassVar[str]  # on the wire and in metrics
    LINE: ClassVar[str]  # of the queue
    SECONDS: ClassVar[float] = 120.0  # a worker that holds such a job for longer hangs
    ONE_AT_A_TIME: ClassVar[bool] = False  # a worker takes the next of a line when this one is over
    RESULT: ClassVar[type[Result]]

    @property
    def needs_media(self) -> bool:
        """Whether the media travel with the job; else it fails with FeaturesGone when the worker lacks them."""
        return True

    def with_media(self) -> Task:
        """The same task, whose media travel with it."""
        return self

    async def work(self, media: bytes, tools: Tools) -> Result:
        """Runs in the worker. Raises CaptionError where the media or the options are at fault."""
        raise NotImplementedError


class Tools(Protocol):
    """What a worker offers to the task of one job."""

    job: Job
    put: float  # when the job was put in line, on `time.monotonic`
    models: Network
    cache: Cache
    metrics: WorkerMetrics
    clip_limits: ClipLimits
    max_batch: int

    def pixels(self, work: Callable[[], T]) -> Awaitable[T]:
        """Run `work` in one of the threads for decoding and drawing."""

    async def caption(self, picture: Picture) -> Findings:
        """Run the network on a picture, in one batch with those of other jobs. Raises why it has no captions."""

    async def network(self, work: Callable[[], T], size: int) -> T:
        """Run `work`, of `size` pictures, on the network's thread. It takes turns with the batches of `caption`."""

    async def progress(self, share: float) -> None:
        """Tell the bot how much is done, in [0, 1]."""
