"""What is noted about a chat: every kind of note, with its key, its lifetime and whether it belongs to one person.

Code that keeps or reads a note does so through its kind. /forget goes through `KINDS`, so it misses none.
"""

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from bot.errors import StorageError
from bot.storage.chats import LONGEST_NOTE, YEAR, Note, Storage, room_of
from model.serving.redis.address import RedisRefused

T = TypeVar("T")

log = logging.getLogger(__name__)

DAY: Final = 86_400.0  # seconds
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, default=vars)


@dataclass(frozen=True)
class NoteKind:
    """Notes whose keys begin with `prefix` and a colon. Their text is JSON, that of a dataclass an object.

    All methods that take a storage raise StorageError.
    """

    prefix: str
    lifetime: float  # seconds
    personal: bool  # the note says under "user" whose it is; /forget in a group deletes that person's
    of_answer: bool = False  # deleted with the answer of the same name

    @property
    def by_person(self) -> bool:
        """Whether names begin with whose the note is, and a colon."""
        return bool(room_of(self.key("")))

    def key(self, name: object) -> str:
        return f"{self.prefix}:{name}"

    def note(self, name: object, value: object = None, lifetime: float | None = None) -> Note:
        """A note to be kept; `lifetime`: another one than the kind's."""
        return Note(self.key(name), _ENCODER.encode(value), self.lifetime if lifetime is None else lifetime)

    async def keep(self, storage: Storage, chat_id: int, name: object, value: object = None) -> None:
        await storage.note_all(chat_id, [self.note(name, value)])

    async def find(self, storage: Storage, chat_id: int, name: object, decode: Callable[[Any], T]) -> T | None:
        """The value, `decode` made of its JSON; None where there is none, or one that another version wrote."""
        text = await storage.noted(chat_id, self.key(name))
        return None if text is None else _decoded(text, decode)

    async def find_all(self, storage: Storage, chat_id: int, beginning: str = "") -> dict[str, Any]:
        """The JSON of all notes whose names begin so, by the rest of the name."""
        key = self.key(beginning)
        return {name.removeprefix(key): json.loads(text) for name, text in (await storage.notes(chat_id, key)).items()}

    async def find_each(
        self, storage: Storage, chat_id: int, beginning: str, decode: Callable[[Any], T]
    ) -> dict[str, T]:
        """The same, each as `decode` makes it of its JSON, without those that another version wrote."""
        key = self.key(beginning)
        notes = await storage.notes(chat_id, key)
        found = {name.removeprefix(key): _decoded(text, decode) for name, text in notes.items()}
        return {name: value for name, value in found.items() if value is not None}

    async def exists(self, storage: Storage, chat_id: int, name: object) -> bool:
        return await storage.noted(chat_id, self.key(name)) is not None

    async def forget(self, storage: Storage, chat_id: int, name: object) -> None:
        await storage.forget_note(chat_id, self.key(name))


# By the key of the buttons under an answer.
ANSWER: Final = NoteKind("answer", LONGEST_NOTE, personal=True, of_answer=True)  # what its buttons need
CLIP: Final = NoteKind("clip", LONGEST_NOTE, personal=True, of_answer=True)  # which clip it is about
ALBUM_HEATMAP: Final = NoteKind("album-sheet", LONGEST_NOTE, personal=True, of_answer=True)  # what the heatmap shows
FOUND: Final = NoteKind("found", 2 * DAY, personal=True, of_answer=True)  # whose it is, of an answer to /find
BESIDE: Final = NoteKind("beside", 2 * DAY, personal=False, of_answer=True)  # messages that are deleted with it
DELETED: Final = NoteKind("deleted", DAY, personal=False)  # what was pressed before is done by then
# By the id of a message.
ABOUT: Final = NoteKind("about", 2 * DAY, personal=True)  # what a chart, a voice message … is about
RATED: Final = NoteKind("rated", 2 * DAY, personal=True)  # how an answer was made, to which people may react
# By a keyed hash of a message that Telegram may bring twice, and in the private chat of who wrote it.
GUEST: Final = NoteKind("guest", DAY, personal=False)  # the update that answers it
# By the unique id of a file.
HISTORY: Final = NoteKind("history", LONGEST_NOTE, personal=True)  # a photo and its caption, see bot/answers/history.py
VECTOR: Final = NoteKind("vector", YEAR, personal=True)  # of a photo, after its person; see bot/answers/vectors.py
KNOWN: Final = NoteKind("known", 3600.0, personal=False)  # as long as workers keep features
# By the number of a group, after the person, in the private chat with whom it is noted.
VECTORS_IN: Final = NoteKind("vectors-in", YEAR, personal=True)  # vectors of this person are there
# By the id of an update.
PARTS: Final = NoteKind("parts", DAY, personal=False)  # which messages of an answer are sent
MOVES: Final = NoteKind("moves", DAY, personal=False)  # its picture turned out to be a clip
# By the media group, and a part of it.
ALBUM: Final = NoteKind("album", 3600.0, personal=False)  # items and plans, see `bot/answers/album_plans.py`

WORKING: Final = (BESIDE, DELETED, KNOWN, PARTS, MOVES, ALBUM)  # of nobody in particular, and not for long
OWNED: Final = (ANSWER, CLIP, ALBUM_HEATMAP, FOUND)  # by the key of an answer, whose it is
KINDS: Final = (ANSWER, CLIP, ALBUM_HEATMAP, FOUND, ABOUT, RATED, GUEST, HISTORY, VECTOR, VECTORS_IN, *WORKING)


@contextmanager
def once_sent() -> Iterator[None]:
    """For notes on a message that is out or goes out in any case: that they cannot be kept is only logged."""
    try:
        yield
    except (StorageError, RedisRefused) as error:
        log.warning("a message goes without its note, which could not be kept (%s)", type(error).__name__)


async def forget_answer(storage: Storage, chat_id: int, key: str) -> None:
    """Forget what is noted of an answer. Raises StorageError."""
    for kind in KINDS:
        if kind.of_answer:
            await kind.forget(storage, chat_id, key)


async def forget_person(storage: Storage, chat_id: int, user_id: int) -> bool:
    """Forget what was noted of answers to one person; whether anything was. Raises StorageError."""
    found = False
    for kind in KINDS:
        if kind.personal:
            for key, text in (await storage.notes(chat_id, kind.key(user_id if kind.by_person else ""))).items():
                if _decoded(text, lambda about: about["user"]) == user_id:
                    await storage.forget_note(chat_id, key)
                    found = True
    return found


async def forget_guest(storage: Storage, user_id: int) -> None:
    """Forget which messages of a person that mention the bot were answered, in any chat. Raises StorageError."""
    for name in await GUEST.find_all(storage, user_id):
        await GUEST.forget(storage, user_id, name)


def _decoded(text: str, decode: Callable[[Any], T]) -> T | None:
    """None for what another version wrote."""
    try:
        return decode(json.loads(text))
    except (KeyError, TypeError, ValueError):
        return None
