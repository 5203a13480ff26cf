"""Five hundred random updates neither bring the bot down nor leave a person who sent a picture unanswered."""

from __future__ import annotations

import asyncio
import logging
import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bot.storage.inbox import Inbox
from bot.storage.opening import open_memory
from bot.telegram.pacing import Pacer
from model.errors import KINDS
from model.serving.jobs import Job, Outcome
from tests.conftest import PHOTOS
from tests.support.fake_queue import FakeQueue, captions, drawn, running_bot, settings_for
from tests.support.fake_telegram import FakeTelegram, Json
from tests.support.jobs import photo_of
from tests.support.program import Program, running
from tests.support.random_updates import Crowd, Sent
from tests.support.random_values import MARK

pytestmark = pytest.mark.slow


PICTURE = (PHOTOS / "cat.jpg").read_bytes()
STILL = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".avif", ".gif")
MOVING = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".gif")
CLEAR = ("photo", "live_photo", "video", "animation", "video_note")
# Damaged there, a message may not be what it was.
UNSURE = (*CLEAR, "sticker", "document", "text", "caption", "entities", "caption_entities", "reply_to_message")


def carries_picture(message: Json) -> bool:
    """A photo, a still sticker, a clip, or a file of such a kind."""
    if any(message.get(kind) for kind in CLEAR):
        return True
    if sticker := message.get("sticker"):
        return not sticker["is_animated"] and not sticker["is_video"]
    document = message.get("document") or {}
    kind, name = document.get("mime_type", "").lower(), document.get("file_name", "").lower()
    return kind.startswith(("image/", "video/")) or (len(name) > 5 and name.endswith(STILL + MOVING))


def addresses(message: Json, bot: Json) -> bool:
    """Whether a message in a group mentions the bot or replies to it."""
    if message.get("reply_to_message", {}).get("from", {}).get("id") == bot["id"]:
        return True
    entities = message.get("entities") or message.get("caption_entities") or []
    text = message.get("text") or message.get("caption") or ""
    return any(
        entity.get("user", {}).get("id") == bot["id"]
        if entity["type"] == "text_mention"
        else entity["type"] == "mention" and f"@{bot['username']}" in text.lower()
        for entity in entities
    )


def awaits_answer(sent: Sent, bot: Json) -> bool:
    """Whether somebody waits for an answer to a picture. One that is damaged inside gets words, too."""
    if sent.kind != "message" or sent.chat is None:
        return False
    if sent.payload.get("is_automatic_forward"):  # a channel's post in its discussion group: nobody asked
        return False
    if sent.damaged and sent.damaged[0] in ("chat", "message_id"):
        return False
    if sent.damaged and sent.damaged[0] in UNSURE:
        return sent.chat > 0 and len(sent.damaged) > 1 and any(sent.payload.get(kind) for kind in CLEAR)
    if sent.chat < 0 and ("sticker" in sent.payload or not addresses(sent.payload, bot)):
        return False
    return carries_picture(sent.payload)


def answered(server: FakeTelegram) -> set[tuple[int, int]]:
    """The messages that got a reply, by chat and number."""
    replies = [(call.params["chat_id"], call.params.get("reply_parameters", {})) for call in server.sent()]
    return {(chat, reply["message_id"]) for chat, reply in replies if "message_id" in reply}


def unanswered(server: FakeTelegram, crowd: Crowd) -> list[Sent]:
    """Pictures without an answer; that of an album is a reply to any item, with a numbered line for each."""
    done = answered(server)
    asked = Counter(group_of(sent) for sent in crowd.sent if awaits_answer(sent, server.bot))
    lines = lines_of_albums(server, crowd)
    albums = {album for album, count in asked.items() if album is not None and lines[album] >= count}
    return [
        sent
        for sent in crowd.sent
        if awaits_answer(sent, server.bot) and (sent.chat, sent.message) not in done and group_of(sent) not in albums
    ]


def group_of(sent: Sent) -> tuple[int, str] | None:
    """The chat and the name of the album of which this is an item."""
    if sent.kind != "message" or sent.chat is None or not sent.payload.get("media_group_id"):
        return None
    if sent.damaged and sent.damaged[0] == "media_group_id":
        return None
    return sent.chat, sent.payload["media_group_id"]


def lines_of_albums(server: FakeTelegram, crowd: Crowd) -> Counter[tuple[int, str] | None]:
    """How many items of each album the answers tell of: those with a number, and each that has its own answer."""
    items = [sent for sent in crowd.sent if group_of(sent)]
    albums = {(sent.chat, sent.message): group_of(sent) for sent in items}
    for sent in items:
        if isinstance(damaged := sent.payload.get("message_id"), int):
            albums[sent.chat, damaged] = group_of(sent)
    lines: Counter[tuple[int, str] | None] = Counter()
    alone = set()
    for call in server.sent():
        item = call.params["chat_id"], call.params.get("reply_parameters", {}).get("message_id")
        text = call.params.get("text", "")
        if re.match(r"\d+\. ", text):
            lines[albums.get(item)] += len(re.findall(r"^\d+\. ", text, re.MULTILINE))
        elif item in albums:
            alone.add(item)
    lines.update(albums[item] for item in alone)
    return lines


def uninvited(server: FakeTelegram, crowd: Crowd) -> list[str]:
    """What the bot said where nobody meant it."""
    quiet = {chat.id for chat in crowd.quiet}
    asked = [s for s in crowd.sent if s.chat and (s.chat > 0 or s.damaged or is_meant(s, server.bot))]
    albums = {group_of(s) for s in asked} - {None}  # one item of an album asks for all
    meant = {(s.chat, s.message) for s in (*asked, *(s for s in crowd.sent if group_of(s) in albums))}
    said = []
    for call in server.sent():
        chat, reply = call.params["chat_id"], call.params.get("reply_parameters")
        presses = any(sent.kind == "callback_query" and sent.chat == chat for sent in crowd.sent)
        if chat in quiet or (
            chat < 0 and not presses and reply and "message_id" in reply and (chat, reply["message_id"]) not in meant
        ):
            said.append(f"{call.method} {call.params}")
    return said


def is_meant(sent: Sent, bot: Json) -> bool:
    """Addressed, or a command that is not for another bot."""
    text = sent.payload.get("text") or sent.payload.get("caption") or ""
    command, _, name = text.partition(" ")[0].partition("@")
    return addresses(sent.payload, bot) or (command.startswith("/") and name in ("", bot["username"]))


def unpressed(server: FakeTelegram, crowd: Crowd) -> list[Sent]:
    """Presses that were never acknowledged."""
    tried = {call.params.get("callback_query_id") for call in server.calls if call.method == "answerCallbackQuery"}
    presses = [sent for sent in crowd.sent if sent.kind == "callback_query" and isinstance(sent.payload, dict)]
    return [sent for sent in presses if sent.payload.get("data") and sent.payload["id"] not in tried]


def said_of_people(text: str, server: FakeTelegram) -> list[str]:
    """Lines of a log with something that people wrote, are called, or sent."""
    files = {call.params["file_id"] for call in server.calls if call.method == "getFile"}
    return [line for line in text.splitlines() if MARK in line or any(file in line for file in files)]


def surprises(log: str) -> list[str]:
    """Errors that nobody foresaw, but for those that the queue makes up."""
    errors = re.findall(r"^[\w.]+(?:Error|Exception)\b.*|.*never retrieved.*", log, re.MULTILINE)
    return [error for error in errors if error != "builtins.RuntimeError"]


def broken_rules(server: FakeTelegram) -> list[str]:
    """Calls that Telegram would refuse, but for buttons that were pressed while their message was being deleted."""
    return [
        each for each in server.violations if each != "editMessageReplyMarkup: Bad Request: message to edit not found"
    ]


def outcome(job: Job, media: bytes) -> Outcome | Exception:
    """Every job goes its own way, the same each time."""
    chance = random.Random(job.id).random()
    if chance < 0.15:
        return random.Random(job.id).choice(list(KINDS.values()))("as it happens")
    if chance < 0.2 and not job.request:  # of an album all would get one apology, which looks as if none was answered
        return RuntimeError(f"unforeseen {MARK}")
    return drawn(job, PICTURE) or captions(sheet=PICTURE if photo_of(job).sheet else None)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bot sends as fast as it can, and soon takes an album to be complete."""

    async def at_once(*_: Any) -> None:
        return None

    monkeypatch.setattr(Pacer, "wait_for_turn", at_once)
    for name, seconds in {"album_plans.QUIET": 0.1, "album_plans.SILENCE": 0.3, "albums.LATER": 0.3}.items():
        monkeypatch.setattr(f"bot.answers.{name}", seconds)


async def all_done(server: FakeTelegram, crowd: Crowd, inbox: Inbox, alive: Callable[[], bool]) -> None:
    """Wait until each update is acknowledged or dead-lettered."""
    async with asyncio.timeout(240):
        while alive() and (not all(server.confirmed(sent.id) for sent in crowd.sent) or await inbox.waiting()):
            await asyncio.sleep(0.02)


def check(server: FakeTelegram, crowd: Crowd, log: str) -> None:
    assert unanswered(server, crowd) == []
    assert unpressed(server, crowd) == []
    assert uninvited(server, crowd) == []
    assert said_of_people(log, server) == []
    assert surprises(log) == []
    assert broken_rules(server) == []
    assert server.warnings == []


async def survives(seed: int, folder: Path, log: pytest.LogCaptureFixture) -> None:
    log.set_level(logging.INFO)
    async with FakeTelegram(seed=seed) as server:
        server.faults.add("getFile", "gone", probability=0.05)
        server.faults.add("answerCallbackQuery", "too_old", probability=0.1)
        crowd = Crowd(server, seed, media=PICTURE)
        async with (  # the file first: two cannot make it at once
            open_memory(settings_for(server, folder), server.bot["id"]) as (inbox, _),
            running_bot(server, FakeQueue(outcome), folder, max_queue=10_000) as bot,
        ):
            for _ in range(10):
                crowd.send(50)
                await all_done(server, crowd, inbox, lambda: not bot.task.done())
                assert not bot.task.done(), bot.task.exception()
            server.faults.clear()
            ann = server.person("Ann")
            await ann.send_photo(PICTURE)
            await ann.next_message()
        pictures = [sent for sent in crowd.sent if awaits_answer(sent, server.bot)]
        assert len(pictures) > 60  # else this would show little
        check(server, crowd, log.text)


@pytest.mark.usefixtures("hurried")
async def test_five_hundred_random_updates(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await survives(1, tmp_path, caplog)


async def test_the_program_survives_random_updates(tmp_path: Path) -> None:
    """With a real worker, real captions, and what it writes to its log."""
    async with FakeTelegram() as server:
        crowd = Crowd(server, 3, media=PICTURE)
        program = Program.bot(server, tmp_path)
        async with running(program), open_memory(settings_for(server, tmp_path), server.bot["id"]) as (inbox, _):
            crowd.send(100)
            await all_done(server, crowd, inbox, program.runs)
            ann = server.person("Ann")
            await ann.send_photo(PICTURE)
            assert "cat" in str((await ann.next_message(60)).get("caption"))
        check(server, crowd, program.log.read_text())
