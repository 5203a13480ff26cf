"""Text → spoken words as OGG/Opus, as Telegram takes them for a voice message.

    echo "a cat on a sofa" | python -m model.speech > cat.ogg

A process of its own, so that the GPL engine, its memory and its crashes stay out of the bot. The engine is eSpeak NG,
from the package espeakng-loader or from the system; soundfile (libsndfile) encodes. Both are optional:
`requirements-voice.txt`.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import importlib
import io
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

OK: Final = 0
FAILED: Final = 1
MISSING: Final = 3
NOTHING_TO_SAY: Final = 4

LONGEST_TEXT: Final = 1000  # characters; about 75 s
LONGEST_SOUND: Final = 100.0  # seconds
CPU_SECONDS: Final = 20
MEMORY: Final = 2 << 30  # bytes of address space

OPUS_RATE: Final = 48_000  # Hz, at which Opus works
QUALITY: Final = 0.85  # libsndfile's compression level for Opus in [0, 1]: about 45 kbit/s
WORDS_PER_MINUTE: Final = 155  # eSpeak's own 175 is fast for a listener who has only the sound
VOICES: Final = {"en": b"en-us", "ru": b"ru"}

# <espeak-ng/speak_lib.h>
AUDIO_OUTPUT_SYNCHRONOUS: Final = 2
INITIALIZE_DONT_EXIT: Final = 0x8000
RATE: Final = 1
CHARS_UTF8: Final = 1
POS_CHARACTER: Final = 1
CALLBACK: Final = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class SpeechError(Exception):
    """No speech can be had."""


class EngineMissing(SpeechError):
    """eSpeak NG or soundfile is not installed."""


class Engine:
    """eSpeak NG, loaded. One for a process: the library keeps its state in globals."""

    def __init__(self) -> None:
        """Raises EngineMissing."""
        self._library, data = load_library()
        self._library.espeak_Initialize.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        self._library.espeak_SetSynthCallback.argtypes = [CALLBACK]
        self._library.espeak_SetSynthCallback.restype = None
        self._library.espeak_Synth.argtypes = [
            *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int, ctypes.c_uint, ctypes.c_uint),
            *(ctypes.c_void_p, ctypes.c_void_p),
        ]
        self.rate: int = self._library.espeak_Initialize(AUDIO_OUTPUT_SYNCHRONOUS, 0, data, INITIALIZE_DONT_EXIT)
        if self.rate <= 0:
            raise EngineMissing("eSpeak NG is there, but not its data")

    def say(self, text: str, language: str) -> bytes:
        """16-bit mono samples at `rate` Hz. Raises SpeechError."""
        voice = VOICES.get(language, VOICES["en"])
        if self._library.espeak_SetVoiceByName(voice) or self._library.espeak_SetParameter(RATE, WORDS_PER_MINUTE, 0):
            raise SpeechError(f"no voice {voice.decode()}")
        samples = bytearray()

        def receive(wave: Any, count: int, events: int | None) -> int:
            if wave and count > 0:
                samples.extend(ctypes.string_at(wave, 2 * count))
            return int(len(samples) > 2 * LONGEST_SOUND * self.rate)  # 1: enough

        callback = CALLBACK(receive)  # kept until the call is over
        self._library.espeak_SetSynthCallback(callback)
        encoded = text.encode()
        status = self._library.espeak_Synth(encoded, len(encoded) + 1, 0, POS_CHARACTER, 0, CHARS_UTF8, None, None)
        if status or not samples:
            raise SpeechError(f"eSpeak NG ends with status {status} and {len(samples)} bytes")
        return bytes(samples)


def load_library() -> tuple[ctypes.CDLL, bytes | None]:
    """eSpeak NG from its Python package, else from the system; and where its data are. Raises EngineMissing."""
    try:
        loader = importlib.import_module("espeakng_loader")
        return ctypes.CDLL(loader.get_library_path()), os.fsencode(loader.get_data_path())
    except (ImportError, OSError, RuntimeError):
        pass  # the package is not for this machine
    for name in ("libespeak-ng.so.1", ctypes.util.find_library("espeak-ng")):
        if name is not None:
            try:
                return ctypes.CDLL(name), None
            except OSError:
                continue
    raise EngineMissing("eSpeak NG is missing: pip install -r requirements-voice.txt, or apt-get install espeak-ng")


def load_encoder() -> Any:
    """The module soundfile, with Opus in it. Raises EngineMissing."""
    try:
        soundfile = importlib.import_module("soundfile")
    except (ImportError, OSError) as error:  # OSError: the package without its library
        raise EngineMissing("soundfile is missing: pip install -r requirements-voice.txt") from error
    if "OPUS" not in soundfile.available_subtypes("OGG"):
        raise EngineMissing("this libsndfile is older than 1.0.29 and cannot write Opus")
    return soundfile


def sentence(text: str) -> str:
    """A caption as a sentence, which is spoken with a falling end: a capital letter, a full stop, one line.

    At most LONGEST_TEXT characters, cut between words. Empty when there is no letter or digit to be spoken.
    """
    line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
    if len(line) > LONGEST_TEXT:
        line = line[:LONGEST_TEXT].rpartition(" ")[0] or line[:LONGEST_TEXT]
    if not any(each.isalnum() for each in line):
        return ""
    ended = line if re.search(r"[.!?…][\"'»”)]*$", line) else f"{line.rstrip(',;: ')}."
    return ended[:1].upper() + ended[1:]


def resample(samples: NDArray[np.float64], before: int, after: int) -> NDArray[np.float64]:
    """Band-limited: the spectrum of the whole sound at another rate. (N,) at `before` Hz → (M,) at `after` Hz."""
    import numpy as np

    shared = np.gcd(before, after)
    step_before, step_after = before // shared, after // shared
    steps = -(-len(samples) // step_before) + 1  # some silence at the end, which the transform joins to the start
    spectrum = np.fft.rfft(samples, steps * step_before)
    enlarged: NDArray[np.float64] = np.fft.irfft(spectrum, steps * step_after)
    enlarged *= step_after / step_before
    return enlarged


def encode(samples: bytes, rate: int) -> bytes:
    """16-bit mono samples → OGG/Opus. Raises EngineMissing."""
    soundfile = load_encoder()
    import numpy as np

    wave = resample(np.frombuffer(samples, "=i2") / 32768.0, rate, OPUS_RATE)
    wave *= 0.9 / max(0.1, float(np.abs(wave).max()))  # to the same loudness, and below clipping
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        *(buffer, "w", OPUS_RATE, 1), format="OGG", subtype="OPUS", compression_level=QUALITY
    ) as file:
        for start in range(0, len(wave), OPUS_RATE):
            file.write(wave[start : start + OPUS_RATE])
    return buffer.getvalue()


def speak(text: str, language: str = "en") -> bytes:
    """Text → OGG/Opus, mono, 48 kHz; nothing for a text with nothing to say.

    A `language` that is not among VOICES is spoken as English. Raises SpeechError.
    """
    words = sentence(text)
    if not words:
        return b""
    load_encoder()
    engine = Engine()
    return encode(engine.say(words, language), engine.rate)


def check() -> None:
    """Raises EngineMissing."""
    load_encoder()
    Engine()


def limit() -> None:
    """What a text that is strange enough can cost."""
    import resource  # not on every system, and the bot imports this module for its exit statuses

    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # each thread of numpy's would reserve memory
    for what, most in ((resource.RLIMIT_CPU, CPU_SECONDS), (resource.RLIMIT_AS, MEMORY)):
        _, hard = resource.getrlimit(what)
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m model.speech", description="Text on stdin → OGG/Opus on stdout.")
    parser.add_argument("--language", default="en", help=f"one of {', '.join(VOICES)}; others are spoken as English")
    parser.add_argument("--check", action="store_true", help="say whether speech can be had, and end")
    options = parser.parse_args(arguments)
    limit()
    try:
        if options.check:
            check()
            print("voice messages can be had")
            return OK
        text = sys.stdin.buffer.read(4 * LONGEST_TEXT + 4).decode(errors="ignore")
        spoken = speak(text, options.language)
    except EngineMissing as error:
        print(error, file=sys.stderr)
        return MISSING
    except SpeechError as error:
        print(error, file=sys.stderr)
        return FAILED
    sys.stdout.buffer.write(spoken)
    return OK if spoken else NOTHING_TO_SAY


if __name__ == "__main__":
    sys.exit(main())
