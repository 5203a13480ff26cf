"""What was found of recent media, for a while: asking again about the same file costs no second look at it."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final, Generic, TypeVar

V = TypeVar("V")

SECONDS: Final = 3600.0


class Recent(Generic[V]):
    """The `most` values that were used last, none of them kept for longer than `seconds`."""

    def __init__(self, most: int, *, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._values: OrderedDict[Hashable, tuple[float, V]] = OrderedDict()  # by use, each with its end

    def get(self, key: Hashable) -> V | None:
        self.expire()
        if key not in self._values:
            return None
        self._values.move_to_end(key)
        return self._values[key][1]

    def keep(self, key: Hashable, value: V) -> None:
        self.expire()
        self._values[key] = self._clock() + self._seconds, value
        self._values.move_to_end(key)
        while len(self._values) > self._most:
            self._values.popitem(last=False)

    def expire(self) -> None:
        """Drop what is too old. Call it from time to time, so that nothing stays for want of a question."""
        now = self._clock()
        for key in [key for key, (end, _) in self._values.items() if end <= now]:
            del self._values[key]

    def __len__(self) -> int:
        return len(self._values)
