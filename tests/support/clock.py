"""Time that passes only when a test, or somebody who sleeps, says so; and waiting for what takes time of its own."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Clock:
    """`clock()` is the time; `clock.sleep` waits for it; `await clock.pass_time(…)` lets it pass."""

    now: float = 1000.0
    _sleepers: list[tuple[float, int, asyncio.Future[None]]] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        sleeper = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.now + seconds, next(self._numbers), sleeper))
        await sleeper

    async def pass_time(self, seconds: float) -> None:
        """Everybody whose time has come runs at that time."""
        end = self.now + seconds
        await settled()
        while self._sleepers and self._sleepers[0][0] <= end:
            moment, _, sleeper = heapq.heappop(self._sleepers)
            self.now = max(self.now, moment)
            if not sleeper.done():
                sleeper.set_result(None)
            await settled()
        self.now = end


async def settled() -> None:
    """Let every task run until it waits for something."""
    for _ in range(50):
        await asyncio.sleep(0)


async def eventually(true: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until something has come true."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)
