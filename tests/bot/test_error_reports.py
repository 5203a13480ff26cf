"""Reports of errors hold what the log says, and nothing of people."""

from __future__ import annotations

import builtins
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from pydantic import SecretStr
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from bot.config import Settings
from bot.error_reports import configure_error_reports
from bot.errors import ConfigurationError
from model.serving.job_context import trace_of, working_for

DSN = SecretStr("https://a1b2c3@sentry.example.org/7")
TOKEN = SecretStr("123456789:AAE-secret_part_of_the_token_xyz")


class Kept(Transport):
    """Keeps reports in place of sending them."""

    reports: list[dict[str, Any]] = []  # noqa: RUF012

    def capture_envelope(self, envelope: Envelope) -> None:
        self.reports.extend(event for item in envelope.items if (event := item.get_event()) is not None)  # type: ignore[misc]


@pytest.fixture
def reports() -> Iterator[list[dict[str, Any]]]:
    Kept.reports = []
    yield Kept.reports
    sentry_sdk.init(default_integrations=False)  # off again


def fail(words: str) -> None:
    said = f"Marked-Local {words}"
    raise RuntimeError(f"{said} at https://api.telegram.org/bot{TOKEN.get_secret_value()}/getMe")


def test_a_report_names_the_place_the_job_and_the_trace_and_nobody(reports: list[dict[str, Any]]) -> None:
    configure_error_reports(Settings(sentry_dsn=DSN, token=TOKEN), Kept)
    log = logging.getLogger("bot.somewhere")
    with working_for("424242-1001"):
        log.warning("Marked-Warning")
        try:
            fail("Marked-Words")
        except RuntimeError:
            log.exception("update %d failed at %s", 1001, TOKEN.get_secret_value(), extra={"who": "Marked-Extra"})
    [report] = reports
    text = json.dumps(report, default=str)
    assert "Marked" not in text
    assert "secret_part" not in text
    assert "a1b2c3" not in text
    assert report["logentry"]["formatted"].startswith("update 1001 failed at ")
    [error] = report["exception"]["values"]
    assert error["type"] == "RuntimeError"
    assert [frame["function"] for frame in error["stacktrace"]["frames"]][-1] == "fail"
    assert report["tags"] == {"job": "424242-1001", "trace": trace_of("424242-1001")}
    assert not {"contexts", "extra", "modules", "server_name", "user", "request", "breadcrumbs"} & report.keys()


def test_it_is_off_by_default(reports: list[dict[str, Any]]) -> None:
    configure_error_reports(Settings(), Kept)
    logging.getLogger("x").error("failed")
    assert reports == []


def test_without_its_package_the_start_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def missing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("sentry_sdk"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ConfigurationError, match=r"requirements-sentry\.txt"):
        configure_error_reports(Settings(sentry_dsn=DSN))


@pytest.mark.parametrize("dsn", ["hidden.example.org", "https://hidden.example.org/7", "https://hidden@host/x"])
def test_an_address_that_is_none_is_refused_and_not_shown(dsn: str) -> None:
    with pytest.raises(ConfigurationError, match="SENTRY_DSN") as caught:
        Settings.load({"SENTRY_DSN": dsn})
    assert "hidden" not in str(caught.value)
