"""What happens to a message before a handler sees it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Final

from aiogram import BaseMiddleware
from aiogram.enums import ChatType
from aiogram.exceptions import AiogramError
from aiogram.types import CallbackQuery, Chat, Message, TelegramObject, User

from bot import replies
from model.serving.worker.recent import Recent

TOLD_SECONDS: Final = 60.0  # for which a stranger is not told again


class PeopleMiddleware(BaseMiddleware):
    """Passes over what no person said here: the posts of a linked channel, and what other bots write."""

    async def __call__(
        self,
        handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]],
        event: TelegramObject,
        data: dict[str, Any],
    ) -> Any:
        if isinstance(event, Message):
            # Who writes in the name of a chat, such as an anonymous administrator, is shown as a bot of Telegram's.
            by_bot = event.from_user is not None and event.from_user.is_bot and event.sender_chat is None
            if event.is_automatic_forward or by_bot:
                return None
        return await handler(event, data)


class AccessMiddleware(BaseMiddleware):
    """Serves only the people and groups on the list. Others are told so in private, once a minute at most, and get
    silence in groups.

    Whoever presses a button is told, wherever it is. A group on the list lets all in it use the bot there.
    """

    def __init__(self, allowed: frozenset[int]) -> None:
        self._allowed = allowed
        self._told: Recent[int, bool] = Recent(10_000, seconds=TOLD_SECONDS)

    async def __call__(
        self,
        handler: Callable[[TelegramObject, dict[str, Any]], Awaitable[Any]],
        event: TelegramObject,
        data: dict[str, Any],
    ) -> Any:
        user: User | None = data.get("event_from_user")
        chat: Chat | None = data.get("event_chat")
        if any(each is not None and each.id in self._allowed for each in (user, chat)):
            return await handler(event, data)
        if isinstance(event, Message) and event.chat.type == ChatType.PRIVATE and not self._told.get(event.chat.id):
            self._told.keep(event.chat.id, True)
            await event.reply(replies.closed())
        if isinstance(event, CallbackQuery):
            with suppress(AiogramError):  # such as for a press of long ago
                await event.answer(replies.closed(), show_alert=True)
        return None
