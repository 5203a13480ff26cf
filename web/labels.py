"""The words on drawn pictures in the languages of the API; the bot's catalogues say the same."""

from __future__ import annotations

from typing import Final

from model.drawing.labels import ENGLISH, RUSSIAN

LABELS: Final = {"en": ENGLISH, "ru": RUSSIAN}
