"""What is said above the results of an inline query."""

from __future__ import annotations

from aiogram.utils.i18n import gettext as _


def switch_history_on() -> str:
    """On a button that opens the settings."""
    return _("Switch history on to find your photos here")


def no_history_yet() -> str:
    """On a button that opens the private chat."""
    return _("Nothing here yet: send me a photo")


def not_in_history() -> str:
    """On the same button."""
    return _("None of your photos has these words")
