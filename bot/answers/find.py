"""Photos found by words, for /find."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from typing import Final

from aiogram.exceptions import TelegramBadRequest
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, InputMediaPhoto, Message, ReplyParameters

from bot import replies
from bot.answers.ask import Ask
from bot.answers.history import remembered_caption
from bot.answers.inline import HISTORY
from bot.answers.keyboards import delete_button, key_below, keyboard
from bot.answers.notes import Answers, Subject, new_key, thread_of
from bot.answers.send_once import Parts
from bot.answers.settings_menu import MenuPress
from bot.answers.vectors import Findable, all_findable, consents, name_of, named_vectors
from bot.errors import WrongQuery
from bot.logs import impersonal
from bot.service.jobs import find_job
from bot.service.requests import Requests
from bot.storage.chats import Picture, Storage
from bot.storage.notes import FOUND
from bot.telegram.media import medium_of
from bot.telegram.pacing import is_private
from model.found import Found
from model.serving.jobs import Outcome
from model.serving.tasks.find import FindResult
from model.tagging.lists import ListError, checked_query

log = logging.getLogger(__name__)

SUPERGROUP: Final = "-100"  # how the numbers of those groups begin whose messages have addresses
Shown = tuple[str, Findable, replies.FoundPhoto]  # the file's unique id, the photo, and what is said of it


class Finding:
    """What handlers ask for."""

    def __init__(self, requests: Requests, storage: Storage, answers: Answers) -> None:
        self._requests = requests
        self._storage = storage
        self._answers = answers

    async def command(self, ask: Ask, arguments: str) -> None:
        """Answer /find with photos that the person sent in this chat. Raises WrongQuery, and what `serve` raises."""
        query = _query(ask, arguments)
        if not await consents(self._storage, ask.chat, ask.user, ask.settings):
            private = is_private(ask.chat)
            await ask.message.reply(replies.finding_is_off(private=private), reply_markup=await _switch(ask))
            return
        photos = await all_findable(self._storage, ask.chat, ask.user)
        if not photos:
            await ask.message.reply(replies.nothing_to_find())
            return
        kept, vectors = await asyncio.to_thread(named_vectors, photos)

        async def fetch(_: object) -> bytes:
            return vectors

        request = ask.request_for(find_job(ask.origin, query, kept), "find", len(vectors), fetch, downloaded=False)
        await self._requests.serve(request, partial(self._send, ask, query, len(photos)))

    async def _send(self, ask: Ask, query: str, asked: int, result: Outcome) -> None:
        """The photos in an album, then the words. Of what was forgotten meanwhile nothing is shown."""
        assert isinstance(result, FindResult)
        found = result.found
        now = await all_findable(self._storage, ask.chat, ask.user) if found.hits else {}
        photos = {name_of(unique): (unique, photo) for unique, photo in now.items()}
        shown = [
            (*photos[hit.name], await self._said(ask.chat, *photos[hit.name], hit.probability))
            for hit in found.hits
            if hit.name in photos
        ]
        parts = Parts(self._storage, ask.chat, ask.accepted, several=bool(shown))
        album = await parts.once("album", partial(self._send_album, ask, shown)) if shown else []
        await parts.once("words", partial(self._send_words, ask, query, asked, found, shown, album))

    async def _said(self, chat: int, unique: str, photo: Findable, probability: float) -> replies.FoundPhoto:
        """What is said of a photo: with its caption where the person's history has it."""
        caption = await remembered_caption(self._storage, chat, unique)
        return replies.FoundPhoto(photo.sent, probability, caption, _link(chat, photo.message))

    async def _send_album(self, ask: Ask, shown: Sequence[Shown]) -> list[int]:
        """The messages' ids; none where Telegram does not take the photos."""
        captions = [said.words() for _, _, said in shown]
        photos = [photo.file_id for _, photo, _ in shown]
        message = ask.message
        try:
            if len(shown) == 1:
                sent = [await message.reply_photo(photos[0], caption=captions[0])]
            else:
                sent = await ask.bot.send_media_group(
                    ask.chat,
                    [
                        InputMediaPhoto(media=photo, caption=caption)
                        for photo, caption in zip(photos, captions, strict=True)
                    ],
                    message_thread_id=thread_of(message),
                    reply_parameters=ReplyParameters(message_id=message.message_id, allow_sending_without_reply=True),
                )
        except TelegramBadRequest as error:  # such as where bots may not send photos
            log.warning("found photos were refused, the words go alone (%s)", impersonal(error.message))
            return []
        numbers = [each.message_id for each in sent]
        for number, (unique, photo, _) in zip(numbers, shown, strict=False):
            await self._answers.keep_about(ask.chat, [number], Subject(Picture(photo.file_id, unique), ask.user))
        return numbers

    async def _send_words(
        self, ask: Ask, query: str, asked: int, found: Found, shown: Sequence[Shown], album: Sequence[int]
    ) -> None:
        lines = [said for _, _, said in shown]
        words = replies.found(query, found, lines, older=asked - found.compared, pictures=bool(album))
        key = new_key()
        await FOUND.keep(self._storage, ask.chat, key, {"user": ask.user})
        if album:
            await self._answers.add_beside(ask.bot, ask.chat, key, album)
        await ask.message.reply(words, reply_markup=delete_button(key))


def _query(ask: Ask, arguments: str) -> str:
    """What is looked for. Raises WrongQuery."""
    text = " ".join(arguments.split())
    replied = ask.message.reply_to_message or ask.message.external_reply
    if not text:
        shows = any(each is not None and medium_of(each) is not None for each in (ask.message, replied))
        answers = isinstance(replied, Message) and key_below(replied) is not None
        raise WrongQuery("picture" if shows or answers else "none")
    try:
        return checked_query(text)
    except ListError as error:
        raise WrongQuery("too_long" if error.fault == "too_long" else "no_words") from None


async def _switch(ask: Ask) -> InlineKeyboardMarkup:
    """A button that switches history on; in a group one that leads to where that can be done."""
    label = replies.switch_on()
    if is_private(ask.chat):
        return keyboard([(label, MenuPress(do="set", name="history", value="1"))])
    address = f"https://t.me/{(await ask.bot.me()).username}?start={HISTORY}"
    return InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text=label, url=address)]])


def _link(chat: int, message: int) -> str:
    """The address of a message, where Telegram has any; else empty."""
    number = str(chat).removeprefix(SUPERGROUP)
    return f"https://t.me/c/{number}/{message}" if number != str(chat) else ""
