"""Answers fit into Telegram's limits, and nothing in them is taken for markup."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiogram.utils.i18n import get_i18n

from bot import replies
from bot.i18n import create_i18n, locale_of
from bot.replies.text import spoken
from bot.replies.translated import shown
from model.doubt import NotPhoto, english
from model.serving.tasks.base import WireTranslation
from model.serving.tasks.photo import PhotoResult, WireCaption
from model.speech import LONGEST_TEXT
from tests.support import bot_api_rules as rules
from tests.support.fake_queue import captions


@pytest.fixture(autouse=True)
def _english() -> Iterator[None]:
    i18n = create_i18n()
    with i18n.context(), i18n.use_locale("en"):
        yield


def as_seen(markup: str, limit: int = rules.MAX_CAPTION) -> list[str]:
    """The lines a person sees. Raises where Telegram would refuse."""
    text, entities = rules.formatted({"caption": markup, "parse_mode": "HTML"}, "caption", limit)
    assert [entity["type"] for entity in entities] == ["bold"]
    assert entities[0]["offset"] == 0
    lines: list[str] = text.split("\n")
    assert entities[0]["length"] == rules.utf16_length(lines[0])
    return lines


def test_what_is_read_aloud_ends_with_a_whole_caption() -> None:
    captions = [f"{number}. " + "a man in a black and white shirt stands on the street " * 2 for number in range(1, 20)]
    text = spoken(captions)
    assert 800 < len(text) <= LONGEST_TEXT
    assert text.split(". 1")[0].startswith(captions[0])
    assert text.endswith(captions[0][3:])


def test_markup_in_captions_is_shown_as_it_is() -> None:
    result = captions('<b>&amp; "x"</b>', "a < b > c & d", greedy="1 < 2 & <i>3</i>")
    words = replies.photo_answer(result)
    assert as_seen(words.markup) == [
        "1 < 2 & <i>3</i>",
        "fairly sure (47 %)",
        '1. <b>&amp; "x"</b>',
        "2. a < b > c & d",
    ]
    more = replies.more_on_page(words.markup, [shown("e < f")], 3, 1024)
    assert as_seen(more.markup)[3:] == ["2. a < b > c & d", "3. e < f"]


@pytest.mark.parametrize("sign", ["a", "<", "&", "я", "🐈"])
def test_long_captions_are_cut_to_what_fits(sign: str) -> None:
    samples = [f"{number}{sign * 299}" for number in range(5)]
    result = captions(*samples, greedy=sign * 200)
    words = replies.photo_answer(result)
    lines = as_seen(words.markup)
    assert lines[0] == sign * 200
    units = rules.utf16_length(sign)
    fitting = (1024 - 200 * units - 19) // (299 * units + 5)
    assert lines[2:] == [f"{number}. {text}" for number, text in enumerate(samples[:fitting], 1)]
    assert words.captions == tuple(samples[:fitting])

    lines = as_seen(replies.photo_answer(captions(greedy=sign * 5000)).markup)
    assert lines[0].endswith("…")
    assert rules.utf16_length("\n".join(lines)) in (1023, 1024)
    assert lines[1:] == ["fairly sure (47 %)"]


def test_exactly_what_fits_is_kept() -> None:
    room = 1024 - len("a\nfairly sure (47 %)") - len("\n1. ")
    assert len(as_seen(replies.photo_answer(captions("b" * room, greedy="a")).markup)) == 3
    assert len(as_seen(replies.photo_answer(captions("b" * (room + 1), greedy="a")).markup)) == 2
    page = replies.photo_answer(captions("b", greedy="a")).markup
    room = 1024 - len("a\nfairly sure (47 %)\n1. b\n2. ")
    assert replies.more_on_page(page, [shown("c" * room)], 2, 1024).captions == ("c" * room,)
    assert replies.more_on_page(page, [shown("c" * (room + 1))], 2, 1024) == replies.Words(page, ())


def test_each_caption_stays_on_a_line_of_its_own() -> None:
    result = PhotoResult(WireCaption(" a\ncat ", 1.7), (WireCaption("a\r\n dog", 0.1), WireCaption("  ", 0.1)))
    assert as_seen(replies.photo_answer(result).markup) == ["a cat", "sure (100 %)", "1. a dog"]


def test_no_caption_is_said_in_words() -> None:
    nothing = PhotoResult(WireCaption("", 0.0), ())
    assert as_seen(replies.photo_answer(nothing).markup)[0] == "I cannot say what is in this picture."
    assert replies.sample_answer(nothing) == replies.Words("I cannot say what is in this picture.", ())


def test_sample_answers_have_no_repeats_and_fit() -> None:
    words = replies.sample_answer(captions("b", "a", "b", "a <", "a"))
    assert words == replies.Words("<b>b</b>\n2. a\n3. a &lt;", ("b", "a", "a <"))
    long = replies.sample_answer(captions(*(f"{number} " + "w" * 1500 for number in range(9))))
    assert (long.markup.count("\n"), len(long.captions)) == (1, 2)
    assert len(as_seen(replies.sample_answer(captions("w" * 9000)).markup, 4096)[0]) == 4096


@pytest.mark.parametrize(
    ("confidence", "words"),
    [
        (-0.1, "unsure (0 %)"),
        (0.05, "unsure (5 %)"),
        (0.33, "unsure (33 %)"),
        (0.34, "fairly sure (34 %)"),
        (0.66, "fairly sure (66 %)"),
        (0.67, "sure (67 %)"),
        (1.0, "sure (100 %)"),
    ],
)
def test_confidence_is_a_word_with_its_figure(confidence: float, words: str) -> None:
    assert replies.confidence(WireCaption("a cat", confidence)) == words


def test_an_unsure_caption_is_hedged_and_its_likely_beginning_comes_first() -> None:
    unsure = WireCaption("a <cat> on a blue sofa", 0.2)
    result = PhotoResult(unsure, (WireCaption("a dog", 0.1),))
    said = "perhaps: a <cat> on a blue sofa"
    assert as_seen(replies.photo_answer(result).markup) == [said, "unsure (20 %)", "1. a dog"]
    assert replies.spoken_caption(result, "en") == said
    begun = PhotoResult(dataclasses.replace(unsure, beginning="a <cat>"), ())
    assert as_seen(replies.photo_answer(begun).markup) == [
        "perhaps: a <cat>",
        "unsure (20 %)",
        "perhaps in full: a <cat> on a blue sofa",
    ]
    assert as_seen(replies.explained_caption(begun)) == ["a <cat> on a blue sofa"]
    doubtful = PhotoResult(WireCaption("a cat on a sofa", 0.4, "a cat"), (WireCaption("a cat", 0.3),))
    assert as_seen(replies.photo_answer(doubtful).markup) == [
        "a cat",
        "fairly sure (40 %)",
        "perhaps in full: a cat on a sofa",
    ]


@pytest.mark.parametrize("kind", ["blank", "drawing", "noise", "screen", "text", "hologram"])
def test_of_what_is_no_photo_no_caption_is_shown_unless_it_is_asked_for(kind: str) -> None:
    found = NotPhoto(kind, 0.97)
    result = dataclasses.replace(captions("a <cat>", "a dog"), not_photo=found)
    said = english(found)
    assert said.endswith("I only describe photos.")
    assert replies.photo_answer(result) == replies.Words(f"<b>{said}</b>", ())
    assert replies.main_caption(result) == said
    assert replies.sample_answer(result) == replies.Words(
        f"<b>{said}</b>\n1. a &lt;cat&gt;\n2. a dog", ("a <cat>", "a dog")
    )
    assert replies.comparison(result, "attention").startswith(f"{said}\n\n<b>a cat on a sofa</b>")
    assert replies.album_answer({1: result}) == f"1. {said}"
    with get_i18n().use_locale("ru"):
        assert "я описываю только фото" in replies.main_caption(result)
        assert replies.album_captions({1: result}, "en") == [f"1. {said}"]  # read aloud by an English voice


def test_the_models_are_compared_side_by_side() -> None:
    result = PhotoResult(WireCaption("a <cat>", 0.7), (), other=WireCaption("a dog", 0.2))
    assert replies.comparison(result, "baseline") == (
        "<b>a &lt;cat&gt;</b>\nsure (70 %) · the model without attention\n\n"
        "<b>perhaps: a dog</b>\nunsure (20 %) · the model with attention"
    )
    alone = replies.comparison(PhotoResult(WireCaption("", 0.0), ()), "attention")
    assert alone.endswith("The other model is not installed here.")


@pytest.mark.parametrize(
    ("code", "locale"),
    [("en", "en"), ("ru", "ru"), ("ru-RU", "ru"), ("RU", "ru"), ("de", "en"), (None, "en"), ("", "en")],
)
def test_who_reads_which_language(code: str | None, locale: str) -> None:
    assert locale_of(code, create_i18n()) == locale


def test_no_two_texts_have_one_name() -> None:
    """`bot.replies` gathers its modules: of two functions of one name, one would be lost."""
    names = [
        node.name
        for module in Path(replies.__path__[0]).glob("*.py")
        for node in ast.parse(module.read_text("utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]


def test_no_caption_of_a_picture_comes_twice() -> None:
    best = captions(greedy="a cat").greedy
    drawn = captions("a dog", "a cat", "a dog", "a cat sits", greedy="a cat sits")
    words = replies.photo_answer(PhotoResult(drawn.greedy, drawn.samples, best=best))
    assert as_seen(words.markup)[2:] == ["1. a dog", "2. a cat sits"]
    assert words.captions == ("a dog", "a cat sits")


@pytest.mark.parametrize(
    ("caption", "sentence"),
    [
        ("a cat on a sofa", "A cat on a sofa."),
        ("a photo of a cat", "A cat."),
        ("A black and white picture of two men", "Two men."),
        ("there is an image of the sea.", "The sea."),
        ("a man with a photo of a cat", "A man with a photo of a cat."),
        ("a photograph of ", "A photograph of."),
        ("ёж!", "Ёж!"),
    ],
)
def test_an_alt_text_is_a_sentence_about_what_is_seen(caption: str, sentence: str) -> None:
    assert replies.alt_text(replies.one_line(caption)) == sentence


def test_an_alt_text_is_in_one_language_and_a_note_is_in_the_readers() -> None:
    translation = WireTranslation("кошка", 0.9, (), ("кошка",), ((1,),))
    doubtful = WireCaption("a cat", 0.05, translation=translation)
    refused = dataclasses.replace(translation, failed=("low probability",))
    with get_i18n().use_locale("ru"):
        assert replies.alt_text_answer(PhotoResult(doubtful, ())).markup == "<pre>Возможно: кошка.</pre>"
        words = replies.alt_text_answer(PhotoResult(dataclasses.replace(doubtful, translation=refused), ())).markup
        assert words == "<pre>Perhaps: a cat.</pre>\n(без\N{NO-BREAK SPACE}перевода)"


def test_no_word_is_broken_where_it_can_be_helped() -> None:
    assert replies.cut_at_word("one two three", 13) == "one two three"
    assert replies.cut_at_word("one two three", 12) == "one two…"
    assert replies.cut_at_word("one two three", 8) == "one two…"
    assert replies.cut_at_word("one two three", 7) == "one…"
    assert replies.cut_at_word("indivisible", 5) == "indi…"


def test_an_alt_text_is_hedged_where_the_caption_is_doubtful() -> None:
    doubtful = WireCaption("a photo of a cat on a sofa", 0.05)
    assert replies.alt_text_answer(PhotoResult(doubtful, (), None)).markup == "<pre>Perhaps: a cat on a sofa.</pre>"
