"""Telegram calls, instead of being polled: an HTTP server that confirms an update only once it is written down.

It speaks plain HTTP; TLS is the business of the proxy before it.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramUnauthorizedError
from aiogram.types import WebhookInfo
from aiohttp import web

from bot.errors import ConfigurationError, WrongToken
from bot.logs import whereabouts
from bot.storage.inbox import Recorded
from bot.telegram.health_endpoint import HEALTH, Wellness, webhook_health
from bot.telegram.polling import until_connected
from bot.telegram.receiving import Reception
from bot.telegram.recorder import Recorder
from bot.telegram.updates import is_numbered, loads
from model.serving.outage import Outage, reason_of

log = logging.getLogger(__name__)

ADDRESS: Final = "0.0.0.0"  # noqa: S104 the proxy may be in another container
SECRET_HEADER: Final = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105 its name alone
MAX_BODY: Final = 1024 * 1024  # bytes; an update is seldom larger than 10 kB
HEAD_SECONDS: Final = 10.0  # for a request to begin
MOST_HEAD: Final = 16 * 1024  # bytes of its head
MOST_CONNECTIONS: Final = 200  # open at once
IDLE_SECONDS: Final = 75.0  # between two requests of one connection; longer than a proxy keeps it
BODY_SECONDS: Final = 15.0  # for a request to arrive
RECORD_SECONDS: Final = 25.0  # for an update to be written down, then Telegram is told to come again
CONNECTIONS: Final = 40  # that Telegram may open at once; each only waits for the inbox
LOOK_SECONDS: Final = 60.0  # between two looks at what Telegram says of the webhook
CLOSING_SECONDS: Final = 5.0  # for requests that are in when the bot stops

OK: Final = 200
MALFORMED: Final = 400
NOT_TELEGRAM: Final = 401
TOO_SLOW: Final = 408
FAILED: Final = 500
COME_AGAIN: Final = 503


class Webhook:
    """Answers Telegram. Updates come in between `open` and `close`; before and after, Telegram is to come again."""

    def __init__(self, secret: str, recorder: Recorder) -> None:
        self._secret = secret.encode()
        self._recorder = recorder
        self.accepting = False

    async def update(self, request: web.Request) -> web.Response:
        """200 once the update is on the disk; never a method, of whose success one would not hear."""
        said = request.headers.get(SECRET_HEADER, "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(said, self._secret):
            return web.Response(status=NOT_TELEGRAM)
        try:
            async with asyncio.timeout(BODY_SECONDS):
                update = parse_update(await request.read())
        except TimeoutError:
            return web.Response(status=TOO_SLOW)
        except (ValueError, web.RequestPayloadError, ConnectionError):
            return web.Response(status=MALFORMED)
        if not self.accepting:
            return web.Response(status=COME_AGAIN)
        written = self._recorder.put(update)
        await asyncio.wait([written], timeout=RECORD_SECONDS)
        return web.Response(status=OK if written.done() and written.result() else COME_AGAIN)


def parse_update(body: bytes) -> dict[str, Any]:
    """Raises ValueError for what is no update."""
    try:
        update = loads(body)
        json.dumps(update, ensure_ascii=False).encode()  # half a surrogate pair cannot be written down
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not is_numbered(update):
        raise ValueError("no update")
    numbered: dict[str, Any] = update
    return numbered


@web.middleware
async def unforeseen(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Failures are logged without what the request said. Only whom the bot knows may come again by this connection."""
    response: web.StreamResponse
    try:
        response = await handler(request)
    except web.HTTPException as error:
        error.force_close()
        raise
    except Exception as error:
        log.error("a request failed unforeseen:\n%s", whereabouts(error))
        response = web.Response(status=FAILED)
    if response.status == NOT_TELEGRAM or request.method != "POST":
        response.force_close()
    return response


class Door:
    """Lets connections to a server in once the head of their first request is there: slow ones take no place.

    Where too many are open, the one that has said nothing for longest goes first.
    """

    def __init__(
        self,
        server: web.Server,
        *,
        seconds: float,
        most: int,
    ) -> None:
        """`seconds`: for a first request to begin. `most`: connections open at once."""
        self._server = server
        self._seconds = seconds
        self._most = most
        self._outside: dict[_Arrival, None] = {}  # in the order in which they came

    def __call__(self) -> asyncio.Protocol:
        return _Arrival(self)

    def come(self, arrival: _Arrival, transport: asyncio.Transport) -> asyncio.TimerHandle:
        self._outside[arrival] = None
        if len(self._outside) + len(self._server.connections) > self._most:
            next(iter(self._outside)).turn_away()
        return asyncio.get_running_loop().call_later(self._seconds, transport.abort)

    def go(self, arrival: _Arrival) -> None:
        self._outside.pop(arrival, None)

    def let_in(self, arrival: _Arrival, transport: asyncio.Transport, head: bytes) -> None:
        """The server takes over, as if the connection had been its own from the beginning."""
        self.go(arrival)
        handler = self._server()
        transport.set_protocol(handler)
        handler.connection_made(transport)
        handler.data_received(head)

    def close(self) -> None:
        for arrival in list(self._outside):
            arrival.turn_away()


class _Arrival(asyncio.Protocol):
    """A connection whose first request has not begun."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._overdue = self._door.come(self, transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" in self._head:
            self._overdue.cancel()
            self._door.let_in(self, self._transport, self._head)
        elif len(self._head) > MOST_HEAD:
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._overdue.cancel()
        self._door.go(self)

    def turn_away(self) -> None:
        self._door.go(self)
        self._transport.abort()


@asynccontextmanager
async def listening(webhook: Webhook, wellness: Wellness, path: str, port: int) -> AsyncIterator[None]:
    """Answer requests while the block runs. Raises ConfigurationError when the port cannot be had."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[unforeseen])
    app.router.add_post(path or "/", webhook.update)
    app.router.add_get(HEALTH, wellness.answer)
    silent = logging.getLogger(f"{__name__}.http")  # aiohttp's own tracebacks quote what strangers send
    silent.setLevel(logging.CRITICAL + 1)
    runner = web.AppRunner(
        app, access_log=None, logger=silent, shutdown_timeout=CLOSING_SECONDS, keepalive_timeout=IDLE_SECONDS
    )
    await runner.setup()
    assert runner.server is not None
    door, server = Door(runner.server, seconds=HEAD_SECONDS, most=MOST_CONNECTIONS), None
    try:
        try:
            server = await asyncio.get_running_loop().create_server(door, ADDRESS, port)
        except OSError as error:
            raise ConfigurationError(
                f"WEBHOOK_PORT {port} cannot be used ({error.strerror}): another process has it, or this one may not; "
                "each bot on a machine needs a port of its own"
            ) from error
        yield
    finally:
        webhook.accepting = False
        if server is not None:
            server.close()
        door.close()
        await runner.cleanup()


async def receive_by_webhook(reception: Reception) -> None:
    """Tell Telegram where to call, and take what it brings; for ever.

    The webhook stays when the bot ends: others may serve it, and what comes meanwhile waits at Telegram.
    Raises WrongToken, RedisRefused, or ConfigurationError when the port or the address cannot be used.
    """
    settings, processor = reception.settings, reception.processor
    assert settings.webhook_url is not None
    waiting = 0  # updates that have waited at Telegram for this bot: those that come first

    def start(entry: Recorded) -> None:
        nonlocal waiting
        processor.start(entry, waited=waiting > 0)
        waiting -= 1

    recorder = Recorder(processor.record, start, reception.metrics.polled)
    webhook = Webhook(settings.require_webhook_secret(), recorder)
    wellness = Wellness(reception.contact, reception.queue, recorder, webhook)
    async with listening(webhook, wellness, urlsplit(settings.webhook_url).path, settings.webhook_port):
        await until_connected(reception.bot.me)
        waiting = (await until_connected(reception.bot.get_webhook_info)).pending_update_count
        recovered = await processor.recover(others=settings.redis_url is not None)
        await until_connected(lambda: announce(reception))
        writing = asyncio.create_task(recorder.run())
        looking = asyncio.create_task(look(reception, wellness, LOOK_SECONDS))
        tasks = [writing, looking]
        try:
            webhook.accepting = True
            log.info("listening on port %d", settings.webhook_port)
            await reception.began(recovered)
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()  # raises what ended it
        finally:
            webhook.accepting = False
            looking.cancel()
            await recorder.finish(CLOSING_SECONDS)
            writing.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def announce(reception: Reception) -> None:
    """setWebhook. Raises ConfigurationError when Telegram does not accept the address, and AiogramError."""
    settings = reception.settings
    assert settings.webhook_url is not None
    try:
        await reception.bot.set_webhook(
            settings.webhook_url,
            secret_token=settings.require_webhook_secret(),
            allowed_updates=reception.allowed_updates,
            max_connections=CONNECTIONS,
            drop_pending_updates=False,
        )
    except TelegramBadRequest as error:
        raise ConfigurationError(f"WEBHOOK_URL: Telegram does not accept this address: {error.message}") from None
    reception.note_contact(0)


async def look(reception: Reception, wellness: Wellness | None = None, every: float = LOOK_SECONDS) -> None:
    """Ask Telegram from time to time how the webhook is, for ever. Raises WrongToken.

    Nothing tells a quiet day from one on which Telegram does not get through. Contact is noted only while this
    address is the one that Telegram calls.
    """
    outage = Outage("asking after the webhook")
    began, last_error, ours = time.time(), "", True
    while True:
        await asyncio.sleep(every)
        try:
            info = await reception.bot.get_webhook_info()
        except TelegramUnauthorizedError as error:
            raise WrongToken(error.message) from None
        except AiogramError as error:
            await outage.pause(reason_of(error))
            continue
        outage.worked()
        if wellness is not None:
            wellness.telegram_says = webhook_health(info, reception.settings.webhook_url)
        if info.url == reception.settings.webhook_url:
            reception.note_contact(0)
        elif ours:
            log.error(
                "Telegram calls this webhook no more: another process has %s. Restart the bot to set it again.",
                "set another address" if info.url else "removed it, perhaps by polling with the same token",
            )
        ours = info.url == reception.settings.webhook_url
        last_error = tell_error(info, began, last_error)


def tell_error(info: WebhookInfo, began: float, before: str) -> str:
    """Log Telegram's last error with the webhook when it is another one than `before`; the one to compare with next.

    What happened before this process began is of no interest: then nobody listened.
    """
    if not info.last_error_message or info.last_error_date is None or info.last_error_date.timestamp() < began - 1:
        return before
    if info.last_error_message != before:
        log.warning(
            "Telegram could not deliver to the webhook: %s; %d updates wait there",
            info.last_error_message,
            info.pending_update_count,
        )
    return info.last_error_message
