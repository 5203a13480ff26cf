"""The loopback Bot API, and people who send photos and look at the clock."""

from __future__ import annotations

import asyncio
import io
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from PIL import Image

from tests.support.fake_queue import is_status
from tests.support.fake_telegram import FakeTelegram, Message, Person

PHOTOS: Final = Path(__file__).resolve().parent.parent.parent / "tests" / "photos"
PHOTO_BYTES: Final = 40_000
PATIENCE: Final = 120.0  # seconds for an answer


@cache
def small_photo() -> bytes:
    """Quick to decode, and as many bytes as photos have: 128 pixels a side, and what a decoder does not read."""
    out = io.BytesIO()
    with Image.open(PHOTOS / "cat.jpg") as photo:
        photo.convert("RGB").resize((128, 128)).save(out, "JPEG")
    return out.getvalue().ljust(PHOTO_BYTES, b"\0")


def real_photos() -> list[bytes]:
    return [path.read_bytes() for path in sorted(PHOTOS.glob("*.jpg"))]


class Telegram(FakeTelegram):
    """Knows when each answer came. What Telegram does on machines of its own takes little time here."""

    decodes = False

    def __init__(self) -> None:
        super().__init__()
        self.awaited: dict[tuple[int, int], asyncio.Future[float]] = {}  # (chat, message) → when it is answered

    def asker(self) -> Asker:
        user = {"id": 1000 + next(self._numbers), "is_bot": False, "first_name": "Ann", "language_code": "en"}
        asker = Asker(self, user)
        self.chats[asker.id] = asker
        return asker

    async def polled(self, seconds: float = 60) -> None:
        """Returns when a bot asks for updates. Raises TimeoutError."""

        def seen() -> bool | None:
            return any(call.method == "getUpdates" for call in self.calls) or None

        if await self.until(seen, seconds) is None:
            raise TimeoutError("the bot asks for no updates")


class Asker(Person):
    server: Telegram

    async def ask(self, photo: bytes) -> tuple[Message, float, asyncio.Future[float]]:
        """The message, when it was sent, and when it will have been answered (`time.monotonic`)."""
        sent = time.monotonic()
        message = await self.send_photo(photo)
        answered = asyncio.get_running_loop().create_future()
        self.server.awaited[self.id, message["message_id"]] = answered
        return message, sent, answered

    async def latency(self, photo: bytes) -> float:
        """Seconds from the photo to its answer. Raises TimeoutError."""
        _, sent, answered = await self.ask(photo)
        return await asyncio.wait_for(answered, PATIENCE) - sent

    def new_message(self, sender: Any, content: Any, thread_id: int | None, reply_to: Message | None) -> Message:
        if sender["is_bot"] and reply_to is not None and not is_status(content):
            answered = self.server.awaited.pop((self.id, reply_to["message_id"]), None)
            if answered is not None and not answered.done():
                answered.set_result(time.monotonic())
        return super().new_message(sender, content, thread_id, reply_to)


@dataclass(frozen=True)
class Run:
    """Photos that were answered: each one's latency, and how long all took, in seconds."""

    latencies: list[float]
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds


async def one_by_one(telegram: Telegram, photos: Sequence[bytes], count: int) -> list[float]:
    """Latencies of photos each sent when the one before was answered."""
    return [await telegram.asker().latency(photos[number % len(photos)]) for number in range(count)]


async def at_rate(telegram: Telegram, photos: Sequence[bytes], rate: float, count: int, seed: int = 0) -> Run:
    """Photos of so many people, a second on average `rate`, as they come (a Poisson process)."""
    chance = random.Random(seed)
    moment = began = time.monotonic()
    asked = []
    for number in range(count):
        await asyncio.sleep(max(0.0, moment - time.monotonic()))
        asked.append(asyncio.create_task(telegram.asker().latency(photos[number % len(photos)])))
        moment += chance.expovariate(rate)
    latencies = await asyncio.gather(*asked)
    return Run(latencies, time.monotonic() - began)


async def saturating(
    telegram: Telegram, photos: Sequence[bytes], count: int, in_flight: int, people: Sequence[Asker] = ()
) -> Run:
    """`in_flight` photos always unanswered. `people` take turns; without, each photo is of another person."""
    numbers = iter(range(count))
    latencies: list[float] = []

    async def go_on(numbers: Iterator[int]) -> None:
        for number in numbers:
            asker = people[number % len(people)] if people else telegram.asker()
            latencies.append(await asker.latency(photos[number % len(photos)]))

    began = time.monotonic()
    await asyncio.gather(*(go_on(numbers) for _ in range(in_flight)))
    return Run(latencies, time.monotonic() - began)
