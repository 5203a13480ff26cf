"""Recorded updates → handlers, each in a task of its own, until they are answered and acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
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
)
from aiogram.types import ReplyParameters, Update
from aiogram.types.update import UpdateTypeLookupError
from aiogram.utils.i18n import I18n
from pydantic import ValidationError

from bot import replies
from bot.chat_settings import ChatSettings
from bot.errors import OUR_FAULT, StorageError
from bot.i18n import locale_for
from bot.logs import impersonal, whereabouts
from bot.metrics import BotMetrics
from bot.service.jobs import job_id
from bot.service.turns import Turns
from bot.storage.chats import Storage
from bot.storage.inbox import Accepted, Asked, GiveUp, Inbox, Recorded
from bot.telegram.session import worth_another_try
from bot.telegram.updates import is_spoken_to, places, read_update, understood
from model.serving.job_context import traced
from model.serving.outage import Backoff
from model.serving.redis.address import RedisRefused

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
RECLAIM_SECONDS: Final = 3.0


AskedFor = Callable[[Update | None], Awaitable[Asked | None]]  # None: an update that is not understood
# Called with the id of an update that is done with, before it is acknowledged, and whether it was accepted before.
Settle = Callable[[int, bool], Awaitable[None]]


class Processor:
    """Records updates and feeds them to the dispatcher. What is not finished when it stops stays in the inbox."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        bot: Bot,
        inbox: Inbox,
        i18n: I18n,
        settle: Settle,
        asked_for: AskedFor,
        storage: Storage,
        *,
        turns: Turns | None = None,
        max_attempts: int,
        metrics: BotMetrics | None = None,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        self._dispatcher = dispatcher
        self._bot = bot
        self._inbox = inbox
        self._i18n = i18n
        self._settle = settle
        self._asked_for = asked_for
        self._storage = storage
        self._max_attempts = max_attempts
        self._metrics = metrics or BotMetrics()
        self._first_pause = first_pause
        self._in_work: set[int] = set()
        self._read: dict[int, Update | None] = {}  # what is recorded, and not yet in work
        self._suspects: list[Recorded] = []
        self._turns = turns or Turns()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()

    async def record(self, updates: Sequence[dict[str, Any]]) -> list[Recorded]:
        """Write updates down, with what they ask for; those that are new. Raises StorageError or RedisRefused."""
        read = {update["update_id"]: understood(update, self._bot) for update in updates}
        found = {number: await self._asked_for(update) for number, update in read.items()}
        asked = {number: each for number, each in found.items() if each is not None}
        entries, settings = await asyncio.gather(
            self._inbox.record(updates, asked), self._all_settings({each.place.chat for each in asked.values()})
        )
        self._read.update((entry.id, read[entry.id]) for entry in entries)
        return [
            replace(entry, settings=settings.get(entry.asked.place.chat)) if entry.asked is not None else entry
            for entry in entries
        ]

    async def _all_settings(self, chats: Collection[int]) -> dict[int, ChatSettings]:
        """Of these chats, as far as they can be had: their handlers ask again for others."""
        found = await asyncio.gather(*map(self._storage.settings, chats), return_exceptions=True)
        return {chat: each for chat, each in zip(chats, found, strict=True) if isinstance(each, ChatSettings)}

    async def recover(self, *, others: bool = False) -> int:
        """Take up again what was left unanswered; how much that is. Raises StorageError or RedisRefused.

        `others`: other processes may serve this bot, too; what a living one has in work is left to it.
        """
        take = self._inbox.reclaim if others else self._inbox.recover
        return self._take_up(await take(self._max_attempts))

    async def watch(self) -> None:
        """From time to time take up what was put back by hand, or left by a bot process that died; for ever."""
        while True:
            await asyncio.sleep(RECLAIM_SECONDS)
            try:
                taken = self._take_up(await self._inbox.reclaim(self._max_attempts))
            except (StorageError, RedisRefused) as error:
                log.warning("inbox scan failed: %s", error)
                continue
            except Exception as error:  # a bot that ceased to do this would be taken for dead by others
                log.error("inbox scan failed:\n%s", whereabouts(error))
                continue
            if taken:
                log.info("%d messages are retried", taken)

    def _take_up(self, entries: list[Recorded]) -> int:
        searching = bool(self._suspects)
        for entry in entries:
            if entry.attempts < self._max_attempts:
                self.start(entry, again=True)
            else:
                self._suspects.append(entry)
        if self._suspects and not searching:
            self._spawn(self._one_by_one())
        return len(entries)

    def start(self, entry: Recorded, *, again: bool = False, waited: bool = False) -> None:
        """Process an update in a task, unless it is in work already.

        `again`: it was accepted before. `waited`: as `Accepted.waited` says.
        """
        if entry.id not in self._in_work:
            self._in_work.add(entry.id)
            if entry.asked is not None and entry.asked.work == "photo" and "message" in entry.body:
                self._turns.enter(entry.id, entry.asked.place)
            self._spawn(self._process(entry, again, waited))

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

    async def _one_by_one(self) -> None:
        """Those that were there at several crashes, one at a time and the most suspect last, to find the culprit."""
        while self._suspects and not self._stopping.is_set():
            entry = min(self._suspects, key=lambda entry: (entry.attempts, entry.id))
            if entry.attempts >= 2 * self._max_attempts:
                log.error("update %d brought the bot down %d times and is given up", entry.id, entry.attempts)
                self._metrics.failed("given_up")
                await self._apologise(entry.body, replies.gave_up)
                await self._done(entry, GiveUp(f"brought the bot down {entry.attempts} times"), again=True)
            else:
                await self._persist(self._inbox.begin_alone, entry.id)
                outcome = await self._attempt(entry, again=True)
                if not outcome:  # Telegram's fault, not the update's: the others need not wait for it
                    self.start(entry, again=True)
                else:
                    await self._done(entry, outcome, again=True)
            self._suspects.remove(entry)

    async def _process(self, entry: Recorded, again: bool, waited: bool) -> None:
        """Until it is answered, or cannot be."""
        backoff = Backoff(self._first_pause, LONGEST_PAUSE)
        try:
            while not (outcome := await self._attempt(entry, again, waited)):
                if time.time() - entry.received > TOO_OLD:
                    log.error("update %d could not be answered in a day and is given up", entry.id)
                    self._metrics.failed("given_up")
                    outcome = GiveUp("could not be answered in a day")
                    break
                await self._sleep(backoff.next())
                if self._stopping.is_set():
                    return
                again = True
            await self._done(entry, outcome, again=again)
        finally:
            self._turns.leave(entry.id)
            self._in_work.discard(entry.id)

    async def _done(self, entry: Recorded, outcome: GiveUp | bool, *, again: bool) -> None:
        """Forget its jobs, then acknowledge or dead-letter it: in this order a kill leaves nothing behind."""
        settle = partial(self._settle, entry.id, again)
        if isinstance(outcome, GiveUp):
            await self._persist(settle)
            attempts = max(entry.attempts, self._max_attempts)
            await self._persist(self._inbox.dead_letter, entry.id, outcome.reason, attempts)
        else:
            await self._persist(self._inbox.acknowledge, entry.id, settle)

    async def _attempt(self, entry: Recorded, again: bool, waited: bool = False) -> GiveUp | bool:
        """Whether the update is done with, or given up; False: it is worth another try later."""
        with traced(job_id(self._bot.id, entry.id)):
            return await self._try(entry, again, waited)

    async def _try(self, entry: Recorded, again: bool, waited: bool) -> GiveUp | bool:
        try:
            update = self._read.pop(entry.id, None) or read_update(entry.body, self._bot)
            _ = update.event_type  # the dispatcher would warn of an unknown one by showing it
            asked = entry.asked or await self._asked_for(update)
            settings = None if again else entry.settings
            accepted = Accepted(entry.id, entry.received, again, asked, waited, settings)
            outcome = await self._dispatcher.feed_update(self._bot, update, accepted=accepted)
            return outcome if isinstance(outcome, GiveUp) else True
        except UpdateTypeLookupError:
            log.warning("update %d is of a kind that is not known here", entry.id)
        except ValidationError as error:
            log.error("update %d is not understood, at: %s", entry.id, places(error))
            await self._apologise(entry.body, replies.went_wrong)
        except REFUSED as error:
            log.warning("update %d: Telegram refused the answer: %s", entry.id, impersonal(error.message))
            self._metrics.failed("refused")
        except (AiogramError, *OUR_FAULT) as error:
            if worth_another_try(error):
                log.warning("update %d failed (%s) and will be tried again", entry.id, type(error).__name__)
                return False
            if isinstance(error, ClientDecodeError):  # Telegram did what was asked; only its answer is strange
                log.error("update %d: an answer of Telegram is not understood: %s", entry.id, impersonal(error.message))
            else:
                await self._unforeseen(entry, error)
        except Exception as error:
            await self._unforeseen(entry, error)
        finally:
            self._turns.leave(entry.id)
        return True

    async def _unforeseen(self, entry: Recorded, error: Exception) -> None:
        log.error("update %d failed unforeseen:\n%s", entry.id, whereabouts(error))
        log.debug("the same in full", exc_info=error)
        self._metrics.failed("unforeseen")
        await self._apologise(entry.body, replies.went_wrong)

    async def _apologise(self, body: dict[str, Any], words: Callable[[], str]) -> None:
        """Tell the person, as far as the update says who it is; in groups only who spoke to the bot."""
        try:
            query = body.get("callback_query")
            message = query["message"] if query else body["message"]
            chat, sender = message["chat"], (query or message).get("from")
            if not query and chat["type"] != "private" and not is_spoken_to(await self._bot.me(), message):
                return
            language = sender.get("language_code") if isinstance(sender, dict) else None
            thread = message.get("message_thread_id")
            known = language if isinstance(language, str) else None
            locale = locale_for(await self._settings(chat["id"]), known, self._i18n)
            with self._i18n.context(), self._i18n.use_locale(locale):
                await self._bot.send_message(
                    chat["id"],
                    words(),
                    message_thread_id=thread if message.get("is_topic_message") and isinstance(thread, int) else None,
                    reply_parameters=ReplyParameters(
                        message_id=message["message_id"], allow_sending_without_reply=True
                    ),
                )
        except (AiogramError, ValidationError, KeyError, TypeError, AttributeError) as error:
            log.warning("could not send error reply (%s)", type(error).__name__)

    async def _settings(self, chat_id: int) -> ChatSettings:
        try:
            return await self._storage.settings(chat_id)
        except (OSError, StorageError, RedisRefused):
            return ChatSettings()

    async def _persist(self, write: Callable[..., Awaitable[None]], *what: object) -> None:
        """Write to the inbox or the queue, as often as it takes."""
        backoff = Backoff(self._first_pause, LONGEST_PAUSE)
        while True:
            try:
                return await write(*what)
            except (OSError, StorageError, RedisRefused) as error:
                log.error("could not persist result: %s", error)
            if self._stopping.is_set():
                return None
            await self._sleep(backoff.next())

    async def _sleep(self, pause: float) -> None:
        """Wait so long, or until the processor stops."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await self._stopping.wait()
