"""Inline queries: @bot in any chat."""

from __future__ import annotations

from aiogram import Router
from aiogram.types import InlineQuery

from bot.answers.inline import InlineHistory


def create_router() -> Router:
    router = Router(name=__name__)
    router.inline_query.register(find)
    return router


async def find(query: InlineQuery, inline: InlineHistory) -> None:
    await inline.answer(query)
