"""The words of an answer to a clip."""

from __future__ import annotations

from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import ngettext

from bot.replies.text import MAX_CAPTION, MAX_TEXT, clock, escaped, fitting, length, shortened
from bot.replies.translated import shown
from model.serving.tasks.clip import ClipFrame, ClipResult


def moment_captions(result: ClipResult, *, noted: bool = True) -> list[str]:
    """What the moments show, in the order of time, none twice. Plain text.

    noted: with a note at those that should be in another language.
    """
    return list(dict.fromkeys(_caption(frame, noted=noted) for frame in result.moments))


def _caption(frame: ClipFrame, *, noted: bool = True) -> str:
    caption = shown(frame.text, frame.translation)
    return (caption.noted if noted else caption.text) or _("I cannot say what is in this picture.")


def moments_in_english(result: ClipResult) -> tuple[str, ...]:
    """When the moments are, and what they show; empty where nothing else is shown of them. Plain text."""
    captions = [shown(frame.text, frame.translation) for frame in result.moments]
    if all(caption.text == caption.english for caption in captions):
        return ()
    return tuple(f"{clock(f.time)} {caption.english}" for f, caption in zip(result.moments, captions, strict=True))


def moment(frame: ClipFrame, limit: int = MAX_CAPTION) -> str:
    """What stands under one picture of an album: the caption comes first, for those who listen."""
    text = _caption(frame)
    time = f" · {clock(frame.time)}"
    return escaped(shortened(text, limit - length(time)) + time)


def moments_alone(result: ClipResult, limit: int = MAX_TEXT) -> str:
    """The moments of a clip without their pictures, each on a line, and one line on the whole clip."""
    summary = clip_summary(result)
    lines = fitting([f"{clock(frame.time)} {_caption(frame)}" for frame in result.moments], limit - length(summary))
    return "\n".join(map(escaped, [*lines, summary]))


def clip_summary(result: ClipResult) -> str:
    """One line on the whole clip."""
    duration = clock(result.duration)
    if result.still and len(result.moments) == 1:
        return _("One shot of {duration} in which little changes").format(duration=duration)
    moments = ngettext("{count} moment in {duration}", "{count} moments in {duration}", len(result.moments))
    varied = _("how varied: {percent} %").format(percent=round(100 * result.variedness))
    return f"{moments.format(count=len(result.moments), duration=duration)} · {varied}"


def of_the_frames() -> str:
    """What stands under the file of `frame_lines`."""
    return _("A line for each frame that I looked at. A star marks the moments that differ most.")


def frame_lines(result: ClipResult) -> list[str]:
    """Each frame that was looked at: when, what; a star marks the moments. Plain text.

    Behind a translation stands what it was made of.
    """
    lines = []
    for frame in result.frames:
        caption = shown(frame.text, frame.translation)
        source = "" if caption.text == caption.english else f"  [{caption.english}]"
        lines.append(f"{'*' if frame.chosen else ' '} {clock(frame.time)}  {caption.noted}{source}")
    return lines
