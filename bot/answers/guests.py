"""Answers in chats that the bot is no member of: people mention it there, and it may send one message and edit it.

The number of such a chat may be that of another one, in which the bot is. So nothing is kept, shown or asked there:
what is noted belongs to the private chat of who asked, and the answer goes by the name that Telegram gave it.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final

from aiogram import Bot
from aiogram.enums import ChatType
from aiogram.types import InlineQueryResultArticle, InputTextMessageContent, Message
from cachetools import TTLCache

from bot import replies
from bot.answers.keyboards import copy_buttons
from bot.answers.send_once import Parts
from bot.answers.subjects import replied_medium
from bot.chat_settings import ChatSettings
from bot.errors import RequestError, TooFast
from bot.i18n import caption_language
from bot.service.jobs import Origin, clip_job, job_id, photo_job, place_name
from bot.service.limits import Refusals, Throttle
from bot.service.requests import Request, Requests
from bot.storage.chats import Storage
from bot.storage.inbox import NOWHERE, Accepted, Place
from bot.storage.notes import GUEST
from bot.telegram.editing import same_passed_over
from bot.telegram.media import Medium, SentClip, check_size, download, download_size, medium_of
from bot.telegram.session import worth_another_try
from bot.telegram.updates import asker, is_named
from model.errors import AnimatedPicture, CaptionError, NotAClip
from model.serving.jobs import Job, Outcome
from model.serving.queue import Busy
from model.serving.tasks.clip import ClipResult
from model.serving.tasks.photo import PhotoResult

log = logging.getLogger(__name__)

REMEMBERED: Final = 3600.0  # seconds, in memory


class Guests:
    """What handlers ask of guest messages. One for the whole bot: it knows what is being answered."""

    def __init__(
        self,
        requests: Requests,
        storage: Storage,
        operator: ChatSettings,
        throttle: Throttle,
        refusals: Refusals,
        *,
        on: bool,
    ) -> None:
        """`operator`: what holds for people who chose nothing. `on`: whether guest messages are answered at all."""
        self._requests = requests
        self._storage = storage
        self._operator = operator
        self._on = on
        self._throttle = throttle
        self._refusals = refusals
        self._taken: TTLCache[str, int] = TTLCache(10_000, REMEMBERED)

    async def take(self, bot: Bot, message: Message, accepted: Accepted) -> bool:
        """Whether this update is the one to answer a message: it may come as a guest message and as an ordinary one."""
        guest = message.guest_query_id is not None
        if not self._on or (not guest and (message.chat.type == ChatType.PRIVATE or message.from_user is None)):
            return not guest
        user, key = asker(message), _key(message, bot)
        by = self._taken.get(key)
        if by is None:
            self._taken[key] = accepted.id  # before anything is awaited: the other update may come at the same time
            by = await GUEST.find(self._storage, user, key, int)
        if by is None:
            await GUEST.keep(self._storage, user, key, accepted.id)
        elif by != accepted.id:
            self._taken[key] = by
        return by in (None, accepted.id)

    async def take_named(self, bot: Bot, message: Message, accepted: Accepted) -> bool:
        """The same of an ordinary message; only one that names the bot comes as a guest message, too."""
        named = self._on and message.chat.type != ChatType.PRIVATE and is_named(message, await bot.me())
        return not named or await self.take(bot, message, accepted)

    async def answer(self, bot: Bot, message: Message, accepted: Accepted) -> None:
        """A line at once, and in its place the captions of what the message shows or replies to.

        Raises what `Requests.serve` raises, after the person was told. Who asks too often is told once a minute.
        """
        query, sender = message.guest_query_id, message.from_user
        if query is None or sender is None or sender.is_bot or not await self.take(bot, message, accepted):
            return
        parts = Parts(self._storage, sender.id, accepted)
        if not (accepted.again or accepted.waited):
            try:
                self._throttle.check(asker(message), job_id(bot.id, accepted.id))  # as `Requests` asks it again
            except TooFast as error:
                if self._refusals.are_said(NOWHERE, asker(message)):
                    await parts.once("guest", partial(_send, bot, query, replies.failure(error)))
                raise
        medium = medium_of(message) or replied_medium(bot, message)
        words = replies.guest_hint() if medium is None else replies.guest_waits()
        answer: str = await parts.once("guest", partial(_send, bot, query, words))
        if medium is None:
            return
        try:
            await self._caption(bot, message, accepted, medium, answer)
        except Exception as error:
            if not worth_another_try(error):
                foreseen = isinstance(error, (CaptionError, RequestError, Busy))
                await _edit(bot, answer, replies.failure(error) if foreseen else replies.went_wrong())
            raise

    async def _caption(self, bot: Bot, message: Message, accepted: Accepted, medium: Medium, answer: str) -> None:
        user = asker(message)
        settings = (await self._storage.settings(user)).in_use(self._operator)
        language = caption_language(settings.caption_language or "auto")
        clip = medium if isinstance(medium, SentClip) else SentClip(medium)
        origin = Origin(job_id(bot.id, accepted.id), user, place_name(bot.id, user), language=language)
        photo = photo_job(origin, clip.file, settings.model, settings, sheet=False)
        moves = clip_job(origin, clip.file, settings.model, None)

        async def send(result: Outcome) -> None:
            copied = None
            if isinstance(result, PhotoResult) and result.not_photo is None:
                copied = copy_buttons(replies.shown(result.main.text, result.main.translation))
            await _edit(bot, answer, _words(result, settings), reply_markup=copied)

        async def serve(job: Job) -> None:
            check_size(bot, clip.file.file_size)
            request = Request(
                job=job,
                place=Place(NOWHERE, None, user),
                message=message.message_id,
                accepted=accepted,
                kind="guest",
                size=download_size(bot, clip.file),
                fetch=partial(download, bot, clip.file),
                update=accepted.id,
            )
            await self._requests.serve(request, send)

        await self._first_that_fits(serve, [moves, photo] if isinstance(medium, SentClip) else [photo, moves])

    async def _first_that_fits(self, serve: Callable[[Job], Awaitable[None]], jobs: list[Job]) -> None:
        """A picture may turn out to move, and a clip not to."""
        for job in jobs[:-1]:
            try:
                return await serve(job)
            except (AnimatedPicture, NotAClip):
                await self._requests.forget(job.id)
        await serve(jobs[-1])


def _key(message: Message, bot: Bot) -> str:
    """The same for a message, however it comes; who does not have the bot's token cannot tell for which."""
    told = f"{message.chat.id}:{message.message_id}:{asker(message)}:{message.date.timestamp():.0f}"
    return hmac.digest(bot.token.encode(), told.encode(), "sha256").hex()[:32]


def _words(result: Outcome, settings: ChatSettings) -> str:
    if isinstance(result, ClipResult):
        return replies.moments_alone(result)
    assert isinstance(result, PhotoResult)
    return (replies.alt_text_answer if settings.alt_text else replies.photo_answer)(result).markup


async def _send(bot: Bot, query: str, words: str) -> str:
    """Answer a guest query; the name of the message."""
    content = InputTextMessageContent(message_text=words)
    result = InlineQueryResultArticle(id="answer", title=replies.short_description(), input_message_content=content)
    return (await bot.answer_guest_query(query, result)).inline_message_id


async def _edit(bot: Bot, answer: str, words: str, **more: Any) -> None:
    with same_passed_over():  # the answer to the first try may have been lost
        await bot.edit_message_text(words, inline_message_id=answer, **more)
