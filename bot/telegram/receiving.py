"""What both ways of receiving updates, polling and the webhook, have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiogram import Bot

from bot.config import Settings
from bot.metrics import BotMetrics
from bot.telegram.processing import Processor
from model.serving.health import Deadline
from model.serving.queue import JobProducer


@dataclass(frozen=True)
class Reception:
    """What it takes to receive updates."""

    settings: Settings
    bot: Bot
    queue: JobProducer
    processor: Processor
    allowed_updates: list[str]
    contact: Deadline  # to be set whenever Telegram shows that it is there
    metrics: BotMetrics
    began: Callable[[int], Awaitable[None]]  # to be called once all is ready, with the number of messages from before

    def note_contact(self, updates: int) -> None:
        """Telegram answered, or brought updates."""
        self.contact.set()
        self.metrics.polled(updates)


Receive = Callable[[Reception], Awaitable[None]]  # receives until it is cancelled
