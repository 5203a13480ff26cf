"""What is noted of an answer, so that its buttons work for as long as Telegram has the photo."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import secrets
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from weakref import WeakValueDictionary

from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest
from aiogram.types import InaccessibleMessage, InlineKeyboardMarkup, Message
from aiogram.utils.i18n import get_i18n

from bot import replies
from bot.answers.keyboards import answer_buttons
from bot.answers.vectors import forget_with_answer
from bot.logs import impersonal
from bot.storage.chats import Picture, Storage
from bot.storage.inbox import Accepted
from bot.storage.notes import ABOUT, ANSWER, BESIDE, CLIP, DELETED, KNOWN, OWNED, RATED, forget_answer, once_sent
from bot.telegram.media import picture_of
from bot.telegram.updates import asker
from model.serving.tasks.base import Language
from model.serving.tasks.photo import PhotoResult

log = logging.getLogger(__name__)

DONE_KEPT: Final = 20  # presses


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
    main: str  # in English, as all captions here
    captions: tuple[str, ...]  # those that have a number, from 1
    pages: tuple[Page, ...]
    others: tuple[str, ...] = ()  # captions shown without a number
    beside: tuple[int, ...] = ()  # other messages that belong to it
    thread: int | None = None  # the topic
    done: tuple[int, ...] = ()  # updates that have added to it
    live: bool = False  # the picture is that of a live photo, whose clip is noted under the same key
    language: Language = "en"  # of the captions that people see
    translated: dict[str, str] = field(default_factory=dict)  # the captions in it, see `replies.translations`
    interface: str = ""  # the language of its buttons; empty: of who presses one

    @property
    def shown(self) -> tuple[str, ...]:
        """All captions that a person has seen, none twice."""
        return tuple(dict.fromkeys(filter(None, (self.main, *self.others, *self.captions))))

    @property
    def english(self) -> list[str]:
        """What its captions are in English, line by line, with their numbers; empty where nothing else is shown."""
        if not any(self.translated.values()):
            return []
        lines = [f"{number}. {caption}" for number, caption in enumerate(self.captions, 1)]
        return lines if self.main in ("", *self.captions) else [self.main, *lines]

    def with_captions(self, result: PhotoResult, *new: str) -> Answer:
        """The same with the translations of a result, and with captions of it that people are about to see.

        Those of its samples that read as another caption count as shown.
        """
        shown = (*self.shown, *new)
        translated = self.translated | replies.translations(result, shown)
        read = {replies.reads_as(caption, translated).text for caption in shown}
        samples = (replies.shown(sample.text, sample.translation) for sample in result.samples)
        alike = [each.english for each in samples if each.text in read and each.english not in shown]
        return dataclasses.replace(
            self, captions=(*self.captions, *new), others=(*self.others, *alike), translated=translated
        )

    def reads(self, captions: Iterable[str]) -> list[replies.Reading]:
        """Captions of this answer as people see them."""
        return [replies.reads_as(caption, self.translated) for caption in captions]

    @property
    def subject(self) -> Subject:
        """What stands beside it is about."""
        return Subject(self.picture, self.user)

    @property
    def has_words(self) -> bool:
        """Unlike a sheet that is an answer by itself."""
        return bool(self.pages[0].markup or self.captions)

    def page_of(self, message_id: int) -> Page:
        return next((page for page in self.pages if page.message == message_id), self.pages[0])

    def seen_at(self, message: Message) -> Answer:
        """The same, now that a button of `message` was pressed: that may be the message whose id was not known."""
        if any(page.message == message.message_id for page in self.pages):
            return self
        first = dataclasses.replace(self.pages[0], message=message.message_id, picture=message.text is None)
        return dataclasses.replace(self, pages=(first, *self.pages[1:]))

    @contextmanager
    def speaking(self) -> Iterator[None]:
        """In the block the interface speaks the language of the answer, whoever presses its buttons."""
        i18n = get_i18n()
        with i18n.use_locale(self.interface or i18n.current_locale):
            yield

    def buttons(self, key: str) -> InlineKeyboardMarkup:
        heatmaps = bool(self.captions) and self.model == "attention"
        [main] = self.reads([self.main])
        with self.speaking():
            return answer_buttons(
                key,
                main.text,
                heatmaps=heatmaps,
                colours=not self.picture.protected,
                live=self.live,
                translated=bool(self.english),
            )

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Answer:
        """Of the JSON of its note. Raises KeyError or TypeError for what another version wrote."""
        tuples = {name: tuple(fields[name]) for name in ("captions", "others", "beside", "done")}
        pages = tuple(Page(**{**page, "numbers": tuple(page["numbers"])}) for page in fields["pages"])
        return cls(**{**fields, **tuples, "picture": Picture(**fields["picture"]), "pages": pages})

    @classmethod
    def anew(cls, message: Message, bot: Bot, model: str, language: Language) -> Answer | None:
        """For an answer whose note is gone: the photo that it replies to, of which no caption is known.

        None where the photo is gone, too. New captions go into a new message.
        """
        photo = message.reply_to_message
        if photo is None or (photo.from_user is not None and photo.from_user.id == bot.id):
            return None
        if (picture := picture_of(photo)) is None:
            return None
        page = Page("", (1, 1), message.message_id, message.text is None)
        who, thread = asker(photo), thread_of(message)
        return cls(picture, who, model, main="", captions=(), pages=(page,), thread=thread, language=language)


@dataclass(frozen=True)
class Subject:
    """What a message of the bot is about, and for whom: of the answer to a clip, or of what stands beside an answer."""

    picture: Picture
    user: int | None = None
    thread: int | None = None  # the topic
    clip: bool = False
    language: Language = "en"  # of the captions that people see
    english: tuple[str, ...] = ()  # of the answer to a clip: its moments in English, where it shows others

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Subject:
        """Of the JSON of its note. Raises TypeError for what another version wrote."""
        if "picture" not in fields:  # of a clip, as it was noted once
            return cls(Picture(**fields), clip=True)
        return cls(**{**fields, "picture": Picture(**fields["picture"]), "english": tuple(fields.get("english", ()))})


@dataclass(frozen=True)
class Rated:
    """How an answer was made to which people may react."""

    user: int  # who asked
    model: str
    decoding: str  # one of `bot.metrics.DECODINGS`


class Answers:
    """The notes of answers, by chat and key."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._rating: set[asyncio.Task[None]] = set()
        self._locks: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    def alone(self, chat_id: int, key: str) -> asyncio.Lock:
        """To be held from reading a note to writing it anew."""
        return self._locks.setdefault((chat_id, key), asyncio.Lock())

    async def keep(self, chat_id: int, key: str, answer: Answer) -> None:
        await ANSWER.keep(self._storage, chat_id, key, answer)

    async def keep_sent(
        self, chat_id: int, key: str, answer: Answer, clip: Subject | None = None, *, looked_at: bool = False
    ) -> None:
        """Of an answer that is being sent, with the clip of its live photo. `looked_at`: as that method says, too.

        A failure is logged: without its note, an answer is taken for one whose time is over.
        """
        notes = [ANSWER.note(key, answer)]
        if clip is not None:
            notes.append(CLIP.note(key, clip))
        if looked_at and not answer.picture.private:
            notes.append(KNOWN.note(answer.picture.file_unique_id))
        with once_sent():
            await self._storage.note_all(chat_id, notes)

    async def find(self, chat_id: int, key: str) -> Answer | None:
        return await ANSWER.find(self._storage, chat_id, key, Answer.of)

    async def keep_clip(self, chat_id: int, key: str, clip: Subject) -> None:
        await CLIP.keep(self._storage, chat_id, key, clip)

    async def clip(self, chat_id: int, key: str) -> Subject | None:
        """Of which clip this is the answer."""
        return await CLIP.find(self._storage, chat_id, key, Subject.of)

    async def add_beside(self, bot: Bot, chat_id: int, key: str, messages: Sequence[int]) -> bool:
        """These messages, which are out, go with the answer when it is deleted, or now if it was; whether they stay."""
        deleted = False
        with once_sent():
            async with self.alone(chat_id, f"beside:{key}"):
                known = [*await self.beside(chat_id, key), *messages]
                await BESIDE.keep(self._storage, chat_id, key, known)
            deleted = await self.delete_added(bot, chat_id, key, messages)
        return not deleted

    async def beside(self, chat_id: int, key: str) -> list[int]:
        return await BESIDE.find(self._storage, chat_id, key, list) or []

    async def keep_about(self, chat_id: int, messages: Sequence[int], subject: Subject) -> None:
        """A command in reply to one of these messages is about this picture or clip. Nothing of a private one."""
        if subject.picture.private:
            return
        await self._storage.note_all(chat_id, [ABOUT.note(message, subject) for message in messages])

    async def add_about(self, bot: Bot, chat_id: int, key: str, message: int, subject: Subject) -> None:
        """This message, which is out, goes with the answer, and a reply to it is about the same picture or clip."""
        with once_sent():
            await self.keep_about(chat_id, [message], subject)
        await self.add_beside(bot, chat_id, key, [message])

    async def rate(self, chat_id: int, messages: Sequence[int], rated: Rated) -> None:
        """Reactions to these messages, which are out, are about an answer that was made so.

        It is not waited for, only begun: what is kept later comes after it.
        """
        task = asyncio.create_task(self._rate(chat_id, messages, rated))
        self._rating.add(task)
        task.add_done_callback(self._rating.discard)
        await asyncio.sleep(0)

    async def _rate(self, chat_id: int, messages: Sequence[int], rated: Rated) -> None:
        with once_sent():
            await self._storage.note_all(chat_id, [RATED.note(message, rated) for message in messages])

    async def about(self, chat_id: int, message: int) -> Subject | None:
        return await ABOUT.find(self._storage, chat_id, message, Subject.of)

    async def delete(self, bot: Bot, chat_id: int, key: str, shown: Collection[int]) -> bool:
        """Delete the messages of an answer, those `shown` among them, and what is noted of it; whether that could be
        done.

        What is added to it from the first moment on is deleted by who adds it, see `delete_added`. Its photos are
        found no more in any case.
        """
        await DELETED.keep(self._storage, chat_id, key)
        await forget_with_answer(self._storage, chat_id, key, await self.owner(chat_id, key))
        messages = {*shown, *await self.beside(chat_id, key)}
        if (answer := await self.find(chat_id, key)) is not None:
            messages.update((*(page.message for page in answer.pages if page.message), *answer.beside))
        if not messages or not await _delete_messages(bot, chat_id, messages):
            await DELETED.forget(self._storage, chat_id, key)
            return False
        await forget_answer(self._storage, chat_id, key)
        return True

    async def delete_added(self, bot: Bot, chat_id: int, key: str, messages: Collection[int]) -> bool:
        """Call once messages that were added to an answer are out and noted: they go if the answer was deleted.

        Whether it was.
        """
        if not await self.is_deleted(chat_id, key):
            return False
        await _delete_messages(bot, chat_id, messages)
        await forget_answer(self._storage, chat_id, key)
        return True

    async def owner(self, chat_id: int, key: str) -> int | None:
        """Who asked for what was answered under this key, a photo, a clip or an album; None: that is not known."""
        for kind in OWNED:
            if (user := await kind.find(self._storage, chat_id, key, lambda about: about["user"])) is not None:
                return int(user)
        return None

    async def is_deleted(self, chat_id: int, key: str) -> bool:
        """Unlike an answer whose note was merely forgotten."""
        return await DELETED.exists(self._storage, chat_id, key)

    async def looked_at(self, chat_id: int, picture: Picture) -> None:
        """A worker has just had this picture: for a while it need not be sent again."""
        if not picture.private:
            await KNOWN.keep(self._storage, chat_id, picture.file_unique_id)

    async def is_known(self, chat_id: int, picture: Picture, accepted: Accepted) -> bool:
        """Whether a worker is likely to have the features of this picture still.

        Also where an earlier process may have thought so: its job is in the queue then, without the picture.
        """
        if picture.private:
            return False
        return accepted.again or await KNOWN.exists(self._storage, chat_id, picture.file_unique_id)


async def _delete_messages(bot: Bot, chat_id: int, messages: Collection[int]) -> bool:
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
