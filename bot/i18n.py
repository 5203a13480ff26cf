"""The languages of the interface and who gets which."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from aiogram.types import TelegramObject, User
from aiogram.utils.i18n import I18n, I18nMiddleware, get_i18n

from bot.chat_settings import CaptionLanguage, ChatSettings
from model.serving.tasks.base import Language

DOMAIN: Final = "bot"
LOCALES: Final = Path(__file__).with_name("locales")
DEFAULT: Final[Language] = "en"


def create_i18n() -> I18n:
    return I18n(path=LOCALES, default_locale=DEFAULT, domain=DOMAIN)


def locale_of(language_code: str | None, i18n: I18n) -> str:
    """The catalogue for an IETF language tag such as "ru" or "ru-RU"; English for one there is none for."""
    language = (language_code or "").partition("-")[0].lower()
    return language if language in i18n.available_locales else DEFAULT


def locale_for(settings: ChatSettings, language_code: str | None, i18n: I18n) -> str:
    """The language that is set for the chat, else the person's, as their Telegram app reports it."""
    if settings.language in i18n.available_locales:
        return settings.language
    return locale_of(language_code, i18n)


def caption_language(chosen: CaptionLanguage) -> Language:
    """Of captions that are asked for in the current i18n context."""
    if chosen != "auto":
        return chosen
    return "ru" if get_i18n().current_locale == "ru" else DEFAULT


class LanguageMiddleware(I18nMiddleware):
    """Speaks as `locale_for` says."""

    async def get_locale(self, event: TelegramObject, data: dict[str, Any]) -> str:
        user: User | None = data.get("event_from_user")
        language_code = user.language_code if user else None
        return locale_for(data.get("chat_settings", ChatSettings()), language_code, self.i18n)
