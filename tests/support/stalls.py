"""Moments in which a test's process stands still, as on a crowded machine: `make test STALLS=0.01`.

Before each callback of an event loop, with the given probability, and three times as likely before each piece of work
of a thread pool, the process sleeps for up to SECONDS. A test that passes only where nothing ever stalls fails then.
"""

from __future__ import annotations

import random
import time
from asyncio import events
from collections.abc import Callable
from concurrent.futures import thread
from typing import Any, Final

SECONDS: Final = 0.05, 0.6


def install(probability: float) -> None:
    """For the rest of this process. Raises ValueError for what is no probability."""
    if not 0 <= probability <= 1:
        raise ValueError(f"not a probability: {probability}")
    chance = random.Random()

    def stalling(run: Callable[..., Any], likely: float) -> Callable[..., Any]:
        def stalled(*arguments: Any) -> Any:
            if chance.random() < likely:
                time.sleep(chance.uniform(*SECONDS))
            return run(*arguments)

        return stalled

    for owner, name, likely in ((events.Handle, "_run", probability), (thread._WorkItem, "run", 3 * probability)):
        setattr(owner, name, stalling(getattr(owner, name), likely))
