"""Errors → what a person reads, and what to do next."""

import math
from collections.abc import Callable
from typing import Any, Final

from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import ngettext

from bot.errors import ClipTooLongHere, NoPicture, TooBig, TooFast, WrongArguments
from bot.replies.edits import (
    edit_refused,
    edit_text_too_long,
    edit_too_slow,
    editor_away,
    edits_no_clips,
    too_many_edits,
    wrong_edit,
)
from bot.replies.find import wrong_query
from bot.replies.media import no_links, not_a_picture, not_of_clips, shown_instead
from bot.replies.tags import wrong_list
from bot.replies.text import escaped, shortened
from bot.sample_options import COUNTS, SEEDS, TOP_K, TOP_P
from model.decoding.sampling import TEMPERATURES
from model.errors import ClipTooLong
from model.serving.queue import Busy

LONGEST_ARGUMENT: Final = 40  # characters of it that are repeated


def failure(error: Exception) -> str:
    """What a person reads about an error, and what to do next."""
    return WORDS.get(getattr(error, "kind", ""), _failed)(error)


def _failed(error: Exception) -> str:
    return _("Something went wrong while I worked on this. Please send it again.")


def too_big(error: TooBig) -> str:
    return _(
        "This file is larger than {limit} MB, the most that Telegram lets bots download. "
        "Please send a smaller one; a picture you can also send as a photo."
    ).format(limit=error.limit // (1024 * 1024))


def busy(error: Busy) -> str:
    if error.of_person is None:
        state = _("I have more to do than I can hold.")
    else:
        state = ngettext(
            "I am already working on {count} request of yours.",
            "I am already working on {count} requests of yours.",
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


def wrong_arguments(error: WrongArguments) -> str:
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
        argument=escaped(shortened(error.argument, LONGEST_ARGUMENT)),
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


def no_picture(error: NoPicture) -> str:
    if error.group:  # where a photo alone is not answered, and not known afterwards
        return _(
            "I know of no picture in this chat. Send this command as a reply to a photo, or first send a photo with my "
            "name in its caption."
        )
    return _("I know of no picture in this chat. Send a photo first, or send this command as a reply to a photo.")


def clip_too_long(error: ClipTooLongHere | ClipTooLong) -> str:
    if isinstance(error, ClipTooLong):
        return _("This clip is longer than I watch. Please send a shorter part of it.")
    limit = error.limit
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


WORDS: Final[dict[str, Callable[[Any], str]]] = {
    # what is asked for
    "busy": busy,
    "too_fast": too_fast,
    "wrong_arguments": wrong_arguments,
    "wrong_list": wrong_list,
    "wrong_query": wrong_query,
    "no_picture": no_picture,
    "not_shown": lambda error: shown_instead(error.shown),
    "link": lambda error: no_links(),
    "which_one": lambda error: _(
        "Which picture do you mean? Please send this command as a reply to the picture itself."
    ),
    "picture_forgotten": lambda error: _(
        "I no longer know which picture this was: its time is over, or it was deleted with /forget. "
        "Please send it again."
    ),
    "clip_forgotten": lambda error: _(
        "I no longer know which clip this was: its time is over, or it was deleted with /forget. Please send it again."
    ),
    "album_forgotten": lambda error: _(
        "I no longer know which album this was: its time is over, or it was deleted with /forget. Please send it again."
    ),
    "protected": lambda error: _(
        "This picture is protected from being passed on, so I do not show it again. I only describe it."
    ),
    # files and pictures
    "too_big": too_big,
    "gone": lambda error: _("Telegram no longer gives me this file. Please send it again."),
    "empty": lambda error: _("This file is empty. Please send another one."),
    "not_image": lambda error: not_a_picture(),
    "unread_image": lambda error: _(
        "This is a kind of picture that I do not read. Please send it as JPEG, PNG, WebP or HEIC, or as a photo."
    ),
    "svg": lambda error: _(
        "This is a vector drawing (SVG), and I only see pictures made of pixels. "
        "Please export it as PNG, or send a screenshot of it."
    ),
    "pdf": lambda error: _(
        "This is a PDF document. Please send me the picture in it, or a screenshot of the page, as a photo."
    ),
    "web_page": lambda error: _(
        "This is a web page, not a picture. Please open it, save the picture itself, "
        "and send me that as a photo or a file."
    ),
    "zeros": lambda error: _(
        "There is nothing in this file but zeros: it was probably not copied whole. Please send the original."
    ),
    "truncated": lambda error: _(
        "This picture breaks off: it did not arrive whole. Please send it again, or send another one."
    ),
    "damaged": lambda error: _("This picture is damaged. Please send the original, or another one."),
    "animated": lambda error: edits_no_clips() if getattr(error, "edit", False) else not_of_clips(),
    "too_large": lambda error: _(
        "This picture has too many pixels for me. Please send a smaller copy, or send it as a photo."
    ),
    # clips
    "not_a_clip": lambda error: _("I find no moving picture in this file. Please send a video, or a GIF."),
    "unread_clip": lambda error: _(
        "This is a kind of clip that I do not read. Please send it as MP4, MOV, MKV or WebM, or as a video."
    ),
    "damaged_clip": lambda error: _(
        "This clip is damaged, or did not arrive whole. Please send it again, or send another one."
    ),
    "clip_too_long": clip_too_long,
    "clip_too_large": lambda error: _("The pictures of this clip are too large for me. Please send a smaller copy."),
    "clip_too_slow": lambda error: _(
        "This clip took too long to read. Please send a shorter part of it, or a smaller copy."
    ),
    # edits
    "wrong_edit": wrong_edit,
    "too_many_edits": too_many_edits,
    "editor_away": lambda error: editor_away(),
    "edits_unavailable": lambda error: editor_away(),
    "edit_text": lambda error: edit_text_too_long(),
    "edit_too_slow": lambda error: edit_too_slow(),
    "edit_refused": lambda error: edit_refused(),
    # the work
    "clips_unavailable": lambda error: _("I cannot watch clips right now, only look at photos."),
    "crashed": lambda error: gave_up(),
}
"""By the `kind` of an error."""
