"""What the buttons under an answer to a photo do."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from aiogram import Bot
from aiogram.enums import ChatType
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import InlineKeyboardMarkup, Message

from bot import replies
from bot.answers.ask import Ask, answer_pressed
from bot.answers.keyboards import (
    ChooseHeatmap,
    CompareModels,
    DeleteAlbum,
    DeleteAnswer,
    Heatmap,
    MoreCaptions,
    WeighedWords,
    number_buttons,
)
from bot.answers.notes import DONE_KEPT, Answer, Answers, Page
from bot.answers.photos import reply_picture
from bot.errors import Forgotten
from bot.logs import impersonal
from bot.replies.text import MAX_CAPTION, MAX_TEXT
from bot.sample_options import SampleRequest
from bot.service.jobs import compare_job, heatmap_job, sample_job, words_job
from bot.service.requests import Requests
from bot.telegram.access import is_administrator
from bot.telegram.editing import same_passed_over
from model.serving.jobs import Job, Outcome
from model.serving.tasks.photo import PhotoResult

log = logging.getLogger(__name__)

Show = Callable[[PhotoResult], Awaitable[None]]


class Buttons:
    """What handlers ask for when a button is pressed. All raise Forgotten where it is not known of which picture."""

    def __init__(self, requests: Requests, answers: Answers) -> None:
        self._requests = requests
        self._answers = answers

    async def more(self, ask: Ask, pressed: MoreCaptions) -> None:
        """Add captions that were not shown yet; presses of one answer wait for each other."""
        key = pressed.key
        async with self._answers.alone(ask.chat, key):
            ask, answer = await answer_pressed(ask, key, self._answers)
            if ask.accepted.id in answer.done:  # the bot was killed before it could acknowledge the press
                return
            job = sample_job(
                ask.origin,
                answer.picture,
                answer.model,
                ask.settings,
                SampleRequest(),
                seed=ask.accepted.id,
                known=await self._is_known(ask, answer),
                shown=answer.shown,
            )
            await self._serve(ask, key, answer, job, "more", partial(self._add, ask, key, answer))

    async def choose_heatmap(self, ask: Ask, pressed: ChooseHeatmap) -> str | None:
        """Put the numbers of captions in the place of the buttons, or the buttons back. Returns what is said."""
        key, choosing = pressed.key, pressed.choosing
        ask, answer = await answer_pressed(ask, key, self._answers)
        if not answer.captions:
            raise Forgotten
        numbers = range(*answer.page_of(ask.message.message_id).numbers) or range(1, 1 + len(answer.captions))
        with answer.speaking():
            buttons = number_buttons(key, numbers) if choosing else answer.buttons(key)
        said = replies.choose_heatmap() if choosing else None
        try:
            if ask.can_edit:
                with same_passed_over():
                    await ask.message.edit_reply_markup(reply_markup=buttons)
                return said
        except TelegramBadRequest as error:
            log.info("the buttons of an answer cannot be changed (%s)", impersonal(error.message))
        if choosing:
            with answer.speaking():
                words = replies.new_page(answer.reads(answer.captions), 1)
                buttons = number_buttons(key, range(1, 1 + len(answer.captions)))
            await ask.message.reply(words.markup, reply_markup=buttons)
        return said

    async def heatmap(self, ask: Ask, pressed: Heatmap) -> None:
        """The sheet of one caption, with that caption as its words."""
        key, number = pressed.key, pressed.number
        ask, answer = await answer_pressed(ask, key, self._answers)
        if not 1 <= number <= len(answer.captions):
            raise Forgotten

        async def show(result: PhotoResult) -> None:
            words, alone = replies.heatmap(result), replies.explained_caption(result)
            sent = await reply_picture(ask.message, result.sheet, "heatmap.jpg", words, of=answer.picture, alone=alone)
            await self._answers.add_about(ask.bot, ask.chat, key, sent, answer.subject)

        job = heatmap_job(ask.origin, answer.picture, answer.model, answer.captions[number - 1])
        await self._serve(ask, key, answer, job, "heatmap", show)

    async def weighed_words(self, ask: Ask, pressed: WeighedWords) -> None:
        """The chart of the words that were weighed for the main caption."""
        key = pressed.key
        ask, answer = await answer_pressed(ask, key, self._answers)

        async def show(result: PhotoResult) -> None:
            words = replies.explained_caption(result) if result.chart is None else replies.weighed_words(result)
            sent = await reply_picture(ask.message, result.chart, "words.png", words, of=answer.picture)
            await self._answers.add_about(ask.bot, ask.chat, key, sent, answer.subject)

        known = await self._is_known(ask, answer)
        job = words_job(ask.origin, answer.picture, answer.model, ask.settings, answer.main, known=known)
        await self._serve(ask, key, answer, job, "chart", show)

    async def compare(self, ask: Ask, pressed: CompareModels) -> None:
        """The main captions of both models, one below the other."""
        key = pressed.key
        ask, answer = await answer_pressed(ask, key, self._answers)

        async def show(result: PhotoResult) -> None:
            sent = await ask.message.reply(replies.comparison(result, answer.model, _own_words(ask)))
            await self._answers.add_about(ask.bot, ask.chat, key, sent.message_id, answer.subject)

        known = await self._is_known(ask, answer)
        job = compare_job(ask.origin, answer.picture, answer.model, ask.settings, known=known)
        await self._serve(ask, key, answer, job, "compare", show)

    async def _is_known(self, ask: Ask, answer: Answer) -> bool:
        return await self._answers.is_known(ask.chat, answer.picture, ask.accepted)

    async def delete(self, ask: Ask, pressed: DeleteAnswer | DeleteAlbum) -> str | None:
        """Delete all messages of an answer to a photo, an album or a clip, and what is noted of it.

        Who asked for it may, and in a group its administrators; others are told so. Raises Forgotten where it is not
        known in a group whose it is.
        """
        key = pressed.key
        if await self._answers.is_deleted(ask.chat, key):
            return None
        owner = await self._answers.owner(ask.chat, key)
        if ask.user != owner and not await is_administrator(ask.bot, ask.message.chat, ask.user):
            if owner is None:
                raise Forgotten
            return replies.not_your_answer()
        answer = await self._answers.find(ask.chat, key)
        # Where Telegram does not tell of the message, it may stand under another answer, whatever a client sends.
        shown = [ask.message.message_id] if ask.can_edit else []
        if not await self._answers.delete(ask.bot, ask.chat, key, shown):
            ask = ask.in_topic(answer.thread if answer is not None else None)
            await ask.message.reply(replies.cannot_be_deleted())
        return None

    async def _serve(self, ask: Ask, key: str, answer: Answer, job: Job, kind: str, show: Show) -> None:
        """Ask for a job on the picture of the answer with this key."""

        async def send(result: Outcome) -> None:
            assert isinstance(result, PhotoResult)
            if await self._answers.is_deleted(ask.chat, key):  # meanwhile
                return
            if job.task.needs_media:
                await self._answers.looked_at(ask.chat, answer.picture)
            await show(result)

        await self._requests.serve(ask.request(answer.picture, job, kind), send)

    async def _add(self, ask: Ask, key: str, answer: Answer, result: PhotoResult) -> None:
        """Put new captions below those of the answer's last message, and what does not fit into new ones."""
        chat_id, message = ask.chat, ask.message
        if (now := await self._answers.find(chat_id, key)) is not None:  # another process may have added to it
            answer = now.seen_at(message) if ask.can_edit else now
        read = {caption.text for caption in answer.reads(answer.shown)}
        new = [each for each in replies.sampled(result) if each.english not in answer.shown and each.text not in read]
        if not new:
            await message.reply(replies.no_more_captions())
            return
        pages, first = list(answer.pages), 1 + len(answer.captions)
        answer = answer.with_captions(result, *(each.english for each in new))
        buttons = answer.buttons(key)
        last = pages[-1]
        gone = not last.markup or (not ask.can_edit and last.message in (0, message.message_id))
        if not gone:
            with answer.speaking():
                words = replies.more_on_page(last.markup, new, first, MAX_CAPTION if last.picture else MAX_TEXT)
            added = len(words.captions)
            if added and await _edited(ask.bot, chat_id, last, words.markup, buttons):
                first += added
                pages[-1] = dataclasses.replace(last, markup=words.markup, numbers=(last.numbers[0], first))
        with answer.speaking():
            await self._new_pages(message, pages, answer.reads(answer.captions), first, buttons)
        done = (*answer.done, ask.accepted.id)[-DONE_KEPT:]
        await self._answers.keep(chat_id, key, dataclasses.replace(answer, pages=tuple(pages), done=done))
        await self._answers.delete_added(ask.bot, chat_id, key, [page.message for page in pages[len(answer.pages) :]])

    async def _new_pages(
        self,
        message: Message,
        pages: list[Page],
        captions: Sequence[replies.Reading],
        first: int,
        buttons: InlineKeyboardMarkup,
    ) -> None:
        """Captions from number `first` on go into new messages, whose pages are added."""
        while first <= len(captions):
            words = replies.new_page(captions[first - 1 :], first)
            sent = await message.reply(words.markup, reply_markup=buttons)
            end = first + len(words.captions)
            pages.append(Page(words.markup, (first, end), sent.message_id))
            first = end


def _own_words(ask: Ask) -> str:
    """What the person who pressed wrote under their photo, where nobody else reads the answer.

    Nothing is kept of it: Telegram tells it with the press.
    """
    photo = ask.message.reply_to_message
    if photo is None or ask.message.chat.type != ChatType.PRIVATE or photo.forward_origin is not None:
        return ""
    if photo.from_user is None or photo.from_user.id != ask.user or (photo.caption or "").startswith("/"):
        return ""
    return photo.caption or ""


async def _edited(bot: Bot, chat_id: int, page: Page, markup: str, buttons: InlineKeyboardMarkup) -> bool:
    """Whether a message could be given these words."""
    where: dict[str, Any] = {"chat_id": chat_id, "message_id": page.message, "reply_markup": buttons}
    try:
        with same_passed_over():
            if page.picture:
                await bot.edit_message_caption(caption=markup, **where)
            else:
                await bot.edit_message_text(markup, **where)
    except TelegramBadRequest as error:
        log.info("an answer cannot be added to (%s)", impersonal(error.message))
        return False
    return True
