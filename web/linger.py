"""Lets a client read why its body is refused.

A connection that is closed while bytes of a body are still arriving is reset, and the client may never see the answer.
So what still comes is thrown away for a moment, and nothing of it is kept.
"""

from __future__ import annotations

import asyncio
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SECONDS: Final = 2.0
BYTES: Final = 64 * 1024 * 1024


class Linger:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else Headers()
        has_body = "transfer-encoding" in headers or headers.get("content-length", "0") != "0"
        if not has_body or "expect" in headers:
            await self._app(scope, receive, send)
            return
        coming = True

        async def receive_noticed() -> Message:
            nonlocal coming
            message = await receive()
            coming = message["type"] == "http.request" and message.get("more_body", False)
            return message

        async def send_lingering(message: Message) -> None:
            if message["type"] != "http.response.body" or message.get("more_body", False) or not coming:
                await send(message)
                return
            await send({**message, "more_body": True})
            await _discard(receive)
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._app(scope, receive_noticed, send_lingering)


async def _discard(receive: Receive) -> None:
    size = 0
    try:
        async with asyncio.timeout(SECONDS):
            while size < BYTES:
                message = await receive()
                size += len(message.get("body", b""))
                if not message.get("more_body", False):
                    return
    except TimeoutError:
        return
