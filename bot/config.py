"""Settings from the environment and `.env`, read and checked once."""

import hashlib
import hmac
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core.core_schema import ValidationInfo

from bot.errors import ConfigurationError
from model.network.config import DecoderKind, Precision
from model.serving.redis.address import FORMS, InvalidAddress, RedisAddress

T = TypeVar("T")

MIB: Final = 1024 * 1024
OFFICIAL_API: Final = "https://api.telegram.org"
TOKEN: Final = re.compile(r"\d{1,20}:[\w-]{10,}", re.ASCII)
WEBHOOK_PORTS: Final = (443, 80, 88, 8443)  # that the official Bot API calls
WEBHOOK_PATH: Final = re.compile(r"[\w.~:/@!$&'()*+,;=%-]*", re.ASCII)

CaptionLanguage = Literal["auto", "en", "ru"]  # auto: as the interface speaks to who asks
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
LogFormat = Literal["text", "json"]
MODELS: Final[tuple[str, ...]] = get_args(DecoderKind)


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or any(map(str.isspace, text)):
        raise ValueError("no address")
    return text.rstrip("/")


def _webhook_url(text: str, official: bool) -> str:
    parts = urlsplit(text)
    port, secure = parts.port, parts.scheme == "https"  # the port raises ValueError, too
    if not secure and (official or parts.scheme != "http"):
        raise ValueError("not https")
    if not parts.hostname or "@" in parts.netloc or parts.fragment or any(map(str.isspace, text)):
        raise ValueError("no address")
    if not WEBHOOK_PATH.fullmatch(parts.path) or (official and (port or 443) not in WEBHOOK_PORTS):
        raise ValueError("an address that Telegram does not call")
    return text


def _without_path(url: str) -> str:
    """An address without what is often a secret: the path, and who logs in."""
    scheme = re.match(r"(\w+://)?", url, re.ASCII)
    assert scheme is not None
    rest = url[scheme.end() :]
    place = re.split("[/?#]", rest, maxsplit=1)[0]
    return scheme[0] + place.rpartition("@")[2] + ("" if place == rest else "/…")


def _ids(value: str | frozenset[int]) -> frozenset[int]:
    return frozenset(map(int, value.replace(",", " ").split())) if isinstance(value, str) else value


def _matching(pattern: re.Pattern[str]) -> AfterValidator:
    def check(value: T) -> T:
        text = value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        if not pattern.fullmatch(text):
            raise ValueError("not of the form that is needed")
        return value

    return AfterValidator(check)


def _setting(name: str, default: Any, allowed: str, **limits: Any) -> Any:
    return Field(default, validation_alias=name, description=allowed, **limits)


def _number(name: str, default: int | None, least: int, most: int) -> Any:
    return _setting(name, default, f"a whole number from {least} to {most}", ge=least, le=most)


def _choice(name: str, default: str, choices: object) -> Any:
    return _setting(name, default, " or ".join(get_args(choices)))


Number = Annotated[int, BeforeValidator(int)]  # pydantic alone would take 1.0
Ids = Annotated[frozenset[int], BeforeValidator(_ids)]
IDS: Final = "Telegram ids (numbers) with commas between them"


class Settings(BaseModel):
    """Everything that can be set from outside. Only the bot needs `token`: see `require_token`.

    The description of a field says what its value must be. Read them by `load`: pydantic-settings would expand
    variables in `.env`, and read the environment where a test means the defaults.
    """

    model_config = ConfigDict(frozen=True, validate_by_name=True, validate_by_alias=True, hide_input_in_errors=True)

    token: Annotated[SecretStr, _matching(TOKEN)] | None = _setting(
        "BOT_TOKEN", None, "a token from @BotFather such as 123456789:AAE...z"
    )
    api_url: Annotated[str, AfterValidator(_http_url)] = _setting(
        "TELEGRAM_API_URL", OFFICIAL_API, "an address such as http://127.0.0.1:8081"
    )
    api_local: bool = _setting("TELEGRAM_API_LOCAL", False, "1 or 0")
    redis_url: SecretStr | None = _setting("REDIS_URL", None, FORMS)
    webhook_url: str | None = _setting("WEBHOOK_URL", None, "an address such as https://example.org/captions")
    webhook_secret: Annotated[SecretStr, _matching(re.compile(r"[A-Za-z0-9_-]{1,256}"))] | None = _setting(
        "WEBHOOK_SECRET", None, "1 to 256 of the characters A-Z, a-z, 0-9, _ and -"
    )
    webhook_port: Number = _number("WEBHOOK_PORT", 8080, 1, 65_535)
    model: Annotated[DecoderKind, BeforeValidator(str.lower)] = _choice("MODEL", "attention", DecoderKind)
    caption_language: Annotated[CaptionLanguage, BeforeValidator(str.lower)] = _choice(
        "CAPTION_LANGUAGE", "auto", CaptionLanguage
    )
    device: Annotated[str, BeforeValidator(str.lower), _matching(re.compile(r"auto|cpu|cuda(:\d+)?", re.ASCII))] = (
        _setting("DEVICE", "auto", "auto, cpu, cuda or cuda:N")
    )
    precision: Annotated[Precision, BeforeValidator(str.lower)] = _choice("PRECISION", "auto", Precision)
    weights_dir: Path = _setting("WEIGHTS_DIR", Path("weights"), "a folder")
    edit_model: Path | None = _setting("EDIT_MODEL", None, "a folder")
    data_dir: Path = _setting("DATA_DIR", Path("data"), "a folder")
    max_batch: Number | None = _number("MAX_BATCH", None, 1, 1024)  # see `model.network.device.usual_batch`
    max_queue: Number = _number("MAX_QUEUE", 1000, 1, 1_000_000)
    max_per_user: Number = _number("MAX_PER_USER", 60, 1, 1_000_000)
    max_video_seconds: Number = _number("MAX_VIDEO_SECONDS", 300, 1, 86_400)
    max_attempts: Number = _number("MAX_ATTEMPTS", 3, 1, 100)
    max_media_bytes: Number = _number("MAX_MEDIA_BYTES", 256 * MIB, MIB, 1 << 40)
    admin_ids: Ids = _setting("ADMIN_IDS", frozenset(), IDS)
    allowed_ids: Ids = _setting("ALLOWED_IDS", frozenset(), IDS)
    guest_mode: bool = _setting("GUEST_MODE", True, "1 or 0")
    metrics_port: Number | None = _number("METRICS_PORT", None, 1, 65_534)  # the next one is the embedded worker's
    web_host: str = _setting("WEB_HOST", "127.0.0.1", "an address of this machine")
    web_port: Number = _number("WEB_PORT", 8000, 1, 65_535)
    web_token: Annotated[SecretStr, _matching(re.compile(r"[\x21-\x7e]{16,256}"))] | None = _setting(
        "WEB_TOKEN", None, "16 to 256 letters, digits and signs, without spaces"
    )
    sentry_dsn: Annotated[SecretStr, _matching(re.compile(r"https?://\w+@[\w.:-]+(/[\w./-]*)?/\d+"))] | None = _setting(
        "SENTRY_DSN", None, "an address such as https://key@sentry.example.org/1"
    )
    log_level: Annotated[LogLevel, BeforeValidator(str.upper)] = _choice("LOG_LEVEL", "INFO", LogLevel)
    log_format: Annotated[LogFormat, BeforeValidator(str.lower)] = _choice("LOG_FORMAT", "text", LogFormat)

    @classmethod
    def load(cls, environ: Mapping[str, str], env_file: Path | None = None, *, without: Collection[str] = ()) -> Self:
        """Read the settings; what `environ` sets, even to nothing, wins over the file.

        An empty value counts as not set. `without`: names that are not read, wherever they are set.
        Raises ConfigurationError.
        """
        try:
            written = dotenv_values(env_file, interpolate=False) if env_file and env_file.is_file() else {}
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigurationError(f"{env_file} cannot be read: {error}") from error
        names = {field.validation_alias for field in cls.model_fields.values()} - set(without)
        stripped = {name: (value or "").strip() for name, value in {**written, **environ}.items() if name in names}
        values = {name: value for name, value in stripped.items() if value}
        try:
            return cls.model_validate(values)
        except ValidationError as error:  # it quotes values: nothing of it is shown
            name = str(error.errors(include_input=False, include_url=False)[0]["loc"][0])
        raise ConfigurationError(_wrong(cls, name, values[name]))

    @field_validator("redis_url")
    @classmethod
    def _check_redis(cls, url: SecretStr | None) -> SecretStr | None:
        try:
            if url is not None:
                RedisAddress.parse(url.get_secret_value())
        except InvalidAddress as error:
            raise ConfigurationError(f"REDIS_URL cannot be used: {error}. It must be {FORMS}") from None
        return url

    @field_validator("webhook_url")
    @classmethod
    def _check_webhook(cls, url: str | None, info: ValidationInfo) -> str | None:
        """Only a Bot API server of one's own calls plain http, or any port."""
        official = info.data.get("api_url") == OFFICIAL_API
        try:
            return url and _webhook_url(url, official)
        except ValueError:
            where = f"an https address on one of the ports {', '.join(map(str, WEBHOOK_PORTS))},"
            allowed = f"{where if official else 'an address'} such as https://example.org/captions"
        raise ConfigurationError(f"WEBHOOK_URL is {_without_path(url or '')!r}, but must be {allowed}")

    @model_validator(mode="after")
    def _check_local(self) -> Self:
        if self.api_local and "api_url" not in self.model_fields_set:
            raise ConfigurationError(
                "TELEGRAM_API_LOCAL=1 needs TELEGRAM_API_URL, the address of your own Bot API server"
            )
        return self

    def require_token(self) -> str:
        """The token, in clear. Raises ConfigurationError when there is none."""
        if self.token is None:
            raise ConfigurationError(
                "BOT_TOKEN is not set. Get a token from @BotFather in Telegram, then set BOT_TOKEN in the "
                "environment or write BOT_TOKEN=... into the file .env"
            )
        return self.token.get_secret_value()

    def require_webhook_secret(self) -> str:
        """What Telegram sends with each update, in clear; all bots behind one address must agree on it.

        WEBHOOK_SECRET, else one derived from the token, which does not reveal it. Raises ConfigurationError when there
        is neither.
        """
        if self.webhook_secret is not None:
            return self.webhook_secret.get_secret_value()
        return hmac.new(self.require_token().encode(), b"webhook secret", hashlib.sha256).hexdigest()

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log may show."""
        found = (self.token, self.redis_url, self.webhook_secret, self.web_token, self.sentry_dsn)
        parts = RedisAddress.parse(self.redis_url.get_secret_value()).secrets if self.redis_url else ()
        derived = (self.require_webhook_secret(),) if self.webhook_url and self.token else ()
        return (*(secret.get_secret_value() for secret in found if secret is not None), *parts, *derived)


def _wrong(settings: type[Settings], name: str, value: str) -> str:
    """What is wrong with a value; that of a secret is not shown."""
    field = next(field for field in settings.model_fields.values() if field.validation_alias == name)
    if "SecretStr" in str(field.annotation):
        return f"{name} is set to something that cannot be used; it must be {field.description}"
    return f"{name} is {value!r}, but must be {field.description}"
