"""Typed errors → words, in one place. What is not foreseen goes on to the inbox."""

from __future__ import annotations

import logging

from aiogram import Bot, Router
from aiogram.filters import ExceptionTypeFilter
from aiogram.types import ErrorEvent, InaccessibleMessage, Message

from bot import replies
from bot.answers.keyboards import example_button
from bot.errors import COUNTED, NoPicture, RequestError, TooFast
from bot.metrics import BotMetrics
from bot.service.limits import Refusals
from bot.storage.inbox import GiveUp
from bot.telegram.updates import asker
from model.errors import CaptionError, JobCancelled, JobCrashed
from model.serving.queue import Busy

log = logging.getLogger(__name__)


def create_router() -> Router:
    router = Router(name=__name__)
    router.error.register(explain, ExceptionTypeFilter(CaptionError, RequestError, Busy))
    return router


async def explain(event: ErrorEvent, bot: Bot, metrics: BotMetrics, refusals: Refusals) -> GiveUp | None:
    """What brought workers down is kept for another try by hand; what nobody wants any more is passed over."""
    error = event.exception
    reason = str(error) if isinstance(error, CaptionError) else ""  # others may quote people
    log.info("update %d: %s %s", event.update.update_id, type(error).__name__, reason)
    if isinstance(error, JobCancelled):
        return None
    kind = getattr(error, "kind", "")
    metrics.failed(kind if kind in COUNTED else "no_picture")
    query = event.update.callback_query
    message = event.update.message or (query.message if query is not None else None)
    user = query.from_user.id if query is not None else asker(message) if isinstance(message, Message) else 0
    if isinstance(message, Message):
        if not isinstance(error, (Busy, TooFast)) or refusals.are_said(message.chat.id, user):
            button = example_button(user) if isinstance(error, NoPicture) else None
            await message.reply(replies.failure(error), reply_markup=button)
    elif isinstance(message, InaccessibleMessage):  # of a button, but deleted or too old to be replied to
        await bot.send_message(message.chat.id, replies.failure(error))
    kept = isinstance(error, JobCrashed) and event.update.guest_message is None  # its answer cannot be sent again
    return GiveUp(reason) if kept else None
