"""Answers to the photos of one person at one place go out in the order in which Telegram numbered them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from bot.storage.inbox import Place


class Turns:
    """A line for each place, of the updates whose answers are to come in order. One for the whole bot.

    An update stands in line from when it is taken up until its first try is over, answered or not: what failed in
    passing, was cancelled or cannot be had holds nobody up.
    """

    def __init__(self) -> None:
        self._lines: dict[Place, dict[int, asyncio.Event]] = {}  # of those that are in line, set when they leave it
        self._places: dict[int, Place] = {}

    def enter(self, update: int, place: Place) -> None:
        """Put an update in line, by its number."""
        self._places[update] = place
        self._lines.setdefault(place, {})[update] = asyncio.Event()

    def leave(self, update: int) -> None:
        """Let those behind it pass. Nothing where it is not in line."""
        if (place := self._places.pop(update, None)) is None:
            return
        line = self._lines[place]
        line.pop(update).set()
        if not line:
            del self._lines[place]

    async def wait(self, updates: Collection[int]) -> None:
        """Returns when nothing is in line before the first of these, which are answered together; else at once."""
        own = [update for update in updates if update in self._places]
        if not own:
            return
        first = min(own)
        line = self._lines[self._places[first]]
        while (before := min(line, default=first)) < first:
            await line[before].wait()

    @property
    def updates(self) -> int:
        """How many are in line."""
        return len(self._places)
