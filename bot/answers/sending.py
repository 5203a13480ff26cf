"""Requests of the service, as people in Telegram see them: a status, "typing", and the first message of an answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from typing import Final

from aiogram import Bot
from aiogram.exceptions import AiogramError

from bot.answers.status import Waiting
from bot.service.in_progress import Group
from bot.storage.inbox import NOWHERE
from bot.telegram.session import Hook, hooked

ACTION_INTERVAL: Final = 4.5  # Telegram shows a chat action for 5 s
ACTION_AFTER: Final = 0.4  # seconds; an answer that comes sooner needs none


class TelegramDelivery:
    """A `Delivery` by one bot."""

    def __init__(self, bot: Bot, waiting: Waiting) -> None:
        self._bot = bot
        self._waiting = waiting
        # By chat and topic: what will begin to show it, then what does.
        self._typing: dict[tuple[int, int | None], asyncio.TimerHandle | asyncio.Task[None]] = {}
        self._users: Counter[tuple[int, int | None]] = Counter()

    @asynccontextmanager
    async def busy_shown(self, group: Group) -> AsyncIterator[None]:
        """Once for all that is in work in a chat, it shows "typing"; nothing where the bot is no member."""
        if group.place.chat == NOWHERE:
            yield
            return
        self._waiting.watch(group)
        key = group.place.chat, group.place.thread
        if not self._users[key]:
            self._typing[key] = asyncio.get_running_loop().call_later(ACTION_AFTER, self._begin_typing, *key)
        self._users[key] += 1
        try:
            yield
        finally:
            self._users[key] -= 1
            if not self._users[key]:
                del self._users[key]
                self._typing.pop(key).cancel()

    def hooked(self, hook: Hook) -> AbstractContextManager[None]:
        return hooked(hook)

    def _begin_typing(self, *key: *tuple[int, int | None]) -> None:
        self._typing[key] = asyncio.create_task(self._show_typing(*key))

    async def _show_typing(self, chat_id: int, thread: int | None) -> None:
        """Unlike aiogram's ChatActionSender this neither fails nor delays the answer."""
        while True:
            with suppress(AiogramError):
                await self._bot.send_chat_action(chat_id, "typing", message_thread_id=thread)
            await asyncio.sleep(ACTION_INTERVAL)
