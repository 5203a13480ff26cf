"""Which job the current task works for, so that each line it logs can name it. No torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

current_job: Final[ContextVar[str | None]] = ContextVar("current_job", default=None)


@contextmanager
def working_for(job_id: str) -> Iterator[None]:
    """While the block runs, and in the tasks that it starts, log lines carry this job's id."""
    token = current_job.set(job_id)
    try:
        yield
    finally:
        current_job.reset(token)
