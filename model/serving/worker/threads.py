"""Threads for pixels, which tell when one of them does not come back. No torch."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class WatchedThreads(ThreadPoolExecutor):
    """A pool that knows for how long each of its threads has been at one piece of work."""

    def __init__(self, threads: int, name: str) -> None:
        super().__init__(threads, thread_name_prefix=name)
        self._began: dict[int, float] = {}  # by thread

    def submit(self, work: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        def timed() -> T:
            thread = threading.get_ident()
            self._began[thread] = time.monotonic()
            try:
                return work(*args, **kwargs)
            finally:
                del self._began[thread]

        return super().submit(timed)

    def longest(self) -> float:
        """Seconds for which the oldest piece of work has been going on; 0 when none is."""
        began = list(self._began.values())
        return time.monotonic() - min(began) if began else 0.0
