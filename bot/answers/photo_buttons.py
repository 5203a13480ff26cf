"""What the buttons under an answer to a photo do."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any

from aiogram import Bot
from aiogram.enums import ChatMemberStatus, ChatType
from aiogram.exceptions import AiogramError, TelegramBadRequest
from aiogram.types import CallbackQuery, InaccessibleMessage, InlineKeyboardMarkup, Message

from bot import replies
from bot.answers.keyboards import number_buttons
from bot.answers.notes import DONE_KEPT, Answer, Answers, Page, Subject, answerable
from bot.answers.origin import origin
from bot.answers.photos import reply_picture
from bot.chat_settings import ChatSettings
from bot.config import Settings
from bot.errors import Forgotten
from bot.logs import impersonal
from bot.replies.text import MAX_CAPTION, MAX_TEXT
from bot.service.jobs import compare_job, heatmap_job, more_job, words_job
from bot.service.requests import Request, Requests
from bot.storage.inbox import Accepted
from model.errors import JobCancelled
from model.serving.jobs import Job, Outcome
from model.serving.tasks.photo import PhotoResult

log = logging.getLogger(__name__)

Show = Callable[[PhotoResult], Awaitable[None]]


class Buttons:
    """What handlers ask for when a button is pressed. All raise Forgotten where it is not known of which picture."""

    def __init__(self, settings: Settings, requests: Requests, answers: Answers) -> None:
        self._model = settings.model
        self._requests = requests
        self._answers = answers

    async def more(
        self, bot: Bot, query: CallbackQuery, key: str, accepted: Accepted, chat_settings: ChatSettings
    ) -> None:
        """Add captions that were not shown yet; presses of one answer wait for each other."""
        chat_id = _chat(query)
        async with self._answers.alone(chat_id, key):
            message, answer = await self._pressed(bot, query, key, chat_settings)
            if accepted.id in answer.done:  # the bot was killed before it could acknowledge the press
                return
            job = more_job(
                origin(bot, message, accepted.id, query.from_user.id),
                answer.picture,
                answer.model,
                chat_settings,
                answer.shown,
                seed=accepted.id,
                known=await self._answers.is_known(chat_id, answer.picture, accepted),
            )
            show = partial(self._add, bot, query, key, message, answer, accepted)
            await self._serve(bot, message, answer, job, accepted, "more", show)

    async def choose_heatmap(
        self, bot: Bot, query: CallbackQuery, key: str, choosing: bool, chat_settings: ChatSettings
    ) -> None:
        """Put the numbers of captions in the place of the buttons, or the buttons back."""
        message, answer = await self._pressed(bot, query, key, chat_settings)
        numbers = range(*answer.page_of(message.message_id).numbers) or range(1, 1 + len(answer.captions))
        buttons = number_buttons(key, numbers) if choosing else answer.buttons(key)
        try:
            if isinstance(query.message, Message):
                await message.edit_reply_markup(reply_markup=buttons)
                return
        except TelegramBadRequest as error:
            if _is_so_already(error):
                return
            log.info("the buttons of an answer cannot be changed (%s)", impersonal(error.message))
        if choosing:
            words = replies.new_page(answer.captions, 1).markup if answer.captions else replies.choose_heatmap()
            await message.reply(words, reply_markup=number_buttons(key, range(1, 1 + len(answer.captions))))

    async def heatmap(
        self, bot: Bot, query: CallbackQuery, key: str, number: int, accepted: Accepted, chat_settings: ChatSettings
    ) -> None:
        """The sheet of one caption, with that caption as its words."""
        message, answer = await self._pressed(bot, query, key, chat_settings)
        if not 1 <= number <= len(answer.captions):
            raise Forgotten

        async def show(result: PhotoResult) -> None:
            sent = await reply_picture(message, result.sheet, "heatmap.jpg", replies.explained_caption(result))
            await self._keep_about(message, sent, answer, key)

        who = origin(bot, message, accepted.id, query.from_user.id)
        job = heatmap_job(who, answer.picture, answer.model, answer.captions[number - 1])
        await self._serve(bot, message, answer, job, accepted, "heatmap", show)

    async def weighed_words(
        self, bot: Bot, query: CallbackQuery, key: str, accepted: Accepted, chat_settings: ChatSettings
    ) -> None:
        """The chart of the words that were weighed for the main caption."""
        message, answer = await self._pressed(bot, query, key, chat_settings)

        async def show(result: PhotoResult) -> None:
            words = replies.explained_caption(result) if result.chart is None else replies.weighed_words(result)
            sent = await reply_picture(message, result.chart, "words.png", words)
            await self._keep_about(message, sent, answer, key)

        who = origin(bot, message, accepted.id, query.from_user.id)
        known = await self._answers.is_known(message.chat.id, answer.picture, accepted)
        job = words_job(who, answer.picture, answer.model, answer.main, known=known)
        await self._serve(bot, message, answer, job, accepted, "chart", show)

    async def compare(
        self, bot: Bot, query: CallbackQuery, key: str, accepted: Accepted, chat_settings: ChatSettings
    ) -> None:
        """The main captions of both models, one below the other."""
        message, answer = await self._pressed(bot, query, key, chat_settings)

        async def show(result: PhotoResult) -> None:
            sent = await message.reply(replies.comparison(result, answer.model))
            await self._keep_about(message, sent.message_id, answer, key)

        who = origin(bot, message, accepted.id, query.from_user.id)
        known = await self._answers.is_known(message.chat.id, answer.picture, accepted)
        job = compare_job(who, answer.picture, answer.model, chat_settings, known=known)
        await self._serve(bot, message, answer, job, accepted, "compare", show)

    async def _keep_about(self, message: Message, sent: int, answer: Answer, key: str) -> None:
        """What stands beside an answer goes with it, and a reply to it is about the same picture."""
        await self._answers.add_beside(message.chat.id, key, [sent])
        await self._answers.keep_about(message.chat.id, [sent], Subject(answer.picture, answer.user))

    async def may_delete(self, bot: Bot, query: CallbackQuery, key: str, user: int) -> bool:
        """Who asked for it may, and in a group its administrators. `user`: who asked, should it not be noted."""
        chat = query.message.chat if query.message else None
        if chat is None or chat.type == ChatType.PRIVATE:
            return True
        answer = await self._answers.find(chat.id, key)
        if query.from_user.id == (user if answer is None else answer.user):
            return True
        try:
            member = await bot.get_chat_member(chat.id, query.from_user.id)
        except AiogramError as error:
            log.info("a member of a group cannot be looked up (%s)", type(error).__name__)
            return False
        return member.status in (ChatMemberStatus.CREATOR, ChatMemberStatus.ADMINISTRATOR)

    async def delete(self, bot: Bot, query: CallbackQuery, key: str) -> None:
        """Delete all messages of an answer to a photo, an album or a clip, and what is noted of it."""
        chat_id = _chat(query)
        assert query.message is not None
        answer = await self._answers.find(chat_id, key)
        messages = [query.message.message_id, *await self._answers.beside(chat_id, key)]
        if answer is not None:
            messages += [*(page.message for page in answer.pages if page.message), *answer.beside]
        if not await self._answers.delete(bot, chat_id, key, messages):
            message = answerable(bot, query.message, answer.thread if answer is not None else None)
            await message.reply(replies.cannot_be_deleted())

    async def _pressed(
        self, bot: Bot, query: CallbackQuery, key: str, chat_settings: ChatSettings
    ) -> tuple[Message, Answer]:
        """The message to reply to, and what is known of the answer. Raises Forgotten, JobCancelled if it is deleted."""
        message = query.message
        if message is None:
            raise Forgotten
        if await self._answers.is_deleted(message.chat.id, key):
            raise JobCancelled("its answer was deleted")
        answer = await self._answers.find(message.chat.id, key)
        if isinstance(message, InaccessibleMessage):
            if answer is None:
                raise Forgotten
            return answerable(bot, message, answer.thread), answer
        answer = answer or Answer.recalled(message, bot, chat_settings.model or self._model)
        if answer is None:
            raise Forgotten
        return message, answer.seen_at(message)

    async def _serve(
        self, bot: Bot, message: Message, answer: Answer, job: Job, accepted: Accepted, kind: str, show: Show
    ) -> None:
        """Ask for a job on the answer's picture."""
        chat_id, picture = message.chat.id, answer.picture

        async def send(result: Outcome) -> None:
            assert isinstance(result, PhotoResult)
            if job.task.needs_media:
                await self._answers.looked_at(chat_id, picture)
            await show(result)

        await self._requests.serve(Request(bot, message, picture, job, accepted, kind, send))

    async def _add(
        self,
        bot: Bot,
        query: CallbackQuery,
        key: str,
        message: Message,
        answer: Answer,
        accepted: Accepted,
        result: PhotoResult,
    ) -> None:
        """Put new captions below those of the answer's last message, and what does not fit into new ones."""
        chat_id = message.chat.id
        if await self._answers.is_deleted(chat_id, key):  # meanwhile
            return
        if (now := await self._answers.find(chat_id, key)) is not None:  # another process may have added to it
            answer = now.seen_at(message) if isinstance(query.message, Message) else now
        new = [text for text in dict.fromkeys(replies.texts(result)) if text not in answer.shown]
        if not new:
            await message.reply(replies.no_more_captions())
            return
        pages, first = list(answer.pages), 1 + len(answer.captions)
        answer = dataclasses.replace(answer, captions=(*answer.captions, *new))
        buttons = answer.buttons(key)
        last = pages[-1]
        gone = isinstance(query.message, InaccessibleMessage) and last.message in (0, message.message_id)
        if not gone:
            words = replies.more_on_page(last.markup, new, first, MAX_CAPTION if last.picture else MAX_TEXT)
            added = len(words.captions)
            if added and await _edited(bot, chat_id, last, words.markup, buttons):
                first += added
                pages[-1] = dataclasses.replace(last, markup=words.markup, numbers=(last.numbers[0], first))
        if await self._answers.is_deleted(chat_id, key):
            return
        await self._new_pages(message, pages, answer.captions, first, buttons)
        done = (*answer.done, accepted.id)[-DONE_KEPT:]
        await self._answers.keep(chat_id, key, dataclasses.replace(answer, pages=tuple(pages), done=done))

    async def _new_pages(
        self, message: Message, pages: list[Page], captions: Sequence[str], first: int, buttons: InlineKeyboardMarkup
    ) -> None:
        """Captions from number `first` on go into new messages, whose pages are added."""
        while first <= len(captions):
            words = replies.new_page(captions[first - 1 :], first)
            sent = await message.reply(words.markup, reply_markup=buttons)
            end = first + len(words.captions)
            pages.append(Page(words.markup, (first, end), sent.message_id))
            first = end


def _chat(query: CallbackQuery) -> int:
    """Raises Forgotten."""
    if query.message is None:
        raise Forgotten
    return query.message.chat.id


async def _edited(bot: Bot, chat_id: int, page: Page, markup: str, buttons: InlineKeyboardMarkup) -> bool:
    """Whether a message could be given these words."""
    where: dict[str, Any] = {"chat_id": chat_id, "message_id": page.message, "reply_markup": buttons}
    try:
        if page.picture:
            await bot.edit_message_caption(caption=markup, **where)
        else:
            await bot.edit_message_text(markup, **where)
    except TelegramBadRequest as error:
        if not _is_so_already(error):
            log.info("an answer cannot be added to (%s)", impersonal(error.message))
            return False
    return True


def _is_so_already(error: TelegramBadRequest) -> bool:
    return "message is not modified" in error.message
