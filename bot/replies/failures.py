"""Errors → what a person is told, and what to do next."""

from __future__ import annotations

import math
from typing import Final

from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import ngettext

from bot.replies.media import FAULTS, no_links, not_of_clips, shown_instead
from bot.replies.text import escaped, shortened
from bot.sample_options import COUNTS, SEEDS, TOP_K, TOP_P, WrongArguments
from bot.service.throttle import TooFast
from bot.telegram.media import (
    ClipTooLongHere,
    Forgotten,
    Gone,
    LinkInstead,
    NoAlbum,
    NoClip,
    NoPicture,
    NoPictureThere,
    NotOfClips,
    TooBig,
    WhichOne,
)
from model.decoding.sampling import TEMPERATURES
from model.errors import CaptionError
from model.serving.queue import Busy

LONGEST_ARGUMENT: Final = 40  # characters of it that are repeated


def failure(error: Exception) -> str:
    """What a person is told about an error, and what to do next."""
    match error:
        case TooBig():
            return _(
                "This file is larger than {limit} MB, the most that Telegram lets bots download. "
                "Please send a smaller one; a picture you can also send as a photo."
            ).format(limit=error.limit // (1024 * 1024))
        case Gone():
            return _("Telegram no longer gives me this file. Please send it again.")
        case ClipTooLongHere():
            return too_long(error.limit)
        case NoClip():
            return _(
                "I no longer know which clip this was: its time is over, or it was deleted with /forget. "
                "Please send it again."
            )
        case Forgotten():
            return _(
                "I no longer know which picture this was: its time is over, or it was deleted with /forget. "
                "Please send it again."
            )
        case WhichOne():
            return _("Which picture do you mean? Please send this command as a reply to the picture itself.")
        case NoAlbum():
            return _(
                "I no longer know which album this was: its time is over, or it was deleted with /forget. "
                "Please send it again."
            )
        case NoPicture():
            return _(
                "I know of no picture in this chat. Send a photo first, or send this command as a reply to a photo."
            )
        case NoPictureThere(kind=kind):
            return shown_instead(kind)
        case WrongArguments():
            return usage(error.argument)
        case Busy():
            return busy(error)
        case TooFast():
            return too_fast(error)
        case CaptionError(kind="empty"):
            return _("This file is empty. Please send another one.")
        case CaptionError(kind=kind) if kind in FAULTS:
            return FAULTS[kind]()
        case NotOfClips():
            return not_of_clips()
        case LinkInstead():
            return no_links()
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
    return _("Something went wrong while I worked on this. Please send it again.")


def busy(error: Busy) -> str:
    if error.of_person is None:
        state = _("I have more in work than I can hold.")
    else:
        state = ngettext(
            "I already have {count} request of yours in work.",
            "I already have {count} requests of yours in work.",
            error.of_person,
        ).format(count=error.of_person)
    return f"{state} {_again(error.seconds)}"


def too_fast(error: TooFast) -> str:
    state = _("You ask faster than I can follow.")
    return f"{state} {_again(error.seconds)}"


def _again(seconds: float | None) -> str:
    """When to send it again."""
    if seconds is None:
        return _("Please try this one again in a minute.")
    if seconds < 90:
        number = max(1, math.ceil(seconds))
        return ngettext(
            "Please try this one again in about {number} second.",
            "Please try this one again in about {number} seconds.",
            number,
        ).format(number=number)
    number = math.ceil(seconds / 60)
    return ngettext(
        "Please try this one again in about {number} minute.",
        "Please try this one again in about {number} minutes.",
        number,
    ).format(number=number)


def usage(argument: str) -> str:
    return _(
        "I did not understand “{argument}”. Write /sample, and after it, in any order, what you want to choose:\n"
        "• how many captions, from {least} to {most}\n"
        "• t=, how varied, from {coldest} to {hottest}\n"
        "• top_k=, among how many of the likeliest words I choose, from {least_k} (all of them) to {most_k}\n"
        "• top_p=, among words of how much likelihood together, from {least_p} to {most_p}\n"
        "• ladder, varied at the beginning and safe at the end\n"
        "• seed=, from {least_seed} to {most_seed}; the same seed gives the same captions again\n"
        "For example: /sample 8 t=1.2 seed=3"
    ).format(
        argument=escaped(shortened(argument, LONGEST_ARGUMENT)),
        least=COUNTS[0],
        most=COUNTS[1],
        coldest=TEMPERATURES[0],
        hottest=TEMPERATURES[1],
        least_k=TOP_K[0],
        most_k=TOP_K[1],
        least_p=TOP_P[0],
        most_p=TOP_P[1],
        least_seed=SEEDS[0],
        most_seed=SEEDS[1],
    )


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
    return _("I tried several times and could not finish this one. Please send me something else.")


def went_wrong() -> str:
    return _("Something went wrong on my side, and your message got no answer. Please send it again.")
