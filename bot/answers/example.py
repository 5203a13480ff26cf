"""One answer as an example: for those who have just come, and those who ask for something without a picture."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from aiogram.enums import ChatType
from aiogram.exceptions import TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, InputMediaPhoto, Message
from cachetools import TTLCache

from bot import replies
from bot.answers.ask import Ask
from bot.answers.keyboards import ShowExample, stands_under
from bot.logs import impersonal
from bot.telegram.editing import PRESSED_BEFORE
from model.serving.tasks.base import Language

log = logging.getLogger(__name__)

PICTURE: Final = Path(__file__).resolve().parents[2] / "docs" / "answer.jpg"
OF: Final[Mapping[Language, str]] = {"en": ".jpg", "ru": ".ru.jpg"}  # captions: the ending of the picture's name


class Example:
    """Sends the example. Telegram gets its pictures once, and then only the names that it gave them."""

    def __init__(self, picture: Path = PICTURE) -> None:
        self._picture = picture
        self._file_ids: dict[Language, str] = {}
        # So that a second press does nothing.
        self._shown: TTLCache[tuple[int, int], bool] = TTLCache(1000, PRESSED_BEFORE)

    async def greet(self, ask: Ask) -> None:
        """Answer /start: in private chats with the example; in groups, where it would be in the way, with words."""
        language = ask.language
        group = ask.message.chat.type != ChatType.PRIVATE
        if group or (photo := await self._photo(language)) is None:
            await ask.message.answer(replies.start(group=group))
            return
        try:
            self._note(await ask.message.answer_photo(photo, caption=replies.start_with_example(language)), language)
        except (TelegramBadRequest, TelegramEntityTooLarge) as error:
            self._refused(error)
            await ask.message.answer(replies.start_with_example(language))

    async def show(self, ask: Ask, pressed: ShowExample) -> str | None:
        """Put the example in the place of the message whose button was pressed. Returns what is said."""
        if not ask.can_edit or not stands_under(pressed, ask.message):
            return replies.too_old_to_press()
        if pressed.user != ask.user:
            return replies.not_your_question()
        key = ask.chat, ask.message.message_id
        if ask.message.photo or key in self._shown:
            return None
        self._shown[key] = True
        language = ask.language
        words = replies.example(language)
        try:
            if (photo := await self._photo(language)) is None:
                await ask.message.edit_text(words)
            else:
                self._note(await ask.message.edit_media(InputMediaPhoto(media=photo, caption=words)), language)
        except (TelegramBadRequest, TelegramEntityTooLarge) as error:  # such as in a group that takes no pictures
            self._refused(error)
            await ask.message.edit_text(words)
        return None

    async def _photo(self, language: Language) -> str | BufferedInputFile | None:
        """None where the program was installed without its documentation."""
        if language in self._file_ids:
            return self._file_ids[language]
        picture = self._picture.with_suffix(OF[language])
        try:
            return BufferedInputFile(await asyncio.to_thread(picture.read_bytes), picture.name)
        except OSError as error:
            log.warning("the example has no picture (%s)", type(error).__name__)
            return None

    def _note(self, sent: Message | bool, language: Language) -> None:
        if isinstance(sent, Message) and sent.photo:
            self._file_ids[language] = sent.photo[-1].file_id

    def _refused(self, error: TelegramBadRequest | TelegramEntityTooLarge) -> None:
        self._file_ids.clear()
        log.info("the example was refused (%s)", impersonal(error.message))
