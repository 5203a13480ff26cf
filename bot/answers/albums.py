"""Albums: photos that were sent together are answered together, in one message."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiogram.types import Message, ReplyParameters

from bot import replies
from bot.answers.album_heatmaps import AlbumSheets, Shown
from bot.answers.album_plans import Album, AlbumNotes, Done, Follow, Item, Lead, NotMeant, Over, Plan, Wait, decide
from bot.answers.ask import Ask
from bot.answers.history import remember
from bot.answers.keyboards import album_buttons
from bot.answers.notes import Answers, Rated, new_key, thread_of
from bot.answers.photos import Captioning
from bot.answers.send_once import Parts
from bot.answers.vectors import consents, findable, keep_findable
from bot.errors import OUR_FAULT, TooFast
from bot.service.jobs import album_item_job, job_id
from bot.service.requests import Request, Requests
from bot.storage.chats import Picture, Storage, remember_last
from bot.storage.inbox import GiveUp
from bot.storage.notes import ALBUM
from bot.telegram.media import download, download_size
from bot.telegram.session import worth_another_try
from model.errors import AnimatedPicture, JobCrashed
from model.serving.jobs import Outcome
from model.serving.queue import Busy
from model.serving.tasks.photo import PhotoResult

log = logging.getLogger(__name__)

STEP: Final = 0.25  # seconds between two looks at the notes of an album that is coming in
LATER: Final = 2.0  # the same when nothing has changed for a while, or another process is at it
WHILE: Final = 5.0
RENEW: Final = 10.0  # seconds between two renewals of a plan

Alone = Callable[[], Awaitable[None]]  # answers one item as if it had come by itself


@dataclass(frozen=True)
class _Asked:
    """One item of an album, as its update tells of it."""

    ask: Ask
    item: Item
    notes: AlbumNotes


class Albums:
    """What handlers ask of albums. One for the whole bot: it knows which plans are carried out in this process."""

    def __init__(
        self,
        requests: Requests,
        storage: Storage,
        sheets: AlbumSheets,
        answers: Answers,
        captioning: Captioning,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._requests = requests
        self._storage = storage
        self._sheets = sheets
        self._answers = answers
        self._captioning = captioning
        self._clock = clock
        self._sleep = sleep
        self._leading: dict[tuple[int, str | None, int], asyncio.Event] = {}  # plans that this process carries out

    async def take(self, ask: Ask, file: Picture, *, is_clip: bool, addressed: bool, alone: Alone) -> GiveUp | None:
        """See to one item of an album; returns when it is answered, whoever did it.

        `alone` answers it as if it had come by itself, as albums with clips are. Raises what that raises, and what
        `Requests.serve` raises for all photos at once.
        """
        message, accepted = ask.message, ask.accepted
        if not addressed:  # perhaps nobody speaks to the bot
            self._requests.let_pass(accepted)
        item = Item(message.message_id, accepted.id, accepted.received, file, is_clip, addressed)
        notes = AlbumNotes(self._storage, ask.chat, str(message.media_group_id))
        asked = _Asked(ask, item, notes)
        await notes.add(item)
        noted = changed = self._clock()
        before: Album | None = None
        while True:
            album, now = await notes.read(item), self._clock()
            if album != before:
                before, changed = album, now
            if now - noted > ALBUM.lifetime / 4:
                await notes.add(item)
                noted = now
            match decide(album, item, now - changed):
                case Wait():
                    await self._sleep(STEP if now - changed < WHILE else LATER)
                case Follow(plan=plan):
                    await self._follow(message, plan)
                case Over(given_up=reason):
                    return GiveUp(reason) if reason is not None else None
                case NotMeant():
                    await notes.remove(item)
                    return None
                case Lead(plan=plan, new=new):
                    if new:
                        await notes.plan(plan)
                    if not plan.together:
                        await self._by_itself(asked, plan, alone)
                        return None
                    done = await self._lead(asked, album, plan)
                    if item.message in done.items:
                        reason = done.given_up.get(item.message)
                        return GiveUp(reason) if reason is not None else None

    async def _follow(self, message: Message, plan: Plan) -> None:
        here = self._leading.get(_key(message, plan))
        await (here.wait() if here is not None else self._sleep(LATER))

    async def _by_itself(self, asked: _Asked, plan: Plan, alone: Alone) -> None:
        """Where there is no room for an album, one of its items says so for all."""
        try:
            await alone()
        except (Busy, TooFast):
            for _ in range(0 if plan.leader == asked.item.message else 8):
                if await asked.notes.refused():
                    return
                await self._sleep(STEP)
            await asked.notes.refuse()
            raise

    async def _lead(self, asked: _Asked, album: Album, plan: Plan) -> Done:
        """Answer the items of a plan in one message, but for those that turn out to move."""
        items = {album.position(number): album.items[number] for number in plan.items if number in album.items}
        ask = asked.ask
        vectors = bool(ask.message.photo) and await consents(self._storage, ask.chat, ask.user, ask.settings)
        requests = [self._request(asked, item, vector=vectors) for item in items.values()]
        done = Done({item.message: item.received for item in items.values()})
        moving: list[Item] = []

        async def send(outcomes: list[Outcome | Exception]) -> None:
            found = dict(zip(items, outcomes, strict=True))
            done.given_up.update({items[n].message: str(e) for n, e in found.items() if isinstance(e, JobCrashed)})
            moving.extend(items[n] for n, each in found.items() if isinstance(each, AnimatedPicture))
            if len(moving) < len(items):
                await self._send(asked, plan, items, found)

        async def over() -> None:
            """Jobs of other processes' updates are forgotten too."""
            for item in moving:
                await asked.notes.add(dataclasses.replace(item, clip=True))
                del done.items[item.message]
            await asked.notes.done(plan.leader, done)
            for request in requests:
                await self._requests.forget(request.job.id)

        await remember_last(self._storage, asked.ask.chat, items[max(items)].picture)
        async with self._holding(asked, plan):
            try:
                await self._requests.serve_together(requests, send)
            except Exception as error:
                if not worth_another_try(error):
                    await over()
                raise
            await over()
        return done

    def _request(self, asked: _Asked, item: Item, *, vector: bool) -> Request:
        ask = asked.ask
        origin = dataclasses.replace(ask.origin, id=job_id(ask.bot.id, item.update))
        job = album_item_job(origin, item.picture, ask.model, ask.settings, vector=vector)
        fetch = partial(download, ask.bot, item.picture)
        return ask.request_for(job, "album", download_size(ask.bot, item.picture), fetch, item.update)

    @asynccontextmanager
    async def _holding(self, asked: _Asked, plan: Plan) -> AsyncIterator[None]:
        """Renew the plan while the block runs; wake those in this process who wait for its end."""
        key = _key(asked.ask.message, plan)
        over = self._leading[key] = asyncio.Event()
        renewing = asyncio.create_task(self._renew(asked.notes, plan))
        try:
            yield
        finally:
            renewing.cancel()
            if self._leading.get(key) is over:  # else the same message came under another update
                del self._leading[key]
            over.set()

    async def _renew(self, notes: AlbumNotes, plan: Plan) -> None:
        while True:
            await self._sleep(RENEW)
            try:
                await notes.plan(plan)
            except OUR_FAULT as error:
                log.warning("the plan for an album could not be renewed (%s)", type(error).__name__)

    async def _send(
        self, asked: _Asked, plan: Plan, items: dict[int, Item], found: dict[int, Outcome | Exception]
    ) -> None:
        settings, chat_id = asked.ask.settings, asked.ask.chat
        parts = Parts(self._storage, chat_id, asked.ask.accepted, several=settings.voice)
        key = await parts.once("answer", partial(self._send_lines, asked, plan, items, found))
        captions = replies.album_captions(found, asked.ask.language)
        if settings.voice and captions:
            unless = partial(self._answers.is_deleted, chat_id, key)
            speak = partial(self._captioning.read_aloud, asked.ask.message, replies.spoken(captions), unless=unless)
            if (voice := await parts.once("voice", speak)) is not None:
                await self._answers.add_beside(asked.ask.bot, chat_id, key, [voice])

    async def _send_lines(
        self, asked: _Asked, plan: Plan, items: dict[int, Item], found: dict[int, Outcome | Exception]
    ) -> str:
        """The key of the answer."""
        results = {number: each for number, each in found.items() if isinstance(each, PhotoResult)}
        captions = {number: each.main.text for number, each in results.items() if each.not_photo is None}
        ask = asked.ask
        for number in results:
            await self._answers.looked_at(ask.chat, items[number].picture)
        key = new_key()
        has_sheet = bool(captions) and ask.model == "attention"
        translated: dict[str, str] = {}
        for result in results.values():
            translated |= replies.translations(result, captions.values())
        shown = Shown(
            ask.model,
            ask.settings.beam_width,
            captions if has_sheet or translated else {},
            {number: items[number].picture for number in captions} if has_sheet else {},
            ask.user,
            thread_of(ask.message),
            ask.language,
            translated,
        )
        await self._sheets.note(ask.chat, key, shown)
        when = ask.message.date.timestamp()
        for number, result in results.items():
            if result.vector is not None:
                item = items[number]
                photo = findable(ask.user, item.picture, result.vector, sent=when, message=item.message, answer=key)
                await keep_findable(self._storage, ask.chat, item.picture, photo)
        sent = await ask.message.answer(
            replies.album_answer(found),
            reply_parameters=ReplyParameters(message_id=plan.items[0], allow_sending_without_reply=True),
            reply_markup=album_buttons(key, sheet=has_sheet, translated=bool(shown.english)),
        )
        await self._answers.rate(ask.chat, [sent.message_id], Rated(ask.user, ask.model, ask.settings.decoding))
        if ask.settings.history:
            for number, result in results.items():
                item, said = items[number], replies.main_caption(result, noted=False)
                await remember(self._storage, ask.message, item.picture, said, item.received)
        return key


def _key(message: Message, plan: Plan) -> tuple[int, str | None, int]:
    return message.chat.id, message.media_group_id, plan.leader
