"""The words of an answer to a photo: a caption is the first of them, and everything else stands below it."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from aiogram.utils.i18n import I18n, get_i18n
from aiogram.utils.i18n import gettext as _

from bot.replies.text import ELLIPSIS, MAX_CAPTION, MAX_TEXT, cut_at_word, escaped, fitting, length, one_line, shortened
from bot.replies.translated import Reading, distinct, not_translated, shown
from model.doubt import SURE, NotPhoto, is_unsure, percent
from model.drawing.labels import Deficiency, Labels, likelihood
from model.serving.tasks.base import Language
from model.serving.tasks.photo import PhotoResult, WeighedWord, WireCaption

OF_A_PICTURE: Final = re.compile(  # who listens to an alt text knows that it is one of a picture
    r"^(?:there is )?(?:an? |the )?(?:black and white |colou?r |old |blurry )*(?:photo(?:graph)?|picture|image) of ",
    re.IGNORECASE,
)
MOST_OTHERS: Final = 3  # words told of beside the one that was said


@dataclass(frozen=True)
class Words:
    """The words of a message, as HTML, and the captions in it that have a number, in English."""

    markup: str
    captions: tuple[str, ...]


def photo_answer(result: PhotoResult, limit: int = MAX_CAPTION) -> Words:
    """The main caption in bold, its confidence, the greedy one, then the sampled ones, numbered; none comes twice.

    Of what is no photo only that. Of a main caption of which only the beginning is shown, the whole comes next.
    Samples that do not fit into `limit` (counted as Telegram does, without markup) are left out from the end.
    """
    if result.not_photo is not None:
        return Words(_page([main_caption(result)]), ())
    sureness = confidence(result.main)
    main = shortened(main_caption(result), limit - 1 - length(sureness))
    whole = _whole(result.main)
    said = headline(result.main)
    samples = [sample for sample in sampled(result) if sample.text not in (whole.text, said.text)]
    lines = numbered(samples, 1)
    greedy = _whole(result.greedy)
    if greedy.text and greedy.text not in (whole.text, said.text, *(sample.text for sample in samples)):
        lines.insert(0, _("my first thought: {caption}").format(caption=greedy.noted))
    if said.text != whole.text:
        lines.insert(0, _("perhaps in full: {caption}").format(caption=whole.noted))
    others = len(lines) - len(samples)
    lines = fitting(lines, limit - length(f"{main}\n{sureness}"))
    return Words(_page([main, sureness, *lines]), _english(samples[: max(0, len(lines) - others)]))


def alt_text_answer(result: PhotoResult, limit: int = MAX_CAPTION) -> Words:
    """The main caption as one sentence, in a block that is copied when it is pressed; hedged where it is unsure.

    None of what is no photo.
    """
    if result.not_photo is not None:
        return photo_answer(result)
    main = result.main
    seen = replace(main, text=_seen(one_line(main.text)), beginning=_seen(one_line(main.beginning)))
    said = headline(seen)
    with get_i18n().use_locale(said.language if said.text else get_i18n().current_locale):  # a sentence in one language
        words = f"<pre>{escaped(cut_at_word(alt_text(hedged(seen, noted=False)), limit))}</pre>"
    return Words(f"{words}\n({not_translated()})" if said.refused else words, ())


def _seen(caption: str) -> str:
    return OF_A_PICTURE.sub("", caption) or caption


def alt_text(caption: str) -> str:
    """A caption as authors of pages want it: what is seen, with a capital first letter and a full stop."""
    shown = _seen(caption)
    return shown[:1].upper() + shown[1:] + ("" if shown.endswith((".", "!", "?", ELLIPSIS)) else ".")


def main_caption(result: PhotoResult, *, noted: bool = True) -> str:
    """What is said first: hedged where it is unsure; of what is no photo, what it looks like. Plain text.

    noted: with a note where it should be in another language.
    """
    return not_a_photo(result.not_photo) if result.not_photo is not None else hedged(result.main, noted=noted)


def hedged(caption: WireCaption, *, noted: bool = True) -> str:
    """A caption, or as much of it as is believed. Plain text."""
    said = headline(caption)
    if not (words := shortened(said.noted if noted else said.text, MAX_TEXT)):
        return _("I cannot say what is in this picture.")
    return _("perhaps: {caption}").format(caption=words) if is_unsure(caption.confidence) else words


def headline(caption: WireCaption) -> Reading:
    """The words of a caption that are said first, without a hedge."""
    return shown(caption.beginning, caption.translated_beginning) if caption.beginning else _whole(caption)


def _whole(caption: WireCaption) -> Reading:
    return shown(caption.text, caption.translation)


def _english(captions: Sequence[Reading]) -> tuple[str, ...]:
    return tuple(caption.english for caption in captions)


def not_a_photo(found: NotPhoto) -> str:
    """What is said instead of a caption. Plain text."""
    match found.kind:
        case "blank":
            return _("This picture looks blank; I only describe photos.")
        case "drawing":
            return _("This looks like a drawing, a diagram or a logo; I only describe photos.")
        case "noise":
            return _("This looks like noise; I only describe photos.")
        case "screen" | "text":
            return _("This looks like text or a screenshot; I only describe photos.")
    return _("This does not look like a photo; I only describe photos.")


def spoken_caption(result: PhotoResult, language: Language) -> str:
    """What is read aloud: all of it in one language, that of the caption. `language`: the one that was asked for."""
    said = headline(result.main)
    with get_i18n().use_locale(said.language if said.text and result.not_photo is None else language):
        return main_caption(result, noted=False)


def sample_answer(result: PhotoResult) -> Words:
    """Each sampled caption on a line of its own, none twice; before those of what is no photo, what it looks like."""
    samples = sampled(result)
    if result.not_photo is not None:
        first = main_caption(result)
        lines = fitting(numbered(samples, 1), MAX_TEXT - length(first))
        return Words(_page([first, *lines]), _english(samples[: len(lines)]))
    if not samples:
        return Words(escaped(main_caption(result)), ())
    return new_page(samples, 1)


def new_page(captions: Sequence[Reading], first: int, limit: int = MAX_TEXT) -> Words:
    """As many captions as fit, at least one; their numbers begin with `first`, which itself is not shown."""
    head = shortened(captions[0].noted, limit)
    lines = fitting(numbered(captions[1:], first + 1), limit - length(head))
    return Words(_page([head, *lines]), _english(captions[: 1 + len(lines)]))


def more_on_page(markup: str, captions: Sequence[Reading], first: int, limit: int) -> Words:
    """A page with as many more captions below as fit, perhaps none; only the added ones are counted as its captions."""
    shown = html.unescape(re.sub(r"<[^>]*>", "", markup))
    lines = fitting(numbered(captions, first), limit - length(shown))
    return Words("\n".join([markup, *map(escaped, lines)]), _english(captions[: len(lines)]))


def comparison(result: PhotoResult, model: str, wrote: str = "") -> str:
    """The main captions of both models, `model`'s first, and what the person who reads this wrote under the photo."""
    parts = [escaped(not_a_photo(result.not_photo))] if result.not_photo is not None else []
    parts.append(_compared(result.main, model))
    if result.other is not None:
        parts.append(_compared(result.other, "baseline" if model == "attention" else "attention"))
    else:
        parts.append(_("The other model is not installed here."))
    if words := shortened(one_line(wrote), MAX_CAPTION):
        parts.append(_("you wrote: {words}").format(words=escaped(words)))
    return "\n\n".join(parts)


def _compared(caption: WireCaption, model: str) -> str:
    name = _("the model with attention") if model == "attention" else _("the model without attention")
    return _page([shortened(hedged(replace(caption, beginning="")), MAX_CAPTION), f"{confidence(caption)} · {name}"])


def explained_caption(result: PhotoResult) -> str:
    """The caption whose sheet or chart was asked for, alone, where there is no such picture."""
    return _page([shortened(_explained(result), MAX_CAPTION)])


def heatmap(result: PhotoResult) -> str:
    """What stands under the sheet of one caption: the caption, then what the sheet is, for those who listen."""
    return _page([shortened(_explained(result), MAX_CAPTION - 1 - length(of_the_sheet())), of_the_sheet()])


def of_the_sheet() -> str:
    """What a heatmap sheet shows. Plain text."""
    return _("The picture shows where I find what the words name.")


def _explained(result: PhotoResult) -> str:
    return _whole(result.main).noted or _("I cannot say what is in this picture.")


def weighed_words(result: PhotoResult) -> str:
    """What stands under the chart of a caption: the same figures, for those who listen, as far as there is room."""
    legend = _("For each word, how likely I found it, and in brackets which others I weighed:")
    if any(step.translated for step in result.weighed):
        whence = _("I weigh English words; before an arrow stand the words of the translation that come from one.")
        legend = f"{whence}\n{legend}"
    why = _(
        "I do not always take the likeliest word: whole captions are compared, repetitions are ruled out, and varied "
        "captions are drawn by lot."
    )
    after = [why] if any(_passed_over(step) for step in result.weighed) else []
    around = length("\n".join(["", legend, *after]))
    main = shortened(_explained(result), MAX_CAPTION - around)
    steps = fitting(map(_weighed, result.weighed), MAX_CAPTION - around - length(main))
    return _page([main, legend, *steps, *after])


def _passed_over(step: WeighedWord) -> bool:
    """Whether another word was likelier, also as the figures are shown."""
    return any(p > step.probability and likelihood(p) != likelihood(step.probability) for _word, p in step.others)


def _weighed(step: WeighedWord) -> str:
    others = ", ".join(_likelihood(word, p) for word, p in step.others[:MOST_OTHERS])
    said = _likelihood(step.word, step.probability)
    if step.translated:
        said = f"{step.translated} ← {said}"
    return f"{said} ({others})" if others else said


def _likelihood(word: str, probability: float) -> str:
    return f"{word or drawn_labels().end} {likelihood(probability)}"


def drawn_labels() -> Labels:
    """What is written on pictures."""
    i18n = get_i18n()
    return _drawn_labels(i18n, i18n.current_locale)


@lru_cache
def _drawn_labels(_i18n: I18n, _locale: str) -> Labels:
    return Labels(
        photo=_("photo"),
        attention=_("{peak} of a word's attention in one of {regions} regions"),
        attention_of_each=_("beside each caption: the most of a word's attention in one of {regions} regions"),
        end=_("(end)"),
        still=_("one shot, little changes"),
        moments=_("moments: {count} · how varied: {variedness}"),
        original=_("original"),
        protanopia=_("protanopia"),
        deuteranopia=_("deuteranopia"),
        tritanopia=_("tritanopia"),
    )


def seen_with(kind: Deficiency) -> str:
    """What stands under a photo beside what is seen of it with a colour vision deficiency."""
    match kind:
        case "protanopia":
            return _("The photo, and beside it what people with protanopia (no cones for red) see of it.")
        case "deuteranopia":
            return _("The photo, and beside it what people with deuteranopia (no cones for green) see of it.")
        case "tritanopia":
            return _("The photo, and beside it what people with tritanopia (no cones for blue) see of it.")


def deficiency(kind: Deficiency, *, chosen: bool) -> str:
    """The label of a button."""
    name = drawn_labels().seen_with(kind)
    return f"✓ {name}" if chosen else name


def confidence(caption: WireCaption) -> str:
    """Confidence as a word, with the figure."""
    shown = percent(caption.confidence)
    if shown >= 100 * SURE:
        words = _("sure ({percent} %)")
    elif not is_unsure(caption.confidence):
        words = _("fairly sure ({percent} %)")
    else:
        words = _("unsure ({percent} %)")
    return words.format(percent=shown)


def sampled(result: PhotoResult) -> list[Reading]:
    """The sampled captions, as they were drawn, none twice."""
    return distinct(map(_whole, result.samples))


def numbered(captions: Sequence[Reading], first: int) -> list[str]:
    return [f"{number}. {caption.noted}" for number, caption in enumerate(captions, first)]


def _page(lines: Sequence[str]) -> str:
    """The first line in bold."""
    return "\n".join([f"<b>{escaped(lines[0])}</b>", *map(escaped, lines[1:])])


def no_more_captions() -> str:
    return _("I find no more captions of this picture than those that I have shown.")


def choose_heatmap() -> str:
    return _("Choose the number of a caption, and I will show where I find its words.")


def not_your_answer() -> str:
    return _("Only the person who asked, or an administrator, can delete this.")


def cannot_be_deleted() -> str:
    return _("Telegram does not let me delete this any more: bots can delete a message for 48 hours only.")
