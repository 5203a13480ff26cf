"""Settings come from the environment, then from .env, and say what is wrong with them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.config import Settings
from bot.errors import ConfigurationError

TOKEN = "123456789:AAE-secret_part_of_the_token_xyz"


def test_everything_has_a_default_but_the_token() -> None:
    settings = Settings.load({})
    assert (settings.model, settings.device, settings.max_queue, settings.max_per_user) == (
        "attention",
        "auto",
        1000,
        60,
    )
    assert settings.max_media_bytes == 256 * 1024 * 1024
    assert settings.max_batch is None  # the worker knows its device
    with pytest.raises(ConfigurationError, match="BOT_TOKEN is not set"):
        settings.require_token()


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(
        f"BOT_TOKEN={TOKEN}\nMODEL=baseline\nREDIS_URL=redis://here\nexport MAX_QUEUE = 7\nDATA_DIR=$HOME\n"
    )
    settings = Settings.load({"MODEL": " Attention ", "REDIS_URL": ""}, file)
    assert settings.require_token() == TOKEN
    assert settings.model == "attention"
    assert settings.redis_url is None
    assert settings.max_queue == 7
    assert settings.data_dir == Path("$HOME")


def test_what_is_not_to_be_read_is_not_there(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(f"BOT_TOKEN={TOKEN}\nMODEL=baseline\n")
    settings = Settings.load({"BOT_TOKEN": "nonsense", "WEBHOOK_SECRET": "x"}, file, without=("BOT_TOKEN",))
    assert settings.token is None
    assert settings.webhook_secret is not None
    assert settings.model == "baseline"


def test_a_missing_file_is_no_error(tmp_path: Path) -> None:
    assert Settings.load({}, tmp_path / ".env") == Settings()


def test_each_name_is_understood() -> None:
    settings = Settings.load(
        {
            "TELEGRAM_API_URL": "http://127.0.0.1:8081/",
            "TELEGRAM_API_LOCAL": "1",
            "WEBHOOK_URL": "https://example.org",
            "WEBHOOK_SECRET": "hidden",
            "WEBHOOK_PORT": "8443",
            "DEVICE": "cuda:1",
            "PRECISION": "BF16",
            "WEIGHTS_DIR": "/w",
            "MAX_BATCH": "4",
            "MAX_VIDEO_SECONDS": "10",
            "MAX_ATTEMPTS": "5",
            "MAX_MEDIA_BYTES": "1048576",
            "ADMIN_IDS": "1, 2,",
            "ALLOWED_IDS": "-100",
            "METRICS_PORT": "9000",
            "LOG_LEVEL": "debug",
            "LOG_FORMAT": "json",
        }
    )
    assert settings == Settings(
        api_url="http://127.0.0.1:8081",
        api_local=True,
        webhook_url="https://example.org",
        webhook_secret=SecretStr("hidden"),
        webhook_port=8443,
        device="cuda:1",
        precision="bf16",
        weights_dir=Path("/w"),
        max_batch=4,
        max_video_seconds=10,
        max_attempts=5,
        max_media_bytes=1048576,
        admin_ids=frozenset({1, 2}),
        allowed_ids=frozenset({-100}),
        metrics_port=9000,
        log_level="DEBUG",
        log_format="json",
    )


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("TELEGRAM_API_URL", "localhost:8081", "http://127.0.0.1:8081"),
        ("TELEGRAM_API_LOCAL", "perhaps", "1 or 0"),
        ("MODEL", "large", "attention or baseline"),
        ("DEVICE", "gpu", "auto, cpu, cuda or cuda:N"),
        ("PRECISION", "fp8", "auto or fp32 or bf16 or int8"),
        ("MAX_BATCH", "0", "from 1 to 1024"),
        ("MAX_QUEUE", "many", "whole number"),
        ("MAX_PER_USER", "-1", "whole number"),
        ("MAX_ATTEMPTS", "1.5", "whole number"),
        ("MAX_MEDIA_BYTES", "5", "from 1048576"),
        ("ADMIN_IDS", "ann", "Telegram ids"),
        ("METRICS_PORT", "70000", "to 65534"),
        ("WEBHOOK_URL", "http://example.org", "an https address on one of the ports 443, 80, 88, 8443"),
        ("WEBHOOK_URL", "https://example.org:8080", "an https address on one of the ports"),
        ("WEBHOOK_URL", "example.org", "such as https://example.org/captions"),
        ("WEBHOOK_PORT", "many", "a whole number from 1 to 65535"),
        ("LOG_LEVEL", "loud", "DEBUG or INFO"),
        ("LOG_FORMAT", "xml", "text or json"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(name: str, value: str, allowed: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{name} is '{re.escape(value)}'.*{re.escape(allowed)}"):
        Settings.load({name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BOT_TOKEN", "my-secret"),
        ("REDIS_URL", "http://:my-secret@x"),
        ("REDIS_URL", "redis://:my-secret@x/y"),
        ("WEBHOOK_SECRET", "my-secret with a blank"),
        ("WEBHOOK_SECRET", "my-secret" * 29),
        ("WEBHOOK_SECRET", "my-secret-é"),
        ("WEBHOOK_URL", "https://ann:my-secret@example.org"),
        ("WEBHOOK_URL", "http://example.org/my-secret"),
        ("WEBHOOK_URL", "https://example.org/{my-secret}"),
        ("WEBHOOK_URL", "example.org?key=my-secret"),
        ("WEBHOOK_URL", "http://example.org/my-secret?to=http://example.org"),
    ],
)
def test_a_wrong_secret_is_not_shown(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match=name) as caught:
        Settings.load({name: value})
    assert "my-secret" not in str(caught.value)


def test_local_mode_needs_a_server_of_ones_own() -> None:
    with pytest.raises(ConfigurationError, match="TELEGRAM_API_URL"):
        Settings.load({"TELEGRAM_API_LOCAL": "1"})


@pytest.mark.parametrize(
    "url",
    ["redis://h:6379/0", "rediss://u:p@h", "unix:///run/redis.sock", "redis+cluster://h:1,h:2", "redis+sentinel://h/m"],
)
def test_redis_addresses(url: str) -> None:
    settings = Settings.load({"REDIS_URL": url})
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == url


def test_secrets_do_not_show_themselves() -> None:
    settings = Settings.load({"BOT_TOKEN": TOKEN, "REDIS_URL": "redis://:pass@h", "WEBHOOK_SECRET": "hush"})
    shown = f"{settings} {settings!r} {settings.token} {settings.token!r}"
    assert "***" in shown
    assert not any(part in shown for part in ("secret_part", "pass", "hush"))


def test_a_bot_api_server_of_ones_own_may_call_any_address() -> None:
    own = {"TELEGRAM_API_URL": "http://127.0.0.1:8081", "WEBHOOK_URL": "http://10.0.0.2:9000/hook"}
    assert Settings.load(own).webhook_url == own["WEBHOOK_URL"]
    with pytest.raises(ConfigurationError, match="WEBHOOK_URL"):
        Settings.load({**own, "TELEGRAM_API_URL": "https://api.telegram.org"})


def test_bots_behind_one_webhook_agree_on_its_secret_without_being_told() -> None:
    values = {"BOT_TOKEN": TOKEN, "WEBHOOK_URL": "https://example.org/captions"}
    one, other = Settings.load(values), Settings.load({**values, "DATA_DIR": "elsewhere"})
    secret = one.require_webhook_secret()
    assert secret == other.require_webhook_secret()
    assert re.fullmatch("[A-Za-z0-9_-]{32,256}", secret)
    assert TOKEN.partition(":")[2] not in secret
    assert secret in one.secrets  # so that no log shows it
    assert Settings.load({**values, "BOT_TOKEN": TOKEN + "x"}).require_webhook_secret() != secret
    assert Settings.load({**values, "WEBHOOK_SECRET": "my-own_1"}).require_webhook_secret() == "my-own_1"
