"""Keeps what the bot sends within Telegram's limits, so that it is seldom told to wait, and waits when it is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Final

from aiogram.methods import SendChatAction, TelegramMethod

from model.serving.limits import Bucket, Rate

SWEEP_SECONDS: Final = 60.0
SENDING: Final = ("send", "edit", "copy", "forward")


# As in Telegram's FAQ for bots: about 1 message/s in one chat, 20 a minute in a group, 30/s over all.
PRIVATE: Final = Rate(1.0, burst=10)  # the pictures of an album are answered together
GROUP: Final = Rate(3.0, burst=5)
OVER_ALL: Final = Rate(1 / 30)

_Kind = tuple[str, int | str | None]  # of requests: the method, and the chat where they name one


@dataclass
class _Line(Bucket):
    """Those who want to send to one chat, one after the other."""

    paused: float = 0.0  # until when Telegram wants silence
    users: int = 0
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def next(self) -> float:
        """When one more message may go."""
        return max(self.paused, super().next())

    def spare(self) -> float:
        """When one more message may go of those that nobody waits for: half of the burst is left to others."""
        return max(self.paused, self.full - self.rate.burst // 2 * self.rate.interval)

    def pause(self, until: float) -> None:
        """And no burst after it."""
        self.paused = max(self.paused, until)
        self.full = max(self.full, until + (self.rate.burst - 1) * self.rate.interval)


class Pacer:
    """Holds messages back until they may go. Memory is taken only for chats that were lately sent to."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        *,
        private: Rate = PRIVATE,
        group: Rate = GROUP,
        over_all: Rate = OVER_ALL,
    ) -> None:
        self._clock = clock
        self._sleep = sleep
        self._private = private
        self._group = group
        self._all = _Line(over_all)
        self._chats: dict[Hashable, _Line] = {}
        self._paused: dict[_Kind, float] = {}  # until when Telegram wants none of these that send nothing
        self._swept = clock()

    async def wait_for_turn(self, method: TelegramMethod[Any]) -> None:
        """Returns when a request may go; at once for those that send nothing, unless Telegram wants none like it."""
        messages, chat = messages_of(method), chat_of(method)
        if messages and chat is not None:
            line = self._line(chat)
            line.users += 1
            try:
                async with line.turn:  # first come, first served
                    await self._until(line.next)
                    line.count(messages, self._clock())
            finally:
                line.users -= 1
        if self._paused:
            await self._until(lambda: self._paused.get(_kind_of(method), 0.0))
        if not messages:
            return
        async with self._all.turn:
            await self._until(self._all.next)
            self._all.count(messages, self._clock())

    def has_room(self, method: TelegramMethod[Any]) -> bool:
        """Whether a request would go at once: what is not worth waiting for is left out otherwise."""
        now, chat = self._clock(), chat_of(method)
        line = self._chats.get(chat) if chat is not None else None
        return line is None or (not line.turn.locked() and now >= line.next())

    def has_spare(self, chat: int) -> bool:
        """Whether a message to a chat would go at once and make no other wait soon."""
        now, line = self._clock(), self._chats.get(chat)
        if self._all.turn.locked() or now < self._all.next():
            return False
        return line is None or (not line.turn.locked() and now >= line.spare())

    def pause(self, method: TelegramMethod[Any], seconds: float) -> None:
        """Telegram refused this request for so long: nothing is sent to its chat, and none like it goes that sends
        nothing. All others go on.
        """
        now, chat = self._clock(), chat_of(method)
        if chat is not None:
            self._line(chat).pause(now + seconds)
        if chat is None or not messages_of(method):
            self._paused = {kind: until for kind, until in self._paused.items() if until > now}
            self._paused[_kind_of(method)] = now + seconds

    async def _until(self, moment: Callable[[], float]) -> None:
        """`moment` may move further away meanwhile."""
        while (left := moment() - self._clock()) > 0:
            await self._sleep(left)

    def _line(self, chat: Hashable) -> _Line:
        now = self._clock()
        if now > self._swept + SWEEP_SECONDS:
            self._chats = {
                key: line for key, line in self._chats.items() if line.users or max(line.full, line.paused) > now
            }
            self._swept = now
        if chat not in self._chats:
            self._chats[chat] = _Line(self._private if is_private(chat) else self._group)
        return self._chats[chat]

    @property
    def chats(self) -> int:
        """How many chats are kept in mind."""
        return len(self._chats)


def is_private(chat: Hashable) -> bool:
    """Whether this is the id of a chat with one person."""
    return isinstance(chat, int) and chat > 0


def messages_of(method: TelegramMethod[Any]) -> int:
    """How many messages a request counts as; an album counts as each of its items."""
    if isinstance(method, SendChatAction) or not method.__api_method__.startswith(SENDING):
        return 0
    fields = vars(method)  # what is none of them costs an attribute much
    items = fields.get("media") or fields.get("message_ids")
    return len(items) if isinstance(items, list) else 1


def chat_of(method: TelegramMethod[Any]) -> int | str | None:
    """The chat that a request names, or the message by which it is known in a chat that the bot is no member of."""
    fields = vars(method)
    chat: int | str | None = fields.get("chat_id")
    return chat if chat is not None else fields.get("inline_message_id")


def _kind_of(method: TelegramMethod[Any]) -> _Kind:
    return method.__api_method__, chat_of(method)
