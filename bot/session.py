"""Requests to Telegram that survive flood limits, server errors and a flaky network."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from typing import Any, Final

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramEntityTooLarge,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import DeleteWebhook, GetMe, Response, SendChatAction, TelegramMethod
from aiogram.methods.base import TelegramType

log = logging.getLogger(__name__)

PATIENCE: Final = 60.0  # seconds of failures, then the caller decides
LONGEST_PAUSE: Final = 10.0
MOST_FLOOD_WAITS: Final = 10


class Session(AiohttpSession):
    """aiogram's, but closing at once where there is no TLS to take leave of."""

    async def close(self) -> None:
        if self._session is not None and self.api.base.startswith("http://"):
            await self._session.close()
        await super().close()


class GetRawUpdates(TelegramMethod[list[dict[str, Any]]]):
    """getUpdates, with the updates as they came: one that cannot be understood must not hide the others."""

    __returning__ = list[dict[str, Any]]
    __api_method__ = "getUpdates"

    offset: int | None = None
    timeout: int | None = None
    allowed_updates: list[str] | None = None


# Start and polling have loops of their own; a chat action that failed is not worth repeating.
NOT_REPEATED: Final = frozenset(
    method.__api_method__ for method in (GetRawUpdates, GetMe, DeleteWebhook, SendChatAction)
)


def is_passing(error: BaseException) -> bool:
    """Whether the same request may well succeed later."""
    if isinstance(error, ClientDecodeError):
        return isinstance(error.data, str)  # a proxy's error page instead of an answer
    if isinstance(error, TelegramEntityTooLarge):
        return False
    return isinstance(error, (TelegramRetryAfter, TelegramServerError, TelegramNetworkError))


class RetryMiddleware(BaseRequestMiddleware):
    """Repeats failed requests: after `retry_after` as often as Telegram says, else with growing pauses.

    A send whose answer was lost is repeated too, and may then arrive twice: Telegram has no idempotency keys.
    """

    def __init__(self, patience: float = PATIENCE) -> None:
        self._patience = patience

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        if method.__api_method__ in NOT_REPEATED:
            return await make_request(bot, method)
        end = time.monotonic() + self._patience
        flood_waits, pause = 0, 0.5
        while True:
            try:
                return await make_request(bot, method)
            except TelegramRetryAfter as error:
                flood_waits += 1
                if flood_waits > MOST_FLOOD_WAITS:
                    raise
                log.info("%s: told to wait %d s", method.__api_method__, error.retry_after)
                await asyncio.sleep(error.retry_after + random.uniform(0.0, 0.5))
                end = time.monotonic() + self._patience
            except (ClientDecodeError, TelegramServerError, TelegramNetworkError) as error:
                delay = pause * random.uniform(0.5, 1.0)
                if not is_passing(error) or time.monotonic() + delay > end:
                    raise
                log.info("%s: %s, trying again", method.__api_method__, type(error).__name__)
                await asyncio.sleep(delay)
                pause = min(LONGEST_PAUSE, 2 * pause)
