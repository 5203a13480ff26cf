"""The answer to a press of a button, without which the button keeps its progress indicator."""

from __future__ import annotations

import logging
from typing import Any, Final

from aiogram.exceptions import AiogramError
from aiogram.types import CallbackQuery
from aiogram.utils.callback_answer import CallbackAnswer, CallbackAnswerMiddleware

log = logging.getLogger(__name__)

# The flags of a handler that sets the text of the answer, at the top of the screen, by its parameter `callback_answer`.
WITH_TEXT: Final[dict[str, Any]] = {"callback_answer": {"pre": False}}


class AcknowledgeMiddleware(CallbackAnswerMiddleware):
    """Acknowledges a press before its handler works; after it, where the handler has the flags `WITH_TEXT`.

    Telegram refuses the answer to a press from before a restart. That does not stop the work.
    """

    def __init__(self) -> None:
        super().__init__(pre=True)

    async def answer(self, event: CallbackQuery, callback_answer: CallbackAnswer) -> None:  # type: ignore[override]
        try:
            await super().answer(event, callback_answer)
        except AiogramError as error:
            log.info("a press could not be acknowledged (%s)", type(error).__name__)
