"""The address of a Redis, as REDIS_URL gives it. Needs no redis-py: all processes check their settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote

PORT: Final = 6379
SENTINEL_PORT: Final = 26379
FORMS: Final = (
    "redis://[user:password@]host:port/db (rediss:// for TLS), unix://[user:password@]/path?db=0, "
    "redis+cluster://host:port,host:port or redis+sentinel://[user:password@]host:port,host:port/service/db"
)

_URL: Final = re.compile(
    r"(?P<scheme>rediss?(?:\+(?:cluster|sentinel))?|unix)://"
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<hosts>[^/?@]*)(?P<path>/[^?@]*)?(?:\?(?P<query>.*))?",
    re.ASCII,
)
_HOST: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%\w]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?", re.ASCII)
_OPTIONS: Final = frozenset(
    ("db", "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "sentinel_username", "sentinel_password")
)


class InvalidAddress(ValueError):
    """Not an address of Redis; the message says why and quotes nothing of it, for it may hold a password."""


@dataclass(frozen=True)
class RedisAddress:
    """A parsed REDIS_URL. `kind`: "single", "unix", "cluster" or "sentinel"."""

    kind: str
    hosts: tuple[tuple[str, int], ...] = ()
    path: str = ""  # of the socket
    service: str = ""  # what the sentinels call the master
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Raises InvalidAddress."""
        found = _URL.fullmatch(url)
        if found is None or any(map(str.isspace, url)):
            raise InvalidAddress("no address of that form (special characters of a password are written %XX)")
        scheme, _, form = found["scheme"].partition("+")
        kind = "unix" if scheme == "unix" else form or "single"
        options = dict(parse_qsl(found["query"] or "", keep_blank_values=True))
        if unknown := options.keys() - _OPTIONS:
            raise InvalidAddress(f"{len(unknown)} unknown parameter(s) after the question mark")
        path = unquote(found["path"] or "")
        db, service = options.pop("db", ""), ""
        if kind == "unix":
            if found["hosts"] or len(path) < 2:
                raise InvalidAddress("a unix address needs the path of a socket, as in unix:///run/redis.sock")
        elif kind == "sentinel":
            service, _, number = path.strip("/").partition("/")
            db = number or db
            if not service:
                raise InvalidAddress("a sentinel address ends with the name of the service, as in …:26379/mymaster/0")
        else:
            db = path.strip("/") or db
        if not re.fullmatch(r"\d{0,5}", db, re.ASCII):
            raise InvalidAddress("the database is a number, as in redis://127.0.0.1:6379/0")
        if kind == "cluster" and int(db or 0):
            raise InvalidAddress("a cluster has database 0 alone")
        return cls(
            kind=kind,
            hosts=() if kind == "unix" else _hosts(found["hosts"], kind),
            path=path if kind == "unix" else "",
            service=service,
            db=int(db or 0),
            username=unquote(found["user"]) if found["user"] else None,
            password=unquote(found["password"]) if found["password"] else None,
            tls=scheme == "rediss",
            options=tuple(sorted(options.items())),
        )

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log may show."""
        return tuple(filter(None, (self.password, dict(self.options).get("sentinel_password"))))


def _hosts(text: str, kind: str) -> tuple[tuple[str, int], ...]:
    hosts = []
    for part in text.split(","):
        found = _HOST.fullmatch(part)
        port = int((found and found["port"]) or (SENTINEL_PORT if kind == "sentinel" else PORT))
        if found is None or not 1 <= port <= 65_535:
            raise InvalidAddress("each host is a name or number, with a port from 1 to 65535 after a colon")
        hosts.append((found["host"].strip("[]"), port))
    if kind == "single" and len(hosts) > 1:
        raise InvalidAddress("several hosts need redis+cluster:// or redis+sentinel://")
    return tuple(hosts)
