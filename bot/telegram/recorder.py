"""Updates that arrive at the same time → the inbox, one batch after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bot.errors import StorageError
from bot.storage.inbox import Recorded
from model.serving.outage import Outage, reason_of

BATCH: Final = 100
MOST_WAITING: Final = 1000  # beyond that Telegram keeps them


@dataclass(frozen=True)
class _Entry:
    update: dict[str, Any]
    written: asyncio.Future[bool] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Recorder:
    """Writes updates down and hands those that are new to `start`.

    Whatever came while one batch was written is the next, so that many updates cost few writes. There is never more
    than one call of `record`: after a lost answer a Redis inbox can repeat the latest call alone.
    """

    def __init__(
        self,
        record: Callable[[Sequence[dict[str, Any]]], Awaitable[list[Recorded]]],
        start: Callable[[Recorded], None],
        recorded: Callable[[int], None] = lambda updates: None,
    ) -> None:
        """`record` writes a batch; `recorded` is called with the number of updates of each batch that was written."""
        self._record = record
        self._start = start
        self._recorded = recorded
        self._waiting: dict[int, _Entry] = {}
        self._writing: dict[int, _Entry] = {}
        self._filled = asyncio.Event()
        self._outage = Outage("recording updates")

    @property
    def failing(self) -> bool:
        """Whether the last batch could not be written down."""
        return self._outage.on

    def put(self, update: dict[str, Any]) -> asyncio.Future[bool]:
        """Whether the update is on the disk, once that is known; False also where too many wait.

        Who no longer waits for the answer changes nothing: the update is written down all the same. Do not cancel it.
        """
        number = int(update["update_id"])
        entry = self._writing.get(number) or self._waiting.get(number) or _Entry(update)
        if len(self._waiting) >= MOST_WAITING and number not in self._waiting and number not in self._writing:
            entry.written.set_result(False)
        elif number not in self._writing:
            self._waiting[number] = entry
            self._filled.set()
        return entry.written

    async def run(self) -> None:
        """Write what is put, for ever. Raises RedisRefused, and what is unforeseen."""
        while True:
            await self._filled.wait()
            numbers = list(self._waiting)[:BATCH]
            self._writing = {number: self._waiting.pop(number) for number in numbers}
            if not self._waiting:
                self._filled.clear()
            entries = await self._write()
            for each in self._writing.values():
                each.written.set_result(entries is not None)
            if entries is not None:
                self._recorded(len(self._writing))
            self._writing = {}
            for entry in entries or ():
                self._start(entry)

    async def finish(self, seconds: float) -> None:
        """Wait until all that was put is written, but not for longer than that."""
        waiting = [entry.written for entry in (*self._writing.values(), *self._waiting.values())]
        if waiting:
            await asyncio.wait(waiting, timeout=seconds)

    async def _write(self) -> list[Recorded] | None:
        """Those of the batch that are new; None: it could not be written."""
        try:
            entries = await self._record([each.update for each in self._writing.values()])
        except (OSError, StorageError) as error:
            self._outage.failed(reason_of(error), "Telegram brings them again")
            return None
        self._outage.worked()
        return entries
