"""Whatever else people send: a line that says what to send instead.

In groups, only who names the bot gets it: there, words in reply to a caption are most often meant for people.
"""

from __future__ import annotations

from aiogram import F, Router
from aiogram.enums import ChatType
from aiogram.filters import or_f
from aiogram.types import CallbackQuery, Message

from bot import replies
from bot.telegram.media import SHOWN_INSTEAD, sent_instead
from handlers.filters import Where, named, shows_link


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.filter(or_f(Where(F.chat.type == ChatType.PRIVATE), named))
    router.message.register(unknown_command, Where(F.text.startswith("/")))
    router.message.register(link, shows_link)
    router.message.register(text, Where(F.text))
    router.message.register(document, Where(F.document))
    router.message.register(something_else, Where(F.content_type.in_(SHOWN_INSTEAD)))
    router.callback_query.register(unknown_button)
    return router


async def unknown_command(message: Message) -> None:
    await message.reply(replies.unknown_command())


async def link(message: Message) -> None:
    await message.reply(replies.no_links())


async def unknown_button(_: CallbackQuery) -> None:
    """A button of another version of this bot is acknowledged, no more."""


async def text(message: Message) -> None:
    await message.reply(replies.send_a_photo(group=message.chat.type != ChatType.PRIVATE))


async def document(message: Message) -> None:
    assert message.document is not None
    raise sent_instead(message.document)


async def something_else(message: Message) -> None:
    await message.reply(replies.shown_instead(message.content_type))
