"""Typed errors → words, in one place. What is not foreseen goes on to the inbox."""

from __future__ import annotations

import logging

from aiogram import Router
from aiogram.filters import ExceptionTypeFilter
from aiogram.types import ErrorEvent

from bot import replies
from bot.admission import Busy
from bot.arguments import WrongArguments
from bot.media import PictureError
from model.errors import CaptionError

log = logging.getLogger(__name__)


def create_router() -> Router:
    router = Router(name=__name__)
    router.error.register(explain, ExceptionTypeFilter(CaptionError, PictureError, Busy, WrongArguments))
    return router


async def explain(event: ErrorEvent) -> None:
    reason = str(event.exception) if isinstance(event.exception, CaptionError) else ""  # others may quote people
    log.info("update %d: %s %s", event.update.update_id, type(event.exception).__name__, reason)
    if event.update.message is not None:
        await event.update.message.reply(replies.failure(event.exception))
