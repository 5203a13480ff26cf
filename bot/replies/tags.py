"""Tags and ranked descriptions, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from aiogram.utils.i18n import get_i18n, ngettext
from aiogram.utils.i18n import gettext as _

from bot.errors import WrongList
from bot.replies.text import MAX_TEXT, escaped, fitting, shortened
from model.tagging.answers import Choice, Ranking, Tag, likeliest_first
from model.tagging.lists import DESCRIPTIONS, LONGEST, MOST_TAGS, MOST_WORDS, in_russian

LONGEST_ITEM: Final = 60  # characters of one that is repeated
ROOM: Final = MAX_TEXT - 600  # characters for tags, beside what is said of them


def tags_found(tags: Sequence[Tag], *, all_of_them: bool) -> str:
    """The answer to /tags. all_of_them: those that do not hold, too, as of a list that a person chose."""
    judged = [tag for tag in likeliest_first(tags) if tag.probability is not None]
    there = [tag for tag in judged if tag.holds]
    lines = [_percent(f"<b>{escaped(_named(tag.name))}</b>", tag.probability) for tag in there]
    if not there and judged:
        lines.append(_none_fits(len(judged)))
    if all_of_them:
        lines += [_percent(escaped(_named(tag.name)), tag.probability) for tag in judged if not tag.holds]
    unjudged = [(_named(tag.name), tag.unknown) for tag in tags if tag.probability is None]
    return "\n".join([*fitting(lines, ROOM), *_unjudged(unjudged)])


def _none_fits(count: int) -> str:
    if count == 1:
        return _("The one tag that I can judge does not fit.")
    return ngettext(  # Russian has the first form for 21 as well
        "None of the {count} tag that I can judge fits.", "None of the {count} tags that I can judge fits.", count
    ).format(count=count)


def ranked(ranking: Ranking, repeated: Sequence[str] = ()) -> str:
    """The answer to /choose."""
    judged = [choice for choice in ranking.choices if choice.probability is not None]
    lines = [_choice(choice, first=choice is ranking.best) for choice in judged]
    none = _percent(_("none of these"), ranking.none)
    lines = [f"<b>{none}</b>", *lines] if judged and ranking.best is None else [*lines, none] if judged else lines
    unjudged = [(choice.text, choice.unknown) for choice in ranking.choices if choice.probability is None]
    twice = [
        _("“{item}” is there more than once; I counted it once.").format(item=_quoted(item)) for item in repeated[:3]
    ]
    return "\n".join([*fitting(lines, ROOM), *_unjudged(unjudged), *twice])


def _choice(choice: Choice, *, first: bool) -> str:
    text = escaped(shortened(choice.text, LONGEST_ITEM * 2))
    return _percent(f"<b>{text}</b>" if first else text, choice.probability)


def _percent(markup: str, probability: float | None) -> str:
    return _("{what} · {percent} %").format(what=markup, percent=round(100 * (probability or 0.0)))


def _unjudged(items: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """What is said of tags and descriptions that cannot be judged."""
    if not items:
        return []
    named = ", ".join(_("“{item}”").format(item=_quoted(text)) for text, _words in items[:10])
    words = ", ".join(dict.fromkeys(_quoted(word) for _text, unknown in items for word in unknown[:3]))
    return [_("I cannot judge {items}, since I do not know: {words}.").format(items=named, words=shortened(words, 300))]


def _named(tag: str) -> str:
    """A tag of the dictionaries that ship in the reader's language; others as they were written."""
    return in_russian(tag) if get_i18n().current_locale == "ru" else tag


def _quoted(text: str) -> str:
    return escaped(shortened(text, LONGEST_ITEM))


def own_list_set(tags: Sequence[str], repeated: Sequence[str]) -> str:
    """The answer to /tags set."""
    said = ngettext(
        "This chat's list has {count} tag now: {tags}. /tags judges it; /tags reset goes back to my own dictionary.",
        "This chat's list has {count} tags now: {tags}. /tags judges them; /tags reset goes back to my own dictionary.",
        len(tags),
    ).format(count=len(tags), tags=escaped(shortened(", ".join(tags), 1000)))
    if repeated:
        once = ", ".join(map(_quoted, repeated[:3]))
        said += "\n" + _("More than once there, and counted once: {items}.").format(items=once)
    return said


def own_list_reset() -> str:
    return _("This chat has no list of its own any more. /tags judges my own dictionary.")


def wrong_list(error: WrongList) -> str:
    """Why a list cannot be used, and how to write it."""
    words, example = (_TAGS, _tags_example()) if error.of_tags else (_DESCRIPTIONS, _choose_example())
    said = words[error.fault]().format(
        item=_quoted(error.item),
        count=error.count,
        most=MOST_TAGS if error.of_tags else DESCRIPTIONS[1],
        words=MOST_WORDS,
        characters=LONGEST,
    )
    return f"{said}\n{example}"


def _tags_example() -> str:
    return _("For example: /tags set sofa, two beds, balcony")


def _choose_example() -> str:
    return _("For example: /choose a dog on grass | a cat on a sofa | an empty street")


_TAGS: Final[dict[str, Callable[[], str]]] = {
    "none": lambda: _("Which tags? Write them after the command, with commas between them."),
    "too_many": lambda: _("These are {count} tags, and I take {most} at most. Please leave some out."),
    "too_long": lambda: _(
        "The tag “{item}” is too long: it may have at most {characters} characters and {words} words. "
        "Are there commas between the tags?"
    ),
    "no_words": lambda: _("“{item}” is no tag that I understand: please write it in words."),
    "mixed": lambda: _("The tag “{item}” mixes two languages. Please write each tag in English or in Russian."),
}
_DESCRIPTIONS: Final[dict[str, Callable[[], str]]] = {
    "none": lambda: _(
        "Which descriptions? Write them after the command, with | between them or each on a line of its own."
    ),
    "one": lambda: _("There is nothing to choose from: I see only “{item}”. Please write at least two descriptions."),
    "same": lambda: _("These {count} descriptions are the same: “{item}”. Please write at least two that differ."),
    "too_many": lambda: _("These are {count} descriptions, and I take {most} at most. Please leave some out."),
    "too_long": lambda: _(
        "The description “{item}” is too long: it may have at most {characters} characters and {words} words. "
        "Is there a | between the descriptions?"
    ),
    "no_words": lambda: _("“{item}” describes nothing that I understand: please write it in words."),
    "mixed": lambda: _(
        "The description “{item}” mixes two languages. Please write each description in English or in Russian."
    ),
}
