"""Signs of life: each process writes a file from its event loop, `start.py health` reads them. No torch, no aiogram.

A file is `<role>-<host>-<pid>.json` in `DATA_DIR/health`. Files of other hosts (a shared folder) and of processes that
are no more are passed over, so that a process that was killed leaves nothing that could mislead.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

log = logging.getLogger(__name__)

FOLDER: Final = "health"  # in DATA_DIR
ROLES: Final = ("bot", "worker")
BEAT: Final = 5.0  # seconds between two signs of life
STALE: Final = 30.0  # seconds without one: the event loop hangs, or the disk does
# The bot has had no answer to getUpdates (30 s each, pauses up to 30 s), or getWebhookInfo (each minute), for so long.
CONTACT_SECONDS: Final = 180.0
FORGOTTEN: Final = 24 * 3600.0  # seconds after which the file of another host's process is removed
WELL: Final = 0
UNWELL: Final = 1


class Deadline:
    """Something that must be over, or come again, within so many seconds. It is off until `set`.

    The bot's is set at the start and with each sign of Telegram; a worker's before a forward pass, and cleared
    after it. Any thread may do so.
    """

    def __init__(self, problem: str, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """`problem`: what is the case when the time is over, such as "in one forward pass"."""
        self.problem = problem
        self.seconds = seconds
        self._clock = clock
        self._since: float | None = None

    def set(self) -> None:
        """The time runs from now."""
        self._since = self._clock()

    def clear(self) -> None:
        self._since = None

    def missed(self) -> str | None:
        """One line of what is wrong; None while all is well."""
        since = self._since
        if since is None or (gone := self._clock() - since) <= self.seconds:
            return None
        return f"{self.problem} for {gone:.0f} s (at most {self.seconds:.0f})"


@dataclass(frozen=True)
class Sign:
    """A sign of life."""

    role: str
    host: str
    pid: int
    birth: str  # tells this process from a later one with the same pid; empty where it cannot be told
    beat: float  # when, on the machine's monotonic clock, which stands still while a laptop sleeps
    time: float  # the same in seconds since the epoch, for people
    problem: str | None = None  # its own judgement


@asynccontextmanager
async def heartbeat(
    folder: Path, role: str, deadlines: Sequence[Deadline] = (), every: float = BEAT
) -> AsyncIterator[None]:
    """Write this process's sign of life every few seconds while the block runs."""
    file = folder / f"{role}-{host()}-{os.getpid()}.json"
    beating = asyncio.create_task(_beat(file, role, deadlines, every))
    try:
        yield
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        with suppress(OSError):
            file.unlink(missing_ok=True)


async def _beat(file: Path, role: str, deadlines: Sequence[Deadline], every: float) -> None:
    failing = False
    await asyncio.to_thread(_sweep, file.parent)
    pid, birth = os.getpid(), birth_of(os.getpid())
    while True:
        problems = [problem for deadline in deadlines if (problem := deadline.missed())]
        sign = Sign(role, host(), pid, birth, time.monotonic(), time.time(), "; ".join(problems) or None)
        try:
            await asyncio.to_thread(_write, file, sign)  # a slow disk must not stop the event loop
            failing = False
        except OSError as error:
            if not failing:
                log.warning("signs of life cannot be written, so health checks will fail: %s", error)
            failing = True
        await asyncio.sleep(every)


def _write(file: Path, sign: Sign) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(".new")
    draft.write_text(json.dumps(asdict(sign)), encoding="utf-8")
    draft.replace(file)


def _sweep(folder: Path) -> None:
    """Remove the files of processes that are no more: of this host, and by their age of others."""
    with suppress(OSError):
        for file, sign in read_signs(folder):
            if not is_alive(sign) if sign.host == host() else time.time() - sign.time > FORGOTTEN:
                file.unlink(missing_ok=True)


def host() -> str:
    """This machine's name; in a container the container's."""
    return socket.gethostname()


def birth_of(pid: int) -> str:
    """When a process began, in the kernel's ticks; empty where there is no such process or no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]  # proc(5): field 22, starttime; the name may hold anything


def is_alive(sign: Sign) -> bool:
    """Whether the process of a sign of this host still is, and not another one under its number."""
    try:
        os.kill(sign.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return sign.birth == birth_of(sign.pid)


def read_signs(folder: Path) -> list[tuple[Path, Sign]]:
    """Every sign in a folder that can be read; what is not one is passed over."""
    found = []
    for file in sorted(folder.glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            found.append((file, Sign(**json.loads(file.read_text(encoding="utf-8")))))
    return found


def examine(folder: Path, role: str | None = None, now: float | None = None) -> tuple[int, str]:
    """The exit status of a health check and one line that says why.

    All processes of this host that show themselves in `folder` must be well, and at least one must be there, of `role`
    if that is named. `now`: on the monotonic clock.
    """
    now = time.monotonic() if now is None else now
    signs = [sign for _, sign in read_signs(folder) if sign.host == host() and role in (None, sign.role)]
    alive = [sign for sign in signs if is_alive(sign)]
    if not alive:
        return UNWELL, f"no {role or 'process of this bot'} runs here, by the files in {folder}"
    reports = [(_problem(sign, now), sign) for sign in alive]
    ill = [f"{sign.role} {sign.pid}: {problem}" for problem, sign in reports if problem]
    if ill:
        return UNWELL, "; ".join(ill)
    return WELL, "well: " + ", ".join(f"{sign.role} {sign.pid}" for sign in alive)


def _problem(sign: Sign, now: float) -> str | None:
    silent = now - sign.beat
    if silent > STALE:
        return f"no sign of life for {silent:.0f} s"
    return sign.problem
