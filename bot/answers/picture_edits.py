"""Photos changed by words, for /edit and the buttons under its answers, where workers have a network for it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from typing import Final

from aiogram.enums import MessageEntityType
from aiogram.types import Message

from bot import replies
from bot.answers.ask import Ask, answer_pressed
from bot.answers.keyboards import EditAgain, edit_buttons
from bot.answers.notes import Answer, Answers, Page, new_key, thread_of
from bot.answers.photos import reply_picture
from bot.answers.subjects import picture_meant
from bot.errors import EditorAway, Forgotten, NotOfClips, TooFast, TooManyEdits, WrongEdit
from bot.service.jobs import edit_job
from bot.service.limits import Throttle
from bot.service.requests import Requests
from bot.storage.chats import Storage
from model.edits import LONGEST, SEEDS, EditFault, EditRequest, parse_edit
from model.errors import AnimatedPicture, EditsUnavailable
from model.serving.jobs import Outcome
from model.serving.queue import JobProducer
from model.serving.tasks.edit import EditResult, EditTask

BURST: Final = 3  # edits of one person at once
INTERVAL: Final = 60.0  # seconds, in which each person may ask for one more
LOOK: Final = 5.0  # seconds between two looks at whether there is a network that edits


class PictureEdits:
    """What handlers ask for. All raise what `Requests.serve` raises, and Forgotten where the picture is not known."""

    def __init__(
        self,
        requests: Requests,
        storage: Storage,
        answers: Answers,
        queue: JobProducer,
        *,
        configured: bool,
        unlimited: Collection[int] = (),
    ) -> None:
        """`configured`: this program's own worker has a network that edits. `unlimited`: who has no quota."""
        self._requests = requests
        self._storage = storage
        self._answers = answers
        self._queue = queue
        self._configured = configured
        self._quota = Throttle(unlimited, burst=BURST, interval=INTERVAL)

    @property
    def offered(self) -> bool:
        """Whether there is, or lately was, a network that edits. Else nothing is said of it."""
        return self._configured or self._queue.served(EditTask.LINE) is not None

    async def watch(self, changed: Callable[[], Awaitable[None]]) -> None:
        """Call `changed` at once, and whenever edits come to be offered or not. Until cancelled."""
        offered: bool | None = None
        while True:
            if offered != (offered := self.offered):
                await changed()
            await asyncio.sleep(LOOK)

    async def command(self, ask: Ask, arguments: str) -> None:
        """Answer /edit. Raises WrongEdit, EditorAway, TooManyEdits, and what `picture_meant` raises."""
        try:
            wanted = parse_edit(arguments)
        except EditFault as error:
            raise WrongEdit(error) from None
        try:
            picture = await picture_meant(ask.bot, ask.message, self._answers, self._storage)
        except NotOfClips:
            raise NotOfClips(edit=True) from None
        page = Page("", (1, 1), picture=True)
        await self._serve(ask, Answer(picture, ask.user, ask.model, "", (), (page,)), wanted)

    async def again(self, ask: Ask, pressed: EditAgain) -> None:
        """Answer a button: the same words for the same photo, with another seed or another strength.

        The words are those that stand in the message whose button was pressed: nothing keeps them.
        """
        ask, answer = await answer_pressed(ask, pressed.key, self._answers)
        text = _text_of(ask.message) if ask.can_edit else ""
        if not text or not self.offered:
            raise Forgotten if not text else EditorAway
        await self._serve(ask, answer, EditRequest(text, pressed.strength, pressed.seed), pressed.key)

    async def _serve(self, ask: Ask, answer: Answer, wanted: EditRequest, of: str = "") -> None:
        """`of`: the key of the answer whose button was pressed."""
        if not (ask.accepted.again or ask.accepted.waited):
            if self._queue.served(EditTask.LINE) != 0:
                raise EditorAway
            try:
                self._quota.check(ask.user, ask.job)
            except TooFast as error:
                raise TooManyEdits(error.seconds, BURST) from None
        seed = ask.accepted.id % (SEEDS[1] + 1) if wanted.seed is None else wanted.seed
        job = edit_job(ask.origin, wanted.text, wanted.strength, seed)
        try:
            send = partial(self._send, ask, answer, wanted.text, of)
            await self._requests.serve(ask.request(answer.picture, job, "edit"), send)
        except AnimatedPicture:
            raise NotOfClips(edit=True) from None
        except EditsUnavailable:
            raise EditorAway from None

    async def _send(self, ask: Ask, answer: Answer, text: str, of: str, result: Outcome) -> None:
        assert isinstance(result, EditResult)
        if of and await self._answers.is_deleted(ask.chat, of):  # meanwhile
            return
        key, picture = new_key(), answer.picture
        page = Page("", (1, 1), picture=True)
        own = Answer(picture, ask.user, ask.model, "", (), (page,), thread=thread_of(ask.message))
        await self._answers.keep(ask.chat, key, own)
        words = replies.edited_photo(text, result)
        buttons, otherwise = edit_buttons(key, result.strength, result.seed), replies.no_pictures_here()
        sent = await reply_picture(
            ask.message, result.picture, "edited.jpg", words, buttons, of=picture, alone=otherwise
        )
        await self._answers.add_about(ask.bot, ask.chat, key, sent, own.subject)


def _text_of(message: Message) -> str:
    """The words of an edit, from the quotation under its picture."""
    for entity in message.caption_entities or ():
        if entity.type in (MessageEntityType.BLOCKQUOTE, MessageEntityType.EXPANDABLE_BLOCKQUOTE):
            return entity.extract_from(message.caption or "").strip()[:LONGEST]
    return ""
