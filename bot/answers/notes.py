"""What is noted of an answer, so that its buttons work for as long as Telegram has the photo."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakValueDictionary

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import InaccessibleMessage, InlineKeyboardMarkup, Message

from bot.answers.keyboards import answer_buttons
from bot.logs import impersonal
from bot.storage.chats import LONGEST_NOTE, Note, Picture, Storage
from bot.storage.inbox import Accepted
from bot.telegram.media import picture_of

log = logging.getLogger(__name__)

FEATURES_KEPT: Final = 3600.0  # seconds for which workers keep what they found of a picture
DELETED_KEPT: Final = 86_400.0  # seconds; what was pressed before is done by then
DONE_KEPT: Final = 20  # presses
DELETABLE: Final = 48 * 3600.0  # seconds for which bots can delete their messages
ABOUT_KEPT: Final = 2 * 86_400.0  # seconds for which it is known what a chart, a voice message … is about
# Of what `Answers.delete` forgets, and of what belongs to one person.
NOTES: Final = ("answer", "clip", "album-sheet", "beside")
PERSONAL: Final = ("answer:", "clip:", "album-sheet:", "about:")


@dataclass(frozen=True)
class Page:
    """One of the messages of an answer."""

    markup: str  # its words, as HTML; empty: not known, so nothing can be added to it
    numbers: tuple[int, int]  # of its first caption, and of that after its last one
    message: int = 0  # its id; 0: not known before one of its buttons is pressed
    picture: bool = False  # its words are those under a picture


@dataclass(frozen=True)
class Answer:
    """What buttons need to know of an answer."""

    picture: Picture
    user: int  # who asked
    model: str
    main: str
    captions: tuple[str, ...]  # those that have a number, from 1
    pages: tuple[Page, ...]
    others: tuple[str, ...] = ()  # captions shown without a number
    beside: tuple[int, ...] = ()  # other messages that belong to it
    thread: int | None = None  # the topic
    done: tuple[int, ...] = ()  # updates that have added to it

    @property
    def shown(self) -> tuple[str, ...]:
        """All captions that a person has seen, none twice."""
        return tuple(dict.fromkeys(filter(None, (self.main, *self.others, *self.captions))))

    def page_of(self, message_id: int) -> Page:
        return next((page for page in self.pages if page.message == message_id), self.pages[0])

    def seen_at(self, message: Message) -> Answer:
        """The same, now that a button of `message` was pressed: that may be the message whose id was not known."""
        if any(page.message == message.message_id for page in self.pages):
            return self
        first = dataclasses.replace(self.pages[0], message=message.message_id, picture=message.text is None)
        return dataclasses.replace(self, pages=(first, *self.pages[1:]))

    def buttons(self, key: str) -> InlineKeyboardMarkup:
        return answer_buttons(key, self.user, heatmaps=bool(self.captions) and self.model == "attention")

    def encode(self) -> str:
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def decode(cls, text: str) -> Answer | None:
        """None for what another version wrote."""
        try:
            fields: dict[str, Any] = json.loads(text)
            tuples = {name: tuple(fields[name]) for name in ("captions", "others", "beside", "done")}
            pages = tuple(Page(**{**page, "numbers": tuple(page["numbers"])}) for page in fields["pages"])
            return cls(**{**fields, **tuples, "picture": Picture(**fields["picture"]), "pages": pages})
        except (KeyError, TypeError, ValueError):
            return None

    @classmethod
    def anew(cls, message: Message, bot: Bot, model: str) -> Answer | None:
        """For an answer whose note is gone: the photo that it replies to, of which no caption is known.

        None where the photo is gone, too. New captions go into a new message.
        """
        photo = message.reply_to_message
        if photo is None or (photo.from_user is not None and photo.from_user.id == bot.id):
            return None
        if (picture := picture_of(photo)) is None:
            return None
        user = photo.from_user.id if photo.from_user is not None else message.chat.id
        page = Page("", (1, 1), message.message_id, message.text is None)
        return cls(picture, user, model, main="", captions=(), pages=(page,), thread=thread_of(message))


@dataclass(frozen=True)
class Subject:
    """What a message of the bot is about, and for whom: of the answer to a clip, or of what stands beside an answer."""

    picture: Picture
    user: int | None = None
    thread: int | None = None  # the topic
    clip: bool = False

    def encode(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def decode(cls, text: str) -> Subject | None:
        """None for what another version wrote."""
        try:
            fields: dict[str, Any] = json.loads(text)
            if "picture" not in fields:  # of a clip, as it was noted once
                return cls(Picture(**fields), clip=True)
            return cls(**{**fields, "picture": Picture(**fields["picture"])})
        except (TypeError, ValueError):
            return None


class Answers:
    """The notes of answers, by chat and key."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    def alone(self, chat_id: int, key: str) -> asyncio.Lock:
        """To be held from reading a note to writing it anew."""
        return self._locks.setdefault((chat_id, key), asyncio.Lock())

    async def keep(self, chat_id: int, key: str, answer: Answer, *, looked_at: bool = False) -> None:
        """`looked_at`: as the method of this name says, at no further cost."""
        notes = [Note(f"answer:{key}", answer.encode(), LONGEST_NOTE)]
        if looked_at:
            notes.append(_known(answer.picture))
        await self._storage.note_all(chat_id, notes)

    async def find(self, chat_id: int, key: str) -> Answer | None:
        text = await self._storage.noted(chat_id, f"answer:{key}")
        return Answer.decode(text) if text else None

    async def keep_clip(self, chat_id: int, key: str, clip: Subject) -> None:
        await self._storage.note(chat_id, f"clip:{key}", clip.encode(), LONGEST_NOTE)

    async def clip(self, chat_id: int, key: str) -> Subject | None:
        """Of which clip this is the answer."""
        text = await self._storage.noted(chat_id, f"clip:{key}")
        return Subject.decode(text) if text else None

    async def add_beside(self, chat_id: int, key: str, messages: Sequence[int]) -> None:
        """These messages go, too, when the answer is deleted."""
        async with self.alone(chat_id, f"beside:{key}"):
            known = [*await self.beside(chat_id, key), *messages]
            await self._storage.note(chat_id, f"beside:{key}", json.dumps(known), DELETABLE)

    async def beside(self, chat_id: int, key: str) -> list[int]:
        text = await self._storage.noted(chat_id, f"beside:{key}")
        return list(json.loads(text)) if text else []

    async def keep_about(self, chat_id: int, messages: Sequence[int], subject: Subject) -> None:
        """A command in reply to one of these messages is about this picture or clip."""
        notes = [Note(f"about:{message}", subject.encode(), ABOUT_KEPT) for message in messages]
        await self._storage.note_all(chat_id, notes)

    async def about(self, chat_id: int, message: int) -> Subject | None:
        text = await self._storage.noted(chat_id, f"about:{message}")
        return Subject.decode(text) if text else None

    async def delete(self, bot: Bot, chat_id: int, key: str, messages: Iterable[int]) -> bool:
        """Delete the messages of an answer, and what is noted of it; whether that could be done.

        Nothing is added to it from the first moment on.
        """
        await self._storage.note(chat_id, f"deleted:{key}", "", DELETED_KEPT)
        if not await _delete_messages(bot, chat_id, messages):
            await self._storage.forget_note(chat_id, f"deleted:{key}")
            return False
        for kind in NOTES:
            await self._storage.forget_note(chat_id, f"{kind}:{key}")
        return True

    async def forget_person(self, chat_id: int, user_id: int) -> bool:
        """Forget what was noted of answers to one person; whether anything was."""
        found = False
        for prefix in PERSONAL:
            for key, text in (await self._storage.notes(chat_id, prefix)).items():
                if _user_of(text) == user_id:
                    await self._storage.forget_note(chat_id, key)
                    found = True
        return found

    async def is_deleted(self, chat_id: int, key: str) -> bool:
        """Unlike an answer whose note was merely forgotten."""
        return await self._storage.noted(chat_id, f"deleted:{key}") is not None

    async def looked_at(self, chat_id: int, picture: Picture) -> None:
        """A worker has just had this picture: for a while it need not be sent again."""
        await self._storage.note_all(chat_id, [_known(picture)])

    async def is_known(self, chat_id: int, picture: Picture, accepted: Accepted) -> bool:
        """Whether a worker is likely to have the features of this picture still.

        Also where an earlier process may have thought so: its job is in the queue then, without the picture.
        """
        return accepted.again or await self._storage.noted(chat_id, _known(picture).key) is not None


def _user_of(text: str) -> Any:
    """Whose answer a note is of."""
    try:
        return json.loads(text)["user"]
    except (KeyError, TypeError, ValueError):
        return None


async def _delete_messages(bot: Bot, chat_id: int, messages: Iterable[int]) -> bool:
    """Whether all of these are gone: each that was not deleted by somebody else could be."""
    for number in sorted(set(messages)):
        try:
            await bot.delete_message(chat_id, number)
        except TelegramBadRequest as error:
            if "not found" in error.message:  # somebody was faster
                continue
            log.info("an answer cannot be deleted: %s", impersonal(error.message))
            return False
    return True


def _known(picture: Picture) -> Note:
    return Note(f"known:{picture.file_unique_id}", "1", FEATURES_KEPT)


def answerable(bot: Bot, message: Message | InaccessibleMessage, thread: int | None) -> Message:
    """A message to reply to, also where Telegram tells no more of it than which it was."""
    if isinstance(message, Message):
        return message
    stand_in = Message(
        message_id=message.message_id,
        date=datetime.now(UTC),
        chat=message.chat,
        message_thread_id=thread,
        is_topic_message=thread is not None,
    )
    return stand_in.as_(bot)


def new_key() -> str:
    return secrets.token_urlsafe(9)


def thread_of(message: Message) -> int | None:
    return message.message_thread_id if message.is_topic_message else None
