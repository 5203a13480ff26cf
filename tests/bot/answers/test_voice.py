"""The bot's voice: a process of its own that is given no secret, and whose absence harms nobody."""

from __future__ import annotations

import asyncio
import io
import json
from pathlib import Path

import pytest
import soundfile

from bot.answers import voice
from bot.answers.voice import Voice, seconds
from model.speech import LONGEST_SOUND
from tests.support.fake_telegram import FakeTelegram
from tests.support.processes import imported

PATIENCE = 300.0  # seconds, on a loaded machine


async def test_a_caption_is_spoken() -> None:
    spoken = await Voice(PATIENCE).speak("a cat on a sofa")
    assert spoken is not None
    with soundfile.SoundFile(io.BytesIO(spoken)) as file:
        assert (file.subtype, file.channels) == ("OPUS", 1)
        assert 0.5 < len(file) / file.samplerate < 3


async def test_the_duration_is_read_off_the_file() -> None:
    reader = Voice(PATIENCE)
    for text in ("a cat", "a brown dog runs on green grass with a red ball in its mouth near a lake"):
        spoken = await reader.speak(text)
        assert spoken is not None
        with soundfile.SoundFile(io.BytesIO(spoken)) as file:
            assert seconds(spoken) == max(1, round(len(file) / file.samplerate))
    assert seconds(b"") == seconds(b"OggS") == seconds(b"not a sound") == seconds(b"OggSOpusHead") == 0


async def test_telegram_takes_it_as_a_voice_message() -> None:
    from aiogram import Bot
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.types import BufferedInputFile

    spoken = await Voice(PATIENCE).speak("a cat on a sofa")
    assert spoken is not None
    async with FakeTelegram() as server:
        ann = server.person("Ann")
        async with Bot(server.token, AiohttpSession(api=TelegramAPIServer.from_base(server.url))) as bot:
            sent = await bot.send_voice(ann.id, BufferedInputFile(spoken, "caption.ogg"), duration=seconds(spoken))
        assert sent.voice is not None
        assert server.file_bytes(sent.voice.file_id) == spoken
        assert server.violations == server.warnings == []


@pytest.mark.parametrize("text", ["", " \n ", "…", "🐈"])
async def test_nothing_to_say_is_not_spoken(text: str) -> None:
    assert await Voice(PATIENCE).speak(text) is None


@pytest.mark.slow
async def test_a_long_text_is_spoken_as_far_as_it_is_bearable() -> None:
    spoken = await Voice(PATIENCE).speak("a very long walk " * 10_000)
    assert spoken is not None
    assert 20 < seconds(spoken) < LONGEST_SOUND + 5


async def test_texts_that_look_like_options_or_markup_are_only_read() -> None:
    reader = Voice(PATIENCE)
    for text, language in (("--check", "en"), ("<speak> &amp; [[x]]", "--check"), ("a \ud800 cat", "no such thing")):
        spoken = await reader.speak(text, language)
        assert spoken is not None
        assert seconds(spoken) >= 1


def shadow(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    """Let the engine's process find these modules first."""
    for name, code in modules.items():
        (folder / f"{name}.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


async def test_without_an_engine_nothing_is_spoken_and_nothing_breaks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    gone = "raise ImportError('not installed')"
    shadow(tmp_path, monkeypatch, soundfile=gone, espeakng_loader=gone)
    caplog.set_level("INFO")
    reader = Voice(PATIENCE)
    assert await reader.available() is False
    assert await reader.speak("a cat") is None
    assert caplog.text.count("requirements-voice.txt") == 1  # said once

    monkeypatch.delenv("PYTHONPATH")
    assert await reader.available() is False  # looked up once
    assert await Voice(PATIENCE).available() is True


async def test_an_engine_that_crashes_or_hangs_harms_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shadow(tmp_path, monkeypatch, soundfile="import os; os.abort()")
    assert await Voice(PATIENCE).available() is False

    shadow(tmp_path, monkeypatch, soundfile="import time; time.sleep(600)")
    assert await Voice(timeout=0.5).speak("a cat") is None


async def test_the_process_gets_no_secret_and_no_text_in_its_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told.json"
    code = f"import json, os, sys; json.dump([dict(os.environ), sys.argv], open({str(told)!r}, 'w')); os._exit(0)"
    monkeypatch.setenv("BOT_TOKEN", "1:secret")
    monkeypatch.setenv("REDIS_URL", "redis://:password@host")
    shadow(tmp_path, monkeypatch, soundfile=code)
    await Voice(PATIENCE).speak("a quokka smiles")
    environment, arguments = json.loads(told.read_text())
    assert not {"BOT_TOKEN", "REDIS_URL"} & environment.keys()
    assert "quokka" not in " ".join(arguments)  # whatever folder this is in


@pytest.mark.slow
async def test_two_texts_are_spoken_at_once_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process leaves its mark while it runs, and counts the marks it sees."""
    marks, counts = tmp_path / "marks", tmp_path / "counts"
    marks.mkdir()
    counts.mkdir()
    code = (
        "import os, pathlib, time\n"
        f"mark = pathlib.Path({str(marks)!r}, str(os.getpid()))\n"
        "mark.touch()\n"
        "time.sleep(0.2)\n"
        f"pathlib.Path({str(counts)!r}, mark.name).write_text(str(len(list(mark.parent.iterdir()))))\n"
        "mark.unlink()\n"
        "def available_subtypes(kind): return {'OPUS'}\n"
    )
    shadow(tmp_path, monkeypatch, soundfile=code)
    reader = Voice(PATIENCE)
    await asyncio.gather(*(reader.speak("a cat") for _ in range(6)))
    seen = [int(file.read_text()) for file in counts.iterdir()]
    assert len(seen) == 7  # with the check
    assert max(seen) <= 2


def test_the_bot_speaks_without_importing_what_speaks() -> None:
    assert imported("bot.answers.voice", ("numpy", "soundfile", "cffi")) == "[]"


def test_no_more_than_what_is_needed_is_passed_on() -> None:
    assert not any(word in name for name in voice.NEEDED for word in ("TOKEN", "SECRET", "REDIS", "PROXY"))
