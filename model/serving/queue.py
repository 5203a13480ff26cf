"""The contract between the bot (which puts jobs and waits) and workers (which take and finish them). No torch.

A job's life: admit (its place is reserved, or refused) → put (with its media) → take → finish or fail → the bot
reads the outcome, answers the person, and forgets the job. Two engines keep this contract: `embedded/queue.py` in the
bot's memory and `redis/producer.py` with `redis/consumer.py` on Redis Streams.

Jobs wait in lines, one for each kind and lane: a person's first few open jobs go into the quick lane, the rest into
the bulk lane. Workers take from each line by itself, so fifty photos of one person stand beside, not before, one
photo of another, and never starve either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final, Protocol, TypeVar

from model.serving.jobs import Job, JobFailure, Outcome
from model.serving.tasks import LINES as LINES

T = TypeVar("T")

QUICK_JOBS: Final = 2  # open jobs of one person beyond these wait in the bulk lane
SERVED_SECONDS: Final = 86_400.0  # for which it is known that workers took from a line
CANCELLED_SECONDS: Final = 3600  # for which a cancelled job is not taken


def lane_of(line: str, open_jobs: int) -> str:
    """The lane of this line for a new job of a person who has `open_jobs` others in the queue."""
    return line if open_jobs < QUICK_JOBS else f"{line}-bulk"


def kind_of(line: str) -> str:
    """The line without its lane."""
    return line.removesuffix("-bulk")


class Busy(Exception):
    """More is in work than is taken on; `of_person` says how much of it is this person's, if that is the reason.

    `seconds`: in about how long there may be room again, where that is known.
    """

    kind: ClassVar[str] = "busy"

    def __init__(self, of_person: int | None = None, seconds: float | None = None) -> None:
        super().__init__("too many requests in work")
        self.of_person = of_person
        self.seconds = seconds


class JobLost(Exception):
    """The queue no longer has the job, or not its media: it is to be put again."""


@dataclass(frozen=True)
class Limits:
    """How many requests may be open (admitted and not forgotten). Jobs with the same `Job.request` are one."""

    requests: int = 1000
    requests_per_person: int = 60


@dataclass(frozen=True)
class Status:
    """What stands in the queue now."""

    waiting: dict[str, int]  # jobs by line, not yet taken
    in_work: int  # jobs in workers' hands
    open_requests: int
    workers: int  # alive
    served: dict[str, float] = field(
        default_factory=dict
    )  # by line, seconds since a worker that takes from it was seen


@dataclass(frozen=True)
class Lease:
    """A job in a worker's hands. `attempt` is 1 at first and grows with each delivery."""

    job: Job
    media: bytes
    attempt: int = 1
    waited: float = field(default=0.0, compare=False)  # seconds since it was put in line


def settle(future: asyncio.Future[T], outcome: T | Exception) -> None:
    """Give those who wait a result or an exception, unless they have one; it may be that nobody waits any more."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
        future.exception()  # else asyncio logs that nobody retrieved it
    else:
        future.set_result(outcome)


class JobProducer(Protocol):
    """The bot's side."""

    async def admit(self, job: Job, *, before: bool = False) -> None:
        """Reserve a place for a job, before its media are fetched. Raises Busy when there is none.

        `before`: it was accepted at an earlier time and is counted, but not refused. A job that is there already
        keeps its place, whoever admitted it: outcomes then go to this producer.
        """

    async def has(self, job_id: str) -> bool:
        """Whether this job has been put and is not forgotten: its media need not be fetched again."""

    async def put(self, job: Job, media: bytes) -> None:
        """Put an admitted job in line. One that was put before is not put again. Raises JobCancelled."""

    async def wait(self, job_id: str, progress: Callable[[float], None] | None = None) -> Outcome:
        """The result of a job that was put, as often as it is asked for, until the job is forgotten.

        `progress` is called with the done share, in [0, 1], of a job that takes long. Raises
        `model.errors.CaptionError` as the worker reported it, JobCancelled when the job was forgotten meanwhile, and
        JobLost. Cancelling the wait leaves the job where it is.
        """

    async def forget(self, job_id: str) -> None:
        """The job is answered, or nobody wants it any more: drop it, wherever it is, and give its place back.

        A worker that holds it learns so when it extends its lease. Unknown ids are ignored.
        """

    async def cancel(self, job_id: str) -> None:
        """Forget a job that nobody wants any more, and take it no more: for a while `put` raises JobCancelled."""

    async def is_cancelled(self, job_id: str) -> bool:
        """Whether `cancel` was called lately, by any process."""

    async def forget_place(self, place: str) -> None:
        """Workers are to forget what they keep of media of a chat (`Job.place`). They do within some seconds."""

    async def position(self, job_id: str) -> int:
        """How many jobs of its line are to be taken before this one; 0 when it is next, in work or unknown."""

    async def status(self) -> Status: ...

    def workers_alive(self) -> int:
        """How many workers took part lately, as far as this process knows."""

    def served(self, line: str) -> float | None:
        """Seconds since a worker that takes from this line was there, as far as this process knows.

        0 while one is; None when none was within a day.
        """


class JobConsumer(Protocol):
    """The worker's side. `lease_seconds`: for how long a job is the worker's unless it extends its lease."""

    lease_seconds: float

    async def take(self, line: str, most: int) -> list[Lease]:
        """Between 1 and `most` jobs of a line, whatever waits, in its order; waits while there is none.

        A job that is delivered again is suspected of having brought its worker down. It comes by itself, whatever line
        was asked for (of those that this worker takes from), and until it is over no other of its kind of line does:
        only a photo need wait for a photo. On its last attempt nothing at all is in the worker's hands beside it. So a
        job is given up only for what it did alone, and one that stood beside others' crashes is not.
        """

    async def extend(self, job_ids: Sequence[str], waiting: Collection[str] = ()) -> list[str]:
        """Extend the leases of these jobs; those that are still this worker's. The others are to be dropped.

        `waiting`: of these, jobs that wait for others in the worker: the time for which it may hold them begins anew.
        What the worker holds and does not name is held by it no more, and is delivered again when its lease ends.
        """

    async def forgotten(self) -> list[str]:
        """The places that are to be forgotten since this was asked last (`JobProducer.forget_place`)."""

    async def progress(self, job_id: str, share: float) -> None:
        """Tell the bot how much of a job is done, in [0, 1]."""

    async def finish(self, job_id: str, result: Outcome) -> None:
        """Hand in a result; the job is over. Ignored when it was forgotten or has an outcome already."""

    async def fail(self, job_id: str, failure: JobFailure) -> None:
        """Hand in the reason why there will be no result; the job is over. Ignored as `finish` is."""

    async def give_back(self, job_ids: Sequence[str]) -> None:
        """Return jobs that were not begun, to be delivered again without counting as an attempt."""
