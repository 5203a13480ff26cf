"""What it costs to find out who handles an update."""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.fake_queue import FakeQueue, running_bot
from tests.fake_telegram import FakeTelegram


async def test_no_update_is_handed_to_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each such step would cost as much as a write to the disk, and there are many."""
    handed: list[Any] = []
    to_thread = asyncio.to_thread

    async def recorded(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if str(sys._getframe(1).f_globals["__name__"]).startswith("aiogram."):
            handed.append(function)
        return await to_thread(function, *args, **kwargs)

    buffer = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(buffer, "JPEG")
    async with FakeTelegram() as server, running_bot(server, FakeQueue(), tmp_path):
        monkeypatch.setattr(asyncio, "to_thread", recorded)
        ann = server.person("Ann")
        await ann.send_photo(buffer.getvalue())
        await ann.next_message()
        for text in ("/start", "/unknown", "hello", "https://example.org"):
            await ann.send_text(text)
            await ann.next_message()
        await ann.send_document(b"%PDF", "letter.pdf", mime_type="application/pdf")
        await ann.next_message()
    assert handed == []
