"""The message that a picture waits because no worker is there, and its removal, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from aiogram import Bot
from aiogram.exceptions import AiogramError
from aiogram.types import Message

from bot import replies
from bot.inbox import Inbox, Notice
from bot.storage import StorageError
from model.serving.queue import JobProducer

log = logging.getLogger(__name__)

NOTICE_AFTER: Final = 10.0  # longer than a worker takes to start
CLEANUP: Final = 5.0


class Notices:
    """Shows at most one notice a chat."""

    def __init__(self, queue: JobProducer, inbox: Inbox, notice_after: float = NOTICE_AFTER) -> None:
        """With no worker alive for `notice_after` seconds, a person is told that the picture waits."""
        self._queue = queue
        self._inbox = inbox
        self._notice_after = notice_after
        self._chats: set[int] = set()  # with a notice on display
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def while_waiting(self, message: Message) -> AsyncIterator[None]:
        """While the block runs and no worker is alive, a message says so; it is gone when the block ends."""
        over = asyncio.Event()
        watch = asyncio.create_task(self._watch(message, over))
        self._tasks.add(watch)  # it goes on beside: the answer is out, and must be struck off without delay
        watch.add_done_callback(self._tasks.discard)
        try:
            yield
        finally:
            over.set()

    async def remove_left(self, bot: Bot) -> None:
        """Delete the notices that killed processes left on display."""
        try:
            for notice in await self._inbox.notices_left():
                try:
                    await bot.delete_message(notice.chat, notice.message)
                except AiogramError as error:  # deleted by hand, too old, or the chat is gone
                    log.info("a notice from before could not be removed (%s)", type(error).__name__)
                await self._inbox.notice_removed(notice)
        except StorageError as error:
            log.warning("notices from before could not be looked up: %s", error)

    async def close(self) -> None:
        """Wait a little for notices to be removed."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLEANUP)
        for task in self._tasks:
            task.cancel()

    async def _watch(self, message: Message, over: asyncio.Event) -> None:
        try:
            await self._show(message, over)
        except (AiogramError, StorageError) as error:
            log.warning("a notice could not be shown or removed (%s)", type(error).__name__)

    async def _show(self, message: Message, over: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        alive = loop.time()
        while not over.is_set():
            if self._queue.workers_alive() or message.chat.id in self._chats:
                alive = loop.time()
            elif loop.time() - alive > self._notice_after:
                break
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self._notice_after / 5)
        if over.is_set():
            return
        self._chats.add(message.chat.id)
        try:
            shown = await message.reply(replies.waiting(), disable_notification=True)
            notice = Notice(shown.chat.id, shown.message_id)
            await self._inbox.notice_shown(notice)
            await over.wait()
            await shown.delete()
            await self._inbox.notice_removed(notice)
        finally:
            self._chats.discard(message.chat.id)
