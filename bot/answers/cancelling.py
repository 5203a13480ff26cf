"""What a person cancels: what is in work here, and what is accepted and waits elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from aiogram import Bot
from aiogram.types import Message
from pydantic import ValidationError

from bot import replies
from bot.answers.keyboards import (
    AllCaptions,
    Cancel,
    ChooseHeatmap,
    DeleteAlbum,
    DeleteAnswer,
    Forget,
    OpenSettings,
    OtherMoments,
)
from bot.answers.settings_menu import MenuPress
from bot.service.in_progress import InWork, Place
from bot.service.requests import job_id
from bot.storage.inbox import Accepted, Inbox
from bot.storage.redaction import COMMAND
from bot.telegram.media import clip_of, picture_of
from model.serving.jobs import Kind
from model.serving.queue import JobProducer

OF_CLIPS: Final = (AllCaptions.__prefix__, OtherMoments.__prefix__)
IDLE: Final = tuple(  # that cause no work
    data.__prefix__ for data in (Cancel, OpenSettings, MenuPress, Forget, ChooseHeatmap, DeleteAnswer, DeleteAlbum)
)
COMMANDS: Final = tuple(row.name for row in replies.COMMANDS if row.works)


class Cancelling:
    """Stops what one person asked for at one place.

    Most of it is in work in this process. The inbox tells of the rest: what another bot process has in work, waits for
    another try or for the rest of its album, or is not yet taken up after a restart.
    """

    def __init__(self, in_work: InWork, inbox: Inbox, queue: JobProducer) -> None:
        self._in_work = in_work
        self._inbox = inbox
        self._queue = queue

    async def cancel(self, bot: Bot, place: Place, accepted: Accepted) -> Counter[Kind]:
        """Stop what came before the update `accepted` and is not being sent yet: how many of each kind.

        Raises StorageError or RedisRefused.
        """
        here = self._in_work.jobs(place)
        stopped = self._in_work.cancel(place, accepted)
        for entry in await self._inbox.waiting():
            job = job_id(bot, entry.id)
            if job in here or (entry.received, entry.id) >= (accepted.received, accepted.id):
                continue
            if (kind := asked_for(entry.body, place)) is not None:
                await self._queue.cancel(job)
                await self._inbox.acknowledge(entry.id)  # nor is it taken up after a restart
                stopped[job] = kind
        return Counter(stopped.values())


def asked_for(update: dict[str, Any], place: Place) -> Kind | None:
    """What kind of work an update of this person at this place causes, if any."""
    query = update.get("callback_query")
    said = (query or update).get("message")
    if not isinstance(said, dict):
        return None
    sender = (query or said).get("from") or {}
    if (said.get("chat", {}).get("id"), sender.get("id")) != (place.chat, place.user):
        return None
    try:
        message = Message.model_validate(said)
    except ValidationError:  # of another version of Telegram: it is answered with an apology
        return None
    if Place.of(message, place.user) != place:
        return None
    if query is not None:
        prefix = str(query.get("data", "")).partition(":")[0]
        return None if prefix in IDLE else "clip" if prefix in OF_CLIPS else "photo"
    if clip_of(message) is not None or (message.text and _shows(message.reply_to_message, clip_of)):
        return "clip"
    command = COMMAND.fullmatch(message.text or "")
    is_command = command is not None and command["name"].lower() in COMMANDS
    if is_command or picture_of(message) is not None or (not command and _shows(message.reply_to_message, picture_of)):
        return "photo"
    return None


def _shows(message: Message | None, what: Callable[[Message], object]) -> bool:
    """Whether a message that was replied to has a picture, or a clip."""
    return message is not None and what(message) is not None
