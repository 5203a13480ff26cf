"""The photos that a person can find by words: vectors of what they sent, only where they switched history on.

Kept by person and chat, also in groups. The consent is the person's own, in the settings of their private chat.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from bot.chat_settings import ChatSettings
from bot.storage.chats import Picture, Storage
from bot.storage.notes import VECTOR, VECTORS_IN
from bot.telegram.pacing import is_private
from model.found import NAME_BYTES, Kept, Vector, packed


@dataclass(frozen=True)
class Findable:
    """A photo that can be found."""

    user: int  # who sent it
    file_id: str
    sent: float  # seconds since the epoch
    message: int  # that shows it
    answer: str  # the key of its answer: they are deleted together
    model: str
    values: str  # of the vector, in base 64


async def consents(storage: Storage, chat: int, user: int, settings: ChatSettings) -> bool:
    """Whether a person has switched history on. settings: of the chat."""
    if is_private(chat):
        return settings.history
    return is_private(user) and (await storage.settings(user)).history


def findable(user: int, picture: Picture, vector: Vector, *, sent: float, message: int, answer: str) -> Findable:
    """A photo of a person that has just been answered."""
    values = base64.b64encode(vector.values).decode()
    return Findable(user, picture.file_id, sent, message, answer, vector.model, values)


async def keep_findable(storage: Storage, chat: int, picture: Picture, photo: Findable) -> None:
    """Keep it, unless the picture is covered or protected, or the person has switched history off meanwhile.

    To be called after the answer is noted and before it is out, so that whoever deletes that deletes this.
    """
    private = is_private(chat)
    settings = await storage.settings(chat) if private else ChatSettings()
    if picture.private or not await consents(storage, chat, photo.user, settings):
        return
    if not private:  # before: it must be found when the consent is taken back
        await VECTORS_IN.keep(storage, photo.user, f"{photo.user}:{chat}", {"user": photo.user})
    await VECTOR.keep(storage, chat, f"{photo.user}:{picture.file_unique_id}", photo)


async def all_findable(storage: Storage, chat: int, user: int) -> dict[str, Findable]:
    """What is kept for a person of a chat, by the unique ids of the files."""
    return await VECTOR.find_each(storage, chat, f"{user}:", lambda fields: Findable(**fields))


def name_of(file_unique_id: str) -> str:
    """How a photo is named to workers: hexadecimal digits."""
    return hashlib.sha256(file_unique_id.encode()).digest()[:NAME_BYTES].hex()


def named_vectors(photos: Mapping[str, Findable]) -> tuple[tuple[Kept, ...], bytes]:
    """The vectors as workers take them. photos: by the unique ids of their files."""
    return packed({name_of(each): Vector(at.model, base64.b64decode(at.values)) for each, at in photos.items()})


async def forget_with_answer(storage: Storage, chat: int, answer: str, user: int | None) -> None:
    """Forget the vectors of the photos of one answer. user: who asked for it; None: that is not known."""
    beginning = "" if user is None else f"{user}:"
    for name, fields in (await VECTOR.find_all(storage, chat, beginning)).items():
        if fields.get("answer") == answer:
            await VECTOR.forget(storage, chat, beginning + name)


async def forget_group(storage: Storage, chat: int, user: int | None = None) -> None:
    """Forget that vectors of this person, else of anybody, are in a group where all of them are being forgotten."""
    users = {name.partition(":")[0] for name in await VECTOR.find_all(storage, chat)} if user is None else {str(user)}
    for each in users:
        await VECTORS_IN.forget(storage, int(each), f"{each}:{chat}")


async def forget_vectors(storage: Storage, user: int) -> None:
    """Forget all of a person's, in all chats."""
    groups = [int(name) for name in await VECTORS_IN.find_all(storage, user, f"{user}:")]
    for chat in (user, *groups):
        for name in await VECTOR.find_all(storage, chat, f"{user}:"):
            await VECTOR.forget(storage, chat, f"{user}:{name}")
    for group in groups:
        await VECTORS_IN.forget(storage, user, f"{user}:{group}")
