"""A group that becomes a supergroup gets another id: what was set for it goes along."""

from __future__ import annotations

from aiogram import F, Router
from aiogram.types import Message

from bot.answers.ask import Ask
from bot.chat_settings import ChatSettings
from bot.storage.chats import Storage
from handlers.filters import Where


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(moved, Where(F.migrate_to_chat_id))
    return router


async def moved(message: Message, ask: Ask, storage: Storage) -> None:
    """Pictures are not taken along: messages have other ids there, so no button asks for them."""
    if message.migrate_to_chat_id is not None and ask.settings != ChatSettings():
        await storage.keep_settings(message.migrate_to_chat_id, ask.settings)
    await storage.forget_chat(message.chat.id)
