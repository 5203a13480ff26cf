"""Which job and which trace the current task works for, so that each line it logs can name them. No torch."""

from __future__ import annotations

import hashlib
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


current_trace: Final[ContextVar[str | None]] = ContextVar("current_trace", default=None)


def trace_of(job_id: str) -> str:
    """The trace id of a request: 32 hexadecimal digits, as W3C Trace Context has them.

    It is made of the id of the job, which a worker knows, too: so it need not travel, and programs of different
    versions agree on it.
    """
    return hashlib.sha256(job_id.encode()).hexdigest()[:32]


@contextmanager
def traced(job_id: str) -> Iterator[None]:
    """While the block runs, log lines that name no job carry the trace of this one, which may never come to be."""
    token = current_trace.set(trace_of(job_id))
    try:
        yield
    finally:
        current_trace.reset(token)
