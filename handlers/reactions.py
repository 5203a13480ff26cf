"""Reactions of people to messages."""

from __future__ import annotations

from aiogram import Router
from aiogram.types import MessageReactionUpdated

from bot.answers.reactions import Reactions


def create_router() -> Router:
    router = Router(name=__name__)
    router.message_reaction.register(count)
    return router


async def count(changed: MessageReactionUpdated, reactions: Reactions) -> None:
    await reactions.count(changed)
