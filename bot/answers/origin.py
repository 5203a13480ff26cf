"""Who asks for a job, and where, as an update tells it."""

from __future__ import annotations

from aiogram import Bot
from aiogram.types import Message

from bot import replies
from bot.service.jobs import Origin
from bot.service.requests import asker, job_id, place


def origin(bot: Bot, message: Message, update_id: int, user: int | None = None) -> Origin:
    """`user`: who pressed a button of the message; None: who sent it."""
    return Origin(
        job_id(bot, update_id),
        asker(message) if user is None else user,
        place(bot, message.chat.id),
        message.media_group_id,
        replies.drawn_labels(),
    )
