"""What a person asks, as handlers receive it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from aiogram import BaseMiddleware, Bot
from aiogram.exceptions import AiogramError
from aiogram.types import CallbackQuery, Chat, Message, TelegramObject, Update, User

from bot import replies
from bot.answers.asked import place_of
from bot.answers.notes import Answer, Answers, answerable
from bot.chat_settings import CaptionLanguage, ChatSettings
from bot.errors import Forgotten
from bot.i18n import caption_language
from bot.service.jobs import Origin, job_id, place_name
from bot.service.requests import Fetch, Request
from bot.storage.chats import Picture, Storage
from bot.storage.inbox import Accepted, Place
from bot.telegram.access import Handler
from bot.telegram.media import Download, check_size, download_size
from bot.telegram.updates import asker
from model.errors import JobCancelled
from model.serving.jobs import Job, Kind
from model.serving.tasks.base import Language


@dataclass(frozen=True)
class Ask:
    """One message or one press of a button: who asks, where, and with which settings."""

    bot: Bot
    message: Message  # that was sent, or whose button was pressed
    user: int
    settings: ChatSettings  # of the chat
    model: str  # of the chat, or the operator's choice
    accepted: Accepted  # the update
    press: CallbackQuery | None = None
    captions: CaptionLanguage = "auto"  # of the chat, or the operator's choice; of a press, of the answer above it

    @property
    def chat(self) -> int:
        return self.message.chat.id

    @property
    def can_edit(self) -> bool:
        """Whether Telegram still shows the message whose button was pressed."""
        return self.press is not None and isinstance(self.press.message, Message)

    @property
    def job(self) -> str:
        """The id of the job that this update asks for."""
        return job_id(self.bot.id, self.accepted.id)

    @property
    def origin(self) -> Origin:
        """Who asks, for the job."""
        place, album = place_name(self.bot.id, self.chat), self.message.media_group_id
        return Origin(self.job, self.user, place, album, replies.drawn_labels(), self.language)

    @property
    def language(self) -> Language:
        """Of the captions that are asked for."""
        return caption_language(self.captions)

    @property
    def place(self) -> Place:
        return place_of(self.message, self.user)

    @property
    def work(self) -> Kind | None:
        """What workers are asked for, if anything."""
        return self.accepted.asked.work if self.accepted.asked is not None else None

    def request(self, file: Picture, job: Job, kind: str) -> Request:
        """What this asks of a file. Raises TooBig where it could not be downloaded."""
        check_size(self.bot, file.file_size)
        download = Download(self.bot, file)
        request = self.request_for(job, kind, download_size(self.bot, file), download)
        request.begin = download.begin
        return request

    def request_for(
        self, job: Job, kind: str, size: int, fetch: Fetch, update: int | None = None, *, downloaded: bool = True
    ) -> Request:
        """The same of other media, of at most so many bytes. `update`: another than this one that brought them.
        `downloaded`: they are fetched from Telegram.
        """
        return Request(
            job=job,
            place=self.place,
            message=self.message.message_id,
            accepted=self.accepted,
            kind=kind,
            size=size,
            fetch=fetch,
            update=self.accepted.id if update is None else update,
            downloaded=downloaded,
        )

    def in_topic(self, thread: int | None) -> Self:
        """The same; a message that Telegram does not show any more was sent in this topic."""
        if self.press is None or self.press.message is None:
            return self
        return replace(self, message=answerable(self.bot, self.press.message, thread))


async def answer_pressed(ask: Ask, key: str, answers: Answers) -> tuple[Ask, Answer]:
    """For a press below an answer: the same in the answer's topic and language, and what is known of the answer.

    Raises Forgotten, and JobCancelled if it is deleted.
    """
    if await answers.is_deleted(ask.chat, key):
        raise JobCancelled("its answer was deleted")
    answer = await answers.find(ask.chat, key)
    if answer is None and ask.can_edit:
        answer = Answer.anew(ask.message, ask.bot, ask.model, ask.language)
    if answer is None:
        raise Forgotten
    ask = replace(ask.in_topic(answer.thread), captions=answer.language)
    return ask, answer.seen_at(ask.message) if ask.can_edit else answer


class AskMiddleware(BaseMiddleware):
    """Looks up the settings of the chat once an update, and hands handlers the `Ask`."""

    def __init__(self, storage: Storage, operator: ChatSettings) -> None:
        """`operator`: what holds in chats that chose nothing."""
        self._storage = storage
        self._operator = operator

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        assert isinstance(event, Update)
        chat: Chat | User | None = data.get("event_chat")
        if event.guest_message is not None or event.inline_query is not None:  # of no chat of the bot's
            chat = data.get("event_from_user")
        accepted: Accepted = data["accepted"]
        if (settings := accepted.settings) is None:
            settings = await self._storage.settings(chat.id) if chat is not None else ChatSettings()
        data["chat_settings"] = settings  # for the language
        bot, used = data["bot"], settings.in_use(self._operator)
        press: CallbackQuery | None = None
        if (message := event.message) is not None:
            user = asker(message)
        elif (press := event.callback_query) is not None:
            if press.message is None:  # of a message sent by inline mode, which has no buttons
                with suppress(AiogramError):
                    await press.answer()
                return None
            message, user = answerable(bot, press.message, None), press.from_user.id
        if message is not None:
            captions = used.caption_language or "auto"
            data["ask"] = Ask(bot, message, user, settings, used.model, accepted, press, captions)
        return await handler(event, data)
