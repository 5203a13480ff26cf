"""What a person asks, as handlers receive it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Self

from aiogram import BaseMiddleware, Bot
from aiogram.exceptions import AiogramError
from aiogram.types import CallbackQuery, Chat, Message, TelegramObject, Update

from bot import replies
from bot.answers.notes import answerable
from bot.chat_settings import ChatSettings
from bot.service.jobs import Origin
from bot.service.requests import Request, asker, job_id, place
from bot.storage.chats import Picture, Storage
from bot.storage.inbox import Accepted
from model.serving.jobs import Job, Outcome

Send = Callable[[Outcome], Awaitable[None]]


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
        return job_id(self.bot, self.accepted.id)

    @property
    def origin(self) -> Origin:
        """Who asks, for the job."""
        labels = replies.drawn_labels()
        return Origin(self.job, self.user, place(self.bot, self.chat), self.message.media_group_id, labels)

    def request(
        self, file: Picture, job: Job, kind: str, send: Send, fetch: Callable[[], Awaitable[bytes]] | None = None
    ) -> Request:
        """The request that is answered by `send`; the rest as `Request` says."""
        return Request(self.bot, self.message, file, job, self.accepted, kind, send, fetch=fetch)

    def in_topic(self, thread: int | None) -> Self:
        """The same; a message that Telegram does not show any more was sent in this topic."""
        if self.press is None or self.press.message is None:
            return self
        return replace(self, message=answerable(self.bot, self.press.message, thread))


class AskMiddleware(BaseMiddleware):
    """Looks up the settings of the chat once an update, and hands handlers the `Ask`."""

    def __init__(self, storage: Storage, model: str) -> None:
        """`model`: of chats that chose none."""
        self._storage = storage
        self._model = model

    async def __call__(
        self,
        handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]],
        event: TelegramObject,
        data: dict[str, Any],
    ) -> Any:
        chat: Chat | None = data.get("event_chat")
        settings = await self._storage.settings(chat.id) if chat is not None else ChatSettings()
        data["chat_settings"] = settings  # for the language
        assert isinstance(event, Update)
        bot, model, accepted = data["bot"], settings.model or self._model, data["accepted"]
        if (message := event.message) is not None:
            data["ask"] = Ask(bot, message, asker(message), settings, model, accepted)
        elif (press := event.callback_query) is not None:
            if press.message is None:  # of inline mode, which this bot does not have
                with suppress(AiogramError):
                    await press.answer()
                return None
            message = answerable(bot, press.message, None)
            data["ask"] = Ask(bot, message, press.from_user.id, settings, model, accepted, press)
        return await handler(event, data)
