"""What is said while a person waits."""

from __future__ import annotations

from aiogram.utils.i18n import gettext as _


def waiting() -> str:
    return _(
        "Your picture waits in line: the program that looks at pictures is not running right now, "
        "or is just starting. The answer will come by itself."
    )


def cancelled() -> str:
    return _("Cancelled.")


def not_yours() -> str:
    return _("Only the person who sent the clip can stop this.")


def cancel_button() -> str:
    return _("✖ Cancel")
