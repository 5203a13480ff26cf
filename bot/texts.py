"""Texts that are written in tables and translated where they are shown."""


def N_(text: str) -> str:  # noqa: N802 - the name under which gettext's tools look for such texts
    """The text itself, marked for the translation catalogues."""
    return text
