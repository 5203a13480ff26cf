"""The words of an answer to an album."""

from __future__ import annotations

from collections.abc import Mapping

from aiogram.utils.i18n import gettext as _

from bot.replies.failures import failure
from bot.replies.photos import confidence, main_caption, of_the_sheet, spoken_caption
from bot.replies.text import MAX_CAPTION, MAX_TEXT, escaped, fitting, length, shortened
from bot.replies.translated import Reading
from model.errors import AnimatedPicture
from model.serving.jobs import Outcome
from model.serving.tasks.base import Language
from model.serving.tasks.photo import PhotoResult


def album_answer(found: Mapping[int, Outcome | Exception], limit: int = MAX_TEXT) -> str:
    """A numbered line for each photo, by its position in the album: its caption, or why there is none."""
    room = limit // max(1, len(found)) - 1
    return "\n".join(escaped(_line(number, each, room)) for number, each in sorted(found.items()))


def album_captions(found: Mapping[int, Outcome | Exception], language: Language) -> list[str]:
    """The captions that there are, numbered, as they are read aloud. Plain text. `language`: as it was asked for."""
    results = ((number, each) for number, each in sorted(found.items()) if isinstance(each, PhotoResult))
    return [f"{number}. {spoken_caption(each, language)}" for number, each in results]


def _line(number: int, found: Outcome | Exception, room: int) -> str:
    if isinstance(found, PhotoResult) and found.not_photo is None:
        sure = confidence(found.main)
        room -= length(f"{number}.  · {sure}")
        return f"{number}. {shortened(main_caption(found), room)} · {sure}"
    if isinstance(found, PhotoResult):
        words = main_caption(found)
    elif isinstance(found, AnimatedPicture):
        words = _("It moves: its moments come in an answer of their own.")
    else:
        words = failure(found) if isinstance(found, Exception) else ""
    return shortened(f"{number}. {words}", room)


def album_sheet(captions: Mapping[int, Reading], *, complete: bool, limit: int = MAX_CAPTION) -> str:
    """The captions that the sheet explains, numbered, as the words under it; `complete`: all of them are on it."""
    lines = [f"{number}. {_caption(captions[number])}" for number in sorted(captions)]
    last = of_the_sheet()
    if not complete:
        last += " " + _("Not every photo could be drawn.")
    return escaped("\n".join([*fitting(lines, limit - length(last)), last]))


def _caption(caption: Reading) -> str:
    return caption.noted or _("I cannot say what is in this picture.")


def no_pictures_here() -> str:
    return _("Telegram did not take my picture. Perhaps bots may not send pictures in this chat.")
