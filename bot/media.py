"""Which file of a message is the picture, and how it is fetched within limits."""

from __future__ import annotations

import asyncio
import io
import logging
import random
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath
from typing import Final

import aiohttp
from aiogram import Bot
from aiogram.exceptions import TelegramBadRequest, TelegramNetworkError
from aiogram.methods import GetFile
from aiogram.types import Message

from bot.storage import Picture

log = logging.getLogger(__name__)

HOSTED_LIMIT: Final = 20 * 1024 * 1024  # what the hosted Bot API lets bots download
TRIES: Final = 5
TIMEOUT: Final = 120
EXTENSIONS: Final = frozenset(
    (".jpg", ".jpeg", ".jpe", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".avif", ".heic", ".heif")
)


class PictureError(Exception):
    """The picture cannot be had from Telegram."""


class TooBig(PictureError):
    """More bytes than Telegram lets the bot download."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} bytes")
        self.limit = limit


class Gone(PictureError):
    """Telegram no longer has the file, or not for this bot."""


class NoPicture(PictureError):
    """Captions were asked for, but of no picture that is known."""


class NoClip(PictureError):
    """A button was pressed whose clip is not known any more."""


class NoAlbum(PictureError):
    """A button was pressed whose album is not known any more."""


class ClipTooLongHere(PictureError):
    """A clip of more seconds than this bot watches."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"more than {limit} s")
        self.limit = limit


def picture_of(message: Message) -> Picture | None:
    """The picture that a message carries: a photo in its largest size, or a file that claims to be an image."""
    if message.photo:
        photo = message.photo[-1]
        return Picture(photo.file_id, photo.file_unique_id, photo.file_size)
    document = message.document
    if document is None or message.animation is not None:  # an animation comes with a document too
        return None
    suffix = PurePath(document.file_name or "").suffix.lower()
    if (document.mime_type or "").lower().startswith("image/") or suffix in EXTENSIONS:
        return Picture(document.file_id, document.file_unique_id, document.file_size)
    return None


CLIP_EXTENSIONS: Final = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".gif"))


@dataclass(frozen=True)
class SentClip:
    """A moving picture in a message."""

    file: Picture
    seconds: float | None = None  # as Telegram says
    maybe_still: bool = False  # a GIF sent as a file may have one frame only


def clip_of(message: Message) -> SentClip | None:
    """The clip that a message carries: a video, a GIF, a video note, or a file that claims to be one of them."""
    if (moving := message.video or message.animation or message.video_note) is not None:
        return SentClip(Picture(moving.file_id, moving.file_unique_id, moving.file_size), moving.duration)
    document = message.document
    if document is None:
        return None
    kind, suffix = (document.mime_type or "").lower(), PurePath(document.file_name or "").suffix.lower()
    is_gif = kind == "image/gif" or suffix == ".gif"
    if kind.startswith("video/") or is_gif or suffix in CLIP_EXTENSIONS:
        file = Picture(document.file_id, document.file_unique_id, document.file_size)
        return SentClip(file, maybe_still=is_gif)
    return None


def download_limit(bot: Bot) -> int | None:
    """How many bytes may be downloaded; None for no limit (a Bot API server of one's own, in local mode)."""
    return None if bot.session.api.is_local else HOSTED_LIMIT


def check_size(bot: Bot, size: int | None) -> None:
    """Raises TooBig for a file that could not be downloaded."""
    limit = download_limit(bot)
    if limit is not None and size is not None and size > limit:
        raise TooBig(limit)


async def download(bot: Bot, picture: Picture) -> bytes:
    """The bytes of a picture.

    Raises TooBig (before any download where the size is known), Gone, or TelegramNetworkError when the network fails
    several times over.
    """
    check_size(bot, picture.file_size)
    for attempt in range(1, TRIES + 1):
        try:
            return await _fetch(bot, picture)
        except aiohttp.ClientResponseError as error:
            if error.status == HTTPStatus.NOT_FOUND and attempt > 1:
                raise Gone("Telegram no longer has the file") from None
            reason = f"HTTP status {error.status}"  # the error's own text quotes the address, and so the token
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = type(error).__name__
        if attempt < TRIES:
            await asyncio.sleep(0.25 * 2**attempt * random.uniform(0.5, 1.5))
    log.info("a download failed %d times: %s", TRIES, reason)
    raise TelegramNetworkError(GetFile(file_id=picture.file_id), f"download failed: {reason}")


async def _fetch(bot: Bot, picture: Picture) -> bytes:
    try:
        file = await bot.get_file(picture.file_id)
    except TelegramBadRequest as error:
        if "too big" in error.message.lower():
            raise TooBig(HOSTED_LIMIT) from None
        raise Gone(error.message) from None
    check_size(bot, file.file_size)
    if file.file_path is None:
        raise Gone("Telegram gave no path")
    buffer = _Bounded(download_limit(bot))
    try:
        await bot.download_file(file.file_path, buffer, timeout=TIMEOUT)
    except (FileNotFoundError, PermissionError) as error:
        log.error(
            "a file of the local Bot API server cannot be read (%s): is its folder there for this process, "
            "under the same path?",
            type(error).__name__,
        )
        raise Gone("not on this machine's disk") from None
    return buffer.getvalue()


class _Bounded(io.BytesIO):
    """Refuses to grow beyond a limit, whatever size was announced."""

    def __init__(self, limit: int | None) -> None:
        super().__init__()
        self._limit = limit

    def write(self, data: bytes) -> int:  # type: ignore[override]
        if self._limit is not None and self.tell() + len(data) > self._limit:
            raise TooBig(self._limit)
        return super().write(data)
