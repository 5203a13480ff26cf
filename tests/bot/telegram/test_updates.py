"""Updates that are not what aiogram knows: the picture in them counts."""

from __future__ import annotations

from typing import Any
from unittest.mock import MagicMock

import pytest
from aiogram import Bot
from aiogram.types import MessageEntity, User
from pydantic import ValidationError

from bot.telegram import updates
from bot.telegram.updates import asker, entity_text, is_spoken_to, read_update, understood
from tests.support.fake_telegram import TOKEN

ME = User(id=424242, is_bot=True, first_name="Captions", username="captions_test_bot")
PHOTO = [{"file_id": "a", "file_unique_id": "b", "width": 3, "height": 4}]


def update(**fields: Any) -> dict[str, Any]:
    message = {"message_id": 5, "date": 1, "chat": {"id": 7, "type": "private"}, "photo": PHOTO}
    return {"update_id": 1, "message": {**message, **fields}}


def photo_in(body: dict[str, Any]) -> str:
    message = read_update(body, Bot(TOKEN)).message
    assert message is not None
    assert message.photo is not None
    return message.photo[-1].file_id


@pytest.mark.parametrize(
    "odd",
    [
        {"forward_origin": {"type": "hologram", "date": 1}},
        {"from": {"id": 7, "is_bot": False}},
        {"via_bot": "somebody", "external_reply": [7]},
        {"has_media_spoiler": {"since": 3}},
    ],
)
def test_what_is_not_understood_about_a_photo_does_not_hide_it(
    odd: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    assert photo_in(update(**odd)) == "a"
    for name in odd:
        assert f"message.{name}" in caplog.text
    assert "hologram" not in caplog.text
    assert "somebody" not in caplog.text


@pytest.mark.parametrize(
    ("chat", "fields", "who"),
    [
        ("supergroup", {}, 136817688),
        ("supergroup", {"sender_chat": {"id": -100, "type": "channel"}}, -100),
        ("private", {"sender_chat": {"id": -100, "type": "channel"}}, 136817688),
        ("supergroup", {"from": None}, 7),
    ],
)
def test_who_writes_in_the_name_of_a_chat_is_that_chat(chat: str, fields: dict[str, Any], who: int) -> None:
    fake = {"id": 136817688, "is_bot": True, "first_name": "Channel"}
    message = read_update(update(chat={"id": 7, "type": chat}, **{"from": fake} | fields), Bot(TOKEN)).message
    assert message is not None
    assert asker(message) == who


def test_a_message_that_is_replied_to_keeps_what_is_understood_of_it() -> None:
    replied = update(forward_origin={"type": "hologram"})["message"]
    message = read_update(update(photo=[], text="/sample", reply_to_message=replied), Bot(TOKEN)).message
    assert message is not None
    assert message.reply_to_message is not None
    assert message.reply_to_message.photo is not None
    assert message.reply_to_message.forward_origin is None


@pytest.mark.parametrize(
    "odd",
    [
        {"photo": [{"file_id": "a"}]},
        {"chat": {"id": "x"}},
        {"caption_entities": [{"type": "mention"}]},
        {"reply_to_message": {"message_id": 3}},
        {"forward_origin": {"type": "hologram"}, "photo": "x"},
    ],
)
def test_a_message_that_would_mean_something_else_is_not_understood(odd: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        read_update(update(**odd), Bot(TOKEN))


def test_what_cannot_even_be_reduced_is_not_understood(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(updates, "_without", MagicMock(side_effect=RecursionError))
        assert understood(update(forward_origin={"type": "hologram"}), Bot(TOKEN)) is None
    assert "cannot be read" in caplog.text
    assert understood(update(photo="x"), Bot(TOKEN)) is None


def test_half_a_character_becomes_a_question_mark_of_the_same_length() -> None:
    message = read_update(update(caption="a\ud83d @bot 😀"), Bot(TOKEN)).message
    assert message is not None
    assert message.caption == "a? @bot 😀"


@pytest.mark.parametrize(
    ("offset", "length", "words"),
    [(3, 4, "@bot"), (0, 2, "😀"), (1, 2, "\ufffd "), (3, 99, "@bot"), (99, 1, ""), (0, 0, "")],
)
def test_an_entity_covers_words_even_where_it_does_not_fit(offset: int, length: int, words: str) -> None:
    assert entity_text(MessageEntity(type="mention", offset=offset, length=length), "😀 @bot") == words


def test_an_update_is_not_changed_by_being_read() -> None:
    body = update(forward_origin={"type": "hologram"})
    photo_in(body)
    assert body == update(forward_origin={"type": "hologram"})


@pytest.mark.parametrize(
    ("message", "meant"),
    [
        ({"text": "/sample 3"}, True),
        ({"text": "/sample@captions_test_bot"}, True),
        ({"text": "/sample@another_bot"}, False),
        ({"caption": "what is it, @Captions_Test_Bot?"}, True),
        ({"caption": "what is it?"}, False),
        ({"reply_to_message": {"from": {"id": 424242}}}, True),
        ({"reply_to_message": {"from": {"id": 5}}}, False),
        ({"caption": "it", "caption_entities": [{"type": "text_mention", "user": {"id": 424242}}]}, True),
        ({"text": 7, "entities": "x", "reply_to_message": [None]}, False),
        ({}, False),
    ],
)
def test_who_is_told_of_a_failure_in_a_group(message: dict[str, Any], meant: bool) -> None:
    assert is_spoken_to(ME, message) is meant
