"""Edits of the bot's own messages that have buttons."""

from __future__ import annotations

from typing import Any, Final

from aiogram.exceptions import TelegramBadRequest
from aiogram.types import InlineKeyboardMarkup, Message
from cachetools import TTLCache

Shown = tuple[str | None, Any]

PRESSED_BEFORE: Final = 3.0  # seconds for which a press may still show the message as it was before


class Edits:
    """Edits messages, but not to what they say already, for Telegram takes no edit that changes nothing.

    A press tells what its message said at that moment. When a finger trembles, the second one was made before the
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
            await message.edit_text(text, reply_markup=buttons)
        except TelegramBadRequest as error:
            if not is_not_modified(error):  # by another process of this bot
                self._shown[key] = None
                raise
        except BaseException:
            self._shown[key] = None
            raise


def is_not_modified(error: TelegramBadRequest) -> bool:
    """Whether the message says already what it was to say."""
    return "message is not modified" in error.message


def _plain(buttons: InlineKeyboardMarkup | None) -> Any:
    return buttons.model_dump(exclude_none=True) if buttons is not None else None
