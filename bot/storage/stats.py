"""Where the counts of /stats are kept: the protocol of both engines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

HOUR: Final = 3600
HOURS: Final = 24
KEPT: Final = 25 * HOUR  # seconds

Field = tuple[int, str]  # the hour, in hours since the epoch, and what is counted in it


class StatsStore(Protocol):
    """Where the counts of one bot are kept, those of all its processes together.

    All raise StorageError, RedisRefused, or what the engine's client raises.
    """

    async def key(self) -> bytes:
        """The random key of the hashes, made at its first use."""

    async def add(self, counts: Mapping[Field, int], people: Mapping[bytes, float], now: float) -> None:
        """Add to what is counted, note when each was last seen, and drop what is older than `KEPT`; all or nothing."""

    async def read(self, first_hour: int, since: float) -> tuple[dict[str, int], int]:
        """The sums from this hour on, and how many people were seen since."""

    async def forget(self, person: bytes) -> None: ...
