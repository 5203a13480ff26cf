"""The words on drawn pictures in the languages of the API; the bot's catalogues say the same."""

from __future__ import annotations

from typing import Final

from model.drawing.labels import ENGLISH, Labels

LABELS: Final = {
    "en": ENGLISH,
    "ru": Labels(
        photo="фото",
        attention="{peak} внимания при выборе слова — на одну область из {regions}",
        attention_of_each="рядом с описанием: наибольшая доля внимания при выборе слова на одну область из {regions}",
        end="(конец)",
        still="один план, почти ничего не меняется",
        moments="моментов: {count} · разнообразие: {variedness}",
        original="оригинал",
        protanopia="протанопия",
        deuteranopia="дейтеранопия",
        tritanopia="тританопия",
    ),
}
