"""Who may use the bot, who may decide for a chat, and what a handler learns of an update before it runs."""

from __future__ import annotations

import logging
from contextlib import suppress
from typing import Any, Final, TypeAlias

from aiogram import BaseMiddleware, Bot
from aiogram.dispatcher.event.bases import NextMiddlewareType
from aiogram.enums import ChatMemberStatus, ChatType
from aiogram.exceptions import AiogramError, TelegramBadRequest
from aiogram.types import CallbackQuery, Chat, Message, TelegramObject, User
from cachetools import TTLCache

from bot import replies
from bot.stats import Stats
from bot.telegram.updates import asker

log = logging.getLogger(__name__)

Handler: TypeAlias = NextMiddlewareType[TelegramObject]  # what a middleware hands an update on to
TOLD_SECONDS: Final = 60.0  # for which a stranger is not told again


class PeopleMiddleware(BaseMiddleware):
    """Passes over what no person said here: the posts of a linked channel, and what other bots write."""

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
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
        self._told: TTLCache[int, bool] = TTLCache(10_000, TOLD_SECONDS)

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        user: User | None = data.get("event_from_user")
        chat: Chat | None = data.get("event_chat")
        if isinstance(event, Message) and event.guest_query_id is not None:  # its chat's number may be another's, too
            chat = None
        if any(each is not None and each.id in self._allowed for each in (user, chat)):
            return await handler(event, data)
        private = chat is not None and chat.type == ChatType.PRIVATE
        if isinstance(event, Message) and private and event.chat.id not in self._told:
            self._told[event.chat.id] = True
            await event.reply(replies.closed())
        if isinstance(event, CallbackQuery):
            with suppress(AiogramError):  # such as for a press of long ago
                await event.answer(replies.closed(), show_alert=True)
        return None


class CountPeople(BaseMiddleware):
    """Notes whom the bot served: those for whose message or press there was a handler."""

    def __init__(self, stats: Stats) -> None:
        self._stats = stats

    async def __call__(self, handler: Handler, event: TelegramObject, data: dict[str, Any]) -> Any:
        user: User | None = data.get("event_from_user")
        if user is not None:
            self._stats.served(asker(event) if isinstance(event, Message) else user.id)
        return await handler(event, data)


async def may_decide(bot: Bot, event: Message | CallbackQuery) -> bool:
    """Whether who wrote or pressed may change what is kept of the chat."""
    if isinstance(event, CallbackQuery):
        return event.message is not None and await is_administrator(bot, event.message.chat, event.from_user.id)
    if event.sender_chat is not None and event.chat.type != ChatType.PRIVATE:
        return event.sender_chat.id == event.chat.id  # an anonymous administrator writes in the name of the group
    return event.from_user is not None and await is_administrator(bot, event.chat, event.from_user.id)


async def is_administrator(bot: Bot, chat: Chat, user_id: int) -> bool:
    if chat.type == ChatType.PRIVATE:
        return True
    try:
        member = await bot.get_chat_member(chat.id, user_id)
    except TelegramBadRequest as error:  # such as where the list of members is hidden from bots
        log.info("a member of a group cannot be looked up (%s)", type(error).__name__)
        return False
    return member.status in (ChatMemberStatus.CREATOR, ChatMemberStatus.ADMINISTRATOR)
