"""Requests to Telegram: paced per chat, repeated when they fail, and held back when Telegram says so."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import aiohttp
import pytest
from aiogram import Bot
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.exceptions import (
    TelegramForbiddenError,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
)
from aiogram.methods import (
    AnswerInlineQuery,
    BanChatMember,
    DeleteMessage,
    EditMessageText,
    GetFile,
    SendChatAction,
    SendMediaGroup,
    SendMessage,
    SendPhoto,
    TelegramMethod,
)
from aiogram.types import (
    BufferedInputFile,
    FSInputFile,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InlineQueryResultArticle,
    InputMediaPhoto,
    InputTextMessageContent,
    Message,
    ReplyParameters,
)
from aiohttp import BytesPayload, FormData, web
from aiohttp.test_utils import TestServer

from bot.telegram import session
from bot.telegram.pacing import Pacer
from bot.telegram.session import UNREAD, RetryMiddleware, Session
from tests.support.clock import Clock, settled

ANN, GROUP = 7, -100


class Telegram:
    """Notes when each request came; `failures` are raised first, one each."""

    def __init__(self) -> None:
        self.clock = Clock(0.0)
        self.pacer = Pacer(self.clock, self.clock.sleep)
        self.middleware = RetryMiddleware(self.pacer, clock=self.clock, sleep=self.clock.sleep)
        self.failures: list[Exception] = []
        self.arrived: list[tuple[float, TelegramMethod[Any]]] = []
        self.tasks: list[asyncio.Task[Any]] = []

    def send(self, *methods: TelegramMethod[Any]) -> list[asyncio.Task[Any]]:
        async def arrive(bot: Bot, method: TelegramMethod[Any]) -> Any:
            self.arrived.append((self.clock.now, method))
            if self.failures:
                raise self.failures.pop(0)
            return "done"

        bot = cast(Bot, None)
        new = [asyncio.create_task(self.middleware(cast(Any, arrive), bot, method)) for method in methods]
        self.tasks += new
        return new

    def times(self, chat: int | None = None) -> list[float]:
        return [round(when, 3) for when, method in self.arrived if chat in (None, getattr(method, "chat_id", None))]


def text(chat: int = ANN) -> SendMessage:
    return SendMessage(chat_id=chat, text="x")


async def test_a_private_chat_gets_a_few_at_once_and_then_one_a_second() -> None:
    telegram = Telegram()
    telegram.send(*(text() for _ in range(13)))
    await telegram.clock.pass_time(60)
    times = telegram.times()
    assert times[9] < 0.4
    assert [later - before for before, later in pairwise(times[9:])] == pytest.approx([1.0] * 3, abs=0.4)


async def test_a_group_gets_no_more_than_twenty_a_minute_for_long() -> None:
    telegram = Telegram()
    telegram.send(*(text(GROUP) for _ in range(60)))
    await telegram.clock.pass_time(600)
    times = telegram.times()
    assert len(times) == 60
    assert len([when for when in times if 30 <= when < 90]) == 20


async def test_one_chat_does_not_hold_up_another() -> None:
    telegram = Telegram()
    telegram.send(*(text() for _ in range(20)), text(8))
    await telegram.clock.pass_time(1)
    assert telegram.times(8)[0] < 0.5


async def test_over_all_no_more_than_thirty_a_second() -> None:
    telegram = Telegram()
    telegram.send(*(text(chat) for chat in range(1, 101)))
    await telegram.clock.pass_time(10)
    times = telegram.times()
    assert len(times) == 100
    for start in times:
        assert len([when for when in times if start <= when < start + 0.999]) <= 30
    assert times[-1] < 3.5


async def test_an_album_counts_as_its_items() -> None:
    telegram = Telegram()
    album = SendMediaGroup(chat_id=ANN, media=[InputMediaPhoto(media="x")] * 10)
    telegram.send(album, text())
    await telegram.clock.pass_time(60)
    first, second = telegram.times()
    assert second - first == pytest.approx(1.0, abs=0.5)  # the burst is spent


async def test_edits_count_and_what_sends_nothing_does_not_wait() -> None:
    telegram = Telegram()
    edits = [EditMessageText(chat_id=ANN, message_id=1, text=str(number)) for number in range(11)]
    telegram.send(*edits, GetFile(file_id="x"))
    await telegram.clock.pass_time(0.5)
    assert len(telegram.arrived) == 11  # ten edits, and what does not wait
    assert [when for when, method in telegram.arrived if isinstance(method, GetFile)] == [0.0]
    await telegram.clock.pass_time(2)
    assert len(telegram.arrived) == 12


async def test_a_chat_action_is_left_out_when_messages_wait() -> None:
    telegram = Telegram()
    telegram.send(SendChatAction(chat_id=ANN, action="typing"))
    telegram.send(*(text() for _ in range(12)))
    await settled()
    [action] = telegram.send(SendChatAction(chat_id=ANN, action="typing"))
    await telegram.clock.pass_time(0.5)
    assert await action is True
    assert len([1 for _, method in telegram.arrived if isinstance(method, SendChatAction)]) == 1


def flood(seconds: int, method: TelegramMethod[Any]) -> TelegramRetryAfter:
    return TelegramRetryAfter(method, "Too Many Requests", seconds)


async def test_a_flood_wait_silences_its_chat_for_everybody_and_no_other_chat() -> None:
    telegram = Telegram()
    telegram.failures = [flood(20, text())]
    first = telegram.send(text())
    await telegram.clock.pass_time(0.1)
    telegram.send(text(), text(), text(8), GetFile(file_id="x"))
    await telegram.clock.pass_time(19)
    assert len(telegram.times(ANN)) == 1
    assert len(telegram.times(8)) == 1
    assert len(telegram.arrived) == 3
    await telegram.clock.pass_time(10)
    assert first[0].done()
    after = telegram.times(ANN)[1:]
    assert len(after) == 3
    assert after[0] >= 20
    assert after[2] - after[0] >= 1.9  # and no burst when it is over


@pytest.mark.parametrize(
    ("refused", "other"),
    [
        (GetFile(file_id="x"), AnswerInlineQuery(inline_query_id="1", results=[])),
        (DeleteMessage(chat_id=ANN, message_id=1), DeleteMessage(chat_id=8, message_id=1)),
        (EditMessageText(inline_message_id="guest", text="x"), EditMessageText(inline_message_id="other", text="x")),
    ],
)
async def test_a_flood_wait_holds_up_what_is_alike_and_nothing_else(
    refused: TelegramMethod[Any], other: TelegramMethod[Any]
) -> None:
    telegram = Telegram()
    telegram.failures = [flood(20, refused)]
    telegram.send(refused)
    await settled()
    telegram.send(text(8), other, refused)
    await telegram.clock.pass_time(19)
    assert [method for _, method in telegram.arrived] == [refused, text(8), other]
    await telegram.clock.pass_time(5)
    assert [method for _, method in telegram.arrived[3:]] == [refused, refused]


async def test_failures_are_repeated_with_growing_pauses_and_not_for_ever() -> None:
    telegram = Telegram()
    telegram.failures = [TelegramServerError(text(), "500"), TelegramNetworkError(text(), "timeout")]
    [sent] = telegram.send(text())
    await telegram.clock.pass_time(10)
    assert await sent == "done"
    telegram.failures = [TelegramNetworkError(text(), "timeout") for _ in range(1000)]
    [sent] = telegram.send(text())
    await telegram.clock.pass_time(300)
    with pytest.raises(TelegramNetworkError):
        await sent
    assert 5 < len(telegram.arrived) < 50


async def test_a_blocked_bot_does_not_insist() -> None:
    telegram = Telegram()
    telegram.failures = [TelegramForbiddenError(text(), "bot was blocked by the user")]
    [sent] = telegram.send(text())
    await telegram.clock.pass_time(100)
    with pytest.raises(TelegramForbiddenError):
        await sent
    assert len(telegram.arrived) == 1


async def test_an_answer_follows_a_group_that_became_a_supergroup() -> None:
    telegram = Telegram()
    telegram.failures = [TelegramMigrateToChat(text(GROUP), "upgraded", -100500)]
    question = ReplyParameters(message_id=3)
    [sent] = telegram.send(SendMessage(chat_id=GROUP, text="x", reply_parameters=question))
    await telegram.clock.pass_time(5)
    assert await sent == "done"
    method = telegram.arrived[-1][1]
    assert isinstance(method, SendMessage)
    assert (method.chat_id, method.text, method.reply_parameters) == (-100500, "x", None)


async def test_chats_are_forgotten() -> None:
    telegram = Telegram()
    telegram.send(*(text(chat) for chat in range(1, 1001)))
    await telegram.clock.pass_time(200)
    telegram.send(text(1))
    await telegram.clock.pass_time(1)
    assert len(telegram.arrived) == 1001
    assert telegram.pacer.chats == 1


async def test_what_nobody_waits_for_leaves_half_of_a_burst_and_never_queues() -> None:
    telegram = Telegram()
    assert telegram.pacer.has_spare(ANN)
    telegram.send(*(text() for _ in range(5)))
    await telegram.clock.pass_time(0.5)
    assert telegram.pacer.has_spare(ANN)
    telegram.send(*(text() for _ in range(2)))
    await telegram.clock.pass_time(0.5)
    assert not telegram.pacer.has_spare(ANN)
    assert telegram.pacer.has_spare(GROUP)
    await telegram.clock.pass_time(2.0)
    assert telegram.pacer.has_spare(ANN)
    telegram.send(*(text(1000 + number) for number in range(60)))  # as many as the bot sends in two seconds
    await telegram.clock.pass_time(1.0)
    assert not telegram.pacer.has_spare(GROUP)
    await telegram.clock.pass_time(2.0)
    assert telegram.pacer.has_spare(GROUP)


BUTTON = InlineKeyboardButton(text="Ещё", callback_data="more:1")
WITHOUT_FILES: list[TelegramMethod[Any]] = [
    SendChatAction(chat_id=ANN, action="typing"),
    SendMessage(
        chat_id=GROUP,
        text="<b>кошка</b>",
        disable_notification=False,
        reply_parameters=ReplyParameters(message_id=3, quote="a"),
        reply_markup=InlineKeyboardMarkup(inline_keyboard=[[BUTTON], []]),
    ),
    AnswerInlineQuery(
        inline_query_id="1",
        results=[
            InlineQueryResultArticle(id="a", title="b", input_message_content=InputTextMessageContent(message_text="c"))
        ],
        next_offset="",
    ),
    SendMediaGroup(chat_id=ANN, media=[InputMediaPhoto(media="kept", caption="a cat")]),
    BanChatMember(chat_id=GROUP, user_id=ANN, until_date=timedelta(days=400)),
]


@pytest.mark.parametrize("method", WITHOUT_FILES, ids=lambda method: method.__api_method__)
async def test_json_says_what_a_form_would(method: TelegramMethod[Any]) -> None:
    bot = Bot("42:TEST", default=DefaultBotProperties(parse_mode="HTML", protect_content=True))
    body = Session().build_form_data(bot, method)
    assert isinstance(body, BytesPayload)
    said = json.loads(body.decode())
    form = AiohttpSession().build_form_data(bot, method)
    expected = {options["name"]: value for options, _, value in form._fields}
    assert said.keys() == expected.keys()
    for name, value in expected.items():
        assert said[name] == (value if isinstance(said[name], str) else json.loads(value))


async def test_half_of_a_utf_16_pair_is_sent_as_it_is() -> None:
    body = Session().build_form_data(Bot("42:TEST"), SendMessage(chat_id=ANN, text="a\ud83d"))
    assert isinstance(body, BytesPayload)
    assert json.loads(body.decode()) == {"chat_id": ANN, "text": "a\ud83d"}


async def test_of_a_message_that_was_sent_what_nobody_needs_is_not_read() -> None:
    chat = {"id": ANN, "type": "private"}
    sent = {"message_id": 5, "date": 1, "chat": chat, "text": "a cat"}
    answer = json.dumps({"ok": True, "result": {**sent, **dict.fromkeys(UNREAD, "of a new kind")}})
    method = SendMessage(chat_id=ANN, text="a cat")
    message = Session().check_response(Bot("42:TEST"), method, 200, answer).result
    assert isinstance(message, Message)
    assert (message.message_id, message.text, message.reply_markup) == (5, "a cat", None)
    assert set(UNREAD) == {"reply_to_message", "reply_markup", "from", "entities", "caption_entities"}


PHOTO = BufferedInputFile(b"\xff\xd8--\r\nJPEG\r\n", "кот.jpg")
WITH_FILES: list[TelegramMethod[Any]] = [
    SendPhoto(
        chat_id=ANN,
        photo=PHOTO,
        caption="<b>a cat</b>\n--\r\n🐈",
        has_spoiler=True,
        reply_parameters=ReplyParameters(message_id=3, allow_sending_without_reply=True),
        reply_markup=InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="↩", callback_data="r")]]),
    ),
    SendMediaGroup(chat_id=ANN, media=[InputMediaPhoto(media=PHOTO, caption="a cat"), InputMediaPhoto(media=PHOTO)]),
]


async def received(method: TelegramMethod[Any], made_by: AiohttpSession) -> tuple[Any, list[Any]]:
    """What a server reads of a request: its parameters, with the names of files in order, and the files."""
    params: dict[str, Any] = {}
    files: dict[str, Any] = {}

    async def read(request: web.Request) -> web.Response:
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                files[name] = value.filename, value.content_type, value.file.read()
            else:
                params[name] = value
        return web.Response()

    application = web.Application()
    application.router.add_post("/", read)
    async with TestServer(application) as server:
        bot = Bot("42:TEST", default=DefaultBotProperties(parse_mode="HTML", protect_content=True))
        form = made_by.build_form_data(bot, method)
        async with aiohttp.ClientSession() as client, client.post(server.make_url("/"), data=form):
            pass
    text = json.dumps(params)
    for number, name in enumerate(files):
        text = text.replace(name, f"file-{number}")
    return json.loads(text), list(files.values())


@pytest.mark.parametrize("method", WITH_FILES, ids=lambda method: method.__api_method__)
async def test_a_form_in_one_piece_says_what_one_in_many_would(method: TelegramMethod[Any]) -> None:
    assert isinstance(Session().build_form_data(Bot("42:TEST"), method), BytesPayload)
    params, files = await received(method, Session())
    expected, expected_files = await received(method, AiohttpSession())
    assert files == expected_files
    assert params.keys() == expected.keys()
    for name, value in expected.items():
        assert params[name] == value or json.loads(params[name]) == json.loads(value)


async def test_large_files_and_those_on_the_disk_are_not_read_into_one_piece(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"JPEG")
    on_disk = SendPhoto(chat_id=ANN, photo=FSInputFile(tmp_path / "a.jpg"))
    assert isinstance(Session().build_form_data(Bot("42:TEST"), on_disk), FormData)
    monkeypatch.setattr(session, "ONE_PIECE", 10)
    assert isinstance(Session().build_form_data(Bot("42:TEST"), WITH_FILES[0]), FormData)


async def test_half_of_a_utf_16_pair_beside_a_file_is_left_to_aiogram() -> None:
    method = SendPhoto(chat_id=ANN, photo=PHOTO, caption="a\ud83d")
    assert isinstance(Session().build_form_data(Bot("42:TEST"), method), FormData)
