"""The words under a photo."""

from __future__ import annotations

from collections.abc import Iterable

from aiogram.utils.i18n import gettext as _

from bot.replies.text import MAX_CAPTION, MAX_TEXT, escaped, fitting, length, one_line, shortened
from model.serving.jobs import JobResult, WireCaption


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


def percent(caption: WireCaption) -> int:
    return round(100 * min(1.0, max(0.0, caption.confidence)))
