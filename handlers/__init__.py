"""One router per thing a person does."""

from __future__ import annotations

from bot.telegram import quick_import  # noqa: F401

# isort: split
from aiogram import F, Router

from handlers import buttons, cancel, commands, errors, fallback, groups, guests, inline, media, privacy, reactions
from handlers.filters import Where


def create_routers() -> list[Router]:
    """New routers, in the order in which they are asked: a photo without words is not asked about commands."""
    worded = Router(name=__name__)
    worded.message.filter(Where(F.text | F.caption))
    worded.include_routers(*(module.create_router() for module in (commands, cancel, privacy)))
    modules = (media, groups, buttons, reactions, guests, inline, fallback, errors)
    return [worded, *(module.create_router() for module in modules)]
