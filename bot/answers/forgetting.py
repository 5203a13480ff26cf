"""Everything that is kept of a chat, or of a person in it, deleted at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bot.answers.vectors import forget_group, forget_vectors
from bot.chat_settings import ChatSettings
from bot.stats import Stats
from bot.storage.chats import Storage
from bot.storage.inbox import DeadLetter, Inbox
from bot.storage.notes import forget_guest, forget_person
from bot.telegram.pacing import is_private
from model.serving.queue import JobProducer


@dataclass(frozen=True)
class Deleted:
    """What was deleted."""

    letters: int = 0  # updates that had been given up
    notes: bool = False  # on pictures, clips and answers
    settings: bool = False  # other than the defaults
    whole: bool = False  # all of the chat


class Forgetting:
    """Deletes what is kept of chats. What is being worked on is answered all the same."""

    def __init__(self, storage: Storage, inbox: Inbox, queue: JobProducer, statistics: Stats) -> None:
        self._storage = storage
        self._inbox = inbox
        self._queue = queue
        self._statistics = statistics

    async def chat(self, bot_id: int, chat_id: int, user_id: int) -> Deleted:
        """All of a chat, and that this person, who asks for it, used the bot. Done twice, the second finds nothing.

        Raises StorageError, RedisRefused, or what a client of Redis raises.
        """
        settings = await self._storage.settings(chat_id) != ChatSettings()
        notes = bool(await self._storage.notes(chat_id, ""))
        if is_private(chat_id):  # what the consent given here has left in groups
            await forget_vectors(self._storage, chat_id)
        else:
            await forget_group(self._storage, chat_id)
        await self._storage.forget_chat(chat_id)
        await forget_guest(self._storage, user_id)
        letters = await forget_letters(self._inbox, chat_id)
        await self._queue.forget_place(f"{bot_id}:{chat_id}")
        await self._statistics.forget(user_id)  # last: /stats may be broken, and this is tried again then
        return Deleted(letters, notes, settings, whole=True)

    async def person(self, chat_id: int, user_id: int) -> Deleted:
        """What is one person's own in a group: the messages that could not be answered, what was noted of the answers
        to them, and that they used the bot; also which messages that mention the bot it answered, wherever they were.

        Raises as `chat` does.
        """
        letters = await forget_letters(self._inbox, chat_id, user_id)
        await forget_group(self._storage, chat_id, user_id)
        notes = await forget_person(self._storage, chat_id, user_id)
        await forget_guest(self._storage, user_id)
        await self._statistics.forget(user_id)
        return Deleted(letters, notes)


async def forget_letters(inbox: Inbox, chat_id: int, user_id: int | None = None) -> int:
    """Drop the dead letters of a chat, or of one person there; how many. Raises as the inbox does.

    What an operator has put back for another try is no letter any more, but work.
    """
    letters = [letter.id for letter in await inbox.dead() if _is_of(letter, chat_id, user_id)]
    return await inbox.drop(letters) if letters else 0


def _is_of(letter: DeadLetter, chat_id: int, user_id: int | None) -> bool:
    message: dict[str, Any] = letter.body.get("message", {})
    if message.get("chat", {}).get("id") != chat_id:
        return False
    return user_id in (None, message.get("sender_chat", message.get("from", {})).get("id"))
