"""The photos that a person was answered in their private chat, with the captions: only where they switched it on."""

from __future__ import annotations

from dataclasses import dataclass

from aiogram.enums import ChatType
from aiogram.types import Message

from bot.answers.vectors import forget_vectors
from bot.storage.chats import Picture, Storage
from bot.storage.notes import HISTORY, once_sent


@dataclass(frozen=True)
class Remembered:
    """A photo and its main caption."""

    user: int
    file_id: str
    caption: str
    answered: float  # when, in seconds since the epoch


async def remember(storage: Storage, message: Message, picture: Picture, caption: str, answered: float) -> None:
    """Keep a photo that `message` shows or replies to, or that is in its album, once it is answered: unless it is
    covered, protected, or no photo of a private chat, and where history is still switched on.
    """
    chat = message.chat.id
    if message.chat.type != ChatType.PRIVATE or message.from_user is None or not caption:
        return
    if not _may_be_kept(message, picture):
        return
    with once_sent():
        if (await storage.settings(chat)).history:
            found = Remembered(message.from_user.id, picture.file_id, caption, answered)
            await HISTORY.keep(storage, chat, picture.file_unique_id, found)
            if not (await storage.settings(chat)).history:  # it was switched off meanwhile
                await HISTORY.forget(storage, chat, picture.file_unique_id)


async def remembered(storage: Storage, user: int) -> list[Remembered]:
    """What is kept for a person, the newest first."""
    found = await HISTORY.find_each(storage, user, "", lambda fields: Remembered(**fields))
    return sorted(found.values(), key=lambda each: each.answered, reverse=True)


async def remembered_caption(storage: Storage, user: int, unique: str) -> str:
    """What a photo was answered with, by its file's unique id; empty where it is not kept."""
    found = await HISTORY.find(storage, user, unique, lambda fields: Remembered(**fields))
    return "" if found is None else found.caption


async def forget_history(storage: Storage, user: int) -> None:
    """Forget all of it, and by what photos are found, in all chats: the consent was taken back."""
    for name in await HISTORY.find_all(storage, user):
        await HISTORY.forget(storage, user, name)
    await forget_vectors(storage, user)


def _may_be_kept(message: Message, picture: Picture) -> bool:
    """Whether the picture is a photo, neither covered nor protected."""
    if message.media_group_id is not None and message.photo:  # photos are in no album with files
        return not picture.private
    return not picture.private and shown_by(message, picture) is not None


def shown_by(message: Message, picture: Picture) -> Message | None:
    """Which message shows the picture as a photo: this one, or that to which it replies."""
    for source in (message, message.reply_to_message):
        if source is not None and source.photo and source.photo[-1].file_unique_id == picture.file_unique_id:
            return source
    return None
