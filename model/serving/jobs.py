"""What travels between the bot and a worker: a job around a task, and its result or failure. No torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from model.serving import codec
from model.serving.codec import WireError
from model.serving.tasks import TASKS
from model.serving.tasks.base import Result, Task

Outcome: TypeAlias = Result
Kind: TypeAlias = str  # of work, as its line of the queue is named


@dataclass(frozen=True)
class Job:
    """A task for a worker. The bot chooses `id`; it is the same for each delivery of one request."""

    id: str
    user: int  # who asked, for fairness
    task: Task
    request: str = ""  # jobs of one request, such as an album's items, count as one; empty: the job is one by itself
    place: str = ""  # the chat; what workers cache of its media is forgotten together
    # Seconds from its admission after which nobody waits for it. Only the queue needs to know, so it does not travel.
    # None: whoever asked takes it up again after a restart, and forgets it in the end.
    lasts: float | None = field(default=None, compare=False)

    @property
    def request_id(self) -> str:
        """The same for all jobs of one request."""
        return self.request or self.id

    @property
    def line(self) -> str:
        """The line of the queue that it waits in."""
        return self.task.LINE


@dataclass(frozen=True)
class JobFailure:
    """Why there is no result: a kind of `model.errors.KINDS`, and a message for the log (never shown to people)."""

    kind: str
    message: str


def encode_job(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "user": job.user,
        "request": job.request,
        "place": job.place,
        "kind": job.task.NAME,
        "task": codec.encode(job.task, []),
    }


def decode_job(header: dict[str, Any]) -> Job:
    """Raises WireError."""
    try:
        fields = dict(header)
        kind = TASKS[fields.pop("kind")]
        return Job(**{**fields, "task": codec.decode(kind, fields["task"])})
    except (TypeError, KeyError, ValueError) as error:
        raise WireError(f"not a job: {error}") from error


def encode_outcome(result: Result) -> tuple[dict[str, Any], list[bytes]]:
    attachments: list[bytes] = []
    kind = next(name for name, task in TASKS.items() if task.RESULT is type(result))
    return {"kind": kind, "result": codec.encode(result, attachments)}, attachments


def decode_outcome(header: dict[str, Any], attachments: Sequence[bytes]) -> Result:
    """Raises WireError."""
    try:
        return codec.decode(TASKS[header["kind"]].RESULT, header["result"], attachments)
    except (TypeError, KeyError) as error:
        raise WireError(f"not a result: {error}") from error
