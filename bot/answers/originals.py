"""The button that shows what the network wrote, under answers whose captions are translations."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from bot import replies
from bot.answers.album_heatmaps import Shown
from bot.answers.ask import Ask
from bot.answers.keyboards import InEnglish
from bot.answers.notes import Answer, Answers, Subject
from bot.errors import Forgotten
from bot.storage.chats import Storage
from bot.storage.notes import ALBUM_HEATMAP, ANSWER, CLIP, NoteKind
from model.errors import JobCancelled

NOTED: Final[tuple[tuple[NoteKind, Callable[[Any], Answer | Subject | Shown]], ...]] = (  # the answer to a live photo
    (ANSWER, Answer.of),  # comes before its clip, which has the same key
    (CLIP, Subject.of),
    (ALBUM_HEATMAP, Shown.of),
)


class Originals:
    """What handlers ask for. No worker is asked: the notes of answers have their captions in English."""

    def __init__(self, storage: Storage, answers: Answers) -> None:
        self._storage = storage
        self._answers = answers

    async def show(self, ask: Ask, pressed: InEnglish) -> None:
        """Reply with the English captions. Raises Forgotten, and JobCancelled if the answer is deleted."""
        if await self._answers.is_deleted(ask.chat, pressed.key):
            raise JobCancelled("its answer was deleted")
        for kind, decode in NOTED:
            noted = await kind.find(self._storage, ask.chat, pressed.key, decode)
            if noted is not None and noted.english:
                break
        else:
            raise Forgotten
        sent = await ask.in_topic(noted.thread).message.reply(replies.in_english(noted.english))
        await self._answers.add_beside(ask.bot, ask.chat, pressed.key, [sent.message_id])
        if isinstance(noted, Answer):
            await self._answers.keep_about(ask.chat, [sent.message_id], Subject(noted.picture, noted.user))
        elif isinstance(noted, Subject):
            await self._answers.keep_about(ask.chat, [sent.message_id], dataclasses.replace(noted, english=()))
