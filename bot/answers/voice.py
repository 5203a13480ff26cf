"""Captions read aloud, by a process of their own: `model.speech`."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from model.speech import LONGEST_TEXT, MISSING, NOTHING_TO_SAY, OK, OPUS_RATE

log = logging.getLogger(__name__)

ROOT: Final = Path(__file__).resolve().parent.parent.parent
AT_ONCE: Final = 2
TIMEOUT: Final = 20.0  # seconds; a caption takes a quarter of one
# All that the process is given of the environment: it needs no token, no address, no password.
NEEDED: Final = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "SYSTEMROOT")


class Voice:
    """Reads texts aloud, where an engine is installed."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._checking = asyncio.Lock()
        self._available: bool | None = None

    async def available(self) -> bool:
        """Whether there is an engine; looked up until it is known."""
        async with self._checking:
            if self._available is None:
                status, _ = await self._run(["--check"])
                if status is None:  # too busy to tell now
                    return False
                if status not in (OK, MISSING):  # such as killed for want of memory: it is asked again next time
                    log.warning("voice messages are off: the engine ends with status %s", status)
                    return False
                self._available = status == OK
                if status == MISSING:
                    log.info("voice messages are off: install requirements-voice.txt to have them")
        return self._available

    async def speak(self, text: str, language: str = "en") -> bytes | None:
        """A text as OGG/Opus for `sendVoice` (`seconds` tells its duration); None where it cannot be had.

        At most LONGEST_TEXT characters are spoken. A text with nothing to say gives None, too.
        """
        if not text.strip() or not await self.available():
            return None
        status, spoken = await self._run([f"--language={language}"], text[: 2 * LONGEST_TEXT].encode(errors="ignore"))
        if status == OK and spoken.startswith(b"OggS"):
            return spoken
        if status not in (None, NOTHING_TO_SAY):
            log.warning("a text could not be spoken: the engine ends with status %s", status)
        return None

    async def _run(self, arguments: Sequence[str], text: bytes = b"") -> tuple[int | None, bytes]:
        """`python -m model.speech`: its exit status and what it wrote; None when time was up or it could not start."""
        environment = {name: os.environ[name] for name in NEEDED if name in os.environ}
        async with self._turn:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "model.speech", *arguments),
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.DEVNULL,
                    cwd=ROOT,
                    env=environment,
                )
            except OSError as error:  # no memory, too many processes
                log.warning("the voice cannot be started (%s)", type(error).__name__)
                return None, b""
            try:
                async with asyncio.timeout(self._timeout):
                    spoken, _ = await process.communicate(text)
                return process.returncode, spoken
            except TimeoutError:
                log.warning("a text was not spoken within %g s", self._timeout)
                return None, b""
            finally:
                with suppress(ProcessLookupError):
                    process.kill()  # nothing where it has ended
                await process.wait()


def seconds(ogg: bytes) -> int:
    """How long an OGG/Opus file plays, in whole seconds and at least 1; 0 for another file (RFC 7845, section 4).

    The last page's granule position counts samples at 48 kHz, the pre-skip of the header among them.
    """
    head, last = ogg.find(b"OpusHead"), ogg.rfind(b"OggS")
    if head < 0 or last < 0 or len(ogg) < max(head + 12, last + 14):
        return 0
    skipped = int.from_bytes(ogg[head + 10 : head + 12], "little")
    played = int.from_bytes(ogg[last + 6 : last + 14], "little") - skipped
    return max(1, round(played / OPUS_RATE))
