"""The answer to a press of a button, without which the button goes on spinning."""

from __future__ import annotations

import logging

from aiogram.exceptions import AiogramError
from aiogram.types import CallbackQuery

log = logging.getLogger(__name__)


async def acknowledge(query: CallbackQuery, text: str | None = None) -> None:
    """Stop the spinner, with a short text at the top of the screen if there is one.

    Telegram takes no answer to a press from before a restart: that is no reason not to do what was asked.
    """
    try:
        await query.answer(text)
    except AiogramError as error:
        log.info("a press could not be acknowledged (%s)", type(error).__name__)
