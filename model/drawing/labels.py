"""The words on drawn pictures that are not those of a caption. Free of torch and of whatever draws."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Deficiency: TypeAlias = Literal["protanopia", "deuteranopia", "tritanopia"]  # of colour vision


@dataclass(frozen=True)
class Labels:
    """In English, unless who asks for a picture brings those of another language. Names in braces are filled in."""

    photo: str = "photo"
    attention: str = "{peak} of a word's attention in one of {regions} regions"
    attention_of_each: str = "beside each caption: the most of a word's attention in one of {regions} regions"
    end: str = "(end)"
    still: str = "one shot, little changes"
    moments: str = "moments: {count} · how varied: {variedness}"
    original: str = "original"
    protanopia: str = "protanopia"
    deuteranopia: str = "deuteranopia"
    tritanopia: str = "tritanopia"

    def seen_with(self, kind: Deficiency) -> str:
        """The name of a colour vision deficiency."""
        name: str = getattr(self, kind)
        return name


ENGLISH: Final = Labels()
RUSSIAN: Final = Labels(
    photo="фото",
    attention="{peak} внимания к слову — на одну область из {regions}",
    attention_of_each="рядом с описанием: наибольшая доля внимания к слову на одну область из {regions}",
    end="(конец)",
    still="один план, почти ничего не меняется",
    moments="моментов: {count} · разнообразие: {variedness}",
    original="оригинал",
    protanopia="протанопия",
    deuteranopia="дейтеранопия",
    tritanopia="тританопия",
)
LABELS: Final = {"en": ENGLISH, "ru": RUSSIAN}  # where no catalogue of the bot is at hand


def likelihood(probability: float) -> str:
    """A probability in [0, 1] as a figure; one that is small is not told from none."""
    return "< 1 %" if 0 < probability < 0.005 else f"{100 * probability:.0f} %"


def percent(share: float) -> str:
    """A share in [0, 1], with a space before the sign."""
    return f"{share:.0%}".replace("%", " %")
