"""One router per thing a person does."""

from __future__ import annotations

from aiogram import Router

from handlers import album, errors, fallback, photo, sample, start, video


def create_routers() -> list[Router]:
    """New routers, in the order in which they are asked."""
    return [module.create_router() for module in (errors, start, sample, album, video, photo, fallback)]
