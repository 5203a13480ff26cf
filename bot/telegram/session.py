"""Requests to Telegram that survive flood limits, server errors and a flaky network."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import Any, Final, Protocol, cast

from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.session.middlewares.base import BaseRequestMiddleware, NextRequestMiddlewareType
from aiogram.exceptions import (
    AiogramError,
    ClientDecodeError,
    TelegramAPIError,
    TelegramEntityTooLarge,
    TelegramMigrateToChat,
    TelegramNetworkError,
    TelegramRetryAfter,
    TelegramServerError,
    TelegramUnauthorizedError,
)
from aiogram.methods import DeleteWebhook, GetMe, Response, SendChatAction, SetMessageReaction, TelegramMethod
from aiogram.methods.base import TelegramType
from aiogram.types import BufferedInputFile
from aiohttp import BytesPayload, FormData, JsonPayload, Payload
from pydantic_core import PydanticSerializationError, to_json

from bot.errors import OUR_FAULT
from bot.metrics import BotMetrics
from bot.telegram.pacing import Pacer, chat_of, messages_of
from bot.telegram.updates import loads
from model.serving.outage import Backoff

log = logging.getLogger(__name__)

PATIENCE: Final = 60.0  # seconds of failures, then the caller decides
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 10.0
MOST_FLOOD_WAITS: Final = 10
TOO_MANY: Final = 429
QUOTED: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})  # in the headers of a form, as the WHATWG has it
ONE_PIECE: Final = 1_000_000  # bytes; aiohttp warns of more, as writing it at once holds up the event loop
UNREAD: Final = ("reply_to_message", "reply_markup", "from", "entities", "caption_entities")


@cache
def _response_of(returning: Any) -> type[Response[Any]]:
    """The type of an answer. pydantic forgets a type that nobody holds; to make it anew takes as long as a request."""
    return Response[returning]


def _answer(text: str) -> Any:
    answer = loads(text)
    result = answer.get("result") if isinstance(answer, dict) else None
    if isinstance(result, dict) and "message_id" in result:
        for name in UNREAD:
            result.pop(name, None)
    return answer


def _form(body: dict[str, Any], files: dict[str, Any]) -> BytesPayload | None:
    """A form in one piece: aiohttp writes each header and each value by itself, in some thirty calls of the system.

    None for files that are not in memory, and for those that are large together. Raises PydanticSerializationError or
    UnicodeEncodeError.
    """
    kept = {name: file for name, file in files.items() if isinstance(file, BufferedInputFile)}
    if len(kept) < len(files) or sum(len(file.data) for file in kept.values()) > ONE_PIECE:
        return None
    boundary = secrets.token_hex(16)
    pieces: list[bytes] = []

    def add(about: str, value: bytes) -> None:
        pieces.extend((f"--{boundary}\r\nContent-Disposition: form-data; {about}\r\n\r\n".encode(), value, b"\r\n"))

    for name, value in body.items():
        add(f'name="{name}"', value.encode() if isinstance(value, str) else to_json(value))
    for name, file in kept.items():
        shown = (file.filename or name).translate(QUOTED)
        add(f'name="{name}"; filename="{shown}"\r\nContent-Type: application/octet-stream', file.data)
    content = b"".join((*pieces, f"--{boundary}--\r\n".encode()))
    return BytesPayload(content, content_type=f"multipart/form-data; boundary={boundary}")


class Session(AiohttpSession):
    """aiogram's, but closing at once where there is no TLS to take leave of, and prepared for half an answer.

    What carries no file is sent as JSON, which takes less than half of the time of a form. Of a message that was sent,
    what nobody reads is not looked at: it takes longer than all the rest.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(json_loads=_answer, **settings)

    def build_form_data(  # type: ignore[override]
        self, bot: Bot, method: TelegramMethod[TelegramType]
    ) -> FormData | Payload:
        fields = method.model_dump(warnings=False, exclude_none=True)
        buttons = fields.pop("reply_markup", None)  # all in it is ready
        files: dict[str, Any] = {}

        def plain(value: Any) -> Any:
            if isinstance(value, (str, int, float)):
                return value
            if isinstance(value, dict):
                return {name: ready for name, each in value.items() if (ready := plain(each)) is not None}
            if isinstance(value, list):
                return [ready for each in value if (ready := plain(each)) is not None]
            return self.prepare_value(value, bot=bot, files=files, _dumps_json=False)

        body = {name: ready for name, value in fields.items() if (ready := plain(value)) not in (None, "")}
        if buttons is not None:
            body["reply_markup"] = buttons
        try:
            if files:
                return _form(body, files) or super().build_form_data(bot, method)
            return BytesPayload(to_json(body), content_type="application/json")
        except (PydanticSerializationError, UnicodeEncodeError):  # half of a UTF-16 pair
            return super().build_form_data(bot, method) if files else JsonPayload(body)

    def check_response(
        self, bot: Bot, method: TelegramMethod[TelegramType], status_code: int, content: str
    ) -> Response[TelegramType]:
        """Success without a result, and a failure that says nothing more, are the server's trouble."""
        _response_of(method.__returning__)  # so that aiogram finds it made
        try:
            response = super().check_response(bot, method, status_code, content)
        except TelegramAPIError as error:
            error.message = error.message or "no description"
            if status_code == TOO_MANY:
                wait = getattr(error, "retry_after", 1)
                raise TelegramRetryAfter(method, error.message, wait) from None
            raise
        except TypeError:  # of a description that is not there
            raise TelegramServerError(method, "no description") from None
        if response.result is None:
            raise TelegramServerError(method, "an answer without a result")
        return response

    async def close(self) -> None:
        if self._session is not None and self.api.base.startswith("http://"):
            await self._session.close()
        await super().close()


class GetRawUpdates(TelegramMethod[list[Any]]):
    """getUpdates, with the updates as they came: one that cannot be understood must not hide the others."""

    __returning__ = list[Any]
    __api_method__ = "getUpdates"

    offset: int | None = None
    timeout: int | None = None
    allowed_updates: list[str] | None = None


# Start, polling and reactions have loops of their own; a chat action that failed is not worth repeating.
NOT_REPEATED: Final = frozenset(
    method.__api_method__ for method in (GetRawUpdates, GetMe, DeleteWebhook, SendChatAction, SetMessageReaction)
)


def is_passing(error: BaseException) -> bool:
    """Whether the same request may well succeed later."""
    if isinstance(error, ClientDecodeError):
        return isinstance(error.data, str)  # a proxy's error page instead of an answer
    if isinstance(error, TelegramEntityTooLarge):
        return False
    return isinstance(error, (TelegramRetryAfter, TelegramServerError, TelegramNetworkError))


def worth_another_try(error: Exception) -> bool:
    """Whether an update that failed with this is processed again later."""
    return is_passing(error) or isinstance(error, (TelegramUnauthorizedError, *OUR_FAULT))


class Hook(Protocol):
    """Whatever goes with the messages of one answer."""

    async def turn(self, wait: Callable[[], Awaitable[None]]) -> None:
        """Await the turn of a message. Raises what ends the answer, such as JobCancelled."""

    def taken_back(self) -> None:
        """Telegram took nothing of the message that has just had its turn; it will have another."""

    def out(self) -> None:
        """A message is out."""


_hook: ContextVar[Hook | None] = ContextVar("hook", default=None)


@contextmanager
def hooked(hook: Hook) -> Iterator[None]:
    """Messages that are sent within the block go through the hook."""
    token = _hook.set(hook)
    try:
        yield
    finally:
        _hook.reset(token)


class RetryMiddleware(BaseRequestMiddleware):
    """Sends in turn (see `Pacer`) and repeats failed requests: after `retry_after` as often as Telegram says, else
    with growing pauses. An answer to a group that has become a supergroup follows it there.

    A send whose answer was lost is repeated too, and may then arrive twice: Telegram has no idempotency keys.
    """

    def __init__(
        self,
        pacer: Pacer | None = None,
        patience: float = PATIENCE,
        *,
        metrics: BotMetrics | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
    ) -> None:
        """`patience`: seconds of failures, counted anew after each flood wait, until the error is raised."""
        self._pacer = pacer or Pacer(clock, sleep)
        self._patience = patience
        self._metrics = metrics or BotMetrics()
        self._clock = clock
        self._sleep = sleep

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        if method.__api_method__ in NOT_REPEATED:
            return await self._once(make_request, bot, method)
        hook = _hook.get() if messages_of(method) else None
        end: float | None = None
        flood_waits, backoff, moved = 0, Backoff(FIRST_PAUSE, LONGEST_PAUSE), False
        while True:
            wait = partial(self._pacer.wait_for_turn, method)
            await (wait() if hook is None else hook.turn(wait))
            try:
                response = await make_request(bot, method)
                if hook is not None:
                    hook.out()
                return response
            except TelegramRetryAfter as error:
                if hook is not None:
                    hook.taken_back()
                flood_waits += 1
                self._pacer.pause(method, error.retry_after + random.uniform(0.0, 0.5))
                if flood_waits > MOST_FLOOD_WAITS:
                    raise
                self._metrics.retry(method.__api_method__)
                log.info("%s: told to wait %d s", method.__api_method__, error.retry_after)
                end = None
            except TelegramMigrateToChat as error:
                if moved or chat_of(method) is None:
                    raise
                moved = True
                log.info("%s: the group has become a supergroup", method.__api_method__)
                method = _moved(method, error.migrate_to_chat_id)
            except (ClientDecodeError, TelegramServerError, TelegramNetworkError) as error:
                now = self._clock()
                end = now + self._patience if end is None else end
                delay = backoff.next()
                if not is_passing(error) or now + delay > end:
                    raise
                self._metrics.retry(method.__api_method__)
                log.info("%s: %s, trying again", method.__api_method__, type(error).__name__)
                await self._sleep(delay)

    async def _once(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        action = method.__api_method__ == SendChatAction.__api_method__
        if action and not self._pacer.has_room(method):
            return cast("Response[TelegramType]", True)  # "typing" is not worth a message's place
        try:
            return await make_request(bot, method)
        except TelegramRetryAfter as error:
            if action:
                self._pacer.pause(method, error.retry_after)
            raise


class CountRequests(BaseRequestMiddleware):
    """Counts each single try of a request: to be added to the session after the middleware that repeats them."""

    def __init__(self, metrics: BotMetrics) -> None:
        self._metrics = metrics

    async def __call__(
        self,
        make_request: NextRequestMiddlewareType[TelegramType],
        bot: Bot,
        method: TelegramMethod[TelegramType],
    ) -> Response[TelegramType]:
        started = time.perf_counter()
        outcome = "cancelled"
        try:
            response = await make_request(bot, method)
        except AiogramError as error:
            outcome = outcome_of(error)
            raise
        else:
            outcome = "ok"
            return response
        finally:
            self._metrics.request(method.__api_method__, outcome, time.perf_counter() - started)


def outcome_of(error: AiogramError) -> str:
    """Of `OUTCOMES`, the one that this error is."""
    if isinstance(error, TelegramRetryAfter):
        return "flood"
    if isinstance(error, TelegramServerError):
        return "server"
    if isinstance(error, TelegramNetworkError) and is_passing(error):
        return "network"
    return "refused"


def _moved(method: TelegramMethod[TelegramType], chat_id: int) -> TelegramMethod[TelegramType]:
    """The same for the chat's new id. Messages have other ids there, and topics too."""
    names = ("reply_parameters", "message_thread_id")
    changes = {name: None for name in names if getattr(method, name, None) is not None}
    return method.model_copy(update={"chat_id": chat_id, **changes})
