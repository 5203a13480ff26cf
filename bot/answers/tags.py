"""Tags of a photo and the choice among descriptions, for /tags, /choose and the button."""

from __future__ import annotations

import dataclasses
from functools import partial

from aiogram.types import Message

from bot import replies
from bot.answers.ask import Ask, answer_pressed
from bot.answers.keyboards import ShowTags, delete_button
from bot.answers.notes import Answer, Answers, Page, new_key, thread_of
from bot.answers.subjects import picture_meant
from bot.errors import WrongList
from bot.service.jobs import rank_job, tags_job
from bot.service.requests import Requests
from bot.storage.chats import Storage, change_settings
from bot.telegram.access import may_decide
from model.serving.jobs import Job, Outcome
from model.serving.tasks.rank import RankResult
from model.serving.tasks.tags import TagsResult
from model.tagging.lists import ListError, Shipped, names, parse_descriptions, parse_tags


class Tags:
    """What handlers ask for. All raise what `Requests.serve` raises, and Forgotten where the picture is not known."""

    def __init__(self, requests: Requests, storage: Storage, answers: Answers) -> None:
        self._requests = requests
        self._storage = storage
        self._answers = answers

    async def command(self, ask: Ask, arguments: str) -> None:
        """Answer /tags: with the chat's list, with a dictionary or a list that is named, or with another list set.

        Raises WrongList, and what `picture_meant` raises.
        """
        first, _, rest = arguments.partition(" ")
        match first.lower():
            case "set":
                await self._set(ask, rest)
            case "reset":
                await self._reset(ask)
            case "":
                await self._judge(ask, ask.settings.tags)
            case "default" | "hotel" as name if not rest:
                await self._judge(ask, (), name)
            case _:
                await self._judge(ask, _parsed(arguments)[0])

    async def show(self, ask: Ask, pressed: ShowTags) -> None:
        """Answer the button below an answer."""
        ask, answer = await answer_pressed(ask, pressed.key, self._answers)
        await self._serve(ask, pressed.key, answer, await self._tags_job(ask, answer, ask.settings.tags), "tags")

    async def choose(self, ask: Ask, arguments: str) -> None:
        """Answer /choose. Raises WrongList, and what `picture_meant` raises."""
        try:
            wanted = parse_descriptions(arguments)
        except ListError as error:
            raise WrongList(error, of_tags=False) from None
        answer = await self._meant(ask)
        known = await self._answers.is_known(ask.chat, answer.picture, ask.accepted)
        job = rank_job(ask.origin, answer.picture, wanted.items, known=known)
        await self._serve(ask, new_key(), answer, job, "rank", wanted.repeated)

    async def _judge(self, ask: Ask, own: tuple[str, ...], dictionary: Shipped = "default") -> None:
        answer = await self._meant(ask)
        await self._serve(ask, new_key(), answer, await self._tags_job(ask, answer, own, dictionary), "tags")

    async def _tags_job(self, ask: Ask, answer: Answer, own: tuple[str, ...], dictionary: Shipped = "default") -> Job:
        known = await self._answers.is_known(ask.chat, answer.picture, ask.accepted)
        return tags_job(ask.origin, answer.picture, own or names(dictionary), known=known)

    async def _meant(self, ask: Ask) -> Answer:
        picture = await picture_meant(ask.bot, ask.message, self._answers, self._storage)
        return Answer(picture, ask.user, ask.model, "", (), (Page("", (1, 1)),), thread=thread_of(ask.message))

    async def _set(self, ask: Ask, text: str) -> None:
        wanted, repeated = _parsed(text)
        if await self._keep(ask, wanted):
            await ask.message.reply(replies.own_list_set(wanted, repeated))

    async def _reset(self, ask: Ask) -> None:
        if await self._keep(ask, ()):
            await ask.message.reply(replies.own_list_reset())

    async def _keep(self, ask: Ask, tags: tuple[str, ...]) -> bool:
        """Whether the chat's list could be changed by who asks; the others are told so."""
        if not await may_decide(ask.bot, ask.message):
            await ask.message.reply(replies.administrators_only())
            return False
        await change_settings(self._storage, ask.chat, lambda settings: dataclasses.replace(settings, tags=tags))
        return True

    async def _serve(
        self, ask: Ask, key: str, answer: Answer, job: Job, kind: str, repeated: tuple[str, ...] = ()
    ) -> None:
        send = partial(self._send, ask, key, answer, job, repeated)
        await self._requests.serve(ask.request(answer.picture, job, kind), send)

    async def _send(
        self, ask: Ask, key: str, answer: Answer, job: Job, repeated: tuple[str, ...], result: Outcome
    ) -> None:
        if await self._answers.is_deleted(ask.chat, key):  # meanwhile
            return
        if job.task.needs_media:
            await self._answers.looked_at(ask.chat, answer.picture)
        if isinstance(result, RankResult):
            words = replies.ranked(result.ranking, repeated)
        else:
            assert isinstance(result, TagsResult)
            words = replies.tags_found(result.tags, all_of_them=len(result.tags) < len(names("default")))
        alone = ask.press is None
        if alone:
            await self._answers.keep(ask.chat, key, answer)
        sent: Message = await ask.message.reply(words, reply_markup=delete_button(key) if alone else None)
        await self._answers.add_about(ask.bot, ask.chat, key, sent.message_id, answer.subject)


def _parsed(text: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The tags, and those that were there more than once. Raises WrongList."""
    try:
        wanted = parse_tags(text)
    except ListError as error:
        raise WrongList(error, of_tags=True) from None
    return wanted.items, wanted.repeated
