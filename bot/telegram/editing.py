"""Edits of the bot's own messages that have buttons."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from aiogram.exceptions import TelegramBadRequest
from aiogram.types import InlineKeyboardMarkup, Message
from cachetools import TTLCache

Shown = tuple[str | None, Any]

PRESSED_BEFORE: Final = 3.0  # seconds for which a press may still show the message as it was before


class Edits:
    """Edits messages, but not to what they say already, for Telegram takes no edit that changes nothing.

    A press tells what its message said at that moment. Of two presses in a row, the second one was made before the
    first was answered: so what was shown last is remembered for a moment.
    """

    def __init__(self) -> None:
        self._shown: TTLCache[tuple[int, int], Shown | None] = TTLCache(1000, PRESSED_BEFORE)

    async def edit(self, message: Message, text: str, buttons: InlineKeyboardMarkup | None = None) -> None:
        """`text`: without markup. Raises as `Message.edit_text` does."""
        key = message.chat.id, message.message_id
        wanted = text, _plain(buttons)
        if (self._shown.get(key) or (message.text, _plain(message.reply_markup))) == wanted:
            return
        self._shown[key] = wanted
        try:
            with same_passed_over():  # it may be edited by another process of this bot
                await message.edit_text(text, reply_markup=buttons)
        except BaseException:
            self._shown[key] = None
            raise


@contextmanager
def same_passed_over() -> Iterator[None]:
    """An edit within the block is done, too, where the message says already what it is to say."""
    try:
        yield
    except TelegramBadRequest as error:
        if "message is not modified" not in error.message:
            raise


def _plain(buttons: InlineKeyboardMarkup | None) -> Any:
    return buttons.model_dump(exclude_none=True) if buttons is not None else None
