"""What can go wrong in the bot, as types. Errors of the media and of the work are in `model/errors.py`.

BotError
├── ConfigurationError     a setting that cannot be used
├── StorageError           what is stored cannot be read or written now
├── WrongToken             Telegram does not know the token
├── Conflict               another process receives this bot's updates
└── RequestError           a request is not served; the person is told why
    ├── TooFast            "too_fast"        more requests of one person than are served
    │   └── TooManyEdits   "too_many_edits"  more edits of one person than are made
    ├── EditorAway         "editor_away"     no worker that edits photos is there now
    ├── WrongEdit          "wrong_edit"      words after /edit that say nothing, or too much
    ├── WrongArguments     "wrong_arguments" words after a command that it does not take
    ├── WrongList          "wrong_list"      a list of tags or descriptions that cannot be used
    ├── WrongQuery         "wrong_query"     words that no photo can be looked for by
    └── PictureError       Telegram or the chat does not give the picture
        ├── TooBig         "too_big"         more bytes than Telegram lets the bot download
        ├── Gone           "gone"            Telegram no longer has the file, or not for this bot
        ├── ClipTooLongHere "clip_too_long"  a clip of more seconds than this bot watches
        ├── NoPicture      "no_picture"      captions of a picture that is not known
        ├── NoPictureThere "not_shown"       the message shows something else than a picture
        ├── LinkInstead    "link"            an address in place of the picture
        ├── Protected      "protected"       the picture may not be shown again
        ├── NotOfClips     "animated"        what was asked for works with still pictures only
        ├── WhichOne       "which_one"       the message replied to does not identify one picture
        ├── Forgotten      "picture_forgotten"  a button whose picture is not known any more
        ├── NoClip         "clip_forgotten"     a button whose clip is not known any more
        └── NoAlbum        "album_forgotten"    a button whose album is not known any more

`kind` selects the words, in `bot/replies/failures.py`. Errors whose `kind` is in `COUNTED` are counted under it, others
as "no_picture".
"""

from typing import ClassVar, Final, Literal

from model.edits import EditFault
from model.errors import KINDS
from model.serving.queue import JobLost
from model.serving.redis.address import RedisRefused
from model.tagging.lists import ListError


class BotError(Exception):
    """Base of all of them."""


class ConfigurationError(BotError):
    """A setting that cannot be used; the message names it, its value (of no secret) and what is allowed."""


class StorageError(BotError):
    """What is stored cannot be read or written now."""


class WrongToken(BotError):
    """Telegram does not know the token."""


class Conflict(BotError):
    """Another process receives this bot's updates."""


class RequestError(BotError):
    """A request is not served; `kind` says why."""

    kind: ClassVar[str] = "failed"


class TooFast(RequestError):
    """A person asks more often than is served; the next request is served in `seconds`."""

    kind = "too_fast"

    def __init__(self, seconds: float) -> None:
        super().__init__("too many requests of one person in a short time")
        self.seconds = seconds


class TooManyEdits(TooFast):
    """More edits of one person than are made: `most` at once."""

    kind = "too_many_edits"

    def __init__(self, seconds: float, most: int) -> None:
        super().__init__(seconds)
        self.most = most


class EditorAway(RequestError):
    """No worker that edits photos is there now."""

    kind = "editor_away"


class WrongEdit(RequestError):
    """Words after /edit that cannot be used: `fault`, `item` and `count` as in `EditFault`."""

    kind = "wrong_edit"

    def __init__(self, error: EditFault) -> None:
        super().__init__(error.fault)
        self.fault = error.fault
        self.item = error.item
        self.count = error.count


class WrongArguments(RequestError, ValueError):
    """A command with words after it that it does not take; `argument` is the one that is not understood."""

    kind = "wrong_arguments"

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        self.argument = argument


class WrongList(RequestError):
    """A list of tags or of descriptions that cannot be used: `fault`, `item` and `count` as in `ListError`."""

    kind = "wrong_list"

    def __init__(self, error: ListError, *, of_tags: bool) -> None:
        super().__init__(error.fault)
        self.fault = error.fault
        self.item = error.item
        self.count = error.count
        self.of_tags = of_tags


class WrongQuery(RequestError):
    """Words that no photo can be looked for by: `fault` says why."""

    kind = "wrong_query"

    def __init__(self, fault: Literal["none", "picture", "too_long", "no_words"]) -> None:
        super().__init__(fault)
        self.fault = fault


class PictureError(RequestError):
    """The picture cannot be had from Telegram."""


class TooBig(PictureError):
    """More bytes than Telegram lets the bot download: `limit`."""

    kind = "too_big"

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class Gone(PictureError):
    """Telegram no longer has the file, or not for this bot."""

    kind = "gone"


class ClipTooLongHere(PictureError):
    """A clip of more seconds than this bot watches: `limit`."""

    kind = "clip_too_long"

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} s")
        self.limit = limit


class NoPicture(PictureError):
    """Captions were asked for, but of no picture that is known; perhaps in a `group`."""

    kind = "no_picture"

    def __init__(self, *, group: bool) -> None:
        super().__init__()
        self.group = group


class NoPictureThere(PictureError):
    """The message shows something else than a picture: `shown`, as Telegram names it."""

    kind = "not_shown"

    def __init__(self, shown: str) -> None:
        super().__init__(shown)
        self.shown = shown


class LinkInstead(PictureError):
    """An address where a picture may lie, in place of the picture."""

    kind = "link"


class Protected(PictureError):
    """The picture is protected from being passed on, and what was asked for would show it again."""

    kind = "protected"


class NotOfClips(PictureError):
    """What was asked for works with still pictures, and this is a clip. `edit`: that was an edit."""

    kind = "animated"

    def __init__(self, *, edit: bool = False) -> None:
        super().__init__("a clip")
        self.edit = edit


class WhichOne(PictureError):
    """The replied-to bot message does not identify one picture."""

    kind = "which_one"


class Forgotten(PictureError):
    """A button was pressed whose picture is not known any more."""

    kind = "picture_forgotten"


class NoClip(PictureError):
    """A button was pressed whose clip is not known any more."""

    kind = "clip_forgotten"


class NoAlbum(PictureError):
    """A button was pressed whose album is not known any more."""

    kind = "album_forgotten"


OUR_FAULT: Final = (OSError, StorageError, RedisRefused, JobLost)
"""Not the fault of a request: it is retried later."""

COUNTED: Final = frozenset(
    (
        *KINDS,
        "busy",
        "too_fast",
        "too_many_edits",
        "editor_away",
        "too_big",
        "gone",
        "no_picture",
        "refused",
        "unforeseen",
        "given_up",
    )
)
