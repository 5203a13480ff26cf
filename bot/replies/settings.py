"""The words of the menu of settings: as a text, for it is read aloud to some, and on its buttons."""

from __future__ import annotations

from typing import Any, Final

from aiogram.utils.i18n import gettext as _

from bot.chat_settings import NUCLEUS, ChatSettings
from model.decoding.sampling import LADDER, Sampling

SETTINGS: Final = (  # in the order of the menu
    *("model", "samples", "strategy", "temperature", "beam"),
    *("heatmap", "language", "voice", "short_first"),
)
LANGUAGE_NAMES: Final = {"en": "English", "ru": "Русский"}  # each in itself


def settings_text(settings: ChatSettings, *, can_speak: bool) -> str:
    """All settings, one a line; `settings.model` is the one in use."""
    head = _("Settings of this chat. Each button opens or switches what it names.")
    lines = [setting_line(name, settings, can_speak=can_speak) for name in SETTINGS]
    notes = [
        _(
            "The voice message reads the captions aloud. The short answer is the caption of a single picture, or those "
            "of a clip's moments, alone in a message before the whole answer; it helps those who use a screen reader."
        )
    ]
    if settings.heatmap and settings.model == "baseline":
        notes.append(no_heatmap())
    if not can_speak:
        notes.append(no_voice())
    return "\n\n".join([head, "\n".join(lines), *notes])


def setting_page(name: str, settings: ChatSettings, *, can_speak: bool) -> str:
    """One setting as it is now, and what it means."""
    return f"{setting_line(name, settings, can_speak=can_speak)}\n\n{_meaning(name)}"


def setting_line(name: str, settings: ChatSettings, *, can_speak: bool) -> str:
    """One setting as it is now: a line of the text, a label of a button."""
    value = choice(name, getattr(settings, name))
    match name:
        case "model":
            return _("Model: {value}").format(value=value)
        case "samples":
            return _("Other captions: {value}").format(value=value)
        case "strategy":
            return _("Words by: {value}").format(value=value)
        case "temperature":
            return _("Temperature: {value}").format(value=value)
        case "beam":
            return _("Main caption: {value}").format(value=value)
        case "heatmap":
            if settings.heatmap and settings.model == "baseline":
                return _("Heatmap: none with this model")
            return _("Heatmap: {value}").format(value=value)
        case "language":
            return _("Language: {value}").format(value=value)
        case "voice":
            if not can_speak:
                return _("Voice message: not available")
            return _("Voice message: {value}").format(value=value)
    return _("Short answer first: {value}").format(value=value)


def choice(name: str, value: Any) -> str:
    """A value of a setting in words."""
    match name, value:
        case "model", "baseline":
            return _("baseline")
        case "model", _model:
            return _("attention")
        case "strategy", "top-k":
            return _("likeliest (top-k)")
        case "strategy", "top-p":
            return _("nucleus (top-p)")
        case "strategy", _strategy:
            return _("ladder")
        case "beam", chosen:
            return _("thorough (beam)") if chosen else _("quick (greedy)")
        case "language", code:
            return LANGUAGE_NAMES.get(code) or _("as in Telegram")
        case _name, bool():
            return _("on") if value else _("off")
    return str(value)


def _meaning(name: str) -> str:
    match name:
        case "model":
            return _(
                "The attention model looks at one part of the picture after another and can show where it looked. "
                "The baseline model looks at the whole picture once and has no heatmap."
            )
        case "samples":
            return _("How many other captions stand below the main one.")
        case "strategy":
            (_words, first), (_words, second) = LADDER
            return _(
                "Each next word of another caption is drawn among the {count} likeliest ones (top-k), or among the "
                "few that share {percent} % of the likelihood (top-p), or among {first}, later {second}, and in the "
                "end only the likeliest (ladder)."
            ).format(count=Sampling.top_k, percent=round(100 * NUCLEUS), first=first, second=second)
        case "language":
            return _(
                "I speak this language here; as in Telegram means the language of each person's Telegram. "
                "The captions themselves are in English."
            )
    return _("The higher the temperature, the more varied the other captions, and the more daring.")


def setting_label(name: str, value: Any, *, chosen: bool) -> str:
    """Of a button that chooses a value."""
    return f"✓ {choice(name, value)}" if chosen else choice(name, value)


def no_heatmap() -> str:
    return _("The baseline model has no heatmap; choose the attention model to have one.")


def no_voice() -> str:
    return _("Voice messages are not available: the program that speaks is not installed where I run.")


def settings_are_reset() -> str:
    return _("All settings are as at the beginning.")


def unknown_choice() -> str:
    return _("There is no such choice here. Nothing was changed.")


def administrators_only() -> str:
    return _("In a group only its administrators can change this.")


def all_settings_button() -> str:
    return _("◀ All settings")


def reset_button() -> str:
    return _("↺ Reset all")


def close_button() -> str:
    return _("✖ Close")
