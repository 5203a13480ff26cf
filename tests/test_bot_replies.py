"""Answers fit into Telegram's limits, and nothing in them is taken for markup."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bot import replies
from bot.i18n import create_i18n, locale_of
from model.serving.jobs import JobResult, WireCaption
from tests import bot_api_rules as rules
from tests.fake_queue import captions


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


def test_markup_in_captions_is_shown_as_it_is() -> None:
    result = captions('<b>&amp; "x"</b>', "a < b > c & d", greedy="1 < 2 & <i>3</i>")
    assert as_seen(replies.photo_answer(result)) == [
        "1 < 2 & <i>3</i>",
        "confidence 47 %",
        '• <b>&amp; "x"</b>',
        "• a < b > c & d",
    ]


@pytest.mark.parametrize("sign", ["a", "<", "&", "я", "🐈"])
def test_long_captions_are_cut_to_what_fits(sign: str) -> None:
    result = captions(*(sign * 300 for _ in range(5)), greedy=sign * 200)
    lines = as_seen(replies.photo_answer(result))
    assert lines[0] == sign * 200
    units = rules.utf16_length(sign)
    assert lines[2:] == [f"• {sign * 300}"] * ((1024 - 200 * units - 16) // (300 * units + 3))

    lines = as_seen(replies.photo_answer(captions(greedy=sign * 5000)))
    assert lines[0].endswith("…")
    assert rules.utf16_length("\n".join(lines)) in (1023, 1024)
    assert lines[1:] == ["confidence 47 %"]


def test_exactly_what_fits_is_kept() -> None:
    room = 1024 - len("a\nconfidence 47 %") - len("\n• ")
    assert len(as_seen(replies.photo_answer(captions("b" * room, greedy="a")))) == 3
    assert len(as_seen(replies.photo_answer(captions("b" * (room + 1), greedy="a")))) == 2


def test_each_caption_stays_on_a_line_of_its_own() -> None:
    result = JobResult(WireCaption(" a\ncat ", 1.7), (WireCaption("a\r\n dog", 0.1), WireCaption("  ", 0.1)))
    assert as_seen(replies.photo_answer(result)) == ["a cat", "confidence 100 %", "• a dog"]


def test_no_caption_is_said_in_words() -> None:
    nothing = JobResult(WireCaption("", 0.0), ())
    assert as_seen(replies.photo_answer(nothing))[0] == "I cannot say what is in this picture."
    assert replies.sample_answer(nothing) == "I cannot say what is in this picture."


def test_sample_answers_have_no_repeats_and_fit() -> None:
    assert replies.sample_answer(captions("b", "a", "b", "a <", "a")) == "• b\n• a\n• a &lt;"
    long = replies.sample_answer(captions(*(f"{number} " + "w" * 1500 for number in range(9))))
    assert long.count("\n") == 1
    assert rules.utf16_length(replies.sample_answer(captions("w" * 9000))) == 4096


@pytest.mark.parametrize(
    ("code", "locale"),
    [("en", "en"), ("ru", "ru"), ("ru-RU", "ru"), ("RU", "ru"), ("de", "en"), (None, "en"), ("", "en")],
)
def test_who_reads_which_language(code: str | None, locale: str) -> None:
    assert locale_of(code, create_i18n()) == locale
