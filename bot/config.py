"""Settings from the environment and `.env`, read and checked once."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, TypeVar
from urllib.parse import urlsplit

from dotenv import dotenv_values

from bot.errors import ConfigurationError
from model.serving.redis.address import FORMS, InvalidAddress, RedisAddress

T = TypeVar("T")

MIB: Final = 1024 * 1024
OFFICIAL_API: Final = "https://api.telegram.org"
MODELS: Final = ("attention", "baseline")
LOG_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
LOG_FORMATS: Final = ("text", "json")
SWITCHES: Final = dict.fromkeys(("1", "true", "yes", "on"), True) | dict.fromkeys(("0", "false", "no", "off"), False)
TOKEN: Final = re.compile(r"\d{1,20}:[\w-]{10,}", re.ASCII)
DEVICE: Final = re.compile(r"auto|cpu|cuda(:\d+)?", re.ASCII)
WEBHOOK_SECRET: Final = re.compile(r"[A-Za-z0-9_-]{1,256}")
WEBHOOK_PORTS: Final = (443, 80, 88, 8443)  # that the official Bot API calls
WEBHOOK_PATH: Final = re.compile(r"[\w.~:/@!$&'()*+,;=%-]*", re.ASCII)


class Secret:
    """A string that does not show itself: str and repr are "***"."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __str__(self) -> str:
        return "***"

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set from outside. Only the bot needs `token`: see `require_token`."""

    token: Secret | None = None
    api_url: str = OFFICIAL_API
    api_local: bool = False
    redis_url: Secret | None = None
    webhook_url: str | None = None
    webhook_secret: Secret | None = None
    webhook_port: int = 8080
    model: Literal["attention", "baseline"] = "attention"
    device: str = "auto"
    weights_dir: Path = Path("weights")
    data_dir: Path = Path("data")
    max_batch: int = 16
    max_queue: int = 1000
    max_per_user: int = 60
    max_video_seconds: int = 300
    max_attempts: int = 3
    max_media_bytes: int = 256 * MIB
    admin_ids: frozenset[int] = frozenset()
    allowed_ids: frozenset[int] = frozenset()
    metrics_port: int | None = None
    log_level: str = "INFO"
    log_format: Literal["text", "json"] = "text"

    @classmethod
    def load(
        cls, environ: Mapping[str, str], env_file: Path | None = None, *, without: Collection[str] = ()
    ) -> Settings:
        """Read the settings; what `environ` sets, even to nothing, wins over the file.

        `without`: names that are passed over, wherever they are set. Raises ConfigurationError.
        """
        return cls(**_Reader(environ, env_file, without).settings())  # type: ignore[arg-type]

    def require_token(self) -> str:
        """The token, in clear. Raises ConfigurationError when there is none."""
        if self.token is None:
            raise ConfigurationError(
                "BOT_TOKEN is not set. Get a token from @BotFather in Telegram, then set BOT_TOKEN in the "
                "environment or write BOT_TOKEN=... into the file .env"
            )
        return self.token.reveal()

    def require_webhook_secret(self) -> str:
        """What Telegram says with each update, in clear; all bots behind one address must agree on it.

        WEBHOOK_SECRET, else one made from the token, which tells nothing of it. Raises ConfigurationError when there
        is neither.
        """
        if self.webhook_secret is not None:
            return self.webhook_secret.reveal()
        return hmac.new(self.require_token().encode(), b"webhook secret", hashlib.sha256).hexdigest()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log may show."""
        found = (self.token, self.redis_url, self.webhook_secret)
        parts = RedisAddress.parse(self.redis_url.reveal()).secrets if self.redis_url else ()
        derived = (self.require_webhook_secret(),) if self.webhook_url and self.token else ()
        return (*(secret.reveal() for secret in found if secret is not None), *parts, *derived)


class _Reader:
    """Reads single values; an empty one counts as not set."""

    def __init__(self, environ: Mapping[str, str], env_file: Path | None, without: Collection[str]) -> None:
        try:
            written = dotenv_values(env_file, interpolate=False) if env_file and env_file.is_file() else {}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{env_file} cannot be read: {error}") from error
        self.values = {name: value for name, value in {**written, **environ}.items() if name not in without}

    def settings(self) -> dict[str, object]:
        api_url = self.value("TELEGRAM_API_URL", _http_url, "an address such as http://127.0.0.1:8081")
        api_local = self.value("TELEGRAM_API_LOCAL", _switch, "1 or 0")
        if api_local and api_url is None:
            raise ConfigurationError(
                "TELEGRAM_API_LOCAL=1 needs TELEGRAM_API_URL, the address of your own Bot API server"
            )
        found: dict[str, object | None] = {
            "token": self.secret("BOT_TOKEN", TOKEN, "a token from @BotFather such as 123456789:AAE...z"),
            "api_url": api_url,
            "api_local": api_local,
            "redis_url": self.redis("REDIS_URL"),
            "webhook_url": self.webhook("WEBHOOK_URL", official=api_url in (None, OFFICIAL_API)),
            "webhook_secret": self.secret(
                "WEBHOOK_SECRET", WEBHOOK_SECRET, "1 to 256 of the characters A-Z, a-z, 0-9, _ and -"
            ),
            "webhook_port": self.number("WEBHOOK_PORT", 1, 65_535),
            "model": self.choice("MODEL", MODELS, str.lower),
            "device": self.value("DEVICE", _device, "auto, cpu, cuda or cuda:N"),
            "weights_dir": self.value("WEIGHTS_DIR", Path, "a folder"),
            "data_dir": self.value("DATA_DIR", Path, "a folder"),
            "max_batch": self.number("MAX_BATCH", 1, 1024),
            "max_queue": self.number("MAX_QUEUE", 1, 1_000_000),
            "max_per_user": self.number("MAX_PER_USER", 1, 1_000_000),
            "max_video_seconds": self.number("MAX_VIDEO_SECONDS", 1, 86_400),
            "max_attempts": self.number("MAX_ATTEMPTS", 1, 100),
            "max_media_bytes": self.number("MAX_MEDIA_BYTES", MIB, 1 << 40),
            "admin_ids": self.ids("ADMIN_IDS"),
            "allowed_ids": self.ids("ALLOWED_IDS"),
            "metrics_port": self.number("METRICS_PORT", 1, 65_534),  # the next one is the embedded worker's
            "log_level": self.choice("LOG_LEVEL", LOG_LEVELS, str.upper),
            "log_format": self.choice("LOG_FORMAT", LOG_FORMATS, str.lower),
        }
        return {name: value for name, value in found.items() if value is not None}

    def text(self, name: str) -> str | None:
        return (self.values.get(name) or "").strip() or None

    def value(self, name: str, parse: Callable[[str], T], allowed: str, show: Callable[[str], str] = str) -> T | None:
        """`show`: as much of a wrong value as may be told."""
        text = self.text(name)
        if text is None:
            return None
        try:
            return parse(text)
        except (ValueError, KeyError) as error:
            raise ConfigurationError(f"{name} is {show(text)!r}, but must be {allowed}") from error

    def secret(self, name: str, pattern: re.Pattern[str], allowed: str) -> Secret | None:
        text = self.text(name)
        if text is None:
            return None
        if not pattern.fullmatch(text):
            raise ConfigurationError(f"{name} is set to something that cannot be used; it must be {allowed}")
        return Secret(text)

    def redis(self, name: str) -> Secret | None:
        text = self.text(name)
        if text is None:
            return None
        try:
            RedisAddress.parse(text)
        except InvalidAddress as error:
            raise ConfigurationError(f"{name} cannot be used: {error}. It must be {FORMS}") from None
        return Secret(text)

    def webhook(self, name: str, *, official: bool) -> str | None:
        """Only a Bot API server of one's own calls plain http, or any port."""
        if official:
            ports = ", ".join(map(str, WEBHOOK_PORTS))
            allowed = f"an https address on one of the ports {ports}, such as https://example.org/captions"
        else:
            allowed = "an address such as https://example.org/captions"
        return self.value(name, lambda text: _webhook_url(text, official), allowed, _without_path)

    def number(self, name: str, least: int, most: int) -> int | None:
        def parse(text: str) -> int:
            number = int(text)
            if not least <= number <= most:
                raise ValueError(text)
            return number

        return self.value(name, parse, f"a whole number from {least} to {most}")

    def choice(self, name: str, choices: tuple[str, ...], normal: Callable[[str], str]) -> str | None:
        return self.value(name, lambda text: choices[choices.index(normal(text))], " or ".join(choices))

    def ids(self, name: str) -> frozenset[int] | None:
        return self.value(
            name,
            lambda text: frozenset(int(part) for part in text.replace(",", " ").split()),
            "Telegram ids (numbers) with commas between them",
        )


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, text)):
        raise ValueError(text)
    return text.rstrip("/")


def _webhook_url(text: str, official: bool) -> str:
    parts = urlsplit(text)
    port, secure = parts.port, parts.scheme == "https"  # the port raises ValueError, too
    if not secure and (official or parts.scheme != "http"):
        raise ValueError(text)
    if not parts.hostname or "@" in parts.netloc or parts.fragment or any(map(str.isspace, text)):
        raise ValueError(text)
    if not WEBHOOK_PATH.fullmatch(parts.path) or (official and (port or 443) not in WEBHOOK_PORTS):
        raise ValueError(text)
    return text


def _without_path(url: str) -> str:
    """An address without what is often a secret: the path, and who logs in."""
    scheme = re.match(r"(\w+://)?", url, re.ASCII)
    assert scheme is not None
    rest = url[scheme.end() :]
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    return scheme[0] + place.rpartition("@")[2] + ("" if place == rest else "/…")


def _switch(text: str) -> bool:
    return SWITCHES[text.lower()]


def _device(text: str) -> str:
    if not DEVICE.fullmatch(text.lower()):
        raise ValueError(text)
    return text.lower()
