"""The words of edited pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import ngettext

from bot.errors import TooManyEdits, WrongEdit
from bot.replies.text import escaped, shortened
from model.edits import LONGEST, SEEDS, STRENGTHS
from model.serving.tasks.edit import EditResult


def edited_photo(text: str, result: EditResult) -> str:
    """What stands under an edited photo: that a machine made it, what it was asked for, and how."""
    return "\n".join(
        [
            _("A machine edited this photo: not everything in it is real."),
            f"<blockquote>{escaped(text)}</blockquote>",
            _("strength {percent} % · seed {seed}").format(percent=result.strength, seed=result.seed),
        ]
    )


def wrong_edit(error: WrongEdit) -> str:
    """Why the words after /edit cannot be used, and how to write them."""
    said = _WRONG[error.fault]().format(
        item=escaped(shortened(error.item, 40)),
        count=error.count,
        most=LONGEST,
        weakest=STRENGTHS[0],
        strongest=STRENGTHS[1],
        least=SEEDS[0],
        greatest=SEEDS[1],
    )
    return f"{said}\n{_('For example: /edit make it look like winter')}"


def too_many_edits(error: TooManyEdits) -> str:
    """Edits take long: each person has a quota of them."""
    seconds = max(1, math.ceil(error.seconds))
    return ngettext(
        "Edits take long, so each person can have {most} in a short time. Please ask again in about {count} second.",
        "Edits take long, so each person can have {most} in a short time. Please ask again in about {count} seconds.",
        seconds,
    ).format(most=error.most, count=seconds)


def editor_away() -> str:
    return _(
        "The program that edits photos is not running right now, or is just starting. Please ask again in a minute."
    )


def edits_no_clips() -> str:
    return _("I edit still pictures only, and this one moves. Please send a photo, or reply to one.")


def edit_text_too_long() -> str:
    return _(
        "This is more than the network that edits reads: about 75 words or parts of words, fewer where they are not "
        "English. I left nothing out and did not begin. Please say it in fewer words."
    )


def edit_too_slow() -> str:
    return _("This edit took too long, and I gave it up. Please try again later, or with less strength.")


def edit_refused() -> str:
    return _("What came of this is not fit to be shown. Please ask for something else, or for another seed.")


_WRONG: Final[dict[str, Callable[[], str]]] = {
    "none": lambda: _("What shall I change? Write it after the command, best in English."),
    "too_long": lambda: _("These are {count} characters, and I take {most} at most. Please say it in fewer words."),
    "no_words": lambda: _("“{item}” tells me nothing: please say in words what I shall change."),
    "option": lambda: _(
        "I did not understand “{item}”. strength= takes {weakest} to {strongest} percent, seed= a number from {least} "
        "to {greatest}."
    ),
}
