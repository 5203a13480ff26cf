"""`GET /health` of the webhook's port: whether this bot can do its part."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from aiogram import Bot
from aiogram.types import WebhookInfo
from aiohttp import web

from bot.logs import impersonal
from bot.stats import WebhookHealth
from model.serving.health import Deadline
from model.serving.queue import Status

HEALTH: Final = "/health"
FRESH: Final = 2.0  # seconds for which an answer of the queue counts: whoever can ask must not burden it
PATIENCE: Final = 5.0  # seconds for an answer of the queue
WELL: Final = 200
UNWELL: Final = 503


class Observed(Protocol):
    """As much of a queue as is looked at here."""

    async def status(self) -> Status: ...


class Recording(Protocol):
    @property
    def failing(self) -> bool: ...


class Accepting(Protocol):
    accepting: bool


async def ask_webhook(bot: Bot, url: str | None) -> WebhookHealth:
    """What Telegram says of the webhook at this address. Raises AiogramError."""
    return webhook_health(await bot.get_webhook_info(), url)


def webhook_health(info: WebhookInfo, url: str | None) -> WebhookHealth:
    since = None if info.last_error_date is None else info.last_error_date.timestamp()
    return WebhookHealth(info.pending_update_count, info.url == url, impersonal(info.last_error_message or ""), since)


class Wellness:
    """What is well and what is not; nothing of people, no address and no secret.

    The bot is unwell when it does not accept updates (yet, or any more), cannot write them down, has no contact with
    Telegram, or cannot reach the queue. Workers are counted and not judged: with none, the bot must go on accepting
    and telling people that their pictures wait.
    """

    def __init__(
        self,
        contact: Deadline,
        queue: Observed,
        recording: Recording,
        webhook: Accepting,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._contact = contact
        self._queue = queue
        self._recording = recording
        self._webhook = webhook
        self._clock = clock
        self.telegram_says: WebhookHealth | None = None  # as it was asked last
        self._seen: Status | None = None
        self._seen_at = -FRESH
        self._looking = asyncio.Lock()

    async def answer(self, request: web.Request) -> web.Response:
        report = await self.report()
        status = WELL if report["well"] else UNWELL
        return web.json_response(report, status=status, headers={"Cache-Control": "no-store"})

    async def report(self) -> dict[str, Any]:
        status = await self._status()
        parts = {
            "accepting": self._webhook.accepting,
            "recording": not self._recording.failing,
            "telegram": self._contact.missed() is None,
            "queue": status is not None,
        }
        found: dict[str, Any] = {"well": all(parts.values()), **parts}
        if status is not None:
            found |= {"waiting": sum(status.waiting.values()), "in_work": status.in_work, "workers": status.workers}
        if (says := self.telegram_says) is not None:
            found["webhook"] = {"ours": says.ours, "pending": says.pending, "error": says.error, "error_at": says.since}
        return found

    async def _status(self) -> Status | None:
        """None: the queue cannot be asked."""
        async with self._looking:  # those who ask meanwhile get the same answer
            if self._clock() - self._seen_at >= FRESH:
                try:
                    async with asyncio.timeout(PATIENCE):
                        self._seen = await self._queue.status()
                except Exception:  # whatever the engine's client raises
                    self._seen = None
                self._seen_at = self._clock()
            return self._seen
