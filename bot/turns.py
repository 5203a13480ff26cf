"""The turn of an answer's first message: until it comes nobody has seen anything, and the answer can be called off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Turn = Callable[[], Awaitable[None]]
Take = Callable[[Turn], Awaitable[None]]

_take: ContextVar[Take | None] = ContextVar("take", default=None)


@contextmanager
def turns_taken_by(take: Take) -> Iterator[None]:
    """Within the block, `take` awaits the turn of each message that is sent."""
    token = _take.set(take)
    try:
        yield
    finally:
        _take.reset(token)


async def take_turn(turn: Turn) -> None:
    """Await the turn of a message, through whoever wants to. Raises what that raises, such as JobCancelled."""
    take = _take.get()
    await (turn() if take is None else take(turn))
