"""Futures that somebody may have stopped waiting for. No torch."""

from __future__ import annotations

import asyncio
from typing import TypeVar

T = TypeVar("T")


def settle(future: asyncio.Future[T], outcome: T | Exception) -> None:
    """Give a future its result or exception, unless it is done; it is no error that nobody retrieves it."""
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
        future.exception()  # it may be that nobody waits any more
    else:
        future.set_result(outcome)
