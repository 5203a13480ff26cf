"""The words of a caption as people see them: its translation, where one was asked for and can be trusted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from aiogram.utils.i18n import gettext as _

from bot.replies.text import MAX_TEXT, escaped, fitting, one_line
from model.serving.tasks.base import Language, WireTranslation
from model.serving.tasks.photo import PhotoResult
from model.tagging.lists import CYRILLIC
from model.typography import typeset


@dataclass(frozen=True)
class Reading:
    """A caption as people see it. Plain text, on one line."""

    english: str  # as the network wrote it
    text: str  # its translation, or the same
    refused: bool = False  # a translation was asked for, and cannot be trusted

    @property
    def language(self) -> Language:
        return "en" if self.text == self.english else "ru"

    @property
    def noted(self) -> str:
        """The text, with a note where it should be another."""
        return f"{self.text} ({not_translated()})" if self.refused else self.text


def shown(caption: str, translation: WireTranslation | None = None) -> Reading:
    """A caption of the network, with the translation that came with it."""
    english = one_line(caption)
    if translation is None or not english:
        return Reading(english, english)
    if not translation.passed:
        return Reading(english, english, refused=True)
    return Reading(english, typeset(one_line(translation.text)))


def distinct(captions: Iterable[Reading]) -> list[Reading]:
    """None that says nothing, and none that reads as one before it: several may have one translation."""
    found: dict[str, Reading] = {}
    for caption in captions:
        found.setdefault(caption.text, caption)
    found.pop("", None)
    return list(found.values())


def translations(result: PhotoResult, captions: Iterable[str]) -> dict[str, str]:
    """Those of these captions, in English, that were to be translated → their translations, empty for none."""
    wanted = set(map(one_line, captions))
    found = {}
    for caption in (result.main, result.greedy, *result.samples):
        if caption.translation is not None and (words := shown(caption.text, caption.translation)).english in wanted:
            found[words.english] = "" if words.refused else words.text
    return found


def reads_as(caption: str, translated: dict[str, str]) -> Reading:
    """A caption from before. `translated`: as `translations` has it."""
    english = one_line(caption)
    text = translated.get(english, english)
    return Reading(english, text or english, refused=bool(english) and not text)


def not_translated() -> str:
    """Beside a caption that stays English."""
    return _("not translated")


def in_english(lines: Iterable[str]) -> str:
    """The answer to the button that shows what the network wrote."""
    head = _("In English, as I found it:")
    return escaped("\n".join([head, *fitting(lines, MAX_TEXT - len(head))]))


def language_of(text: str) -> Language:
    """In which language words are to be read aloud."""
    return "ru" if CYRILLIC.search(text) else "en"
