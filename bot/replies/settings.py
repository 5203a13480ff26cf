"""The words of the menu of settings: as a text, for it is read aloud to some, and on its buttons."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from aiogram.utils.i18n import gettext as _
from aiogram.utils.i18n import gettext as translated

from bot.chat_settings import SETTINGS, ChatSettings, Setting


def settings_text(settings: ChatSettings, offered: Sequence[Setting], *, can_speak: bool) -> str:
    """The settings that are offered, one a line; `settings.model` is the one in use."""
    head = _("Settings of this chat. Each button opens or switches what it names.")
    lines = [setting_line(setting, settings, can_speak=can_speak) for setting in offered]
    note = _(
        "The voice message reads the captions aloud. The short answer is the caption of a single picture, or those "
        "of a clip's moments, alone in a message before the whole answer; it helps those who use a screen reader. "
        "With alt text on, I answer a photo with one sentence and nothing else; press it to copy it."
    )
    if any(each.name == "history" for each in offered):
        note += "\n\n" + _(
            "With history on, I remember the photos that you send me here, with my captions, so that you find them "
            "again: write my name with @ and a word of a caption in any chat. Switched off, all of it is forgotten."
        )
        note += " " + _(
            "/find also finds by words what is in your photos, here and among those that you send me in groups."
        )
    missing = [translated(each.why) for each in SETTINGS if _is_missing(each, settings, can_speak)]
    return "\n\n".join([head, "\n".join(lines), note, *missing])


def setting_page(setting: Setting, settings: ChatSettings, *, can_speak: bool) -> str:
    """One setting as it is now, and what it means."""
    meaning = translated(setting.meaning).format(**setting.figures)
    return f"{setting_line(setting, settings, can_speak=can_speak)}\n\n{meaning}"


def setting_line(setting: Setting, settings: ChatSettings, *, can_speak: bool) -> str:
    """One setting as it is now: a line of the text, a label of a button."""
    if _is_missing(setting, settings, can_speak):
        return translated(setting.missing)
    return translated(setting.line).format(value=choice(setting, getattr(settings, setting.name)))


def _is_missing(setting: Setting, settings: ChatSettings, can_speak: bool) -> bool:
    if setting.name == "heatmap":
        return settings.heatmap and settings.model == "baseline"
    return setting.name == "voice" and not can_speak


def choice(setting: Setting, value: Any, *, chosen: bool = False) -> str:
    """A value in words, also on its button; `chosen`: with a mark."""
    words = translated(setting.choices.get(value, str(value)))
    return f"✓ {words}" if chosen else words


def why_missing(setting: Setting) -> str:
    return translated(setting.why)


def settings_are_reset() -> str:
    return _("All settings are back to their defaults.")


def history_is_forgotten() -> str:
    return _("What I remembered of your photos is deleted.")


def unknown_choice() -> str:
    return _("There is no such choice here. Nothing was changed.")


def administrators_only() -> str:
    return _("In a group only its administrators can change this.")
