"""How much is taken on at once: requests per bot and per person, bytes in memory."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager


class Busy(Exception):
    """More is in work than is taken on; `of_person` says how much of it is this person's, if that is the reason."""

    def __init__(self, of_person: int | None = None) -> None:
        super().__init__("too many requests in work")
        self.of_person = of_person


class Admission:
    """Counts requests that were accepted and are not answered. The items of an album are one request."""

    def __init__(self, most: int, most_per_person: int) -> None:
        self._most = most
        self._most_per_person = most_per_person
        self._requests: Counter[tuple[int, Hashable]] = Counter()  # (person, request) → items in work
        self._people: Counter[int] = Counter()  # person → requests in work

    @contextmanager
    def admit(self, person: int, request: Hashable, *, before: bool = False) -> Iterator[None]:
        """Hold a place while the block runs. Raises Busy when there is none.

        `before`: it was accepted at an earlier time and is neither refused nor counted.
        """
        if before:
            yield
            return
        key = (person, request)
        if key not in self._requests:
            if self._people[person] >= self._most_per_person:
                raise Busy(self._people[person])
            if len(self._requests) >= self._most:
                raise Busy
            self._people[person] += 1
        self._requests[key] += 1
        try:
            yield
        finally:
            self._requests[key] -= 1
            if not self._requests[key]:
                del self._requests[key]
                self._people[person] -= 1
                if not self._people[person]:
                    del self._people[person]


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
