"""The turn of an answer's first message: until it comes nobody has seen anything, and the answer can be called off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, Protocol

Turn = Callable[[], Awaitable[None]]


class Turns(Protocol):
    """Whoever wants to know of the messages of an answer."""

    async def take(self, turn: Turn) -> None:
        """Await the turn of a message. Raises what ends the answer, such as JobCancelled."""

    def refused(self) -> None:
        """Telegram took nothing of the message that has just had its turn; it will have another."""

    def went(self) -> None:
        """A message is out."""


class _Nobody:
    async def take(self, turn: Turn) -> None:
        await turn()

    def refused(self) -> None:
        pass

    def went(self) -> None:
        pass


NOBODY: Final[Turns] = _Nobody()
_turns: ContextVar[Turns] = ContextVar("turns", default=NOBODY)


@contextmanager
def turns_told_to(turns: Turns) -> Iterator[None]:
    """Within the block, `turns` awaits the turn of each message that is sent."""
    token = _turns.set(turns)
    try:
        yield
    finally:
        _turns.reset(token)


def turns_of_answer() -> Turns:
    """Of the answer that is being sent here, if any."""
    return _turns.get()
