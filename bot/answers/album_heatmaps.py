"""The buttons under the answer to an album: one sheet of where the words of its captions are, and its deletion."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final

from aiogram import Bot
from aiogram.exceptions import AiogramError

from bot import replies
from bot.answers.ask import Ask
from bot.answers.keyboards import AlbumSheet, album_buttons
from bot.answers.notes import Answers
from bot.answers.photos import reply_picture
from bot.config import MIB
from bot.errors import Gone, NoAlbum, PictureError
from bot.service.jobs import album_sheet_job
from bot.service.requests import Requests
from bot.storage.chats import Picture, Storage
from bot.storage.notes import ALBUM_HEATMAP
from bot.telegram.media import HOSTED_LIMIT, download
from model.errors import JobCancelled
from model.serving.jobs import Outcome
from model.serving.tasks.album import AlbumResult, pack_album
from model.serving.tasks.base import Language

MOST_BYTES: Final = 64 * MIB  # of photos that are fetched again for one sheet; those beyond are left out


@dataclass(frozen=True)
class Shown:
    """The captions that stand in an answer, in English, and their photos, by position in the album."""

    model: str
    beam: int | None
    captions: dict[int, str]
    pictures: dict[int, Picture]
    user: int | None = None  # whose album it is
    thread: int | None = None  # the topic
    language: Language = "en"  # of the captions that people see
    translated: dict[str, str] = field(default_factory=dict)  # as `replies.translations` has it

    @property
    def english(self) -> list[str]:
        """The captions in English, line by line; empty where nothing else is shown."""
        if not any(self.translated.values()):
            return []
        return [f"{number}. {caption}" for number, caption in sorted(self.captions.items())]

    @property
    def strictest(self) -> Picture:
        """As the picture of all must be shown: covered if one is, protected if one is."""
        pictures = self.pictures.values()
        return Picture("", "", None, any(each.spoiler for each in pictures), any(each.protected for each in pictures))

    @classmethod
    def of(cls, found: dict[str, Any]) -> Shown:
        """Of the JSON of its note."""
        captions = {int(number): caption for number, caption in found["captions"].items()}
        pictures = {int(number): Picture(**picture) for number, picture in found["pictures"].items()}
        return cls(**{**found, "captions": captions, "pictures": pictures})


class AlbumSheets:
    """What handlers ask for when a button under an album's answer is pressed."""

    def __init__(self, requests: Requests, storage: Storage, answers: Answers) -> None:
        self._requests = requests
        self._storage = storage
        self._answers = answers
        self._drawing: set[tuple[int, int]] = set()  # chats and answers for which a sheet is in work

    async def note(self, chat_id: int, key: str, shown: Shown) -> None:
        """Keep what the button with this key needs."""
        await ALBUM_HEATMAP.keep(self._storage, chat_id, key, shown)

    async def draw(self, ask: Ask, pressed: AlbumSheet) -> None:
        """Answer with one sheet for the album; a second press meanwhile draws no other.

        Raises NoAlbum, JobCancelled if the answer is deleted, and what `Requests.serve` raises.
        """
        where = ask.chat, ask.message.message_id
        if where in self._drawing:
            return
        self._drawing.add(where)
        try:
            await self._draw(ask, pressed)
        finally:
            self._drawing.discard(where)

    async def _draw(self, ask: Ask, pressed: AlbumSheet) -> None:
        if await self._answers.is_deleted(ask.chat, pressed.key):
            raise JobCancelled("its answer was deleted")
        shown = await ALBUM_HEATMAP.find(self._storage, ask.chat, pressed.key, Shown.of)
        if shown is None or not shown.pictures:
            raise NoAlbum
        ask = replace(ask.in_topic(shown.thread), captions=shown.language)
        pictures = _within(MOST_BYTES, shown.pictures)
        captions = [shown.captions.get(number, "") for number in range(1, max(shown.captions) + 1)]
        job = album_sheet_job(ask.origin, shown.model, captions)
        fetch = partial(_fetch, ask.bot, pictures, len(captions))
        send = partial(self._send, ask, shown, pressed.key)
        size = sum(map(_size, pictures.values()))
        await self._requests.serve(ask.request_for(job, "album_sheet", size, fetch), send)

    async def _send(self, ask: Ask, shown: Shown, key: str, result: Outcome) -> None:
        assert isinstance(result, AlbumResult)
        captions = {number: replies.reads_as(text, shown.translated) for number, text in shown.captions.items()}
        words = replies.album_sheet(captions, complete=result.drawn == len(captions))
        otherwise = replies.no_pictures_here()
        sent = await reply_picture(ask.message, result.sheet, "album.jpg", words, of=shown.strictest, alone=otherwise)
        if await self._answers.add_beside(ask.bot, ask.chat, key, [sent]) and ask.can_edit:
            with suppress(AiogramError):  # it stands there already: the button has done its work
                buttons = album_buttons(key, sheet=False, translated=bool(shown.english))
                await ask.message.edit_reply_markup(reply_markup=buttons)


def _size(picture: Picture) -> int:
    return picture.file_size or HOSTED_LIMIT


def _within(room: int, pictures: dict[int, Picture]) -> dict[int, Picture]:
    """The pictures in their order, without those for which there is no room any more."""
    kept = {}
    for number, picture in sorted(pictures.items()):
        if _size(picture) <= room:
            kept[number] = picture
            room -= _size(picture)
    return kept


async def _fetch(bot: Bot, pictures: dict[int, Picture], count: int, heard: Callable[[], None]) -> bytes:
    """The media of the job, with nothing for a picture that cannot be had. Raises PictureError when none can."""
    found = [b""] * count
    wrong: PictureError = Gone("there is room for no picture of the album")
    for number, picture in pictures.items():
        try:
            found[number - 1] = await download(bot, picture, heard)
        except PictureError as error:
            wrong = error
    if not any(found):
        raise wrong
    return pack_album(found)
