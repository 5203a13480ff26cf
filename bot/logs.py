"""Logging to stderr, as text or as JSON lines, with every secret taken out."""

from __future__ import annotations

import json
import logging
import re
import sys
import traceback
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

from bot.config import Settings
from model.serving.job_context import current_job, current_trace, trace_of

log = logging.getLogger(__name__)

HIDDEN: Final = "***"
_NUMBER: Final = re.compile(r"-?\d{5,}")
_QUOTATION: Final = re.compile(r'"[^"]*"')


class Redact(logging.Filter):
    """Takes secrets out of messages and tracebacks: the addresses that HTTP errors quote contain the token."""

    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__()
        # The part after the colon is what is secret in a token, and is the same however an address is quoted.
        parts = {secret.rpartition(":")[2] if secret.partition(":")[0].isdigit() else secret for secret in secrets}
        self._parts = sorted((part for part in parts if part), key=len, reverse=True)

    def clean(self, text: str) -> str:
        for part in self._parts:
            text = text.replace(part, HIDDEN)
        return text

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a wrong format; what is logged must not break what is done
            message = str(record.msg)
        record.msg, record.args = self.clean(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.clean(record.exc_text)
        if record.stack_info:
            record.stack_info = self.clean(record.stack_info)
        return True


class NameJob(logging.Filter):
    """Gives each record the job it was logged for: `extra={"job": …}`, else that of the task, else None; and its trace.

    The trace is that of the job, else that of the update that the task processes.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if getattr(record, "job", None) is None:
            record.job = current_job.get()
        job = getattr(record, "job", None)
        record.trace = current_trace.get() if job is None else trace_of(str(job))
        record.job_suffix = "" if job is None else f" job={job}"
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object per line; job and trace are fields of their own."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if (job := getattr(record, "job", None)) is not None:
            line["job"] = str(job)
        if (trace := getattr(record, "trace", None)) is not None:
            line["trace"] = trace
        if record.exc_text or record.exc_info:
            line["exception"] = record.exc_text or self.formatException(record.exc_info or (None, None, None))
        return json.dumps(line, ensure_ascii=False)


def configure_logging(settings: Settings) -> None:
    """Send the whole process's log to stderr, in place of what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    if settings.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s%(job_suffix)s"))
    handler.addFilter(NameJob())
    handler.addFilter(Redact(settings.secrets))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    if settings.log_level != "DEBUG":
        logging.getLogger("aiogram.event").setLevel(logging.WARNING)  # a line for each update


def impersonal(words: str) -> str:
    """What Telegram says of a failure, without numbers of people and chats, and without quotations."""
    return _QUOTATION.sub('"…"', _NUMBER.sub("#", words))


def log_unhandled(_: object, context: dict[str, Any]) -> None:
    """For `loop.set_exception_handler`: asyncio would log an error with its own words, and what it was raised for."""
    error = context.get("exception")
    if error is None:
        log.error("asyncio: %s", context["message"])
    else:
        log.error("an error was handled by nobody:\n%s", whereabouts(error))


def whereabouts(error: BaseException) -> str:
    """The traceback without the error's own words, which may quote what a person wrote."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    cause = error.__cause__ or error.__context__
    before = "" if cause is None else f"{whereabouts(cause)}\nwhile handling it:\n"
    return f"{before}{frames}{type(error).__module__}.{type(error).__qualname__}"
