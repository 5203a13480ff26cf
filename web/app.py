"""Puts the web application together and serves it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from model.errors import CaptionError
from model.serving.queue import Busy, JobLost, JobProducer
from web import VERSION
from web.clips import Clips, edited_of, moments_of
from web.errors import ApiError, ClientGone, api_error
from web.examples import EXAMPLES
from web.limits import RateLimit
from web.linger import Linger
from web.metrics import WebMetrics
from web.protection import Protection
from web.routes import STATIC, router
from web.schemas import ClipState, EditState
from web.settings import WebSettings
from web.work import Work

log = logging.getLogger(__name__)

GRACE_SECONDS: Final = 10  # for open requests, when asked to stop
HUNG_UP: Final = 499  # in metrics, for a client that did not wait
TOKEN_SCHEME: Final = {"type": "http", "scheme": "bearer", "description": "WEB_TOKEN, the secret of this server."}


class _Api(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """With examples of answers; those of the schemas themselves would lose what is null. And the token, if any."""
        document = super().openapi()
        for name, examples in EXAMPLES.items():
            document["components"]["schemas"][name]["examples"] = examples
        if self.state.work.settings.token is not None:
            document["components"]["securitySchemes"] = {"token": TOKEN_SCHEME}
            document["security"] = [{"token": []}]
            document["paths"]["/health"]["get"]["security"] = []
        return document


def create_app(
    settings: WebSettings,
    queue: JobProducer,
    *,
    reachable: Callable[[], bool] = lambda: True,
    clock: Callable[[], float] = time.monotonic,
) -> FastAPI:
    """`reachable`: whether the queue can be used now, as far as is known."""
    metrics = WebMetrics()
    work = Work(settings, queue, metrics, reachable)
    clips = Clips(work, ClipState, moments_of)
    edits = Clips(work, EditState, edited_of)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.gather(clips.close(), edits.close())
        await work.close()

    app = _Api(
        title="Image captions",
        version=VERSION,
        description="Captions of photos and moments of clips, with where the network finds their words.",
        docs_url=None,  # its page would fetch scripts from another site
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.work, app.state.clips, app.state.edits = work, clips, edits
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Head)
    app.add_middleware(Protection, settings=settings, rate=RateLimit(settings.rate, clock))
    app.add_middleware(Observe, metrics=metrics)
    app.add_middleware(Linger)
    for kind in (ApiError, CaptionError, Busy, JobLost):
        app.add_exception_handler(kind, _answer_error)
    app.add_exception_handler(ClientGone, _answer_nobody)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_error)
    return app


async def _answer_error(request: Request, error: Exception) -> JSONResponse:
    answer = api_error(error)
    if answer.kind in ("failed", "crashed"):
        log.error("a request failed: %s", type(error).__name__ if isinstance(error, CaptionError) else repr(error))
    return answer.response()


async def _answer_nobody(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse(None, HUNG_UP, {"Connection": "close"})


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("query", "body", "path")]
    if "path" in first["loc"]:
        return ApiError("not_found").response()
    return ApiError("option", f"{'.'.join(where)[:60]}: {first['msg']}.").response()


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = {404: "not_found", 405: "method"}.get(error.status_code, "malformed")
    answer = ApiError(kind)
    return JSONResponse(answer.body, error.status_code, {**(error.headers or {}), **answer.headers})


class Head:
    """An ASGI middleware that answers HEAD as GET, without the body. Not of events, which would take as long."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].endswith("/events"):
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self._app({**scope, "method": "GET"}, receive, send_head)


class Observe:
    """An ASGI middleware that counts requests."""

    def __init__(self, app: ASGIApp, metrics: WebMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 500

        async def send_observed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_observed)
        finally:
            self._metrics.answered(_route(scope["path"]), status, time.monotonic() - began)


def _route(path: str) -> str:
    parts = path.split("/")
    if parts[1:2] == ["v1"]:
        return parts[2] if len(parts) > 2 else ""
    return "page" if parts[1:2] in ([""], ["static"]) else "info"


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)  # raises SystemExit
        log.info("the page is at http://%s:%d", self.config.host, self.config.port)


async def serve(app: FastAPI, settings: WebSettings, stop: asyncio.Event) -> bool:
    """Serve until `stop` is set; whether the address could be had."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
        lifespan="on",
        ws="none",
    )
    server = _Server(config)
    stopping = asyncio.create_task(stop.wait())

    def end(_: object) -> None:
        app.state.clips.stop_streams()
        app.state.edits.stop_streams()
        server.should_exit = True

    stopping.add_done_callback(end)
    try:
        await server.serve()
    except SystemExit:  # uvicorn's way to say that the port is taken, or the address is not this machine's
        return False
    finally:
        stopping.remove_done_callback(end)
        stopping.cancel()
        with suppress(asyncio.CancelledError):
            await stopping
    return True
