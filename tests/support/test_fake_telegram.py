"""The loopback Bot API server behaves as the official documentation says, and aiogram can read it."""

import asyncio
import contextlib
import io
import json
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiogram import Bot, types
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import (
    ClientDecodeError,
    TelegramBadRequest,
    TelegramConflictError,
    TelegramForbiddenError,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiohttp import web
from PIL import Image

from tests.support import bot_api_rules as rules
from tests.support.bot_api_rules import ApiError, parse_html
from tests.support.fake_telegram import TOKEN, FakeTelegram, Person
from tests.support.pictures import picture


class FastSession(AiohttpSession):
    """aiogram waits 250 ms for TLS connections to close; there are none here."""

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()


def connect(server: FakeTelegram, token: str = TOKEN) -> Bot:
    session = FastSession(api=TelegramAPIServer.from_base(server.url))
    return Bot(token, session=session, default=DefaultBotProperties(parse_mode="HTML"))


@pytest.fixture
async def server() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        yield fake


@pytest.fixture
async def bot(server: FakeTelegram) -> AsyncIterator[Bot]:
    async with connect(server) as bot:
        yield bot


def upload(data: bytes, name: str = "sheet.jpg") -> types.BufferedInputFile:
    return types.BufferedInputFile(data, name)


def keyboard(*data: str) -> types.InlineKeyboardMarkup:
    buttons = [types.InlineKeyboardButton(text=each.title(), callback_data=each) for each in data]
    return types.InlineKeyboardMarkup(inline_keyboard=[buttons])


async def call(server: FakeTelegram, method: str, token: str = TOKEN, **request: Any) -> tuple[int, Any]:
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{server.url}/bot{token}/{method}", **request) as response,
    ):
        return response.status, await response.json()


# Requests


async def test_a_wrong_token_is_unauthorized(server: FakeTelegram) -> None:
    assert await call(server, "getMe", token="1:wrong") == (
        401,
        {"ok": False, "error_code": 401, "description": "Unauthorized"},
    )
    async with connect(server, "1:wrong") as bot:
        with pytest.raises(TelegramUnauthorizedError):
            await bot.get_me()


async def test_an_unknown_method_is_not_found(server: FakeTelegram) -> None:
    assert (await call(server, "sendPicture"))[0] == 404
    assert server.violations == ["sendPicture: no such method"]


async def test_parameters_come_in_every_documented_way(server: FakeTelegram, ann: Person) -> None:
    values = {"chat_id": ann.id, "text": "hello"}
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("chat_id", str(ann.id))
    form.add_field("text", "hello")
    for request in ({"json": values}, {"data": values}, {"params": values}, {"data": form}):
        status, body = await call(server, "sendMessage", **request)
        assert (status, body["result"]["text"], body["result"]["chat"]["id"]) == (200, "hello", ann.id)
    assert [each.params["chat_id"] for each in server.sent(ann.id)] == [ann.id] * 4
    assert server.violations == server.warnings == []


async def test_parameters_are_checked_against_the_documentation(server: FakeTelegram, ann: Person) -> None:
    async def refused(method: str, **values: Any) -> str:
        status, body = await call(server, method, json=values)
        assert status == 400
        return str(body["description"])

    assert await refused("sendMessage", chat_id=ann.id) == "Bad Request: message text is empty"
    assert await refused("sendMessage", text="x") == "Bad Request: chat_id is empty"
    assert await refused("sendMessage", text="x", chat_id=5) == "Bad Request: chat not found"
    assert "message_id" in await refused("editMessageText", text="x", chat_id=ann.id, message_id="one")
    assert "JSON" in await refused("sendMessage", text="x", chat_id=ann.id, reply_markup="{")
    assert "no photo" in await refused("sendPhoto", chat_id=ann.id)
    assert len(server.violations) == 6
    assert (await call(server, "sendMessage", json={"chat_id": ann.id, "text": "x", "new": 1}))[0] == 200
    assert server.warnings == ["sendMessage: unknown parameter 'new'"]


# Updates


async def test_a_poll_wakes_up_as_soon_as_a_person_speaks(bot: Bot, ann: Person) -> None:
    poll = asyncio.create_task(bot.get_updates(timeout=20))
    await asyncio.sleep(0.05)
    assert not poll.done()
    started = time.monotonic()
    await ann.send_text("/start@captions_test_bot now")
    [update] = await poll
    assert time.monotonic() - started < 1
    assert update.message is not None
    assert update.message.from_user is not None
    assert update.message.from_user.language_code == "en"
    assert update.message.entities is not None
    assert update.message.entities[0].extract_from(update.message.text or "") == "/start@captions_test_bot"


async def test_a_poll_ends_with_its_timeout(bot: Bot) -> None:
    started = time.monotonic()
    assert await bot.get_updates(timeout=1) == []
    assert 0.9 < time.monotonic() - started < 2


async def test_updates_come_again_until_an_offset_confirms_them(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    messages = [await ann.send_text(str(number)) for number in range(3)]
    first = await bot.get_updates(limit=2)
    assert [update.update_id for update in first] == [server.update_id(each) for each in messages[:2]]
    assert await bot.get_updates(limit=2) == first
    assert not server.confirmed(messages[0])
    [last] = await bot.get_updates(offset=first[-1].update_id + 1)
    assert last.update_id == server.update_id(messages[2])
    assert [server.confirmed(each) for each in messages] == [True, True, False]


async def test_only_allowed_updates_are_delivered(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    await bot.get_updates(allowed_updates=["callback_query"])
    await ann.send_text("unheard")
    assert await bot.get_updates() == []
    assert server.warnings == ["update message is not in allowed_updates"]


async def test_the_older_of_two_pollers_gets_a_conflict(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    older = asyncio.create_task(bot.get_updates(timeout=20))
    await asyncio.sleep(0.05)
    newer = asyncio.create_task(bot.get_updates(timeout=20))
    with pytest.raises(TelegramConflictError, match="terminated by other getUpdates request"):
        await older
    await ann.send_text("hello")
    assert len(await newer) == 1


async def test_a_killed_poller_and_a_half_sent_request_do_no_harm(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    for head in (
        f"GET /bot{TOKEN}/getUpdates?timeout=50 HTTP/1.1\r\nHost: x\r\n\r\n",
        f"POST /bot{TOKEN}/sendPhoto HTTP/1.1\r\nHost: x\r\nContent-Length: 9000\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n--B\r\n"
        'Content-Disposition: form-data; name="caption"\r\n\r\nhalf a cap',
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
    sent = await ann.send_text("still there?")
    assert [update.update_id for update in await bot.get_updates(timeout=5)] == [server.update_id(sent)]
    assert server.violations == []
    assert ann.chat_log() == ["1 Ann: still there?"]


async def test_a_webhook_is_repeated_until_it_answers_well(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    seen: list[tuple[str | None, int]] = []

    async def hook(request: web.Request) -> web.Response:
        update = await request.json()
        seen.append((request.headers.get("X-Telegram-Bot-Api-Secret-Token"), update["update_id"]))
        return web.Response(status=500 if len(seen) == 1 else 200)

    app = web.Application()
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        await bot.set_webhook(f"http://127.0.0.1:{runner.addresses[0][1]}/hook", secret_token="s3cret")
        with pytest.raises(TelegramConflictError, match="webhook is active"):
            await bot.get_updates()
        sent = await ann.send_text("hello")
        assert await server.until(lambda: server.confirmed(sent) or None, 60)
    finally:
        await runner.cleanup()
    assert seen == [("s3cret", server.update_id(sent))] * 2
    await bot.delete_webhook()
    assert (await bot.get_webhook_info()).url == ""
    assert await bot.get_updates() == []


# What people send


async def test_everything_a_person_sends_is_readable(bot: Bot, ann: Person) -> None:
    data = picture(640, 480)
    text = await ann.send_text("hi")
    photo = await ann.send_photo(data, "what is it?", reply_to=text)
    await ann.send_document(data, "cat.png", "image/png", "a file")
    await ann.send_video(b"video", "a clip")
    await ann.send_animation(b"gif")
    await ann.send_video_note(b"round")
    await ann.send_sticker(b"sticker")
    await ann.send_voice(b"voice")
    await ann.send_location(52.5, 13.4)
    await ann.send_contact("+49", "Bob")
    await ann.forward(photo)
    messages = [update.message for update in await bot.get_updates() if update.message]
    assert [message.content_type for message in messages] == [
        *("text", "photo", "document", "video", "animation", "video_note", "sticker", "voice"),
        *("location", "contact", "photo"),
    ]
    assert messages[1].photo is not None
    assert [(size.width, size.height) for size in messages[1].photo] == [(90, 68), (320, 240), (640, 480)]
    assert messages[1].photo[-1].file_size == len(data)
    assert messages[1].reply_to_message is not None
    assert messages[4].document is not None
    assert messages[10].photo == messages[1].photo
    assert messages[10].forward_origin is not None


async def test_an_album_shares_its_group_and_a_forum_its_threads(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    group = server.group("Photographers", ann, is_forum=True)
    await ann.send_album([picture(640, 480), b"no picture"], "two", chat=group, thread_id=7)
    first, second = [update.message for update in await bot.get_updates()]
    assert first is not None
    assert second is not None
    assert first.media_group_id == second.media_group_id is not None
    assert (first.caption, second.caption) == ("two", None)
    assert (first.chat.id, first.chat.type, first.message_thread_id) == (group.id, "supergroup", 7)
    assert ann.messages == {}


async def test_files_are_downloaded_as_they_are(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    data = picture(640, 480)
    message = await ann.send_photo(data)
    for size in message["photo"]:
        content = await bot.download(size["file_id"])
        assert content is not None
        with Image.open(content) as image:
            assert image.size == (size["width"], size["height"])
    assert server.file_bytes(message["photo"][-1]["file_id"]) == data
    with pytest.raises(TelegramBadRequest, match="wrong file_id"):
        await bot.get_file("nonsense")


async def test_files_over_20_mb_can_not_be_downloaded(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    message = await ann.send_document(b"short", "big.tif", "image/tiff", file_size=25 * rules.MEGABYTE)
    [update] = await bot.get_updates()
    assert update.message is not None
    assert update.message.document is not None
    assert update.message.document.file_size == 25 * rules.MEGABYTE
    with pytest.raises(TelegramBadRequest, match="Bad Request: file is too big"):
        await bot.get_file(message["document"]["file_id"])


async def test_a_local_server_hands_files_over_on_disk(tmp_path: Path) -> None:
    async with FakeTelegram(local_dir=tmp_path) as server, connect(server) as bot:
        message = await server.person("Ann").send_document(b"all of it", file_size=25 * rules.MEGABYTE)
        file = await bot.get_file(message["document"]["file_id"])
        assert file.file_path is not None
        assert await asyncio.to_thread(Path(file.file_path).read_bytes) == b"all of it"


# What the bot sends


async def test_a_person_talks_with_the_bot(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    asked = await ann.send_photo(picture(640, 480), "what?")
    answer = await bot.send_photo(
        ann.id,
        upload(picture(800, 600)),
        caption="<b>a cat</b> &amp; a 🐱 <i>hat</i>",
        reply_parameters=types.ReplyParameters(message_id=asked["message_id"]),
        reply_markup=keyboard("again", "settings"),
    )
    assert answer.photo is not None
    assert (answer.photo[-1].width, answer.photo[-1].height) == (800, 600)
    seen = await ann.next_message()
    assert seen["caption"] == "a cat & a 🐱 hat"
    assert [(each["type"], each["offset"], each["length"]) for each in seen["caption_entities"]] == [
        ("bold", 0, 5),
        ("italic", 13, 3),
    ]
    assert seen["reply_to_message"]["message_id"] == asked["message_id"]
    assert server.file_bytes(seen["photo"][-1]["file_id"]) == picture(800, 600)

    query = await ann.press(seen, "Again")
    update = (await bot.get_updates())[-1]
    assert update.callback_query is not None
    assert update.callback_query.data == "again"
    await bot.answer_callback_query(query["id"], text="Wait a moment")
    assert (await ann.callback_answer(query))["text"] == "Wait a moment"
    await bot.edit_message_caption(chat_id=ann.id, message_id=answer.message_id, caption="a dog")
    assert (await ann.wait_for(lambda message: message["caption"] == "a dog"))["message_id"] == answer.message_id
    await bot.set_message_reaction(ann.id, asked["message_id"], [types.ReactionTypeEmoji(emoji="👍")])
    assert ann.chat_log() == ["1 Ann: [photo] what? {👍}", "2 bot: [photo] a dog"]
    with pytest.raises(LookupError, match="Again"):
        await ann.press(seen, "Again")
    assert server.violations == server.warnings == []


async def test_media_of_every_kind_and_by_file_id(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    photo = await bot.send_photo(ann.id, upload(picture(100, 50)))
    assert photo.photo is not None
    again = await bot.send_photo(ann.id, photo.photo[-1].file_id, caption="again")
    assert again.photo == photo.photo
    file = await bot.send_document(ann.id, upload(b"text", "a.txt"))
    assert file.document is not None
    assert (await bot.send_voice(ann.id, upload(b"ogg", "a.ogg"))).voice is not None
    await bot.send_chat_action(ann.id, "upload_photo")
    group = await bot.send_media_group(
        ann.id,
        [
            types.InputMediaPhoto(media=upload(picture(30, 30)), caption="<b>one</b>"),
            types.InputMediaPhoto(media=photo.photo[-1].file_id),
        ],
    )
    assert len({message.media_group_id for message in group}) == 1
    assert group[0].caption_entities is not None
    edited = await bot.edit_message_media(
        types.InputMediaPhoto(media=upload(picture(60, 40)), caption="new"),
        chat_id=ann.id,
        message_id=file.message_id,
        reply_markup=keyboard("back"),
    )
    assert isinstance(edited, types.Message)
    assert edited.photo is not None
    assert edited.document is None
    kinds = ["Photo", "Photo", "Document", "Voice", "MediaGroup"]
    assert [each.method for each in server.sent(ann.id)] == [f"send{kind}" for kind in kinds]
    assert server.sent(method="sendPhoto")[0].files.popitem()[1].data == picture(100, 50)
    assert [(await ann.next_message())["message_id"] for _ in range(6)] == list(range(1, 7))
    with pytest.raises(TelegramBadRequest, match="can't use file of type Photo as Document"):
        await bot.send_document(ann.id, photo.photo[-1].file_id)


async def test_edits_and_deletes(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    asked = await ann.send_text("hello")
    message = await bot.send_message(ann.id, "one", reply_markup=keyboard("a", "b"))
    assert ann.chat_log()[-1] == "2 bot: one [A] [B]"
    await bot.edit_message_reply_markup(chat_id=ann.id, message_id=2, reply_markup=keyboard("c"))
    assert ann.chat_log()[-1] == "2 bot: one [C]"
    await bot.edit_message_text("two", chat_id=ann.id, message_id=2)
    assert ann.chat_log()[-1] == "2 bot: two"
    with pytest.raises(TelegramBadRequest, match="message is not modified"):
        await bot.edit_message_text("<b></b>two", chat_id=ann.id, message_id=2)
    with pytest.raises(TelegramBadRequest, match="there is no caption in the message to edit"):
        await bot.edit_message_caption(chat_id=ann.id, message_id=2, caption="three")
    with pytest.raises(TelegramBadRequest, match="message can't be edited"):
        await bot.edit_message_text("mine", chat_id=ann.id, message_id=asked["message_id"])
    with pytest.raises(TelegramBadRequest, match="message to edit not found"):
        await bot.edit_message_text("three", chat_id=ann.id, message_id=99)
    await message.delete()
    with pytest.raises(TelegramBadRequest, match="message to delete not found"):
        await bot.delete_message(ann.id, 2)
    assert ann.chat_log() == ["1 Ann: hello"]
    assert len(server.violations) == 5


@pytest.mark.parametrize(
    ("method", "values", "description"),
    [
        ("sendMessage", {"text": "  <b> </b> "}, "message text is empty"),
        ("sendMessage", {"text": "x" * 4097}, "message is too long"),
        ("sendMessage", {"text": "🐱" * 2049}, "message is too long"),
        ("sendMessage", {"text": "1 < 2"}, 'can\'t parse entities: Unsupported start tag "" at byte offset 2'),
        ("sendMessage", {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a"}]]}}, "Text buttons"),
        (
            "sendMessage",
            {"text": "x", "reply_markup": {"inline_keyboard": [[{"text": "a", "callback_data": "я" * 33}]]}},
            "BUTTON_DATA_INVALID",
        ),
        ("sendChatAction", {"action": "thinking"}, "wrong parameter action in request"),
        ("sendMediaGroup", {"media": [{"type": "photo", "media": "x"}]}, "2-10 items"),
        ("sendMediaGroup", {"media": [{"type": "animation", "media": "x"}] * 2}, "unallowed media type"),
        ("sendMediaGroup", {"media": [{"type": "photo", "media": "x"}] * 2}, "wrong file identifier"),
        ("sendMediaGroup", {"media": ["photo", "photo"]}, "wrong shape"),
        ("answerCallbackQuery", {"callback_query_id": "1"}, "query ID is invalid"),
        ("setMyCommands", {"commands": [{"command": "Start", "description": "x"}]}, "BOT_COMMAND_INVALID"),
        ("sendDice", {}, "the fake server does not implement sendDice"),
    ],
)
async def test_documented_limits(
    server: FakeTelegram, ann: Person, method: str, values: dict[str, Any], description: str
) -> None:
    request = {"chat_id": ann.id, "parse_mode": "HTML"} | values
    status, body = await call(server, method, json=request)
    assert status == 400
    assert description in body["description"]
    assert server.violations == [f"{method}: {body['description']}"]


async def test_limits_count_what_is_left_after_parsing(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    await bot.send_message(ann.id, f"<b>{'&lt;' * 4096}</b>")
    await bot.send_photo(ann.id, upload(picture(9, 9)), caption=f"<i>{'x' * 1024}</i>")
    with pytest.raises(TelegramBadRequest, match="message caption is too long"):
        await bot.send_photo(ann.id, upload(picture(9, 9)), caption="x" * 1025)


@pytest.mark.parametrize(
    ("data", "description"),
    [
        (b"no picture", "IMAGE_PROCESS_FAILED"),
        (picture(500, 500)[:-200], "IMAGE_PROCESS_FAILED"),
        (picture(210, 10), "PHOTO_INVALID_DIMENSIONS"),
        (picture(9000, 1001, "PNG"), "PHOTO_INVALID_DIMENSIONS"),
        (bytes(10 * rules.MEGABYTE + 1), "too big for a photo"),
    ],
    ids=["no picture", "cut", "ratio", "sides", "size"],
)
async def test_limits_of_photos(bot: Bot, ann: Person, data: bytes, description: str) -> None:
    with pytest.raises(TelegramBadRequest, match=description):
        await bot.send_photo(ann.id, upload(data))


async def test_an_upload_over_50_mb_is_too_large(server: FakeTelegram, ann: Person) -> None:
    form = aiohttp.FormData({"chat_id": str(ann.id)})
    form.add_field("document", io.BytesIO(bytes(52 * rules.MEGABYTE)), filename="a.bin")
    with contextlib.suppress(aiohttp.ClientError):  # the server may hang up before all is sent
        assert (await call(server, "sendDocument", data=form))[0] == 413
    assert server.violations == ["sendDocument: the request is too large"]


@pytest.mark.parametrize(
    ("source", "text", "entities"),
    [
        ("plain &lt;b&gt; &amp; &copy;", "plain <b> & &copy;", []),
        ("<B>x</B> <strong>y</strong>", "x y", [("bold", 0, 1), ("bold", 2, 1)]),
        ("😀<s>a<u>b</u></s>", "😀ab", [("strikethrough", 2, 2), ("underline", 3, 1)]),
        ('<span class="tg-spoiler">x</span>', "x", [("spoiler", 0, 1)]),
        ('<a href="https://e.org?a=1&amp;b">x</a>', "x", [("text_link", 0, 1)]),
        ('<code class="language-python">x</code>', "x", [("code", 0, 1)]),
        ('<pre><code class="language-python">x</code></pre>', "x", [("pre", 0, 1)]),
        ("<blockquote expandable>x</blockquote>", "x", [("expandable_blockquote", 0, 1)]),
        ("<em></em>&#128512;", "😀", []),
    ],
)
def test_html(source: str, text: str, entities: list[tuple[str, int, int]]) -> None:
    parsed, found = parse_html(source)
    assert parsed == text
    assert sorted((each["type"], each["offset"], each["length"]) for each in found) == sorted(entities)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("я <x>", 'Unsupported start tag "x" at byte offset 3'),
        ("<b", "Unclosed start tag at byte offset 0"),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("x</b>", "Unexpected end tag at byte offset 1"),
        ("<b><i>x</b></i>", 'Unmatched end tag at byte offset 7, expected "</i>", found "</b>"'),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
    ],
)
def test_html_errors(source: str, error: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_html(source)
    assert caught.value.description == f"Bad Request: can't parse entities: {error}"


async def test_profile_and_members(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    bob, eve = server.person("Bob"), server.person("Eve")
    group = server.group("Photographers", ann, bob)
    assert (await bot.get_me()).id == bot.id
    await bot.set_my_commands([types.BotCommand(command="start", description="Begin")], language_code="ru")
    assert [each.command for each in await bot.get_my_commands(language_code="ru")] == ["start"]
    assert await bot.get_my_commands() == []
    assert await bot.set_my_description("Says what a photo shows")
    assert await bot.set_my_short_description("Captions")
    statuses = [(await bot.get_chat_member(group.id, each.id)).status for each in (ann, bob, eve)]
    assert statuses == ["creator", "administrator", "left"]
    assert server.violations == server.warnings == []


async def test_a_timeout_tells_what_did_arrive(bot: Bot, ann: Person) -> None:
    await bot.send_message(ann.id, "one")
    await ann.next_message()
    with pytest.raises(TimeoutError, match=r"no new message.*\n1 bot: one\n.*\nsendMessage: ok"):
        await ann.next_message(timeout=0.01)


# Faults


async def test_faults_are_answered_officially(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    for kind, error in (
        ("429", TelegramRetryAfter),
        ("500", TelegramServerError),
        ("502", TelegramServerError),
        ("502_html", ClientDecodeError),
        ("drop", TelegramNetworkError),
        ("blocked", TelegramForbiddenError),
    ):
        fault = server.faults.add("send*", kind, times=1, retry_after=3)  # type: ignore[arg-type]
        with pytest.raises(error):
            await bot.send_message(ann.id, kind)
        assert fault.fired == 1
    assert ann.chat_log() == []
    assert (await bot.send_message(ann.id, "at last")).message_id == 1
    assert server.violations == []


async def test_a_lost_response_leaves_the_message_sent(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    server.faults.add("sendMessage", "lose_response", times=1)
    with pytest.raises(TelegramNetworkError):
        await bot.send_message(ann.id, "hello")
    assert (await ann.next_message())["text"] == "hello"


async def test_a_delayed_call_is_processed_though_nobody_waits(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    slow = server.faults.add("sendMessage", "delay", times=1, seconds=60)
    with pytest.raises(TelegramNetworkError, match="timeout"):
        await bot.send_message(ann.id, "hello", request_timeout=2)
    assert ann.chat_log() == []
    slow.over.set()
    assert (await ann.next_message())["text"] == "hello"
    server.faults.add("sendMessage", "delay", seconds=3600)  # does not hold up the end of the test
    with pytest.raises(TelegramNetworkError, match="timeout"):
        await bot.send_message(ann.id, "never", request_timeout=0.05)  # type: ignore[arg-type]


async def test_a_fault_may_concern_one_chat(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    bob = server.person("Bob")
    server.faults.add("*", "blocked", chat_id=bob.id)
    with pytest.raises(TelegramForbiddenError):
        await bot.send_message(bob.id, "hello")
    await bot.send_message(ann.id, "hello")
    with pytest.raises(ValueError, match="no such fault"):
        server.faults.add("*", "404")  # type: ignore[arg-type]


async def test_faults_of_polling_keep_the_updates(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    await ann.send_text("hello")
    server.faults.add("*", "500")
    assert len(await bot.get_updates()) == 1  # a pattern leaves polling alone
    server.faults.clear()
    server.faults.add("getUpdates", "lose_response", times=1)
    server.faults.add("getUpdates", "409", times=1)
    with pytest.raises(TelegramNetworkError):
        await bot.get_updates()
    with pytest.raises(TelegramConflictError):
        await bot.get_updates()
    assert len(await bot.get_updates()) == 1


async def test_faults_of_downloads(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    data = picture(640, 480)
    file_id = (await ann.send_photo(data))["photo"][-1]["file_id"]
    server.faults.add("getFile", "gone", times=1)
    with pytest.raises(TelegramBadRequest, match="temporarily unavailable"):
        await bot.get_file(file_id)
    server.faults.add("download", "gone", times=1)
    with pytest.raises(aiohttp.ClientResponseError, match="404"):
        await bot.download(file_id)
    server.faults.add("download", "lose_response", times=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await bot.download(file_id)
    server.faults.add("download", "slow", times=1, seconds=0.2)
    started = time.monotonic()
    content = await bot.download(file_id)
    assert content is not None
    assert content.read() == data
    assert time.monotonic() - started > 0.15


async def test_a_reply_to_a_message_that_is_gone(server: FakeTelegram, bot: Bot, ann: Person) -> None:
    asked = await ann.send_text("hello")
    strict = types.ReplyParameters(message_id=asked["message_id"])
    lenient = types.ReplyParameters(message_id=asked["message_id"], allow_sending_without_reply=True)
    server.faults.add("sendMessage", "reply_not_found", times=1)
    with pytest.raises(TelegramBadRequest, match="message to be replied not found"):
        await bot.send_message(ann.id, "one", reply_parameters=strict)
    await ann.delete(asked)
    with pytest.raises(TelegramBadRequest, match="message to be replied not found"):
        await bot.send_message(ann.id, "two", reply_parameters=strict)
    sent = await bot.send_message(ann.id, "three", reply_parameters=lenient)
    assert sent.reply_to_message is None
    assert server.violations == []


async def test_random_faults_repeat_with_their_seed(ann: Person) -> None:
    async def pattern(seed: int) -> list[int]:
        async with FakeTelegram(seed=seed) as server:
            server.faults.add("getMe", "500", probability=0.5)
            return [(await call(server, "getMe"))[0] for _ in range(12)]

    first = await pattern(1)
    assert first == await pattern(1)
    assert set(first) == {200, 500}


async def test_a_given_port_can_be_used_again() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for _ in range(2):
        async with FakeTelegram(port) as server, connect(server) as bot:
            assert server.url == f"http://127.0.0.1:{port}"
            assert (await bot.get_me()).is_bot


def test_the_rules_are_a_small_extract_of_the_documentation() -> None:
    path = Path(rules.__file__).with_name("bot_api.json")
    assert path.stat().st_size < 150_000
    assert json.loads(path.read_text("utf-8"))["version"].startswith("Bot API ")
    assert rules.METHODS["sendPhoto"]["photo"] == "!InputFile|String"
