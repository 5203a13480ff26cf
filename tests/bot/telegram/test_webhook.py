"""The bot behind a webhook: Telegram calls, nothing is lost and nothing answered twice, strangers get nothing."""

from __future__ import annotations

import asyncio
import contextlib
import io
import itertools
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import aiohttp
import pytest
from aiogram import Bot
from aiogram.client.telegram import TelegramAPIServer
from aiohttp import web
from pydantic import SecretStr

from bot.app import run_bot
from bot.errors import ConfigurationError, StorageError, WrongToken
from bot.metrics import BotMetrics
from bot.storage.inbox import Asked, Recorded
from bot.storage.sqlite_inbox import SqliteInbox
from bot.telegram.receiving import Reception
from bot.telegram.recorder import MOST_WAITING, Recorder
from bot.telegram.session import Session
from bot.telegram.webhook import SECRET_HEADER, look
from handlers import create_routers
from model.serving.health import Deadline
from model.serving.queue import Status
from tests.support.conversation import ASKED_FOR, all_answered, answers
from tests.support.fake_queue import FakeQueue, RunningBot, closed_queue, eventually, running_bot, settings_for
from tests.support.fake_telegram import TOKEN, FakeTelegram, Person
from tests.support.pictures import PHOTO
from tests.support.redis_server import RedisServer, free_port

SECRET = "a-secret_of-this-test"


class Hooked:
    """A bot that is called at `url`."""

    def __init__(self, bot: RunningBot, port: int, url: str) -> None:
        self.bot = bot
        self.url = url
        self.health = f"http://127.0.0.1:{port}/health"


@asynccontextmanager
async def hooked_bot(
    server: FakeTelegram, queue: FakeQueue, folder: Path, url: str = "", **changes: Any
) -> AsyncIterator[Hooked]:
    """`url`: what Telegram calls, if that is not the bot itself."""
    port = changes.pop("webhook_port", None) or free_port()
    url = url or f"http://127.0.0.1:{port}/bots/captions:1"
    own = {"webhook_url": url, "webhook_port": port, "webhook_secret": SecretStr(SECRET)}
    settings: dict[str, Any] = own | changes
    async with running_bot(server, queue, folder, **settings) as bot:
        hooked = Hooked(bot, port, url)
        await ready(hooked)
        yield hooked


async def ready(hooked: Hooked) -> None:
    async with asyncio.timeout(60):
        while not hooked.bot.task.done():
            with contextlib.suppress(aiohttp.ClientError):
                if (await get(hooked.health))[1]["accepting"]:
                    return
            await asyncio.sleep(0.02)


async def get(url: str) -> tuple[int, dict[str, Any]]:
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, await response.json()


async def post(url: str, body: bytes, secret: str | None = SECRET) -> int:
    headers = {} if secret is None else {SECRET_HEADER: secret}
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=io.BytesIO(body), headers=headers) as response,
    ):
        assert await response.read() == b"" or response.status != 200
        return response.status


def update_of(person: Person, number: int, text: str = "hello") -> dict[str, Any]:
    message = {"message_id": number, "date": 1, "chat": person.shape, "from": person.user, "text": text}
    return {"update_id": number, "message": message}


# Telegram calls


async def test_photos_and_presses_are_answered(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with hooked_bot(server, FakeQueue(), tmp_path) as hooked:
        photos = [await ann.send_photo(PHOTO) for _ in range(3)]
        await all_answered(server, ann, photos)
        assert all(map(server.confirmed, photos))
    [call] = server.sent(method="setWebhook")
    assert call.params["url"] == hooked.url
    assert call.params["secret_token"] == SECRET
    assert set(call.params["allowed_updates"]) == ASKED_FOR
    assert not call.params.get("drop_pending_updates")
    assert server.sent(method="getUpdates") == []


async def test_without_a_secret_of_its_own_the_bot_makes_one_of_the_token(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    async with hooked_bot(server, FakeQueue(), tmp_path, webhook_secret=None):
        await all_answered(server, ann, [await ann.send_photo(PHOTO)])
    secret = server.sent(method="setWebhook")[0].params["secret_token"]
    assert re.fullmatch(r"[0-9a-f]{64}", secret)


async def test_what_came_while_it_was_stopped_is_answered_and_the_webhook_stays(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    port = free_port()
    own: dict[str, Any] = {"webhook_port": port, "url": f"http://127.0.0.1:{port}/"}
    async with hooked_bot(server, FakeQueue(), tmp_path, **own):
        first = await ann.send_photo(PHOTO)
        await all_answered(server, ann, [first])
    assert server.webhook["url"] == own["url"]
    assert server.sent(method="deleteWebhook") == []
    second = await ann.send_photo(PHOTO)
    async with hooked_bot(server, FakeQueue(), tmp_path, **own):
        await all_answered(server, ann, [first, second])


async def test_from_a_webhook_to_polling_and_back(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    async with hooked_bot(server, FakeQueue(), tmp_path):
        photos = [await ann.send_photo(PHOTO)]
        await all_answered(server, ann, photos)
    photos.append(await ann.send_photo(PHOTO))
    async with running_bot(server, FakeQueue(), tmp_path):
        await all_answered(server, ann, photos)
    photos.append(await ann.send_photo(PHOTO))
    async with hooked_bot(server, FakeQueue(), tmp_path):
        await all_answered(server, ann, photos)


# Strangers call


@pytest.mark.parametrize("secret", [None, "", "wrong", SECRET + "x", "\u00e9"])
async def test_who_does_not_know_the_secret_is_refused_without_a_word(
    server: FakeTelegram, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture, secret: str | None
) -> None:
    caplog.set_level(logging.DEBUG)
    queue = FakeQueue()
    async with hooked_bot(server, queue, tmp_path) as hooked:
        caplog.clear()
        body = json.dumps(update_of(ann, 7, "forged words")).encode()
        assert await post(hooked.url, body, secret) in (401, 403)
        await all_answered(server, ann, [await ann.send_photo(PHOTO)])
        assert "forged" not in caplog.text
        assert SECRET not in caplog.text
    assert len(queue.jobs) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"not JSON", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"[]", 400),
        (b'{"message": {}}', 400),
        (b'{"update_id": "7"}', 400),
        (b'{"update_id": true}', 400),
        (b'{"update_id": 1e30}', 400),
        (b'{"update_id": 99999999999999999999}', 400),
        (b'{"update_id": 7, "message": {"text": "\\ud800"}}', 400),
        (b'{"update_id": 7, "x": "' + b"x" * 1_100_000 + b'"}', 413),
    ],
)
async def test_what_is_no_update_is_refused(
    server: FakeTelegram, ann: Person, tmp_path: Path, body: bytes, status: int
) -> None:
    async with hooked_bot(server, FakeQueue(), tmp_path) as hooked:
        assert await post(hooked.url, body) == status
        await all_answered(server, ann, [await ann.send_photo(PHOTO)])


async def test_there_is_nothing_else_at_the_port(server: FakeTelegram, tmp_path: Path) -> None:
    async with hooked_bot(server, FakeQueue(), tmp_path) as hooked:
        assert await post(hooked.url + "/more", b"{}") == 404
        assert await post(hooked.health, b"{}") == 405
        async with aiohttp.ClientSession() as session, session.get(hooked.url) as response:
            assert response.status == 405


# Nothing is lost, nothing is answered twice


async def test_an_update_is_confirmed_only_when_it_is_written_down(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    record = SqliteInbox.record
    failures = 3

    async def failing(inbox: SqliteInbox, updates: list[dict[str, Any]], asked: dict[int, Asked]) -> list[Recorded]:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            assert not server.confirmed(photo)
            raise StorageError("database or disk is full")
        return await record(inbox, updates, asked)

    async with hooked_bot(server, FakeQueue(), tmp_path) as hooked:
        monkeypatch.setattr(SqliteInbox, "record", failing)
        photo = await ann.send_photo(PHOTO)
        await server.until(lambda: "last_error" in server.webhook or None, 60)
        assert "503" in server.webhook["last_error"]["last_error_message"]
        await all_answered(server, ann, [photo])
        assert (await get(hooked.health))[1]["recording"] is True
    assert failures < 0
    assert [record.getMessage() for record in caplog.records if "recording" in record.getMessage()] == [
        "recording updates fails: StorageError: database or disk is full; Telegram brings them again"
    ]


async def test_an_inbox_that_takes_too_long_makes_telegram_come_again_and_the_answer_comes_once(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = SqliteInbox.record
    gate = asyncio.Event()

    async def slow(inbox: SqliteInbox, updates: list[dict[str, Any]], asked: dict[int, Asked]) -> list[Recorded]:
        await gate.wait()
        return await record(inbox, updates, asked)

    monkeypatch.setattr(SqliteInbox, "record", slow)
    monkeypatch.setattr("bot.telegram.webhook.RECORD_SECONDS", 0.05)
    async with hooked_bot(server, FakeQueue(), tmp_path):
        photo = await ann.send_photo(PHOTO)
        await server.until(lambda: "last_error" in server.webhook or None, 60)
        await asyncio.sleep(0.3)  # it came again meanwhile
        assert not server.confirmed(photo)
        gate.set()
        await all_answered(server, ann, [photo, await ann.send_photo(PHOTO)])


async def test_an_update_that_comes_again_and_again_is_answered_once(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    async with hooked_bot(server, FakeQueue(), tmp_path) as hooked:
        body = json.dumps(update_of(ann, 7)).encode()
        assert await asyncio.gather(*(post(hooked.url, body) for _ in range(5))) == [200] * 5
        assert await post(hooked.url, body) == 200
        await ann.next_message()
        assert await post(hooked.url, body) == 200
        body = json.dumps(update_of(ann, 8)).encode()
        assert await post(hooked.url, body) == 200
        await ann.next_message()
    assert len(ann.bot_messages()) == 2


async def test_many_updates_at_once_are_each_answered(server: FakeTelegram, tmp_path: Path) -> None:
    people = [server.person(f"P{number}") for number in range(20)]
    async with hooked_bot(server, FakeQueue(), tmp_path) as hooked:
        bodies = [json.dumps(update_of(person, number)).encode() for number, person in enumerate(people, 1)]
        assert set(await asyncio.gather(*(post(hooked.url, body) for body in bodies))) == {200}
        for person in people:
            await person.next_message()
    assert all(len(person.bot_messages()) == 1 for person in people)


async def test_a_stop_waits_for_what_is_in_work(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = closed_queue()
    async with hooked_bot(server, queue, tmp_path) as hooked:
        photo = await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
        hooked.bot.stop.set()
        await asyncio.sleep(0.2)
        queue.open.set()
        assert await hooked.bot.status() == 0
    await all_answered(server, ann, [photo])


async def test_writes_are_one_after_the_other_and_in_batches() -> None:
    batches: list[list[int]] = []
    started: list[int] = []
    gate = asyncio.Event()

    async def record(updates: Sequence[dict[str, Any]]) -> list[Recorded]:
        batches.append([update["update_id"] for update in updates])
        await gate.wait()
        return [Recorded(update["update_id"], update, 0.0) for update in updates if update["update_id"] != 2]

    recorder = Recorder(record, lambda entry: started.append(entry.id))
    running = asyncio.create_task(recorder.run())
    written = [recorder.put({"update_id": 1})]
    await eventually(lambda: batches)
    written += [recorder.put({"update_id": number}) for number in (2, 3, 1, 3)]
    await asyncio.sleep(0.01)
    assert batches == [[1]]
    gate.set()
    assert await asyncio.gather(*written) == [True] * 5
    assert batches == [[1], [2, 3]]
    assert started == [1, 3]  # the second was known
    gate.clear()
    recorder.put({"update_id": 4})
    await eventually(lambda: len(batches) == 3)
    for number in range(MOST_WAITING):
        assert not recorder.put({"update_id": 100 + number}).done()
    assert await recorder.put({"update_id": 99}) is False  # Telegram is to keep it
    running.cancel()


# Several bots


@asynccontextmanager
async def balancer(ports: list[int], *, every: bool = False) -> AsyncIterator[str]:
    """A proxy before several bots; each request goes to the next of them, or to every one. Its address."""
    turns = itertools.cycle(ports)

    async def forward(request: web.Request) -> web.Response:
        body, secret = await request.read(), request.headers[SECRET_HEADER]
        statuses = []
        for port in ports if every else [next(turns)]:
            with contextlib.suppress(aiohttp.ClientError):
                statuses.append(await post(f"http://127.0.0.1:{port}{request.path}", body, secret))
        return web.Response(status=max(statuses, default=502))

    app = web.Application()
    app.router.add_post("/hook", forward)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("every", [False, True])
async def test_two_bots_behind_one_webhook_answer_each_message_once(
    server: FakeTelegram, ann: Person, tmp_path: Path, redis_server: RedisServer, every: bool
) -> None:
    """In turn, and where Telegram brought each update to both because it lost the first one's word."""
    redis_server.call("FLUSHALL")
    ports = [free_port(), free_port()]
    common: dict[str, Any] = {"redis_url": SecretStr(redis_server.url), "webhook_secret": None}
    queues = [FakeQueue(), FakeQueue()]
    async with (
        balancer(ports, every=every) as url,
        hooked_bot(server, queues[0], tmp_path / "one", url, webhook_port=ports[0], **common),
        hooked_bot(server, queues[1], tmp_path / "two", url, webhook_port=ports[1], **common),
    ):
        photos = [await ann.send_photo(PHOTO) for _ in range(6)]
        await all_answered(server, ann, photos)
        await asyncio.sleep(0.3)  # for a seventh, which must not come
        assert answers(ann) == [each["message_id"] for each in photos]
    shares = [len(queue.jobs) for queue in queues]
    assert sum(shares) == 6
    assert every or min(shares) > 0  # Telegram repeats what it had no word of in time


async def test_a_bot_that_joins_leaves_alone_what_others_have_in_work_and_takes_what_they_leave(
    server: FakeTelegram, ann: Person, tmp_path: Path, redis_server: RedisServer
) -> None:
    redis_server.call("FLUSHALL")
    common: dict[str, Any] = {"redis_url": SecretStr(redis_server.url), "grace": 0.1}
    first, second = FakeQueue(), FakeQueue()
    first.open.clear()
    async with hooked_bot(server, first, tmp_path / "one", **common) as one:
        photo = await ann.send_photo(PHOTO)
        await eventually(lambda: first.jobs)
        async with hooked_bot(server, second, tmp_path / "two", **common):
            other = await ann.send_photo(PHOTO)
            await all_answered(server, ann, [other])
            assert len(second.jobs) == 1
            one.bot.task.cancel()  # it does not get to answer
            with contextlib.suppress(asyncio.CancelledError):
                await one.bot.task
            await all_answered(server, ann, [photo, other])


# What operators see


async def test_health_says_what_is_well_and_no_secret(server: FakeTelegram, tmp_path: Path) -> None:
    queue = FakeQueue(alive=2)
    async with hooked_bot(server, queue, tmp_path) as hooked:
        status, report = await get(hooked.health)
        assert status == 200
        assert report == {
            **dict.fromkeys(("well", "accepting", "recording", "telegram", "queue"), True),
            **{"waiting": 0, "in_work": 0, "workers": 2},
        }
        async with aiohttp.ClientSession() as session, session.get(hooked.health) as response:
            shown = f"{response.headers} {await response.text()}"
        assert not any(secret in shown for secret in (SECRET, TOKEN, TOKEN.partition(":")[2], hooked.url))


@pytest.mark.parametrize("language", ["en", "ru"])
async def test_operators_see_what_telegram_says_of_the_webhook(
    server: FakeTelegram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, language: str
) -> None:
    monkeypatch.setattr("bot.telegram.webhook.LOOK_SECONDS", 0.05)
    admin = server.person("Ann", language_code=language)
    async with hooked_bot(server, FakeQueue(), tmp_path, admin_ids=frozenset({admin.id})) as hooked:
        server.webhook["last_error"] = {
            "last_error_date": int(time.time()) - 7200,
            "last_error_message": 'Wrong response for "Ann" of -1001234567890: 502',
        }

        async def says() -> dict[str, Any]:
            found: dict[str, Any] = (await get(hooked.health))[1].get("webhook", {})
            return found

        async with asyncio.timeout(60):
            while not (await says()).get("error"):
                await asyncio.sleep(0.02)
        found = await says()
        assert (found["ours"], found["pending"], found["error"]) == (True, 0, 'Wrong response for "…" of #: 502')
        assert found["error_at"] == server.webhook["last_error"]["last_error_date"]
        await admin.send_text("/stats")
        text = (await admin.next_message())["text"]
        assert {"en": "At the webhook wait:", "ru": "У вебхука ждут:"}[language] in text
        last = {"en": "Last error of the webhook, 2 h 0 min ago", "ru": "Последняя ошибка вебхука, 2 ч 0 мин назад"}
        assert f'{last[language]}: Wrong response for "…" of #: 502' in text
        server.webhook["url"] = "http://127.0.0.1:9/elsewhere"
        await admin.send_text("/stats")
        text = (await admin.next_message())["text"]
        assert {"en": "calls another address", "ru": "другой адрес"}[language] in text
        while (await says())["ours"]:
            await asyncio.sleep(0.02)


async def test_health_says_what_is_not_well(
    server: FakeTelegram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = FakeQueue()

    async def away() -> Status:
        raise ConnectionError("no Redis at hush@192.0.2.1")

    monkeypatch.setattr(queue, "status", away)
    async with hooked_bot(server, queue, tmp_path) as hooked:
        status, report = await get(hooked.health)
        assert status == 503
        assert [name for name, value in report.items() if value is False] == ["well", "queue"]
        assert "hush" not in str(report)


async def test_before_telegram_is_reached_health_says_so_and_updates_are_not_accepted(tmp_path: Path) -> None:
    port = free_port()
    silent = FakeTelegram(free_port())
    settings: dict[str, Any] = {"webhook_url": f"http://127.0.0.1:{port}/hook", "webhook_port": port}
    async with running_bot(silent, FakeQueue(), tmp_path, webhook_secret=SecretStr(SECRET), **settings):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                status, report = await get(f"http://127.0.0.1:{port}/health")
                break
            await asyncio.sleep(0.01)
        assert (status, report["well"], report["accepting"]) == (503, False, False)
        assert await post(settings["webhook_url"], b'{"update_id": 7}') == 503


async def opened(port: int, first: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(first)
    return reader, writer


async def test_a_connection_that_does_not_begin_is_closed(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silent, or with a head that never ends; others are served meanwhile, and pieces put together."""
    monkeypatch.setattr("bot.telegram.webhook.HEAD_SECONDS", 1.0)
    port = free_port()
    async with hooked_bot(server, FakeQueue(), tmp_path, webhook_port=port) as hooked:
        silent, slow = await opened(port), await opened(port, b"POST /bots/captions:1 HTTP/1.1\r\nHost: x\r\n")
        endless = await opened(port, b"GET / HTTP/1.1\r\n" + b"X: " + b"x" * 20_000)
        pieces = await opened(port, b"GET /health HTTP/1.1\r\nHost: x\r\n")
        await all_answered(server, ann, [await ann.send_text("hello")])
        pieces[1].write(b"\r\n")
        assert (await pieces[0].readline()).startswith(b"HTTP/1.1 200")
        for reader, writer in (silent, slow, endless):
            with contextlib.suppress(ConnectionError):
                assert await asyncio.wait_for(reader.read(), 60) == b""
            writer.close()
        pieces[1].close()
        assert (await get(hooked.health))[0] == 200


async def test_no_more_connections_are_open_than_there_is_room_for(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that has said nothing for longest goes first, and Telegram always gets in."""
    monkeypatch.setattr("bot.telegram.webhook.MOST_CONNECTIONS", 10)
    port = free_port()
    async with hooked_bot(server, FakeQueue(), tmp_path, webhook_port=port):
        strangers = [await opened(port) for _ in range(30)]
        await all_answered(server, ann, [await ann.send_text("hello") for _ in range(3)])
        await asyncio.sleep(0)
        gone = [reader.at_eof() or reader.exception() is not None for reader, _ in strangers]
        assert sum(gone) >= 20
        assert gone[0]
        for _, writer in strangers:
            writer.close()


async def test_whom_the_bot_does_not_know_keeps_no_connection(server: FakeTelegram, tmp_path: Path) -> None:
    port = free_port()
    async with hooked_bot(server, FakeQueue(), tmp_path, webhook_port=port) as hooked:
        for head in (b"POST /bots/captions:1", b"GET /health", b"GET /nothing"):
            reader, writer = await opened(port, head + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert (await asyncio.wait_for(reader.read(), 60)).startswith(b"HTTP/1.1 ")  # until it is closed
            writer.close()
        async with aiohttp.ClientSession() as session:  # who knows the secret may come again by the same
            for number in (5, 6):
                async with session.post(
                    hooked.url, json={"update_id": number}, headers={SECRET_HEADER: SECRET}
                ) as said:
                    assert (said.status, said.headers.get("Connection")) == (200, None)


async def test_a_port_in_use_is_said_clearly(server: FakeTelegram, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path, webhook_url="http://127.0.0.1:1/", webhook_port=server.port)
    with pytest.raises(ConfigurationError, match=f"^WEBHOOK_PORT {server.port} cannot be used .*in use"):
        await run_bot(settings, FakeQueue(), create_routers(), asyncio.Event())
    assert server.sent(method="setWebhook") == []


async def test_an_address_that_telegram_refuses_is_said_clearly(server: FakeTelegram, tmp_path: Path) -> None:
    settings = settings_for(server, tmp_path, webhook_url="http://captions.invalid/", webhook_port=free_port())
    with pytest.raises(ConfigurationError, match=r"^WEBHOOK_URL: .*does not accept.*Failed to resolve host"):
        await run_bot(settings, FakeQueue(), create_routers(), asyncio.Event())


async def test_a_wrong_token_ends_the_bot(server: FakeTelegram, tmp_path: Path) -> None:
    token = SecretStr("424242:another-token-of-this-bot")
    async with hooked_bot(server, FakeQueue(), tmp_path, token=token) as hooked:
        assert await hooked.bot.status() == 2


@asynccontextmanager
async def looking(
    server: FakeTelegram, tmp_path: Path, url: str, contact: Deadline
) -> AsyncIterator[asyncio.Task[None]]:
    """Somebody who looks after a webhook at `url`, very often."""
    bot = Bot(TOKEN, session=Session(api=TelegramAPIServer.from_base(server.url)))
    settings = settings_for(server, tmp_path, webhook_url=url)
    nobody: Any = AsyncMock()
    reception = Reception(settings, bot, nobody, nobody, [], contact, BotMetrics(), nobody)
    task = asyncio.create_task(look(reception, every=0.01))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await bot.session.close()


async def test_what_telegram_could_not_deliver_is_said_once(
    server: FakeTelegram, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"http://127.0.0.1:{free_port()}/hook"
    contact = Deadline("no contact", 180)
    async with Bot(TOKEN, session=Session(api=TelegramAPIServer.from_base(server.url))) as bot:
        await bot.set_webhook(url)
    await ann.send_text("hello")
    async with looking(server, tmp_path, url, contact):
        await eventually(lambda: "could not deliver" in caplog.text)
        await eventually(lambda: len(server.sent(method="getWebhookInfo")) > 10)
    said = [record.getMessage() for record in caplog.records]
    assert said == ["Telegram could not deliver to the webhook: Connection refused; 1 updates wait there"]


async def test_a_webhook_that_somebody_took_away_shows(
    server: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    contact = Deadline("Telegram has not confirmed the webhook", 180, clock=lambda: now)
    contact.set()
    server.webhook = {"url": "http://127.0.0.1:9/hook", "secret_token": ""}
    async with looking(server, tmp_path, "http://127.0.0.1:9/hook", contact):
        now = 200.0
        await eventually(lambda: contact.missed() is None)
        server.webhook = {}
        await eventually(lambda: "removed it" in caplog.text)
        now = 400.0
        seen = len(server.sent(method="getWebhookInfo"))
        await eventually(lambda: len(server.sent(method="getWebhookInfo")) > seen + 3)
        assert "has not confirmed the webhook for 200 s" in str(contact.missed())
    assert caplog.text.count("removed it") == 1


async def test_a_token_that_is_withdrawn_ends_the_watch(server: FakeTelegram, tmp_path: Path) -> None:
    async with looking(server, tmp_path, "http://127.0.0.1:9/hook", Deadline("no contact", 180)) as task:
        server.token = "424242:a-new-token-from-BotFather"
        with pytest.raises(WrongToken):
            await asyncio.wait_for(task, 60)
