"""One answer as an example: for those who have just come, and those who ask for something without a picture."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Final

from aiogram.enums import ChatType
from aiogram.exceptions import TelegramBadRequest, TelegramEntityTooLarge
from aiogram.types import BufferedInputFile, InputMediaPhoto, Message
from cachetools import TTLCache

from bot import replies
from bot.answers.ask import Ask
from bot.answers.keyboards import ShowExample
from bot.logs import impersonal
from bot.telegram.editing import PRESSED_BEFORE

log = logging.getLogger(__name__)

PICTURE: Final = Path(__file__).resolve().parents[2] / "docs" / "answer.jpg"


class Example:
    """Sends the example. Telegram gets its picture once, and then only the name that it gave it."""

    def __init__(self, picture: Path = PICTURE) -> None:
        self._picture = picture
        self._file_id: str | None = None
        self._shown: TTLCache[tuple[int, int], bool] = TTLCache(1000, PRESSED_BEFORE)  # for fingers that tremble

    async def greet(self, ask: Ask) -> None:
        """Answer /start: in private chats with the example; in groups, where it would be in the way, with words."""
        if ask.message.chat.type != ChatType.PRIVATE or (photo := await self._photo()) is None:
            await ask.message.answer(replies.start())
            return
        try:
            self._note(await ask.message.answer_photo(photo, caption=replies.start_with_example()))
        except (TelegramBadRequest, TelegramEntityTooLarge) as error:
            self._refused(error)
            await ask.message.answer(replies.start_with_example())

    async def show(self, ask: Ask, pressed: ShowExample) -> str | None:
        """Put the example in the place of the message whose button was pressed. Returns what is said."""
        if not ask.can_edit:
            return replies.too_old_to_press()
        if pressed.user != ask.user:
            return replies.not_your_question()
        key = ask.chat, ask.message.message_id
        if ask.message.photo or key in self._shown:
            return None
        self._shown[key] = True
        try:
            if (photo := await self._photo()) is None:
                await ask.message.edit_text(replies.example())
            else:
                edited = await ask.message.edit_media(InputMediaPhoto(media=photo, caption=replies.example()))
                self._note(edited)
        except (TelegramBadRequest, TelegramEntityTooLarge) as error:  # such as in a group that takes no pictures
            self._refused(error)
            await ask.message.edit_text(replies.example())
        return None

    async def _photo(self) -> str | BufferedInputFile | None:
        """None where the program was installed without its documentation."""
        if self._file_id is not None:
            return self._file_id
        try:
            return BufferedInputFile(await asyncio.to_thread(self._picture.read_bytes), self._picture.name)
        except OSError as error:
            log.warning("the example has no picture (%s)", type(error).__name__)
            return None

    def _note(self, sent: Message | bool) -> None:
        if isinstance(sent, Message) and sent.photo:
            self._file_id = sent.photo[-1].file_id

    def _refused(self, error: TelegramBadRequest | TelegramEntityTooLarge) -> None:
        self._file_id = None
        log.info("the example was refused (%s)", impersonal(error.message))
