"""What is said while a person waits, and of what they stop."""

from __future__ import annotations

from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import ngettext


def edit_status(*, place: int | None, percent: int | None, worker: bool) -> str:
    """The same where one edit is all that is in work."""
    if not worker:
        return _(
            "Your edit waits in line: the program that edits photos is not running right now, or is just starting. "
            "The answer will come by itself."
        )
    if place is not None:
        return _("Your edit waits in line. Its place: {place}.").format(place=place)
    return _("I am editing your photo: {percent} %").format(percent=percent or 0)


def status(pictures: int, clips: int, *, place: int | None, percent: int | None, worker: bool) -> str:
    """What is in work for a person. `place`: in line, of the next; None: all are being looked at. At least one is.

    `percent`: how much of a clip is watched. `worker`: whether there is one at all.
    """
    if (pictures, clips) == (1, 0):
        if not worker:
            return _(
                "Your picture waits in line: the program that looks at pictures is not running right now, "
                "or is just starting. The answer will come by itself."
            )
        if place is not None:
            return _("Your picture waits in line. Its place: {place}.").format(place=place)
        return _("I am looking at your picture.")
    if (pictures, clips) == (0, 1):
        if not worker:
            return _(
                "Your clip waits in line: the program that looks at clips is not running right now, "
                "or is just starting. The answer will come by itself."
            )
        if place is not None:
            return _("Your clip waits in line. Its place: {place}.").format(place=place)
        return _("I am watching your clip: {percent} %").format(percent=percent or 0)
    said = [_("I am working on {what}.").format(what=_what(pictures, clips))]
    if not worker:
        said.append(
            _(
                "The program that looks at them is not running right now, or is just starting. "
                "The answers will come by themselves."
            )
        )
        return " ".join(said)
    if percent is not None:
        said.append(_("The clip: {percent} % watched.").format(percent=percent))
    if place is not None:
        said.append(_("Place in line of the next: {place}.").format(place=place))
    return " ".join(said)


def cancelled(pictures: int, clips: int) -> str:
    """The answer to /cancel and to the button."""
    if not pictures and not clips:
        return _("There is nothing to cancel.")
    return _("Cancelled: {what}.").format(what=_what(pictures, clips))


def _what(pictures: int, clips: int) -> str:
    of_pictures = ngettext("{count} picture", "{count} pictures", pictures).format(count=pictures)
    of_clips = ngettext("{count} clip", "{count} clips", clips).format(count=clips)
    if not clips:
        return of_pictures
    if not pictures:
        return of_clips
    return _("{pictures} and {clips}").format(pictures=of_pictures, clips=of_clips)


def not_yours() -> str:
    return _("Only the person who asked for this can stop it.")
