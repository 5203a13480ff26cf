"""One router per thing a person does."""

from __future__ import annotations

from bot.telegram import quick_import  # noqa: F401

# isort: split
from aiogram import Router

from handlers import buttons, cancel, commands, errors, fallback, groups, guests, inline, media, privacy, reactions


def create_routers() -> list[Router]:
    """New routers, in the order in which they are asked."""
    modules = (errors, groups, commands, cancel, privacy, media, buttons, reactions, guests, inline, fallback)
    return [module.create_router() for module in modules]
