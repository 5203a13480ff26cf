"""Fixtures: the web application in process."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.support.fake_queue import FakeQueue
from tests.support.web import Web, captioned, web_of


@pytest.fixture
async def web() -> AsyncIterator[Web]:
    async with web_of(FakeQueue(captioned)) as made:
        yield made
