"""Recorded updates → handlers, each in a task of its own, until they are answered and struck off."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import sqlite3
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Final

from aiogram import Bot, Dispatcher
from aiogram.exceptions import (
    AiogramError,
    ClientDecodeError,
    TelegramBadRequest,
    TelegramEntityTooLarge,
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNotFound,
    TelegramUnauthorizedError,
)
from aiogram.types import ReplyParameters, Update
from aiogram.types.update import UpdateTypeLookupError
from aiogram.utils.i18n import I18n
from pydantic import ValidationError

from bot import replies
from bot.i18n import locale_of
from bot.inbox import Inbox, Recorded
from bot.logs import whereabouts
from bot.session import is_passing

log = logging.getLogger(__name__)

REFUSED: Final = (
    TelegramBadRequest,
    TelegramForbiddenError,
    TelegramNotFound,
    TelegramEntityTooLarge,
    TelegramMigrateToChat,
)
TOO_OLD: Final = 24 * 3600.0  # seconds after which an update that keeps failing is dropped
FIRST_PAUSE: Final = 1.0
LONGEST_PAUSE: Final = 120.0


class Processor:
    """Feeds updates to the dispatcher. What is not finished when it stops stays in the inbox."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        bot: Bot,
        inbox: Inbox,
        i18n: I18n,
        *,
        max_attempts: int,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._dispatcher = dispatcher
        self._bot = bot
        self._inbox = inbox
        self._i18n = i18n
        self._max_attempts = max_attempts
        self._first_pause = first_pause
        self._in_work: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def recover(self) -> int:
        """Take up again what was left unanswered; how much that is. Raises sqlite3.Error."""
        suspects = []
        entries = await self._inbox.recover(self._max_attempts)
        for entry in entries:
            if entry.attempts < self._max_attempts:
                self.start(entry, again=True)
            else:
                suspects.append(entry)
        if suspects:
            self._spawn(self._one_by_one(suspects))
        return len(entries)

    def start(self, entry: Recorded, *, again: bool = False) -> None:
        """Process an update in a task, unless it is in work already. `again`: it was accepted before."""
        if entry.id not in self._in_work:
            self._in_work.add(entry.id)
            self._spawn(self._process(entry, again))

    async def drain(self, grace: float, sending: Collection[asyncio.Task[Any]] = ()) -> None:
        """Wait for what is in work, at most `grace` seconds, then stop the rest.

        Those in `sending` get as long again: cancelled, they would be answered a second time at the next start.
        """
        self._stopping.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        await self._stop([task for task in self._tasks if task not in sending])
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace)
        await self._stop(list(self._tasks))

    @staticmethod
    async def _stop(tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _one_by_one(self, suspects: list[Recorded]) -> None:
        """Those that were there at several crashes, one at a time and the most suspect last, to find the culprit."""
        for entry in sorted(suspects, key=lambda entry: (entry.attempts, entry.id)):
            if self._stopping.is_set():
                return
            if entry.attempts >= 2 * self._max_attempts:
                log.error("update %d brought the bot down %d times and is given up", entry.id, entry.attempts)
                await self._apologise(entry.body, replies.gave_up)
                await self._strike(entry.id)
                continue
            await self._persist(functools.partial(self._inbox.begin_alone, entry.id))
            if await self._attempt(entry, again=True):
                await self._strike(entry.id)
            else:  # Telegram's fault, not the update's: the others need not wait for it
                self.start(entry, again=True)

    async def _process(self, entry: Recorded, again: bool) -> None:
        """Until it is answered, or cannot be."""
        pause = self._first_pause
        try:
            while not await self._attempt(entry, again):
                if time.time() - entry.received > TOO_OLD:
                    log.error("update %d could not be answered in a day and is dropped", entry.id)
                    break
                await self._sleep(pause)
                if self._stopping.is_set():
                    return
                pause = min(LONGEST_PAUSE, 2 * pause)
                again = True
            await self._strike(entry.id)
        finally:
            self._in_work.discard(entry.id)

    async def _attempt(self, entry: Recorded, again: bool) -> bool:
        """Whether the update is done with; False: worth another try later."""
        try:
            update = Update.model_validate(entry.body, context={"bot": self._bot})
            _ = update.event_type  # the dispatcher would warn of an unknown one by showing it
            await self._dispatcher.feed_update(self._bot, update, again=again)
        except UpdateTypeLookupError:
            log.warning("update %d is of a kind that is not known here", entry.id)
        except ValidationError as error:
            places = {".".join(map(str, detail["loc"])) for detail in error.errors(include_input=False)}
            log.error("update %d is not understood, at: %s", entry.id, ", ".join(sorted(places)))
            await self._apologise(entry.body, replies.went_wrong)
        except REFUSED as error:
            log.warning("update %d: Telegram refused the answer: %s", entry.id, error.message)
        except (AiogramError, OSError, sqlite3.OperationalError) as error:
            if is_passing(error) or isinstance(error, (TelegramUnauthorizedError, OSError, sqlite3.Error)):
                log.warning("update %d failed (%s) and will be tried again", entry.id, type(error).__name__)
                return False
            if isinstance(error, ClientDecodeError):  # Telegram did what was asked; only its answer is strange
                log.error("update %d: an answer of Telegram is not understood: %s", entry.id, error.message)
            else:
                await self._unforeseen(entry, error)
        except Exception as error:
            await self._unforeseen(entry, error)
        return True

    async def _unforeseen(self, entry: Recorded, error: Exception) -> None:
        log.error("update %d failed unforeseen:\n%s", entry.id, whereabouts(error))
        log.debug("the same in full", exc_info=error)
        await self._apologise(entry.body, replies.went_wrong)

    async def _apologise(self, body: dict[str, Any], words: Callable[[], str]) -> None:
        """Tell the person, as far as the update says who it is; in groups only who spoke to the bot."""
        try:
            message = body["message"]
            chat, sender = message["chat"], message.get("from", {})
            text = str(message.get("text") or message.get("caption") or "")
            me = await self._bot.me()
            if chat["type"] != "private" and not text.startswith("/") and f"@{me.username}" not in text:
                return
            with (
                self._i18n.context(),
                self._i18n.use_locale(locale_of(sender.get("language_code"), self._i18n)),
            ):
                await self._bot.send_message(
                    chat["id"],
                    words(),
                    message_thread_id=message.get("message_thread_id") if message.get("is_topic_message") else None,
                    reply_parameters=ReplyParameters(
                        message_id=message["message_id"], allow_sending_without_reply=True
                    ),
                )
        except (AiogramError, ValidationError, KeyError, TypeError, AttributeError) as error:
            log.warning("nobody could be told of a failure (%s)", type(error).__name__)

    async def _strike(self, update_id: int) -> None:
        await self._persist(functools.partial(self._inbox.strike, update_id))

    async def _persist(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write to the inbox, as often as it takes."""
        pause = self._first_pause
        while True:
            try:
                return await write()
            except (OSError, sqlite3.OperationalError) as error:
                log.error("the inbox cannot be written: %s", error)
            if self._stopping.is_set():
                return None
            await self._sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _sleep(self, pause: float) -> None:
        """Wait about so long, or until the processor stops."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), pause * random.uniform(0.5, 1.0))
