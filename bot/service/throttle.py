"""Who is told that there is no room, and whose updates waited for the bot."""

from __future__ import annotations

from typing import Final

from aiogram.enums import ChatType
from aiogram.types import Message
from cachetools import TTLCache

from bot.storage.inbox import Accepted

REFUSED_SECONDS: Final = 60.0
WAITED: Final = 30.0  # seconds; as long as the bot may pause between two tries of an outage of Telegram


class Refusals:
    """Keeps groups quiet: there a person hears once a minute that there is no room for what they ask."""

    def __init__(self) -> None:
        self._said: TTLCache[tuple[int, int], bool] = TTLCache(10_000, REFUSED_SECONDS)

    def are_said(self, message: Message, user: int) -> bool:
        """Whether one more may be said in answer to this message."""
        if message.chat.type == ChatType.PRIVATE:
            return True
        key = message.chat.id, user
        if key in self._said:
            return False
        self._said[key] = True
        return True


def waited(accepted: Accepted, message: Message, user: int, began: float) -> bool:
    """Whether an update waited while the bot, which `began` its work then (seconds since the epoch), was down.

    Of a press (`message` is the one with the button then) Telegram does not say when it was: those count as waited
    that come right after the start.
    """
    if accepted.again:
        return True
    if message.from_user is not None and message.from_user.id != user:
        return accepted.received < began + WAITED
    sent = message.date.timestamp()  # in whole seconds
    return sent < int(began) or accepted.received - sent > WAITED
