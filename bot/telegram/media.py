"""Which file of a message is the picture or clip, and how it is fetched within limits."""

from __future__ import annotations

import asyncio
import io
import logging
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import PurePath
from typing import Final, TypeAlias

import aiohttp
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramNetworkError
from aiogram.methods import GetFile
from aiogram.types import (
    Animation,
    Document,
    ExternalReplyInfo,
    File,
    LivePhoto,
    Message,
    PhotoSize,
    Sticker,
    TelegramObject,
    Video,
    VideoNote,
)

from bot.errors import Gone, NoPictureThere, TooBig
from bot.storage.chats import Picture
from model.errors import EmptyFile, MediaError, NotAnImage, PdfDocument, VectorDrawing, WebPage
from model.serving.outage import Backoff

log = logging.getLogger(__name__)

HOSTED_LIMIT: Final = 20 * 1024 * 1024  # what the hosted Bot API lets bots download
TRIES: Final = 5
FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 4.0
TIMEOUT: Final = 120
STALLED: Final = 15  # seconds without a byte; then the room in memory goes to others, and it is tried again later
EXTENSIONS: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff"),
        *(".avif", ".avifs", ".heic", ".heif", ".heics", ".heifs", ".hif"),
    )
)
SHOWN_INSTEAD: Final = (  # stickers that are drawn, media not paid for
    *("sticker", "paid_media", "audio", "voice", "contact", "location", "venue", "poll", "dice", "game", "story"),
)
CLIP_EXTENSIONS: Final = frozenset((".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".gif"))


@dataclass(frozen=True)
class SentClip:
    """A moving picture in a message."""

    file: Picture
    seconds: float | None = None  # as Telegram says
    maybe_still: bool = False  # a GIF sent as a file may have one frame only


Medium: TypeAlias = Picture | SentClip


def medium_of(source: Message | ExternalReplyInfo) -> Medium | None:
    """The picture or clip that a message carries, or a message of another chat that is replied to.

    A photo in its largest size, the still picture of a live photo, a video, a GIF, a video note, a sticker (not those
    that are drawn), a file that claims to be any of them; else the first one among paid media that were paid for, in a
    poll's question, or in a rich message. What a file is in truth shows when it is read.
    """
    for carrier in _carriers(source):
        if (medium := _clip_in(carrier) or _picture_in(carrier)) is not None:
            return _as_shown(medium, source)
    return None


def _as_shown(medium: Medium, source: Message | ExternalReplyInfo) -> Medium:
    """The same, with what the message says of how it may be shown."""
    spoiler = bool(source.has_media_spoiler)
    protected = isinstance(source, Message) and bool(source.has_protected_content)
    if not (spoiler or protected):
        return medium
    file = replace(medium.file if isinstance(medium, SentClip) else medium, spoiler=spoiler, protected=protected)
    return replace(medium, file=file) if isinstance(medium, SentClip) else file


def picture_of(source: Message | ExternalReplyInfo) -> Picture | None:
    """The medium, where it is a picture."""
    medium = medium_of(source)
    return medium if isinstance(medium, Picture) else None


def _carriers(source: TelegramObject) -> Iterator[TelegramObject]:
    """What may hold a medium, all under the same names of fields."""
    yield source
    if (paid := getattr(source, "paid_media", None)) is not None:
        yield from paid.paid_media
    if (media := getattr(getattr(source, "poll", None), "media", None)) is not None:
        yield media
    if (rich := getattr(source, "rich_message", None)) is not None:
        yield from rich.blocks


def _clip_in(carrier: TelegramObject) -> SentClip | None:
    for kind in ("video", "animation", "video_note"):  # an animation comes with a document too
        if (moving := getattr(carrier, kind, None)) is not None:
            return SentClip(_file(moving), moving.duration)
    if (sticker := getattr(carrier, "sticker", None)) is not None and sticker.is_video:
        return SentClip(_file(sticker))
    if (document := getattr(carrier, "document", None)) is not None:
        kind, suffix = _claims(document)
        is_gif = kind == "image/gif" or suffix == ".gif"
        if kind.startswith("video/") or is_gif or suffix in CLIP_EXTENSIONS:
            return SentClip(_file(document), maybe_still=is_gif)
    if (live := getattr(carrier, "live_photo", None)) is not None and not _sizes(carrier):
        return SentClip(_file(live), live.duration)
    return None


def _picture_in(carrier: TelegramObject) -> Picture | None:
    if sizes := _sizes(carrier):
        return _file(sizes[-1])
    if (sticker := getattr(carrier, "sticker", None)) is not None and not sticker.is_animated:
        return _file(sticker)
    if (document := getattr(carrier, "document", None)) is not None:
        kind, suffix = _claims(document)
        if kind.startswith("image/") or suffix in EXTENSIONS:
            return _file(document)
    return None


def _sizes(carrier: TelegramObject) -> list[PhotoSize] | None:
    """Of a photo, or of the still picture of a live one."""
    return getattr(carrier, "photo", None) or getattr(getattr(carrier, "live_photo", None), "photo", None)


def clip_of_live(message: Message, still: Picture) -> Picture | None:
    """The clip of the live photo that this is the still picture of, in the message or in what it replies to."""
    for source in (message, message.reply_to_message, message.external_reply):
        for carrier in _carriers(source) if source is not None else ():
            live, sizes = getattr(carrier, "live_photo", None), _sizes(carrier)
            if live is not None and sizes and sizes[-1].file_unique_id == still.file_unique_id:
                return replace(_file(live), spoiler=still.spoiler, protected=still.protected)
    return None


def _file(sent: PhotoSize | Document | LivePhoto | Sticker | Video | Animation | VideoNote) -> Picture:
    return Picture(sent.file_id, sent.file_unique_id, sent.file_size)


def _claims(document: Document) -> tuple[str, str]:
    """The mime type and the suffix, in small letters."""
    return (document.mime_type or "").lower(), PurePath(document.file_name or "").suffix.lower()


def sent_instead(document: Document) -> MediaError:
    """What is wrong with a file that does not even claim to be a picture or a clip."""
    kind, suffix = _claims(document)
    if document.file_size == 0:
        return EmptyFile("the file is empty")
    if kind == "application/pdf" or suffix == ".pdf":
        return PdfDocument("a PDF document")
    if kind in ("text/html", "application/xhtml+xml") or suffix in (".html", ".htm", ".xhtml", ".mhtml"):
        return WebPage("a web page")
    if suffix in (".svg", ".svgz"):
        return VectorDrawing("a vector drawing")
    return NotAnImage("a file that does not claim to be a picture")


def check_shown(source: Message | ExternalReplyInfo) -> None:
    """Raises what is wrong with a message without a medium, where it shows something; words alone are nothing."""
    if source.document is not None:
        raise sent_instead(source.document)
    for kind in SHOWN_INSTEAD:
        if getattr(source, kind, None) is not None:
            raise NoPictureThere(kind)


def download_limit(bot: Bot) -> int | None:
    """How many bytes may be downloaded; None for no limit (a Bot API server of one's own, in local mode)."""
    return None if bot.session.api.is_local else HOSTED_LIMIT


def check_size(bot: Bot, size: int | None) -> None:
    """Raises TooBig for a file that could not be downloaded."""
    limit = download_limit(bot)
    if limit is not None and size is not None and size > limit:
        raise TooBig(limit)


def download_size(bot: Bot, picture: Picture) -> int:
    """How many bytes its download takes at most."""
    limit, size = download_limit(bot), picture.file_size or HOSTED_LIMIT
    return size if limit is None else min(size, limit)


class Download:
    """A `download` that can be begun before it is called for."""

    def __init__(self, bot: Bot, picture: Picture) -> None:
        self._bot = bot
        self._picture = picture
        self._file: asyncio.Task[File] | None = None

    def begin(self) -> None:
        """Ask Telegram where the file is."""
        self._file = asyncio.create_task(self._bot.get_file(self._picture.file_id, request_timeout=STALLED))
        self._file.add_done_callback(lambda task: task.cancelled() or task.exception())  # perhaps nobody awaits it

    async def __call__(self, heard: Callable[[], None]) -> bytes:
        begun, self._file = self._file, None
        return await download(self._bot, self._picture, heard, begun)


async def download(
    bot: Bot, picture: Picture, heard: Callable[[], None] = lambda: None, begun: Awaitable[File] | None = None
) -> bytes:
    """The bytes of a picture. `heard` is called for each part that arrives. `begun`: where it is, asked before.

    Raises TooBig (before any download where the size is known), Gone, or TelegramNetworkError when the network fails
    several times over, or nothing arrives for `STALLED` seconds.
    """
    check_size(bot, picture.file_size)
    backoff = Backoff(FIRST_PAUSE, LONGEST_PAUSE)
    for attempt in range(1, TRIES + 1):
        try:
            file, begun = begun or bot.get_file(picture.file_id, request_timeout=STALLED), None
            return await _fetch(bot, picture, heard, file)
        except aiohttp.ClientResponseError as error:
            if error.status == HTTPStatus.NOT_FOUND and attempt > 1:
                raise Gone("Telegram no longer has the file") from None
            reason = f"HTTP status {error.status}"  # the error's own text quotes the address, and so the token
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
        if attempt < TRIES:
            await asyncio.sleep(backoff.next())
    log.info("a download failed %d times: %s", TRIES, reason)
    raise TelegramNetworkError(GetFile(file_id=picture.file_id), f"download failed: {reason}")


async def _fetch(bot: Bot, picture: Picture, heard: Callable[[], None], located: Awaitable[File]) -> bytes:
    try:
        file = await located
    except TelegramBadRequest as error:
        if "too big" in error.message.lower():
            raise TooBig(HOSTED_LIMIT) from None
        raise Gone(error.message) from None
    check_size(bot, file.file_size)
    if file.file_path is None:
        raise Gone("Telegram gave no path")
    loop = asyncio.get_running_loop()

    def arrived() -> None:
        heard()
        silence.reschedule(loop.time() + STALLED)

    buffer = _Bounded(download_limit(bot), arrived)
    try:
        async with asyncio.timeout(STALLED) as silence:
            await bot.download_file(file.file_path, buffer, timeout=TIMEOUT)
    except TimeoutError:
        if silence.expired():
            log.info("a download stalled")
            raise TelegramNetworkError(GetFile(file_id=picture.file_id), "download stalled") from None
        raise
    except (FileNotFoundError, PermissionError) as error:
        log.error(
            "a file of the local Bot API server cannot be read (%s): is its folder there for this process, "
            "under the same path?",
            type(error).__name__,
        )
        raise Gone("not on this machine's disk") from None
    return buffer.getvalue()


class _Bounded(io.BytesIO):
    """Refuses to grow beyond a limit, whatever size was announced. `arrived` is called for each part."""

    def __init__(self, limit: int | None, arrived: Callable[[], None]) -> None:
        super().__init__()
        self._limit = limit
        self._arrived = arrived

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self._limit is not None and self.tell() + len(data) > self._limit:
            raise TooBig(self._limit)
        self._arrived()
        return super().write(data)
