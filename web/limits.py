"""How often one client may ask, and how many requests of it and of all may be open."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

from model.serving.limits import Bucket, Rate
from model.serving.queue import Limits
from web.errors import ApiError

SWEEP_SECONDS: Final = 60.0
MOST_CLIENTS: Final = 100_000  # in memory; beyond, new ones share one bucket
FIRST_WEB_USER: Final = 1 << 52  # above the ids of Telegram, below what a double holds


@lru_cache(4096)
def client_of(address: str | None) -> str:
    """Whom requests from this address are counted for; the 2^64 addresses of an IPv6 network are one client."""
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return ""
    if parsed.version == 6 and parsed.ipv4_mapped is None:
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


@lru_cache(4096)
def user_of(client: str) -> int:
    """The number under which the queue counts a client's jobs, unlike that of any person in Telegram."""
    digest = hashlib.sha256(client.encode()).digest()
    return FIRST_WEB_USER + int.from_bytes(digest[:6], "big")


class RateLimit:
    """A bucket of tokens for each client."""

    def __init__(self, rate: Rate, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._clients: dict[str, Bucket] = {}
        self._swept = clock()

    def check(self, client: str) -> None:
        """Count a request. Raises ApiError "rate"."""
        now = self._clock()
        if now > self._swept + SWEEP_SECONDS:
            self._clients = {name: bucket for name, bucket in self._clients.items() if bucket.full > now}
            self._swept = now
        if client not in self._clients and len(self._clients) >= MOST_CLIENTS:
            client = ""
        bucket = self._clients.setdefault(client, Bucket(self._rate, now))
        if (wait := bucket.next() - now) > 0:
            raise ApiError("rate", seconds=wait)
        bucket.count(1, now)


class Open:
    """Requests with a body that are open in this process, known before anything of the body is read."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._clients: Counter[str] = Counter()

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Raises ApiError "busy"."""
        if self._clients[client] >= self._limits.requests_per_person or self._clients.total() >= self._limits.requests:
            raise ApiError("busy")
        self._clients[client] += 1
        try:
            yield
        finally:
            self._clients[client] -= 1
            if not self._clients[client]:
                del self._clients[client]
