"""How much memory the decoders of a process take together. Free of torch, av and Pillow."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import mmap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024
ALL: Final = 800 * MIB  # of pictures and clips together
CLIPS: Final = 350 * MIB  # of these, clips: nearly all pictures have room beside them
MOST: Final = 1400 * MIB  # of one clip, which runs alone if it takes more than ALL
LARGE: Final = 64 * MIB  # after which what is left over is given back to the system


@dataclass(eq=False)
class _Ticket:
    size: int
    lasting: bool
    let_in: bool = False


class MemoryBudget:
    """Bytes that decoders may hold at once, given out in the order in which they are asked for.

    A decoder that needs more than there is runs alone. Those that last (a clip's, which waits for the network between
    its frames) have a share of their own; one that needs more than the share runs without another that lasts. Who
    waits for those that last alone does not keep smaller ones waiting behind it.
    """

    def __init__(self, size: int = ALL, lasting: int = CLIPS, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = size
        self.lasting = lasting
        self.most = 0  # bytes that were held at once
        self._clock = clock
        self._changed = threading.Condition()
        self._waiting: list[_Ticket] = []
        self._held = self._held_lasting = 0
        self._let_in: dict[int, float] = {}  # thread → when it last got what it had to wait for

    @contextlib.contextmanager
    def hold(self, size: int, *, lasting: bool = False) -> Iterator[None]:
        """Wait for `size` bytes, and keep them while the block runs."""
        ticket = _Ticket(min(size, self.size), lasting)
        thread = threading.get_ident()
        with self._changed:
            self._waiting.append(ticket)
            self._admit()
            if not ticket.let_in:
                self._let_in[thread] = math.inf
                try:
                    self._changed.wait_for(lambda: ticket.let_in)
                finally:
                    self._let_in[thread] = self._clock()
                    if not ticket.let_in:
                        self._waiting.remove(ticket)
                        self._admit()
        try:
            yield
        finally:
            if ticket.size >= LARGE:
                trim()
            with self._changed:
                self._held -= ticket.size
                self._held_lasting -= ticket.size * lasting
                self._admit()

    def let_in(self, thread: int) -> float:
        """When a thread last got what it had to wait for; infinity while it waits, 0 if it never had to."""
        return self._let_in.get(thread, 0.0)

    def _admit(self) -> None:
        """Let in all for whom there is room, in their order."""
        for_lasting = False  # somebody waits until those that last have ended: no further one begins
        for ticket in self._waiting[:]:
            share_used = self._held_lasting > 0 and self._held_lasting + ticket.size > self.lasting
            if ticket.lasting and (for_lasting or share_used):
                continue
            if self._held + ticket.size > self.size:
                if self._held - self._held_lasting + ticket.size > self.size:
                    break
                for_lasting = True
                continue
            ticket.let_in = True
            self._waiting.remove(ticket)
            self._held += ticket.size
            self._held_lasting += ticket.size * ticket.lasting
            self.most = max(self.most, self._held)
        self._changed.notify_all()


def refused(size: int) -> bool:
    """Whether the system has no room for so many bytes more, as under a limit on a process's address space.

    Many decoders say of a lack of memory what they say of damage, or leave a frame out. So whoever would blame the
    file asks this first, for what decoding it takes. Nothing is used up by asking.
    """
    private = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_PRIVATE") else {}
    try:
        mmap.mmap(-1, size, **private).close()
    except (OSError, MemoryError):
        return True
    return False


def trim() -> None:
    """Give freed memory back to the system, where the C library keeps it (glibc)."""
    if (release := _malloc_trim()) is not None:
        release(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        found: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return found


DECODING: Final = MemoryBudget()  # of this process
