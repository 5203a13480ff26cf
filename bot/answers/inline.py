"""@bot in any chat: the photos of a person's own history, each to be sent with its caption."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from aiogram.exceptions import TelegramBadRequest
from aiogram.types import InlineQuery, InlineQueryResultCachedPhoto, InlineQueryResultsButton

from bot import replies
from bot.answers.history import Remembered, remembered
from bot.storage.chats import Storage

PAGE: Final = 50  # results; Telegram takes no more at once
HISTORY: Final = "history"  # /start with this opens the settings
PHOTO: Final = "photo"


class InlineHistory:
    """Answers inline queries."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def answer(self, query: InlineQuery) -> None:
        """Only what the person who asks has switched on themselves; nobody else's photos are looked at."""
        settings = await self._storage.settings(query.from_user.id)
        kept = await remembered(self._storage, query.from_user.id) if settings.history else []
        found = [each for each in kept if fits(each.caption, query.query)]
        first = int(query.offset) if query.offset.isdecimal() and len(query.offset) < 6 else 0
        page = found[first : first + PAGE]
        more = str(first + PAGE) if len(found) > first + PAGE else ""
        with suppress(TelegramBadRequest):  # such as of an answer that comes too late
            await query.answer(
                [_result(each) for each in page],
                cache_time=0,  # what was forgotten must be gone
                is_personal=True,
                next_offset=more,
                button=_button(settings.history, kept, found),
            )


def fits(caption: str, query: str) -> bool:
    """Whether each word of the query begins a word of the caption."""
    words = caption.casefold().split()
    return all(any(word.startswith(asked) for word in words) for asked in query.casefold().split())


def _result(photo: Remembered) -> InlineQueryResultCachedPhoto:
    return InlineQueryResultCachedPhoto(
        id=hashlib.sha256(photo.file_id.encode()).hexdigest()[:32],
        photo_file_id=photo.file_id,
        title=replies.shortened(photo.caption, replies.MAX_TITLE),
        caption=replies.escaped(replies.shortened(photo.caption, replies.MAX_CAPTION)),
    )


def _button(on: bool, kept: Sequence[Remembered], found: Sequence[Remembered]) -> InlineQueryResultsButton | None:
    """What to do where there is nothing to choose from."""
    if not on:
        return InlineQueryResultsButton(text=replies.switch_history_on(), start_parameter=HISTORY)
    if not kept:
        return InlineQueryResultsButton(text=replies.no_history_yet(), start_parameter=PHOTO)
    if not found:
        return InlineQueryResultsButton(text=replies.not_in_history(), start_parameter=PHOTO)
    return None
