"""Reports of errors to Sentry, off by default: what the log says at ERROR, without anything of people."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from bot.config import Settings
from bot.errors import ConfigurationError
from bot.logs import NameJob, Redact

if TYPE_CHECKING:
    from sentry_sdk.transport import Transport
    from sentry_sdk.types import Event, Hint

KEPT: Final = ("event_id", "timestamp", "platform", "level", "logger", "release", "environment", "sdk")
OF_A_FRAME: Final = ("filename", "module", "function", "lineno", "in_app")
FLUSH_SECONDS: Final = 2.0


def configure_error_reports(settings: Settings, transport: type[Transport] | None = None) -> None:
    """Report errors of this process where SENTRY_DSN is set. Raises ConfigurationError without sentry-sdk.

    `transport`: another way to deliver reports than over the network.
    """
    if settings.sentry_dsn is None:
        return
    try:
        import sentry_sdk
        from sentry_sdk.integrations.atexit import AtexitIntegration
        from sentry_sdk.integrations.excepthook import ExcepthookIntegration
        from sentry_sdk.integrations.logging import LoggingIntegration
    except ImportError:
        raise ConfigurationError(
            "SENTRY_DSN is set, but sentry-sdk is not installed: pip install -r requirements-sentry.txt"
        ) from None
    redact = Redact(settings.secrets)

    def before_send(event: Event, hint: Hint) -> Event:
        return scrubbed(event, hint, redact)

    sentry_sdk.init(
        settings.sentry_dsn.get_secret_value(),
        transport=transport,
        before_send=before_send,
        default_integrations=False,  # they look into requests, arguments and installed packages
        integrations=[
            AtexitIntegration(callback=lambda pending, timeout: None),
            ExcepthookIntegration(),
            LoggingIntegration(level=None, event_level=logging.ERROR),
        ],
        max_breadcrumbs=0,
        include_local_variables=False,
        server_name="",
        shutdown_timeout=FLUSH_SECONDS,
    )


def scrubbed(event: Event, hint: Hint, redact: Redact) -> Event:
    """What goes out of an event: what the log says, where errors come from, job and trace; all else is left out.

    The words of errors may quote people, as in `bot.logs.whereabouts`.
    """
    source: dict[str, Any] = dict(event)
    kept: dict[str, Any] = {name: source[name] for name in KEPT if name in source}
    entry = source.get("logentry") or {}
    if text := entry.get("formatted") or entry.get("message"):
        kept["logentry"] = {"formatted": redact.clean(str(text))}
    if errors := (source.get("exception") or {}).get("values"):
        kept["exception"] = {"values": [_without_words(error) for error in errors]}
    record = hint.get("log_record")
    if isinstance(record, logging.LogRecord):
        NameJob().filter(record)
        named = {name: getattr(record, name, None) for name in ("job", "trace")}
        kept["tags"] = {name: str(value) for name, value in named.items() if value is not None}
    found: Event = kept  # type: ignore[assignment]
    return found


def _without_words(error: dict[str, Any]) -> dict[str, Any]:
    frames = (error.get("stacktrace") or {}).get("frames") or []
    bare = [{name: frame[name] for name in OF_A_FRAME if name in frame} for frame in frames]
    return {"type": error.get("type"), "module": error.get("module"), "stacktrace": {"frames": bare}}
