"""The bot that most tests of handlers talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from bot.telegram.pacing import Pacer
from model.serving.limits import Rate
from tests.support.fake_queue import Decide, FakeQueue, captions, running_bot
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.voices import Spoken


@pytest.fixture
def outcome() -> Decide:
    """What becomes of the jobs of `queue`; test modules may have their own."""
    return lambda job, media: captions()


@pytest.fixture
async def queue(server: FakeTelegram, tmp_path: Path, outcome: Decide) -> AsyncIterator[FakeQueue]:
    """The queue of a running bot."""
    queue = FakeQueue(outcome)
    async with running_bot(server, queue, tmp_path):
        yield queue


@pytest.fixture
def olga(server: FakeTelegram) -> Person:
    return server.person("Ольга", language_code="ru")


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> Spoken:
    """What the bot speaks with."""
    voice = Spoken()
    monkeypatch.setattr("bot.app.Voice", lambda: voice)
    return voice


@pytest.fixture
def unpaced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot may send a thousand messages at once."""
    fast = Rate(0.0001, burst=1000)
    monkeypatch.setattr("bot.app.Pacer", partial(Pacer, private=fast, group=fast, over_all=fast))
