"""The bot that most tests of handlers talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from bot.telegram.pacing import Pacer
from model.serving.limits import Rate
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


@pytest.fixture
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot may send a hundred messages to a chat at once."""
    fast = Rate(0.001, burst=100)
    monkeypatch.setattr("bot.app.Pacer", partial(Pacer, private=fast, group=fast))
