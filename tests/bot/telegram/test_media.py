"""Which file is the picture, and what keeps its download within bounds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from aiogram.exceptions import TelegramNetworkError
from aiogram.types import Message

from bot.app import create_bot
from bot.errors import Gone, TooBig
from bot.storage.chats import Picture
from bot.telegram import media
from bot.telegram.media import download, picture_of
from tests.support.fake_queue import FakeQueue, eventually, running_bot, settings_for
from tests.support.fake_telegram import FakeTelegram
from tests.support.pictures import PHOTO


def message(**content: Any) -> Message:
    return Message.model_validate({"message_id": 1, "date": 1, "chat": {"id": 1, "type": "private"}, **content})


def file(name: str, **more: Any) -> dict[str, Any]:
    return {"file_id": name, "file_unique_id": name, **more}


def test_of_a_photo_the_largest_size() -> None:
    sizes = [file(str(side), width=side, height=side, file_size=side) for side in (90, 320, 800)]
    assert picture_of(message(photo=sizes)) == Picture("800", "800", 800)


@pytest.mark.parametrize(
    ("name", "mime_type", "is_picture"),
    [
        ("a.png", "image/png", True),
        (None, "image/webp", True),
        ("A.JPEG", "application/octet-stream", True),
        ("a.heic", None, True),
        ("a.pdf", "application/pdf", False),
        ("jpg", "text/plain", False),
        (None, None, False),
    ],
)
def test_a_file_that_claims_to_be_a_picture(name: str | None, mime_type: str | None, is_picture: bool) -> None:
    found = picture_of(message(document=file("d", file_name=name, mime_type=mime_type)))
    assert (found is not None) == is_picture


def test_an_animation_is_no_picture_though_it_comes_with_a_file() -> None:
    gif = file("g", width=1, height=1, duration=1, mime_type="image/gif")
    assert picture_of(message(animation=gif, document=file("g", mime_type="image/gif"))) is None
    assert picture_of(message(text="a.jpg")) is None


async def stored(server: FakeTelegram, data: bytes, size: int | None = None) -> Picture:
    sent = await server.person("Ann").send_document(data, "a.jpg", "image/jpeg", file_size=size)
    return Picture(sent["document"]["file_id"], "u", size)


async def test_a_download_that_turns_out_too_big_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "HOSTED_LIMIT", 300_000)
    async with FakeTelegram() as server, create_bot(settings_for(server, tmp_path)) as bot:
        with pytest.raises(TooBig):
            await download(bot, await stored(server, bytes(400_000), size=1000))
        assert await download(bot, await stored(server, bytes(300_000), size=1000)) == bytes(300_000)


async def test_a_size_told_late_still_counts(tmp_path: Path) -> None:
    async with FakeTelegram() as server, create_bot(settings_for(server, tmp_path)) as bot:
        picture = await stored(server, b"x", size=21 * 1024 * 1024)
        with pytest.raises(TooBig):
            await download(bot, dataclasses.replace(picture, file_size=None))


async def test_a_server_in_local_mode_has_no_limit_and_hands_files_over_on_disk(
    tmp_path: Path,
) -> None:
    server = FakeTelegram(local_dir=tmp_path / "files")
    async with server, create_bot(settings_for(server, tmp_path, api_local=True)) as bot:
        large = bytes(21 * 1024 * 1024)
        assert await download(bot, await stored(server, large)) == large
        assert not [call for call in server.calls if call.method == "download"]


async def test_a_file_id_that_is_not_known(tmp_path: Path) -> None:
    async with FakeTelegram() as server, create_bot(settings_for(server, tmp_path)) as bot:
        with pytest.raises(Gone):
            await download(bot, Picture("nothing", "u"))


async def test_a_download_that_stalls_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "STALLED", 1.0)
    heard: list[None] = []
    async with FakeTelegram() as server, create_bot(settings_for(server, tmp_path)) as bot:
        picture = await stored(server, bytes(300_000))
        fault = server.faults.add("download", "stall", times=1, seconds=60.0)
        with pytest.raises(TelegramNetworkError, match="stalled"):
            await download(bot, picture, lambda: heard.append(None))
        assert heard
        fault.over.set()
        server.faults.add("download", "slow", seconds=2.0)  # longer than that, but not without a byte
        assert await download(bot, picture) == bytes(300_000)


async def test_files_that_stall_keep_nobody_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more people than there are downloads at once."""
    monkeypatch.setattr("bot.service.limits.QUIET", 0.1)
    async with FakeTelegram() as server:
        stalled = server.faults.add("download", "stall", times=35, seconds=600.0)
        async with running_bot(server, FakeQueue(), tmp_path, grace=0.1):
            for number in range(35):
                await server.person(f"Person {number}").send_photo(PHOTO)
            await eventually(lambda: stalled.fired == 35)
            ann = server.person("Ann")
            await ann.send_photo(PHOTO)
            await ann.next_message()
            stalled.over.set()
