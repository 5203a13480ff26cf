"""The contract between the bot (which puts jobs and waits) and workers (which take and finish them). No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from model.serving.jobs import Job, JobFailure, JobResult


@dataclass(frozen=True)
class Lease:
    """A job in a worker's hands. `attempt` is 1 at first and grows with each delivery."""

    job: Job
    media: bytes
    attempt: int = 1


class JobProducer(Protocol):
    """The bot's side."""

    async def put(self, job: Job, media: bytes) -> None:
        """Put a job in line. One with the id of a job that is still there joins it instead of doubling it."""

    async def wait(self, job_id: str) -> JobResult:
        """The result of a job that was put. Raises `model.errors.CaptionError` as the worker reported it.

        When the waiting is cancelled (and nobody else waits for this job), so is the job.
        """

    def position(self, job_id: str) -> int:
        """How many jobs are to be started before this one; 0 when it is next or in work."""

    async def cancel(self, job_id: str) -> None:
        """Forget a job, wherever it is; a result that still comes is dropped. Unknown ids are ignored."""

    def workers_alive(self) -> int:
        """How many workers are connected and take jobs."""


class JobConsumer(Protocol):
    """The worker's side."""

    async def take(self, most: int) -> list[Lease]:
        """Between 1 and `most` jobs, whatever waits, in line's order; waits while there is none.

        A job that is delivered again comes alone, and nothing comes beside it until it is over.
        """

    async def finish(self, job_id: str, result: JobResult) -> None:
        """Hand in a result; the job is over. Ignored when the job was cancelled or taken away meanwhile."""

    async def fail(self, job_id: str, failure: JobFailure) -> None:
        """Hand in the reason why there will be no result; the job is over."""

    async def give_back(self, job_ids: Sequence[str]) -> None:
        """Return jobs that were not begun, to be delivered again without counting as an attempt."""
