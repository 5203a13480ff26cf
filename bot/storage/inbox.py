"""The inbox of updates: accept → process → acknowledge, or dead-letter. The types; engines are in other modules."""

from __future__ import annotations

import json
import secrets
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from bot.chat_settings import ChatSettings
from model.serving.jobs import Kind

REMEMBERED: Final = 48 * 3600.0  # Telegram keeps unconfirmed updates for 24 h
DEAD_KEPT: Final = 7 * 24 * 3600.0
ASKED: Final = "_asked"  # beside the fields of an update: earlier versions, which do not write it, pass it over


Order = tuple[float, int]  # in which updates came


NOWHERE: Final = 0  # the chat of a `Place` that the bot is no member of


@dataclass(frozen=True)
class Place:
    """Where a person asked: the chat, its topic if it has topics, and who."""

    chat: int
    thread: int | None
    user: int


@dataclass(frozen=True)
class Asked:
    """What an update asks for, decided once: when it is accepted."""

    work: Kind | None  # for workers; None: it gives them none
    place: Place


@dataclass(frozen=True)
class Recorded:
    """An update that was accepted and is not yet answered."""

    id: int
    body: dict[str, Any]
    received: float  # seconds since the epoch
    attempts: int = 0  # crashes of the bot it was there for
    asked: Asked | None = None  # None: not decided, or by another version
    settings: ChatSettings | None = None  # of the chat, when it was accepted; None: not known

    @classmethod
    def load(cls, update_id: int, text: str | bytes, received: float, attempts: int = 0) -> Self:
        """Of the text that an engine keeps."""
        body = json.loads(text)
        return cls(update_id, body, received, attempts, _asked(body.pop(ASKED, None)))

    def dump(self) -> str:
        """For an engine to keep. ASCII: half of a UTF-16 pair in a name could not be encoded."""
        body = self.body
        if self.asked is not None:
            place = self.asked.place
            body = {**body, ASKED: (self.asked.work, place.chat, place.thread, place.user)}
        return json.dumps(body, separators=(",", ":"))


@dataclass(frozen=True)
class Accepted:
    """An update in work, as handlers see it."""

    id: int
    received: float  # seconds since the epoch
    again: bool = False  # it was accepted at an earlier time, perhaps by an earlier process
    asked: Asked | None = None
    waited: bool = False  # at Telegram, while the bot was down or did not reach it
    settings: ChatSettings | None = None  # of the chat; None: to be looked up

    @property
    def order(self) -> Order:
        return self.received, self.id


@dataclass(frozen=True)
class DeadLetter:
    """An update that was given up. `body` is `reduced`."""

    id: int
    reason: str
    attempts: int
    died: float  # seconds since the epoch
    body: dict[str, Any]


@dataclass(frozen=True)
class Notice:
    """A message of the bot that is to be deleted when it is no longer true, or its reaction to another message."""

    chat: int
    message: int  # negative: the reaction to the message with the positive number is to be taken back


@dataclass(frozen=True)
class GiveUp:
    """What a handler returns for an update that is not to be acknowledged but kept for another try by hand."""

    reason: str


def new_entry(update: dict[str, Any], received: float, asked: Mapping[int, Asked] | None) -> Recorded:
    """Of an update that has just come. Raises KeyError where it has no id."""
    number = int(update["update_id"])
    return Recorded(number, update, received, asked=(asked or {}).get(number))


def _asked(kept: Any) -> Asked | None:
    """None for what another version wrote: it is decided anew."""
    try:
        work, *place = kept
        return Asked(work, Place(*place))
    except (TypeError, ValueError):
        return None


Settle = Callable[[], Awaitable[None]]  # forgets the jobs of an update


async def nothing() -> None: ...


class Inbox(Protocol):
    """The updates of one bot. An id stays known for two days after it was acknowledged.

    So an update is answered once even if the bot was killed after the answer and before the next getUpdates
    confirmed it to Telegram. Each call is on the disk when it returns. All raise `bot.storage.chats.StorageError`.
    """

    async def record(
        self, updates: Sequence[dict[str, Any]], asked: Mapping[int, Asked] | None = None
    ) -> list[Recorded]:
        """Write updates down, all or none; those seen for the first time. `asked`: what they ask for, by their ids."""

    async def acknowledge(self, update_id: int, settle: Settle = nothing) -> None:
        """The update is answered: forget all but its id.

        `settle` comes first, so that a kill leaves nothing behind; it may be called several times. What it raises is
        raised.
        """

    async def dead_letter(self, update_id: int, reason: str, attempts: int) -> None:
        """The update cannot be done: keep what another try needs for a week, and forget the rest."""

    async def waiting(self) -> list[Recorded]:
        """What is not acknowledged, in the order in which it came."""

    async def recover(self, max_attempts: int) -> list[Recorded]:
        """Call once at start, when no other process serves this bot: what is left from before, its crashes counted.

        A crash counts for all that was waiting, but only up to `max_attempts`: many are there, one is to blame. Those
        that reach it are to be processed alone (`begin_alone`), and then each crash counts for the one in work.
        """

    async def reclaim(self, max_attempts: int) -> list[Recorded]:
        """Call every few seconds: says that this process lives, and takes what no living process has in work."""

    async def begin_alone(self, update_id: int) -> None:
        """Note that, should the bot crash now, it is this update's doing and no other's."""

    async def stopped(self) -> None:
        """Note that the bot ends as it should, so that what still waits is not suspected of anything."""

    async def notice_shown(self, notice: Notice) -> None:
        """Remember a notice, so that it is removed even if this process is killed."""

    async def notice_removed(self, notice: Notice) -> None: ...

    async def notices_left(self) -> list[Notice]:
        """Notices of processes that are gone."""

    async def dead(self) -> list[DeadLetter]:
        """The dead letters of the last week, oldest first."""

    async def retry(self, update_ids: Collection[int] | None) -> int:
        """Put dead letters (None: all) back; the running bot, or the next one, takes them up. How many."""

    async def drop(self, update_ids: Collection[int] | None) -> int:
        """Delete dead letters (None: all). How many."""


def process_name() -> str:
    """A name that no other process has had."""
    return secrets.token_hex(8)
