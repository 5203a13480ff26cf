"""Who may decide for a chat: anybody in a private one, administrators in a group."""

from __future__ import annotations

from aiogram import Bot
from aiogram.enums import ChatMemberStatus, ChatType
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import CallbackQuery, Chat, Message


async def may_decide(bot: Bot, event: Message | CallbackQuery) -> bool:
    """Whether who wrote or pressed may change what is kept of the chat."""
    if isinstance(event, CallbackQuery):
        return event.message is not None and await _is_administrator(bot, event.message.chat, event.from_user.id)
    if event.sender_chat is not None and event.chat.type != ChatType.PRIVATE:
        return event.sender_chat.id == event.chat.id  # an anonymous administrator writes in the name of the group
    return event.from_user is not None and await _is_administrator(bot, event.chat, event.from_user.id)


async def _is_administrator(bot: Bot, chat: Chat, user_id: int) -> bool:
    if chat.type == ChatType.PRIVATE:
        return True
    try:
        member = await bot.get_chat_member(chat.id, user_id)
    except TelegramBadRequest:  # such as where the list of members is hidden from bots
        return False
    return member.status in (ChatMemberStatus.CREATOR, ChatMemberStatus.ADMINISTRATOR)
