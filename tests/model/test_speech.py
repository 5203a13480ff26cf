"""Speech: real OGG/Opus from the engine of requirements-voice.txt."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from model import speech
from tests.conftest import ROOT


def run(*arguments: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "model.speech", *arguments],
        input=text.encode(),
        capture_output=True,
        cwd=ROOT,
        env={**os.environ, **environment},
    )


def samples(ogg: bytes) -> tuple[np.ndarray, soundfile.SoundFile]:
    with soundfile.SoundFile(io.BytesIO(ogg)) as file:
        return file.read(), file


def test_a_text_becomes_one_channel_of_opus_in_ogg() -> None:
    done = run(text="a brown dog runs on the grass")
    assert done.returncode == speech.OK
    wave, file = samples(done.stdout)
    assert (file.format, file.subtype, file.samplerate, file.channels) == ("OGG", "OPUS", 48_000, 1)
    assert done.stdout.startswith(b"OggS")
    assert b"OpusHead" in done.stdout[:64]
    assert 1.0 < len(wave) / 48_000 < 4.0  # seven words
    assert 0.5 < np.abs(wave).max() <= 1.0
    assert len(done.stdout) < 10_000 * len(wave) / 48_000


def test_longer_texts_take_longer_and_other_texts_sound_different() -> None:
    short, other, long = (speech.speak(text) for text in ("a cat", "a dog", "a cat sleeps on a red sofa near a window"))
    assert short != other
    assert len(samples(long)[0]) > 2 * len(samples(short)[0])


def test_a_language_has_a_voice_of_its_own_and_an_unknown_one_is_spoken_as_english() -> None:
    assert speech.speak("кот спит", "ru") != speech.speak("кот спит", "en")
    assert len(samples(speech.speak("a cat", "tlh"))[0]) == len(samples(speech.speak("a cat", "en"))[0])


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        ("a cat on a sofa", "A cat on a sofa."),
        ("  two\n dogs\x00run ", "Two dogs run."),
        ("is it a cat?", "Is it a cat?"),
        ('he says "no."', 'He says "no."'),
        ("a cat,", "A cat."),
        ("… !", ""),
        ("", ""),
        ("я", "Я."),
    ],
)
def test_a_caption_is_spoken_as_a_sentence(text: str, spoken: str) -> None:
    assert speech.sentence(text) == spoken


def test_a_text_too_long_is_cut_between_words() -> None:
    cut = speech.sentence("a long way " * 1000)
    assert len(cut) <= speech.LONGEST_TEXT + 1
    assert cut.endswith((" way.", " long.", " a."))
    assert len(speech.sentence("x" * 100_000)) <= speech.LONGEST_TEXT + 1


@pytest.mark.parametrize("text", ["", " \n", "…", "😀"])
def test_nothing_to_say_has_a_status_of_its_own(text: str) -> None:
    done = run(text=text)
    assert (done.returncode, done.stdout) == (speech.NOTHING_TO_SAY, b"")


@pytest.mark.slow
def test_a_huge_text_yields_a_short_sound() -> None:
    done = run(text="many words " * 100_000)
    assert done.returncode == speech.OK
    assert len(samples(done.stdout)[0]) / 48_000 < speech.LONGEST_SOUND + 5


def test_bytes_that_are_no_text_are_passed_over() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "model.speech"], input=b"a cat\xff\xfe\xc3", capture_output=True, cwd=ROOT
    )
    assert done.returncode == speech.OK
    assert len(samples(done.stdout)[0]) == len(samples(speech.speak("a cat"))[0])


@pytest.mark.parametrize("missing", ["espeakng_loader", "soundfile"])
def test_the_check_says_what_is_missing(missing: str, tmp_path: Path) -> None:
    assert run("--check").returncode == speech.OK
    (tmp_path / f"{missing}.py").write_text("raise ImportError('not installed')")
    (tmp_path / "sitecustomize.py").write_text(  # no engine of the system's either
        "import ctypes, ctypes.util\n"
        "def absent(name, *more, **options): raise OSError(name)\n"
        "ctypes.util.find_library = lambda name: None\n"
        "ctypes.CDLL = absent\n"
    )
    done = run("--check", PYTHONPATH=str(tmp_path))
    assert done.returncode == speech.MISSING
    assert b"requirements-voice.txt" in done.stderr


def test_a_tone_keeps_its_pitch_and_loudness_at_another_rate() -> None:
    time = np.arange(22_050) / 22_050
    tone = np.sin(2 * np.pi * 1000 * time) * np.hanning(len(time))
    resampled = speech.resample(tone, 22_050, 48_000)
    spectrum = np.abs(np.fft.rfft(resampled))
    assert abs(np.argmax(spectrum) * 48_000 / len(resampled) - 1000) < 2
    assert abs(np.abs(resampled).max() - 1) < 0.01
    assert spectrum[len(spectrum) // 2 :].max() < 1e-6 * spectrum.max()  # nothing above 11 kHz that was not there
