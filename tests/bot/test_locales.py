"""Every text has a translation, the catalogues are compiled, and plurals are right."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po

from bot import replies
from bot.i18n import DOMAIN, LOCALES, create_i18n
from model.serving.queue import Busy
from tests.conftest import ROOT

LANGUAGES = ("en", "ru")


def catalogue(locale: str) -> Catalog:
    with (LOCALES / locale / "LC_MESSAGES" / f"{DOMAIN}.po").open("rb") as file:
        return read_po(file, locale=locale, abort_invalid=True)


def texts(message: Message) -> list[str]:
    return [message.string] if isinstance(message.string, str) else list(message.string or ())


def originals(message: Message) -> tuple[str, ...]:
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


def pairs(messages: Catalog) -> set[tuple[tuple[str, ...], ...]]:
    return {(originals(message), tuple(texts(message))) for message in messages if message.id}


@pytest.mark.parametrize("locale", LANGUAGES)
def test_every_text_in_the_code_has_its_translation(locale: str) -> None:
    used = {found[2] for folder in ("bot", "handlers") for found in extract_from_dir(ROOT / folder)}
    messages = catalogue(locale)
    assert used == {message.id for message in messages if message.id}


@pytest.mark.parametrize("locale", LANGUAGES)
def test_every_translation_is_finished_and_has_the_placeholders_of_the_original(locale: str) -> None:
    messages = catalogue(locale)
    for message in messages:
        if not message.id:
            continue
        assert not message.fuzzy, message.id
        original = message.id if isinstance(message.id, str) else message.id[1]
        assert len(texts(message)) == (1 if isinstance(message.id, str) else messages.num_plurals)
        for text in texts(message):
            assert text.strip(), message.id
            assert sorted(re.findall(r"\{\w*\}", text)) == sorted(re.findall(r"\{\w*\}", original))
            assert re.findall(r"/\w+", text) == re.findall(r"/\w+", original)
            assert not re.search(r"[<>&]", text), "texts are sent as HTML"


@pytest.mark.parametrize("locale", LANGUAGES)
def test_the_compiled_catalogue_is_that_of_the_text(locale: str) -> None:
    messages = catalogue(locale)
    with (LOCALES / locale / "LC_MESSAGES" / f"{DOMAIN}.mo").open("rb") as file:
        compiled = read_mo(file)
    assert pairs(compiled) == pairs(messages), "run `make locales`"
    assert compiled.plural_expr == messages.plural_expr


def calls_in(path: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def name_of(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


SOURCES = [path for folder in ("bot", "handlers") for path in sorted((ROOT / folder).rglob("*.py"))]
TRANSLATORS = {"_": 1, "N_": 1, "gettext": 1, "ngettext": 2, "lazy_gettext": 1, "lazy_ngettext": 2}  # → texts they take
SENDERS = {"reply", "answer", "reply_photo", "reply_document", "send_message", "edit_text", "edit", "acknowledge"}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_whole_texts_are_translated_and_only_translated_texts_are_sent(path: Path) -> None:
    """An f-string, or a text put together in the call, is never found in a catalogue."""
    for call in calls_in(path):
        texts = call.args[: TRANSLATORS.get(name_of(call), 0)]
        for text in texts:
            assert isinstance(text, ast.Constant), f"{path}:{text.lineno}: put values in with .format()"
        if name_of(call) in SENDERS:
            for argument in [*call.args, *(keyword.value for keyword in call.keywords if keyword.arg == "caption")]:
                spoken = isinstance(argument, ast.JoinedStr) or (
                    isinstance(argument, ast.Constant) and isinstance(argument.value, str)
                )
                assert not spoken, f"{path}:{argument.lineno}: words for people belong into bot/replies"


def test_texts_are_found_in_every_package() -> None:
    found = {
        str(path.relative_to(ROOT)): {name_of(call) for call in calls_in(path)} & TRANSLATORS.keys() for path in SOURCES
    }
    extracted = {folder + "/" + entry[0] for folder in ("bot", "handlers") for entry in extract_from_dir(ROOT / folder)}
    assert {path for path, names in found.items() if names} == extracted
    assert "bot/replies/settings.py" in extracted


def test_english_says_what_the_code_says() -> None:
    for message in catalogue("en"):
        if message.id:
            assert message.string == message.id


@pytest.mark.parametrize(
    ("locale", "count", "words"),
    [
        ("en", 1, "1 request of yours"),
        ("en", 2, "2 requests of yours"),
        ("ru", 1, "1 ваш запрос"),
        ("ru", 3, "3 ваших запроса"),
        ("ru", 11, "11 ваших запросов"),
        ("ru", 21, "21 ваш запрос"),
        ("ru", 60, "60 ваших запросов"),
    ],
)
def test_plurals(locale: str, count: int, words: str) -> None:
    i18n = create_i18n()
    with i18n.context(), i18n.use_locale(locale):
        assert words in replies.failure(Busy(count))
