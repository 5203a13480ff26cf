"""/stats, for those who run the bot, in their private chats. To others it is an unknown command."""

from __future__ import annotations

from aiogram import F, Router
from aiogram.enums import ChatType
from aiogram.filters import Command
from aiogram.types import Message

from bot import replies
from bot.stats import Stats
from bot.storage.inbox import Inbox
from handlers.filters import FromAdmin, Where
from model.serving.queue import JobProducer


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(stats, Where(F.chat.type == ChatType.PRIVATE), Command("stats"), FromAdmin())
    return router


async def stats(message: Message, statistics: Stats, queue: JobProducer, inbox: Inbox) -> None:
    report = await statistics.report(queue.status, len(await inbox.dead()))
    await message.answer(replies.stats(report))
