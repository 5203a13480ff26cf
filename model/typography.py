"""Typography of Russian captions."""

import re
from typing import Final

NO_BREAK: Final = "\N{NO-BREAK SPACE}"
# Short words that must not end a line: prepositions, conjunctions and particles.
_SHORT: Final = re.compile(r"(?<![\w-])(в|во|к|ко|о|об|с|со|у|и|а|но|на|за|из|от|до|по|не|ни|без|для|под|над|при|про) ")
_DASH: Final = re.compile(" (?=[—–] )")
_WITH: Final = re.compile(r"(?<![\w-])с (?=[сзшж][бвгджзклмнпрстфхцчшщ])")


def euphonic(text: str) -> str:
    """The text with "со" for "с" where the next word begins with two consonants that are hard to say after it."""
    return _WITH.sub("со ", text)


def typeset(text: str, *, like: str = "") -> str:
    """The text with a non-breaking space after each short preposition, conjunction and particle, and before a dash.

    It begins with a capital where `like`, the text that it was translated from, does.
    """
    text = _DASH.sub(NO_BREAK, _SHORT.sub(lambda found: found[1] + NO_BREAK, text))
    return text[:1].upper() + text[1:] if like.strip()[:1].isupper() else text
