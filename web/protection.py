"""What each request passes first: host, origin, token, rate; and the headers that each answer carries."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.errors import ApiError
from web.limits import RateLimit, client_of
from web.settings import WebSettings, is_loopback

OPEN_PATHS: Final = ("/", "/health")  # and those of the page's files; without a token
STATIC: Final = "/static/"
WORK: Final = "/v1/words/"  # a GET that a worker is needed for
SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=(), interest-cohort=()",
    "Cache-Control": "no-store",
}
HEADERS: Final = [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]  # unless it has its own


class Protection:
    """An ASGI middleware."""

    def __init__(self, app: ASGIApp, settings: WebSettings, rate: RateLimit) -> None:
        self._app = app
        self._settings = settings
        self._rate = rate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(each for each in HEADERS if each[0] not in own)]
            await send(message)

        try:
            self._check(scope)
        except ApiError as error:
            await error.response()(scope, receive, send_protected)
        else:
            await self._app(scope, receive, send_protected)

    def _check(self, scope: Scope) -> None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if self._settings.token is None and not is_loopback(_name(host)):
            raise ApiError("foreign_host")  # a foreign name that was made to lead here (DNS rebinding)
        if scope["method"] not in SAFE_METHODS:
            _check_origin(headers, host)
        if self._settings.token is not None and path not in OPEN_PATHS and not path.startswith(STATIC):
            scheme, _, token = headers.get("authorization", "").partition(" ")
            known = hmac.compare_digest(token.strip().encode(), self._settings.token.encode())
            if scheme.lower() != "bearer" or not known:
                self._rate.check(_client(scope))
                raise ApiError("unauthorized")
        if scope["method"] not in SAFE_METHODS or path.startswith(WORK):
            self._rate.check(_client(scope))


def _client(scope: Scope) -> str:
    address: Sequence[str] | None = scope.get("client")
    return client_of(address[0] if address else None)


def _check_origin(headers: Headers, host: str) -> None:
    """Browsers say where a page comes from that sends something; programs do not."""
    origin = headers.get("origin")
    if origin is not None and _place(origin) != _place(f"{origin.partition(':')[0]}://{host}"):
        raise ApiError("foreign_origin")
    if origin is None and headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise ApiError("foreign_origin")


def _place(origin: str) -> tuple[str, int | None] | str:
    """Host and port of an origin; the origin itself where it has none, such as "null"."""
    try:
        parts = urlsplit(origin)
        if not parts.hostname:
            return origin
        return parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    except ValueError:
        return origin


def _name(host: str) -> str:
    """The host of a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
