"""Long polling that confirms an update to Telegram only once it is written down."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from aiogram import Bot
from aiogram.exceptions import (
    AiogramError,
    TelegramConflictError,
    TelegramNotFound,
    TelegramRetryAfter,
    TelegramUnauthorizedError,
)

from bot.errors import Conflict, StorageError, WrongToken
from bot.telegram.processing import Processor
from bot.telegram.receiving import Reception
from bot.telegram.session import GetRawUpdates
from model.serving.outage import Outage, reason_of

T = TypeVar("T")

log = logging.getLogger(__name__)

LONG_POLL: Final = 30  # seconds
SLACK: Final = 15  # seconds a poll may take beyond that


async def until_connected(request: Callable[[], Awaitable[T]]) -> T:
    """What a first request returns, when Telegram can be reached at last. Raises WrongToken."""
    outage = Outage("the connection to Telegram")
    while True:
        try:
            result = await request()
        except (TelegramUnauthorizedError, TelegramNotFound) as error:
            raise WrongToken(error.message) from None
        except AiogramError as error:
            await outage.pause(reason_of(error), _pause_asked(error))
        else:
            outage.worked()
            return result


async def receive_by_polling(reception: Reception) -> None:
    """Take over from a webhook, if there was one, and poll. Raises WrongToken, Conflict or RedisRefused."""
    bot, processor = reception.bot, reception.processor
    await until_connected(bot.me)
    await until_connected(lambda: bot.delete_webhook(drop_pending_updates=False))
    await reception.began(await processor.recover())
    await poll(bot, processor, reception.allowed_updates, reception.note_contact)


async def poll(
    bot: Bot,
    processor: Processor,
    allowed_updates: list[str],
    note_contact: Callable[[int], None] = lambda updates: None,
) -> None:
    """Receive, write down, then confirm and process; for ever. Raises WrongToken, Conflict or RedisRefused.

    `note_contact` is called with the number of updates each time that Telegram answers.
    """
    receiving, recording = Outage("receiving updates"), Outage("recording updates")
    offset: int | None = None
    while True:
        try:
            method = GetRawUpdates(offset=offset, timeout=LONG_POLL, allowed_updates=allowed_updates)
            updates = await bot(method, request_timeout=LONG_POLL + SLACK)
        except TelegramUnauthorizedError as error:
            raise WrongToken(error.message) from None
        except TelegramConflictError as error:
            raise Conflict(error.message) from None
        except AiogramError as error:
            await receiving.pause(reason_of(error), _pause_asked(error))
            continue
        receiving.worked()
        note_contact(len(updates))
        if not updates:
            # All before is confirmed. After a week of silence ids begin anew anywhere, perhaps below the offset.
            offset = None
            continue
        try:
            entries = await processor.record(updates)
        except (OSError, StorageError) as error:
            await recording.pause(reason_of(error))
            continue
        recording.worked()
        offset = max(int(update["update_id"]) for update in updates) + 1
        for entry in entries:
            processor.start(entry)


def _pause_asked(error: Exception) -> float:
    return float(error.retry_after) if isinstance(error, TelegramRetryAfter) else 0.0
