"""How much is taken on at once: bytes in memory, and how soon there is room again."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

RECENT: Final = 32  # completions that an estimate is made from
STALE: Final = 300.0  # seconds after which they say nothing about now
SHORTEST: Final = 5.0
LONGEST: Final = 3600.0


class Pace:
    """How fast requests are answered lately, to say when there will be room again."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._done: deque[float] = deque(maxlen=RECENT)

    def completed(self) -> None:
        self._done.append(self._clock())

    def seconds(self, requests: int) -> float | None:
        """In about how long so many requests will be answered, in steps of 5 s; None when there is no telling."""
        now = self._clock()
        recent = [moment for moment in self._done if now - moment < STALE]
        if len(recent) < 2:
            return None
        each = (now - recent[0]) / (len(recent) - 1)  # up to now: a pause since the last one counts
        return min(LONGEST, max(SHORTEST, SHORTEST * math.ceil(requests * each / SHORTEST)))


class ByteBudget:
    """Bytes that may be in memory at once, handed out in the order in which they were asked for."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._used = 0
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Wait for room for `size` bytes and keep it while the block runs. More than all there is passes alone."""
        if self._line or not self._fits(size):
            turn = asyncio.get_running_loop().create_future()
            self._line.append((size, turn))
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    self._line.remove((size, turn))
                else:  # the place had been given just before
                    self._used -= size
                self._next()
                raise
        else:
            self._used += size
        try:
            yield
        finally:
            self._used -= size
            self._next()

    def _fits(self, size: int) -> bool:
        return not self._used or self._used + size <= self._total

    def _next(self) -> None:
        """Let in who is first in line, as long as there is room; one that was cancelled takes itself out."""
        for size, turn in list(self._line):
            if turn.cancelled():
                continue
            if not self._fits(size):
                return
            self._line.remove((size, turn))
            self._used += size
            turn.set_result(None)
