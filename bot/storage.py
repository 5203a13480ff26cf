"""What the bot remembers of a chat; the engines are beside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


class StorageError(Exception):
    """What is remembered cannot be read or written now."""


@dataclass(frozen=True)
class Picture:
    """A file on Telegram's servers that is, or claims to be, a picture or a clip."""

    file_id: str
    file_unique_id: str
    file_size: int | None = None  # bytes, as Telegram says


class Storage(Protocol):
    """What is remembered of chats. What was written is found by every later read. All raise StorageError."""

    async def remember_picture(self, chat_id: int, picture: Picture) -> None:
        """Make this the chat's last picture."""

    async def last_picture(self, chat_id: int) -> Picture | None:
        """The picture the chat saw last, if any."""

    async def note(self, key: str, text: str, seconds: float) -> None:
        """Keep a short text under a key for so many seconds."""

    async def noted(self, key: str) -> str | None:
        """The text under a key, unless its time is over."""
