"""What is said of photos that were found by words, or were not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from aiogram.utils.i18n import get_i18n, ngettext
from aiogram.utils.i18n import gettext as _
from babel.dates import format_date

from bot.errors import WrongQuery
from bot.replies.text import escaped, shortened
from model.found import Found
from model.tagging.lists import LONGEST, MOST_WORDS

WELL: Final = 0.6  # probability
PROBABLY: Final = 0.4
NAMED: Final = 10  # words that are not known
LONGEST_CAPTION: Final = 300  # characters


@dataclass(frozen=True)
class FoundPhoto:
    """One of the photos that /find shows."""

    sent: float  # when, in seconds since the epoch
    probability: float  # that it is meant
    caption: str = ""  # where it is remembered
    address: str = ""  # of its message, where it has one

    def words(self) -> str:
        """As HTML: the caption comes first, for those who listen."""
        caption = [escaped(shortened(self.caption, LONGEST_CAPTION))] if self.caption else []
        return " · ".join([*caption, _day(self.sent), _certainty(self.probability)])


def found(query: str, what: Found, shown: Sequence[FoundPhoto], *, older: int, pictures: bool) -> str:
    """The answer to /find. shown: the likeliest first.

    older: how many photos were not compared; pictures: the photos are out.
    """
    asked = escaped(shortened(query, 100))
    lines = []
    if not what.understood:
        lines.append(_("I know none of these words: {words}. Please try others.").format(words=_named(what.unknown)))
        return "\n".join(lines)
    if shown:
        lines.append(f"<b>{asked}</b>")
        lines += [f"{number}. {_linked(photo)}" for number, photo in enumerate(shown, 1)]
        if not pictures:
            lines.append(_("I could not send these photos again; the dates tell when you sent them."))
    elif what.compared:
        lines.append(
            ngettext(
                "Nothing fits “{query}” well: I looked at the {count} photo of yours that I remember here.",
                "Nothing fits “{query}” well: I looked at the {count} photos of yours that I remember here.",
                what.compared,
            ).format(query=asked, count=what.compared)
        )
    if what.unknown:
        lines.append(_("Words that I do not know, and left out: {words}.").format(words=_named(what.unknown)))
    if older > 0:
        lines.append(
            ngettext(
                "{count} older photo was looked at by an earlier model, and cannot be compared; "
                "send it again to have it found.",
                "{count} older photos were looked at by an earlier model, and cannot be compared; "
                "send them again to have them found.",
                older,
            ).format(count=older)
        )
    return "\n".join(lines)


def _linked(photo: FoundPhoto) -> str:
    return f'<a href="{photo.address}">{photo.words()}</a>' if photo.address else photo.words()


def _day(seconds: float) -> str:
    return format_date(datetime.fromtimestamp(seconds, UTC), "long", locale=get_i18n().current_locale)


def _certainty(probability: float) -> str:
    if probability >= WELL:
        return _("fits well")
    return _("probably fits") if probability >= PROBABLY else _("may fit")


def _named(words: Sequence[str]) -> str:
    return escaped(shortened(", ".join(words[:NAMED]), 200))


def finding_is_off(*, private: bool) -> str:
    """Without history there is nothing to find."""
    said = _(
        "I remember no photos of yours, so there is nothing to find. If you switch history on, I remember what the "
        "photos that you send me from then on look like, here and in groups, for a year at most; only you find them, "
        "and /privacy tells more."
    )
    return said if private else said + " " + _("You can do that in our private chat.")


def switch_on() -> str:
    """On a button."""
    return _("Switch history on")


def nothing_to_find() -> str:
    return _(
        "I remember no photo of yours in this chat yet. Send me some: those that I answer from now on can be found."
    )


def wrong_query(error: WrongQuery) -> str:
    """Why nothing can be looked for, and how to do it."""
    said = _QUERY[error.fault]().format(characters=LONGEST, words=MOST_WORDS)
    return f"{said}\n" + _("For example: /find a dog on a beach")


_QUERY: Final[dict[str, Callable[[], str]]] = {
    "none": lambda: _("What shall I look for? Write it after the command, in English or Russian."),
    "picture": lambda: _(
        "I find photos by words, not by another picture. Write after the command what should be in them. "
        "/caption describes the picture that you reply to."
    ),
    "too_long": lambda: _(
        "That is too long to look for: it may have at most {characters} characters and {words} words. "
        "Please make it shorter."
    ),
    "no_words": lambda: _("I find photos by words only. Please write in words what should be in them."),
}
