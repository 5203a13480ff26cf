"""What the bot remembers of a chat; the engines are beside."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol
from weakref import WeakKeyDictionary

from bot.chat_settings import ChatSettings

PICTURE_KEPT: Final = 90 * 86_400.0  # seconds after a chat's last picture
LONGEST_NOTE: Final = PICTURE_KEPT
LASTING: Final = 2 * 86_400.0  # seconds; notes that are to be kept for longer are those that buttons need
MOST_LASTING: Final = 1000  # of them in one chat
PICTURE: Final = "picture"  # the key of the chat's last one
YEAR: Final = 365 * 86_400.0  # seconds
OWN_ROOM: Final = ("vector:", "vectors-in:")  # how keys of notes begin that have room of their own, see `room_of`
MOST_IN_ROOM: Final = 5000  # of them of one person in one chat


def room_of(key: str) -> str:
    """How the keys begin with which this one shares MOST_IN_ROOM places: its kind and its person, each with a colon.

    Empty: it has its place among all others.
    """
    if not key.startswith(OWN_ROOM):
        return ""
    kind, person = key.split(":")[:2]
    return f"{kind}:{person}:"


@dataclass(frozen=True)
class Picture:
    """A file on Telegram's servers that is, or claims to be, a picture or a clip."""

    file_id: str
    file_unique_id: str
    file_size: int | None = None  # bytes, as Telegram says
    spoiler: bool = False  # people see it only after a tap
    protected: bool = False  # it may not be passed on, nor shown again but on the sheet of its captions

    @property
    def private(self) -> bool:
        """Whether no more is kept of it than the buttons under its answer need."""
        return self.spoiler or self.protected

    @property
    def cache_name(self) -> str:
        """Under which workers may keep what they find in it; empty: they may not."""
        return "" if self.private else self.file_unique_id


@dataclass(frozen=True)
class Note:
    """A short text of a chat under a key, to be kept for so many seconds: LONGEST_NOTE at most.

    With room of its own: YEAR at most.
    """

    key: str
    text: str
    seconds: float

    @classmethod
    def of_picture(cls, picture: Picture) -> Note:
        return cls(PICTURE, json.dumps(vars(picture)), PICTURE_KEPT)


class Storage(Protocol):
    """What is remembered of chats. What was written is found by every later read. All raise StorageError.

    Settings, and that something was deleted, are on the disk when the call returns; notes once the update that they
    belong to is acknowledged.
    """

    notes_take_long: ClassVar[bool]  # each waits for the disk: an answer is sent while its note is being kept

    async def settings(self, chat_id: int) -> ChatSettings:
        """As they were kept last; the defaults for a chat of which none were."""

    async def keep_settings(self, chat_id: int, settings: ChatSettings) -> None:
        """Keep them for good."""

    async def remember_picture(self, chat_id: int, picture: Picture) -> None:
        """Make this the chat's last picture, for `PICTURE_KEPT` seconds."""

    async def last_picture(self, chat_id: int) -> Picture | None:
        """The picture the chat saw last, if any."""

    async def note_all(self, chat_id: int, notes: Sequence[Note]) -> None:
        """Keep several notes, all or none, at the cost of one.

        Of those that last longer than LASTING a chat has at most MOST_LASTING, beside its last picture, and of those
        with room of their own MOST_IN_ROOM: the ones that would be over first make room.
        """

    async def noted(self, chat_id: int, key: str) -> str | None:
        """The text under a key, unless its time is over."""

    async def forget_note(self, chat_id: int, key: str) -> None:
        """Delete the text under a key, if there is one."""

    async def notes(self, chat_id: int, prefix: str) -> dict[str, str]:
        """All texts of a chat whose keys begin so, by key."""

    async def forget_chat(self, chat_id: int) -> None:
        """Delete all of the above of a chat."""


_changing: Final[WeakKeyDictionary[Storage, asyncio.Lock]] = WeakKeyDictionary()


async def change_settings(
    storage: Storage, chat_id: int, change: Callable[[ChatSettings], ChatSettings]
) -> ChatSettings:
    """Keep what `change` makes of a chat's settings; the settings then. Raises StorageError.

    One change comes after the other, so that two at a time are both kept.
    """
    async with _changing.setdefault(storage, asyncio.Lock()):
        before = await storage.settings(chat_id)
        after = change(before)
        if after != before:
            await storage.keep_settings(chat_id, after)
        return after


async def remember_last(storage: Storage, chat_id: int, picture: Picture) -> None:
    """Make this the chat's last picture; one that is private leaves the chat without any. Raises StorageError."""
    if picture.private:
        await storage.forget_note(chat_id, PICTURE)
    else:
        await storage.remember_picture(chat_id, picture)
