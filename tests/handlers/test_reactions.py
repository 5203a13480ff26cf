"""What people's reactions to answers are counted as, and what is not kept of them."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bot.chat_settings import ChatSettings
from bot.metrics import BotMetrics
from tests.support.conversation import answered
from tests.support.fake_queue import FakeQueue, eventually, running_bot
from tests.support.fake_telegram import Chat, FakeTelegram, Person
from tests.support.records import everything, keep

BOT = "@captions_test_bot"


@pytest.fixture
def ann(server: FakeTelegram) -> Person:
    return server.person("Marked-Ann")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> CollectorRegistry:
    """Of the metrics of the running bot."""
    registry = CollectorRegistry()
    monkeypatch.setattr("bot.app.BotMetrics", lambda _: BotMetrics(registry))
    return registry


@pytest.fixture
async def group(server: FakeTelegram, ann: Person, registry: CollectorRegistry, tmp_path: Path) -> AsyncIterator[Chat]:
    """A group with a running bot, whose operator is Ann."""
    async with running_bot(server, FakeQueue(), tmp_path, admin_ids=frozenset({ann.id})):
        yield server.group("Marked-Cats", ann)


def counted(registry: CollectorRegistry, **labels: str) -> float:
    labels = {"model": "attention", "decoding": "beam", "verdict": "good", "change": "added"} | labels
    return registry.get_sample_value("caption_reactions_total", labels) or 0.0


async def test_reactions_are_counted_by_how_the_answer_was_made(
    server: FakeTelegram, group: Chat, ann: Person, registry: CollectorRegistry
) -> None:
    bob = server.person("Bob")
    photo = await answered(ann, BOT, group)
    bob.react(photo, "👍")
    ann.react(photo, "❤", "🔥")  # one verdict
    ann.react(photo, "❤", before=("❤", "🔥"))
    bob.react(photo, "💩", before=("👍",))
    ann.react(photo, "🤔", "❤", before=("❤",))
    await ann.send_text("/sample top_p=0.9", chat=group)
    sample = await group.next_message()
    bob.react(sample, "👎")
    await eventually(lambda: counted(registry, decoding="top-p", verdict="bad") == 1)
    await eventually(lambda: counted(registry, verdict="other") == 1)
    assert counted(registry) == 2
    assert counted(registry, change="taken_back") == 1
    assert counted(registry, verdict="bad") == 1
    await ann.send_text("/stats")
    lines = (await ann.next_message())["text"].split("\n")
    assert "Reactions to attention, beam: 👍 1, 👎 1, other 1" in lines
    assert "Reactions to attention, top-p: 👍 0, 👎 1, other 0" in lines


async def test_reactions_are_told_in_russian(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    ann.user["language_code"] = "ru"
    await keep(tmp_path, ann.id, ChatSettings(model="baseline", beam=False))
    async with running_bot(server, FakeQueue(), tmp_path, admin_ids=frozenset({ann.id})):
        ann.react(await answered(ann), "👍")
        await ann.send_text("/stats")
        said = await ann.next_message()
        while "Реакции" not in said["text"]:
            await ann.send_text("/stats")
            said = await ann.next_message()
    assert "Реакции на baseline, greedy: 👍 1, 👎 0, другие 0" in said["text"].split("\n")


async def test_what_is_no_answer_or_comes_again_is_not_counted(
    server: FakeTelegram, group: Chat, ann: Person, registry: CollectorRegistry
) -> None:
    photo = await answered(ann, BOT, group)
    question = next(iter(group.messages.values()))
    ann.react(question, "👍")
    ann.react({"chat": ann.shape, "message_id": photo["message_id"]}, "👍")  # the same number in another chat
    ann.react({"chat": group.shape, "message_id": 10**9}, "👍")
    ann.react(photo, "👍", before=("👍",))  # nothing changed
    again = {"chat": group.shape, "message_id": photo["message_id"], "date": 1, "old_reaction": [], "user": ann.user}
    custom = {"type": "custom_emoji", "custom_emoji_id": "Marked-Emoji"}
    update = {"message_reaction": again | {"new_reaction": [custom, {"type": "paid"}]}}
    number = server.push_anything(update)
    await eventually(lambda: counted(registry, verdict="other") == 1)
    server._pending[number] = {"update_id": number} | update
    ann.react(photo, "👎")
    await eventually(lambda: counted(registry, verdict="bad") == 1)
    assert counted(registry, verdict="other") == 1
    assert counted(registry) == 0


async def test_nobody_is_named_in_metrics_logs_or_what_is_kept(
    server: FakeTelegram, registry: CollectorRegistry, ann: Person, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running_bot(server, FakeQueue(), tmp_path):
        bob = server.person("Marked-Bob", username="marked_bob")
        bob.user["id"] = 987654321  # no update has this number
        bob.react(await answered(ann), "👍")
        await eventually(lambda: counted(registry) == 1)
    for text in (everything(tmp_path), caplog.text, generate_latest(registry).decode()):
        assert "marked" not in text.casefold()
        assert "987654321" not in text
