"""What tells people who wait that they were heard, and its removal, whatever happens meanwhile.

In private chats that is a message that says how far it is; in groups a reaction to what they sent.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramRetryAfter
from aiogram.types import ReactionTypeEmoji, ReplyParameters

from bot import replies
from bot.answers.keyboards import cancel_button
from bot.errors import StorageError
from bot.service.in_progress import Group, Work
from bot.storage.inbox import Inbox, Notice
from bot.telegram.editing import same_passed_over
from bot.telegram.pacing import Pacer, is_private
from bot.telegram.session import is_passing
from model.serving.queue import JobProducer
from model.serving.redis.address import RedisRefused

log = logging.getLogger(__name__)

CLEANUP: Final = 5.0
ACCEPTED: Final = "👀"
TAKE_BACKS: Final = 5  # tries to take a reaction back
PAUSE: Final = 1.0  # seconds between two of them
LOOKS: Final = 20  # jobs whose place is asked for, to find the next in line; more than a batch holds
FAILURES: Final = (AiogramError, StorageError, RedisRefused, OSError)


@dataclass(frozen=True)
class Rhythm:
    """When a status comes and how often it changes, in seconds."""

    after: float = 2.0
    every: float = 2.0
    every_in_groups: float = 4.0  # where Telegram takes 20 messages a minute


RHYTHM: Final = Rhythm()


class Waiting:
    """Shows at most one status at a place, for all that is in work there; in groups 👀 at each message instead.

    A group that takes no reactions gets the status. Telegram counts each change as a message. A status takes only what
    the chat and the bot have to spare, so that no answer waits for it.
    """

    def __init__(self, bot: Bot, queue: JobProducer, inbox: Inbox, pacer: Pacer, rhythm: Rhythm = RHYTHM) -> None:
        self._bot = bot
        self._queue = queue
        self._inbox = inbox
        self._pacer = pacer
        self._rhythm = rhythm
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(self, group: Group) -> None:
        """Tell the person of what is in work until it is over, beside: no answer is held up by it."""
        if is_private(group.place.chat):
            self._tell(group)
            return
        for message in {work.message for work in group.works} - group.marked:
            group.marked.add(message)
            self._spawn(self._mark(group, message))

    def _tell(self, group: Group) -> None:
        if not group.watched:
            group.watched = True
            asyncio.get_running_loop().call_later(self._rhythm.after, self._begin, group)

    def _begin(self, group: Group) -> None:
        if not group.over.is_set():  # as it is for most, by then
            self._spawn(self._follow(group))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def remove_left(self) -> None:
        """Delete what killed processes left on display."""
        try:
            for notice in await self._inbox.notices_left():
                if await _removed(self._bot, notice):
                    await self._inbox.notice_removed(notice)
        except (StorageError, RedisRefused) as error:
            log.warning("messages from before could not be looked up: %s", error)

    async def close(self) -> None:
        """Wait a little for what is on display to be removed."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=CLEANUP)
        for task in self._tasks:
            task.cancel()

    async def _mark(self, group: Group, message: int) -> None:
        """Show at a message that it was accepted, until nothing that it asked for is in work."""
        notice, shown = Notice(group.place.chat, -message), True
        try:
            await self._inbox.notice_shown(notice)
            await self._bot.set_message_reaction(notice.chat, message, [ReactionTypeEmoji(emoji=ACCEPTED)])
        except TelegramBadRequest:  # such as where a group takes no reactions, or not this one
            shown = False
            self._tell(group)
        except FAILURES as error:
            log.info("a reaction could not be shown (%s)", type(error).__name__)
        while works := [work for work in group.works if work.message == message]:
            await works[0].over.wait()
        group.marked.discard(message)
        try:
            if not shown or await _removed(self._bot, notice):
                await self._inbox.notice_removed(notice)
        except FAILURES as error:
            log.warning("a reaction could not be taken back (%s)", type(error).__name__)

    async def _follow(self, group: Group) -> None:
        if not group.works:  # over by now
            return
        status = _Status(self._bot, group, self._inbox)
        try:
            await self._keep_true(status, group)
        except FAILURES as error:
            log.warning("a status could not be shown (%s)", type(error).__name__)
            await group.over.wait()
        try:
            await status.remove()
        except FAILURES as error:
            log.warning("a status could not be removed (%s)", type(error).__name__)

    async def _keep_true(self, status: _Status, group: Group) -> None:
        """Until nothing is in work any more."""
        every = self._rhythm.every if is_private(group.place.chat) else self._rhythm.every_in_groups
        pause = 0.0
        while not await _is_over(group, pause):
            works = group.wanted
            due = min((work.since for work in works), default=time.monotonic()) + self._rhythm.after
            pause = max(0.0, due - time.monotonic())
            if not status.notice and pause > 0:
                continue
            pause = every
            if works and self._pacer.has_spare(group.place.chat):
                words = await self._words(works)
                if not group.over.is_set():
                    await status.say(words)

    async def _words(self, works: Sequence[Work]) -> str:
        kinds = Counter(work.job.line for work in works)
        place = await self._next_place(works)
        if [work.job.line for work in works] == ["edit"]:
            there = self._queue.served("edit") == 0
            return replies.edit_status(place=place, percent=_percent(works), worker=there)
        return replies.status(
            kinds["photo"] + kinds["edit"],
            kinds["clip"],
            place=place,
            percent=_percent([work for work in works if work.job.line == "clip"]),
            worker=self._queue.workers_alive() > 0,
        )

    async def _next_place(self, works: Sequence[Work]) -> int | None:
        """The place in line of the first of these that is not in work yet."""
        for work in works[:LOOKS]:
            if (before := await self._queue.position(work.job.id)) > 0:
                return before + 1
        return None


def _percent(works: Sequence[Work]) -> int | None:
    """How much is done of the first of these of which that is known."""
    share = next((work.share for work in works if work.share is not None), None)
    return None if share is None else int(100 * share)


class _Status:
    """The one message, which may not be there yet."""

    def __init__(self, bot: Bot, group: Group, inbox: Inbox) -> None:
        self._bot = bot
        self._place = group.place
        self._answered = group.works[0].message
        self._inbox = inbox
        self._buttons = partial(cancel_button, group.place.user)  # most answers come before it is shown
        self._words = ""
        self.notice: Notice | None = None

    async def say(self, words: str) -> None:
        """Show it, or change its words. Raises any of FAILURES."""
        if words == self._words:
            return
        self._words = words
        if self.notice is None:
            shown = await self._bot.send_message(
                self._place.chat,
                words,
                message_thread_id=self._place.thread,
                reply_parameters=ReplyParameters(message_id=self._answered, allow_sending_without_reply=True),
                disable_notification=True,
                reply_markup=self._buttons(),
            )
            self.notice = Notice(shown.chat.id, shown.message_id)
            await self._inbox.notice_shown(self.notice)
            return
        with same_passed_over():  # the answer to the first try may have been lost
            await self._bot.edit_message_text(
                words, chat_id=self.notice.chat, message_id=self.notice.message, reply_markup=self._buttons()
            )

    async def remove(self) -> None:
        """Raises StorageError or RedisRefused."""
        if self.notice is not None:
            await _removed(self._bot, self.notice)
            await self._inbox.notice_removed(self.notice)


async def _removed(bot: Bot, notice: Notice) -> bool:
    """Whether a notice is gone, or nothing can be done about it."""
    try:
        if notice.message > 0:
            await bot.delete_message(notice.chat, notice.message)
        else:
            return await _taken_back(bot, notice.chat, -notice.message)
    except AiogramError as error:  # deleted by hand, too old, or the chat is gone
        log.info("a status could not be removed (%s)", type(error).__name__)
    return True


async def _taken_back(bot: Bot, chat: int, message: int) -> bool:
    """Whether the bot's reaction to a message is gone. Raises AiogramError where it cannot be helped."""
    for _ in range(TAKE_BACKS):
        try:
            return await bot.set_message_reaction(chat, message, [])
        except TelegramRetryAfter as error:
            await asyncio.sleep(error.retry_after)
        except AiogramError as error:
            if not is_passing(error):
                raise
            await asyncio.sleep(PAUSE)
    return False


async def _is_over(group: Group, pause: float) -> bool:
    """Whether everything is answered, after so many seconds at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(pause):
            await group.over.wait()
    return group.over.is_set()
