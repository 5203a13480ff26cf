"""Errors → what a person is told, and what to do next."""

from __future__ import annotations

import math

from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import ngettext

from bot.arguments import COUNTS, WrongArguments
from bot.media import ClipTooLongHere, Gone, NoAlbum, NoClip, NoPicture, TooBig
from model.errors import CaptionError
from model.sampling import TEMPERATURES
from model.serving.queue import Busy


def failure(error: Exception) -> str:
    """What a person is told about an error, and what to do next."""
    match error:
        case TooBig():
            return _(
                "This file is larger than {limit} MB, the most that Telegram lets bots download. "
                "Please send it as a photo, or send a smaller file."
            ).format(limit=error.limit // (1024 * 1024))
        case Gone():
            return _("Telegram no longer gives me this picture. Please send it again.")
        case ClipTooLongHere():
            return too_long(error.limit)
        case NoClip():
            return _("I no longer know which clip this was. Please send it again.")
        case NoAlbum():
            return _("I no longer know which album this was. Please send it again.")
        case NoPicture():
            return _("I have seen no picture in this chat yet. Send a photo first, or answer a photo with /sample.")
        case WrongArguments():
            return usage()
        case Busy():
            return busy(error)
        case CaptionError(kind="empty"):
            return _("This file is empty. Please send another picture.")
        case CaptionError(kind="not_image"):
            return not_a_picture()
        case CaptionError(kind="damaged"):
            return _("This picture is damaged, or did not arrive whole. Please send it again, or send another one.")
        case CaptionError(kind="too_large"):
            return _("This picture has too many pixels for me. Please send a smaller copy, or send it as a photo.")
        case CaptionError(kind="not_a_clip"):
            return _("I find no moving picture in this file. Please send a video, or a GIF.")
        case CaptionError(kind="damaged_clip"):
            return _("This clip is damaged, or did not arrive whole. Please send it again, or send another one.")
        case CaptionError(kind="clip_too_long"):
            return _("This clip is longer than I watch. Please send a shorter part of it.")
        case CaptionError(kind="clip_too_large"):
            return _("The pictures of this clip are too large for me. Please send a smaller copy.")
        case CaptionError(kind="clip_too_slow"):
            return _("This clip took too long to read. Please send a shorter part of it, or a smaller copy.")
        case CaptionError(kind="clips_unavailable"):
            return _("I cannot watch clips right now, only look at photos.")
        case CaptionError(kind="crashed"):
            return gave_up()
    return _("Something went wrong while I looked at this picture. Please send it again.")


def busy(error: Busy) -> str:
    if error.of_person is None:
        state = _("I have more pictures in work than I can hold.")
    else:
        state = ngettext(
            "I already have {count} picture of yours in work.",
            "I already have {count} pictures of yours in work.",
            error.of_person,
        ).format(count=error.of_person)
    return f"{state} {_again(error.seconds)}"


def _again(seconds: float | None) -> str:
    """When to send it again."""
    if seconds is None:
        return _("Please send this one again in a minute.")
    if seconds < 90:
        number = max(1, math.ceil(seconds))
        return ngettext(
            "Please send this one again in about {number} second.",
            "Please send this one again in about {number} seconds.",
            number,
        ).format(number=number)
    number = math.ceil(seconds / 60)
    return ngettext(
        "Please send this one again in about {number} minute.",
        "Please send this one again in about {number} minutes.",
        number,
    ).format(number=number)


def usage() -> str:
    return _(
        "I did not understand that. Write /sample, or say how many captions you want, from {least} to {most}, "
        "and how varied, as a temperature from {coldest} to {hottest}. For example: /sample 8 t=1.2"
    ).format(least=COUNTS[0], most=COUNTS[1], coldest=TEMPERATURES[0], hottest=TEMPERATURES[1])


def too_long(limit: int) -> str:
    if limit % 60:
        return ngettext(
            "This clip is longer than {count} second, the most that I watch. Please send a shorter part of it.",
            "This clip is longer than {count} seconds, the most that I watch. Please send a shorter part of it.",
            limit,
        ).format(count=limit)
    return ngettext(
        "This clip is longer than {count} minute, the most that I watch. Please send a shorter part of it.",
        "This clip is longer than {count} minutes, the most that I watch. Please send a shorter part of it.",
        limit // 60,
    ).format(count=limit // 60)


def gave_up() -> str:
    return _("I tried several times and could not finish this one. Please try another picture.")


def went_wrong() -> str:
    return _("Something went wrong on my side, and your message got no answer. Please send it again.")


def not_a_picture() -> str:
    return _("This file is not a picture that I can read. Please send a photo, or a JPEG, PNG or WebP file.")
