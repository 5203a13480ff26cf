"""What the web process can be told from outside; `start.py` reads it from the environment."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

from model.serving.limits import Rate
from model.serving.queue import Limits

Model: TypeAlias = Literal["attention", "baseline"]
MODELS: Final[tuple[Model, ...]] = get_args(Model)
MIB: Final = 1024 * 1024
RATE: Final = Rate(interval=0.1, burst=120)


@dataclass(frozen=True)
class WebSettings:
    """Sizes in bytes, times in seconds."""

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None  # that each request must carry
    model: Model = "attention"  # where a request names none
    weights_dir: Path | None = None  # to say how large the models are
    max_video_seconds: int = 300
    memory: int = 256 * MIB  # for media on their way, of all requests
    limits: Limits = field(default_factory=Limits)
    rate: Rate = RATE  # requests of one client
    photo_bytes: int = 20 * MIB
    clip_bytes: int = 100 * MIB
    files: int = 10  # in one request
    find_files: int = 50  # in one that looks for photos
    answer_seconds: float = 120.0  # for a photo's job, waiting included
    clip_seconds: float = 1800.0
    chunk_seconds: float = 10.0  # a body must go on within
    body_seconds: float = 120.0  # and be over within
    kept_bytes: int = 128 * MIB  # of pictures that were drawn, for an hour

    @property
    def local(self) -> bool:
        """Whether only programs of this machine reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Whether a host name or address (an IPv6 one with or without brackets) is this machine's loopback."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
