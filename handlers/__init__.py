"""One router per thing a person does."""

from __future__ import annotations

from aiogram import Router

from handlers import (
    admin,
    album,
    buttons,
    cancel,
    caption,
    colours,
    errors,
    fallback,
    groups,
    photo,
    privacy,
    sample,
    settings,
    start,
    video,
)


def create_routers() -> list[Router]:
    """New routers, in the order in which they are asked."""
    modules = (
        errors,
        groups,
        admin,
        start,
        cancel,
        settings,
        privacy,
        sample,
        colours,
        album,
        video,
        photo,
        caption,
        buttons,
        fallback,
    )
    return [module.create_router() for module in modules]
