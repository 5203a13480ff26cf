"""The bot that most tests of handlers talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.fake_queue import FakeQueue, running_bot
from tests.support.fake_telegram import FakeTelegram, Person


@pytest.fixture
async def queue(server: FakeTelegram, tmp_path: Path) -> AsyncIterator[FakeQueue]:
    """The queue of a running bot."""
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path):
        yield queue


@pytest.fixture
def olga(server: FakeTelegram) -> Person:
    return server.person("Ольга", language_code="ru")
