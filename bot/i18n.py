"""The languages of the interface and who gets which."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from aiogram.types import TelegramObject, User
from aiogram.utils.i18n import I18n, I18nMiddleware

from bot.chat_settings import ChatSettings

DOMAIN: Final = "bot"
LOCALES: Final = Path(__file__).with_name("locales")
DEFAULT: Final = "en"


def create_i18n() -> I18n:
    return I18n(path=LOCALES, default_locale=DEFAULT, domain=DOMAIN)


def locale_of(language_code: str | None, i18n: I18n) -> str:
    """The catalogue for an IETF language tag such as "ru" or "ru-RU"; English for one there is none for."""
    language = (language_code or "").partition("-")[0].lower()
    return language if language in i18n.available_locales else DEFAULT


class LanguageMiddleware(I18nMiddleware):
    """Speaks the language that is set for the chat, else each person's, as their Telegram app reports it."""

    async def get_locale(self, event: TelegramObject, data: dict[str, Any]) -> str:
        settings: ChatSettings = data.get("chat_settings", ChatSettings())
        if settings.language in self.i18n.available_locales:
            return settings.language
        user: User | None = data.get("event_from_user")
        return locale_of(user.language_code if user else None, self.i18n)
