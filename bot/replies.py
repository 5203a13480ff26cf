"""Results and errors → the words a person reads, in the language of the current i18n context.

What is returned is HTML for Telegram. Texts are whole sentences, so that a translation can turn them around.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable
from typing import Final

from aiogram.types import BotCommand
from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import ngettext

from bot.arguments import COUNTS, WrongArguments
from bot.media import ClipTooLongHere, Gone, NoClip, NoPicture, TooBig
from model.errors import CaptionError
from model.sampling import TEMPERATURES
from model.serving.jobs import ClipFrame, ClipResult, JobResult, WireCaption
from model.serving.queue import Busy

MAX_CAPTION: Final = 1024  # characters under a photo
MAX_TEXT: Final = 4096  # characters of a message
ELLIPSIS: Final = "…"


def length(text: str) -> int:
    """How long Telegram finds a text: in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def shortened(text: str, limit: int) -> str:
    """The text, or as much of its beginning as fits, with an ellipsis."""
    if length(text) <= limit:
        return text
    while text and length(text) > limit - length(ELLIPSIS):
        text = text[:-1]
    return text.rstrip() + ELLIPSIS


def one_line(text: str) -> str:
    return " ".join(text.split())


def escaped(text: str) -> str:
    return html.escape(text, quote=False)


def photo_answer(result: JobResult, limit: int = MAX_CAPTION) -> str:
    """The main caption in bold, its confidence, the greedy one where it differs, then each sampled caption.

    Samples that do not fit into `limit` (counted as Telegram does, without markup) are left out from the end.
    """
    confidence = _("confidence {percent} %").format(percent=percent(result.main))
    main = one_line(result.main.text) or _("I cannot say what is in this picture.")
    main = shortened(main, limit - 1 - length(confidence))
    head = f"{main}\n{confidence}"
    others = bullets(result.samples)
    if (greedy := one_line(result.greedy.text)) and greedy != main:
        others.insert(0, _("greedy: {caption}").format(caption=greedy))
    lines = fitting(others, limit - length(head))
    return "\n".join([f"<b>{escaped(main)}</b>", escaped(confidence), *map(escaped, lines)])


def sample_answer(result: JobResult, limit: int = MAX_TEXT) -> str:
    """Each sampled caption on a line of its own, none twice."""
    lines = list(dict.fromkeys(bullets(result.samples)))
    if not lines:
        return _("I cannot say what is in this picture.")
    first = shortened(lines[0], limit)
    return "\n".join(map(escaped, [first, *fitting(lines[1:], limit - length(first))]))


def bullets(captions: Iterable[WireCaption]) -> list[str]:
    return [f"• {text}" for caption in captions if (text := one_line(caption.text))]


def fitting(lines: Iterable[str], room: int) -> list[str]:
    """The first lines that fit into `room`, each with the line break before it."""
    kept = []
    for line in lines:
        room -= length(line) + 1
        if room < 0:
            break
        kept.append(line)
    return kept


def percent(caption: WireCaption) -> int:
    return round(100 * min(1.0, max(0.0, caption.confidence)))


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


def clock(seconds: float) -> str:
    """0:07, 12:30, 1:00:05."""
    minutes, rest = divmod(int(seconds + 1e-6), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def moment(frame: ClipFrame, limit: int = MAX_CAPTION) -> str:
    """What stands under one picture of an album."""
    text = one_line(frame.text) or _("I cannot say what is in this picture.")
    return escaped(shortened(f"{clock(frame.time)} · {text}", limit))


def clip_summary(result: ClipResult) -> str:
    """One line on the whole clip."""
    duration = clock(result.duration)
    if result.still and len(result.moments) == 1:
        return _("One shot of {duration} in which little changes").format(duration=duration)
    moments = ngettext("{count} moment in {duration}", "{count} moments in {duration}", len(result.moments))
    varied = _("how varied: {percent} %").format(percent=round(100 * result.variedness))
    return f"{moments.format(count=len(result.moments), duration=duration)} · {varied}"


def frame_lines(result: ClipResult) -> list[str]:
    """Each frame that was looked at: when, what; a star marks the moments. Plain text."""
    return [f"{'*' if f.chosen else ' '} {clock(f.time)}  {one_line(f.text)}" for f in result.frames]


def watching(percent: int) -> str:
    return _("I am watching your clip: {percent} %").format(percent=percent)


def cancelled() -> str:
    return _("Cancelled.")


def not_yours() -> str:
    return _("Only the person who sent the clip can stop this.")


def cancel_button() -> str:
    return _("✖ Cancel")


def fewer_button() -> str:
    return _("➖ Fewer moments")


def more_button() -> str:
    return _("➕ More moments")


def captions_button() -> str:
    return _("📄 All captions")


def gave_up() -> str:
    return _("I tried several times and could not finish this one. Please try another picture.")


def went_wrong() -> str:
    return _("Something went wrong on my side, and your message got no answer. Please send it again.")


def waiting() -> str:
    return _(
        "Your picture waits in line: the program that looks at pictures is not running right now, "
        "or is just starting. The answer will come by itself."
    )


def closed() -> str:
    return _("This bot serves a closed circle of people, and you are not on its list. Please ask whoever runs it.")


def start() -> str:
    return _(
        "Hello! Send me a photo, and I will tell you in words what is in it.\n\n/help tells you what else I can do."
    )


def about(*, sheets: bool) -> str:
    """The answer to /help; `sheets`: answers come with a heatmap."""
    paragraphs = [
        _(
            "Send me a photo, or a picture as a file. The first line of my answer is my best caption. "
            "Below it stand how sure I am of it and some other captions of the same picture."
        ),
        _("The picture in my answer shows, word by word, where I looked in yours.") if sheets else "",
        _(
            "Send me a video, a GIF or a video note, and I will show you its most dissimilar moments, "
            "each with its time and a caption."
        ),
        _(
            "/sample gives more captions of the last picture. "
            "To choose another picture, send /sample as a reply to it.\n"
            "/sample 8 gives eight captions; you can ask for {least} to {most}.\n"
            "/sample 8 t=1.2 makes them more varied; the temperature can be {coldest} to {hottest}."
        ).format(least=COUNTS[0], most=COUNTS[1], coldest=TEMPERATURES[0], hottest=TEMPERATURES[1]),
        _("The captions themselves are in English."),
        _("In a group I answer a photo when its caption mentions me, or when it is sent as a reply to me."),
    ]
    return "\n\n".join(filter(None, paragraphs))


def send_a_photo() -> str:
    return _("Send me a photo, and I will tell you in words what is in it. /help tells you what else I can do.")


def unknown_command() -> str:
    return _("I do not know this command. /help tells you what I can do.")


def no_links() -> str:
    return _("I do not open links. Please send me the picture itself, as a photo or as a file.")


def no_stickers() -> str:
    return _("I cannot describe stickers. Please send me a photo.")


def not_a_picture() -> str:
    return _("This file is not a picture that I can read. Please send a photo, or a JPEG, PNG or WebP file.")


def only_pictures() -> str:
    return _("I only look at pictures. Please send me a photo, and I will tell you in words what is in it.")


def commands() -> list[BotCommand]:
    """The menu of commands."""
    return [
        BotCommand(command="sample", description=_("More captions of the last picture")),
        BotCommand(command="help", description=_("What I can do")),
        BotCommand(command="start", description=_("Begin")),
    ]
