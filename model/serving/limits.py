"""How much is accepted at once and how often, for the bot and the web. No torch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Rate:
    """One each `interval` seconds, and `burst` at once after a pause."""

    interval: float
    burst: int = 1


@dataclass
class Bucket:
    """A bucket of tokens as the time at which it is full (generic cell rate algorithm, ITU-T I.371)."""

    rate: Rate
    full: float = 0.0

    def next(self) -> float:
        """When one more may pass."""
        return self.full - (self.rate.burst - 1) * self.rate.interval

    def count(self, number: int, now: float) -> None:
        """So many pass now."""
        self.full = max(self.full, now) + number * self.rate.interval


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
