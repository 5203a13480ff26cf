"""A message that says how far the work on a clip is, with a button that stops it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiogram import Bot
from aiogram.exceptions import AiogramError
from aiogram.types import InlineKeyboardMarkup, Message

from bot import replies
from bot.inbox import Inbox, Notice
from bot.storage import StorageError
from model.errors import JobCancelled
from model.serving.redis_connection import RedisRefused

log = logging.getLogger(__name__)

EDIT_EVERY: Final = 2.0  # seconds


class Progress:
    """Shows such messages; one that a killed process left on display is deleted by the next, as all notices are."""

    def __init__(self, inbox: Inbox, edit_every: float = EDIT_EVERY) -> None:
        self._inbox = inbox
        self._edit_every = edit_every

    @asynccontextmanager
    async def shown(
        self, bot: Bot, message: Message, buttons: InlineKeyboardMarkup
    ) -> AsyncIterator[Callable[[float], None]]:
        """While the block runs, a reply to `message` shows the share it is told; then it is gone, or says "cancelled".

        Telegram's refusals are no reason to fail.
        """
        share = 0.0

        def tell(now: float) -> None:
            nonlocal share
            share = now

        showing = asyncio.create_task(self._show(bot, message, buttons, lambda: share))
        cancelled = False
        try:
            yield tell
        except JobCancelled:
            cancelled = True
            raise
        finally:
            showing.cancel()
            [notice] = await asyncio.gather(showing, return_exceptions=True)
            if isinstance(notice, Notice):
                await self._end(bot, notice, cancelled)

    async def _show(
        self, bot: Bot, message: Message, buttons: InlineKeyboardMarkup, share: Callable[[], float]
    ) -> Notice | None:
        """Until cancelled; then what is on display is returned."""
        notice: Notice | None = None
        try:
            sending = asyncio.ensure_future(
                message.reply(replies.watching(0), disable_notification=True, reply_markup=buttons)
            )
            try:
                sent = await asyncio.shield(sending)
            except asyncio.CancelledError:
                sent = await sending
                return Notice(sent.chat.id, sent.message_id)
            notice = Notice(sent.chat.id, sent.message_id)
            await self._inbox.notice_shown(notice)
            shown = 0
            while True:
                await asyncio.sleep(self._edit_every)
                percent = int(100 * share())
                if percent > shown:
                    await bot.edit_message_text(
                        replies.watching(percent),
                        chat_id=notice.chat,
                        message_id=notice.message,
                        reply_markup=buttons,
                    )
                    shown = percent
        except asyncio.CancelledError:
            return notice
        except (AiogramError, StorageError, RedisRefused) as error:
            log.warning("progress could not be shown (%s)", type(error).__name__)
            return notice

    async def _end(self, bot: Bot, notice: Notice, cancelled: bool) -> None:
        try:
            if cancelled:
                await bot.edit_message_text(replies.cancelled(), chat_id=notice.chat, message_id=notice.message)
            else:
                await bot.delete_message(notice.chat, notice.message)
            await self._inbox.notice_removed(notice)
        except (AiogramError, StorageError, RedisRefused) as error:
            log.warning("progress could not be removed (%s)", type(error).__name__)
