"""A photo as people with a colour vision deficiency see it, for /colours and for the buttons."""

from __future__ import annotations

import logging
from functools import partial
from typing import Final

from aiogram.exceptions import TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, InlineKeyboardMarkup, InputMediaPhoto, Message

from bot import replies
from bot.answers.ask import Ask, answer_pressed
from bot.answers.keyboards import ChooseColours, ShowColours, carried_below, colours_buttons
from bot.answers.notes import Answer, Answers, Page, new_key, thread_of
from bot.answers.photos import reply_picture
from bot.answers.subjects import picture_meant
from bot.errors import Protected
from bot.logs import impersonal
from bot.service.jobs import colours_job
from bot.service.requests import Requests
from bot.storage.chats import Picture, Storage
from bot.telegram.editing import same_passed_over
from model.drawing.labels import Deficiency
from model.serving.jobs import Outcome
from model.serving.tasks.colours import ColoursResult

log = logging.getLogger(__name__)

FIRST: Final[Deficiency] = "protanopia"  # is shown; the others can be chosen


class Colours:
    """What handlers ask for. All raise what `Requests.serve` raises, and Forgotten where the picture is not known, and
    Protected where it may not be shown again.
    """

    def __init__(self, requests: Requests, storage: Storage, answers: Answers) -> None:
        self._requests = requests
        self._storage = storage
        self._answers = answers

    async def command(self, ask: Ask) -> None:
        """Answer /colours. Raises what `picture_meant` raises."""
        picture = await picture_meant(ask.bot, ask.message, self._answers, self._storage)
        page = Page("", (1, 1), picture=True)
        answer = Answer(picture, ask.user, ask.model, "", (), (page,), thread=thread_of(ask.message))
        await self._serve(ask, new_key(), answer, FIRST, alone=True)

    async def show(self, ask: Ask, pressed: ShowColours) -> None:
        """Answer the button below an answer."""
        ask, answer = await answer_pressed(ask, pressed.key, self._answers)
        await self._serve(ask, pressed.key, answer, FIRST)

    async def choose(self, ask: Ask, pressed: ChooseColours) -> None:
        """Show the other kind in the place of the sheet below which it was chosen."""
        ask, answer = await answer_pressed(ask, pressed.key, self._answers)
        edit = ask.can_edit and pressed.pack() in carried_below(ask.message)  # whatever a client sends
        await self._serve(ask, pressed.key, answer, pressed.kind, edit=edit, alone=not answer.has_words)

    async def _serve(
        self, ask: Ask, key: str, answer: Answer, kind: Deficiency, *, edit: bool = False, alone: bool = False
    ) -> None:
        """`edit`: show it in the place of the sheet that is there. `alone`: it belongs to no other answer."""
        if answer.picture.protected:
            raise Protected
        send = partial(self._send, ask, key, answer, kind, edit, alone)
        await self._requests.serve(ask.request(answer.picture, colours_job(ask.origin, kind), "colours"), send)

    async def _send(
        self, ask: Ask, key: str, answer: Answer, kind: Deficiency, edit: bool, alone: bool, result: Outcome
    ) -> None:
        assert isinstance(result, ColoursResult)
        if await self._answers.is_deleted(ask.chat, key):  # meanwhile
            return
        words = replies.seen_with(kind)
        buttons, of = colours_buttons(key, kind, alone=alone), answer.picture
        if edit and await _edited(ask.message, result.sheet, words, buttons, of):
            return
        if ask.press is None:
            await self._answers.keep(ask.chat, key, answer)
        otherwise = replies.no_pictures_here()
        sent = await reply_picture(ask.message, result.sheet, "colours.jpg", words, buttons, of=of, alone=otherwise)
        await self._answers.add_about(ask.bot, ask.chat, key, sent, answer.subject)


async def _edited(message: Message, sheet: bytes, words: str, buttons: InlineKeyboardMarkup, of: Picture) -> bool:
    """Whether the message could be given another sheet."""
    try:
        file = BufferedInputFile(sheet, "colours.jpg")
        media = InputMediaPhoto(media=file, caption=words, has_spoiler=of.spoiler or None)
        with same_passed_over():
            await message.edit_media(media, reply_markup=buttons)
    except (TelegramBadRequest, TelegramEntityTooLarge) as error:
        log.info("a sheet cannot be exchanged (%s)", impersonal(error.message))
        return False
    return True
