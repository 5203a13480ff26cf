"""What was found of recent media, for a while: asking again about the same file costs no second look at it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

SECONDS: Final = 3600.0


class Recent(Generic[K, V]):
    """The values that were used last, `most` in all by `size`, none of them kept for longer than `seconds`."""

    def __init__(
        self,
        most: float,
        *,
        size: Callable[[V], float] = lambda _: 1,
        seconds: float = SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._size = size
        self._seconds = seconds
        self._clock = clock
        self._total = 0.0
        self._values: OrderedDict[K, tuple[float, V]] = OrderedDict()  # by use, each with its end

    def get(self, key: K) -> V | None:
        self.expire()
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][1]

    def keep(self, key: K, value: V) -> None:
        self.expire()
        self._drop(key)
        self._values[key] = self._clock() + self._seconds, value
        self._total += self._size(value)
        while self._total > self._most:
            self._drop(next(iter(self._values)))

    def forget(self, which: Callable[[K], bool]) -> None:
        """Drop what is kept under these keys."""
        for key in [key for key in self._values if which(key)]:
            self._drop(key)

    def expire(self) -> None:
        """Drop what is too old. Call it from time to time, so that nothing stays for want of a question."""
        now = self._clock()
        for key in [key for key, (end, _) in self._values.items() if end <= now]:
            self._drop(key)

    def _drop(self, key: K) -> None:
        if key in self._values:
            self._total -= self._size(self._values.pop(key)[1])

    def __len__(self) -> int:
        return len(self._values)
