"""Long polling that confirms an update to Telegram only once it is written down."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

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
from bot.telegram.updates import is_numbered
from model.serving.outage import Outage, reason_of

T = TypeVar("T")

log = logging.getLogger(__name__)

LONG_POLL: Final = 30  # seconds
SLACK: Final = 15  # seconds a poll may take beyond that
MOST_AT_ONCE: Final = 100  # updates in one answer: then there may be more
AWAY: Final = LONG_POLL + SLACK + 15.0  # seconds without anything recorded, after which what comes has waited
UNUSABLE_PAUSE: Final = 1.0


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
    behind, reached = True, time.monotonic()  # whether what comes now has waited, as no bot asked for it before
    unusable: list[Any] = []
    while True:
        try:
            seconds = 0 if behind else LONG_POLL
            method = GetRawUpdates(offset=offset, timeout=seconds, allowed_updates=allowed_updates)
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
        behind = behind or time.monotonic() - reached > AWAY
        waited, behind = behind, behind and len(updates) >= MOST_AT_ONCE
        before, unusable = unusable, [update for update in updates if not is_numbered(update)]
        if unusable:
            if unusable != before:
                log.warning("%d updates have no number that can be kept, and are dropped", len(unusable))
            updates = [update for update in updates if is_numbered(update)]
            if not updates:  # they cannot be confirmed, for that would confirm all that is numbered below them
                await asyncio.sleep(UNUSABLE_PAUSE)
                continue
        if not updates:
            # All before is confirmed. After a week of silence ids begin anew anywhere, perhaps below the offset.
            offset, reached = None, time.monotonic()
            continue
        try:
            entries = await processor.record(updates)
        except (OSError, StorageError) as error:
            await recording.pause(reason_of(error))
            continue
        recording.worked()
        reached = time.monotonic()
        offset = max(int(update["update_id"]) for update in updates) + 1
        for entry in entries:
            processor.start(entry, waited=waited)


def _pause_asked(error: Exception) -> float:
    return float(error.retry_after) if isinstance(error, TelegramRetryAfter) else 0.0
