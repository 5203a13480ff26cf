"""The one place that connects to Redis, and the patience with which its outages are borne. No torch.

redis-py is imported when a connection is made and not before: settings are checked here, too, by processes that
never need it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import re
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import parse_qsl, unquote

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

log = logging.getLogger(__name__)

PORT: Final = 6379
SENTINEL_PORT: Final = 26379
FORMS: Final = (
    "redis://[user:password@]host:port/db (rediss:// for TLS), unix://[user:password@]/path?db=0, "
    "redis+cluster://host:port,host:port or redis+sentinel://[user:password@]host:port,host:port/service/db"
)
CALL_SECONDS: Final = 5.0  # no answer to a call that does not block means that the connection is dead
CONNECTIONS: Final = 64  # of one client; more calls at once wait for each other
CROWD: Final = 4096  # for those pools that refuse instead of waiting
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0

_QUOTED: Final = re.compile(r"Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
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


class RedisRefused(Exception):
    """Redis does not let this program in: the user name or password is wrong. Waiting will not help."""


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


def connect(url: str, *, block_seconds: float = 0.0) -> Redis:
    """A client of the Redis at `url`; it connects when it is first used. Answers are bytes.

    `block_seconds`: the longest that any call blocks (`BLOCK` of a stream); reads for such calls need a client of
    their own, so that they take no connection from the others. A failed call is not repeated here: see `patiently`.
    Raises InvalidAddress.
    """
    import redis.asyncio as client
    from redis.asyncio.connection import SSLConnection, UnixDomainSocketConnection
    from redis.asyncio.retry import Retry
    from redis.backoff import ExponentialWithJitterBackoff, NoBackoff

    address = RedisAddress.parse(url)
    options = dict(address.options)
    common: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "socket_timeout": CALL_SECONDS + block_seconds,
        "socket_connect_timeout": CALL_SECONDS,
        "socket_keepalive": True,  # a peer that vanished without a word shows while a call blocks, too
        "decode_responses": False,
        "protocol": 2,  # the same shapes of answers from each version of redis-py
    }
    tls: dict[str, Any] = (
        {name: value for name, value in options.items() if name.startswith("ssl_")} if address.tls else {}
    )
    once = Retry(NoBackoff(), 0)
    if address.kind == "cluster":
        nodes = [client.cluster.ClusterNode(host, port) for host, port in address.hosts]
        few = Retry(ExponentialWithJitterBackoff(base=0.05, cap=0.5), 3)  # it follows slots that move by repeating
        cluster = client.RedisCluster(
            startup_nodes=nodes, max_connections=CROWD, retry=few, ssl=address.tls, **common, **tls
        )
        return cast("Redis", cluster)  # the same commands
    common |= {"db": address.db, "retry": once}
    if address.kind == "sentinel":
        own = {name: options.get(f"sentinel_{name}") for name in ("username", "password")}
        sentinel = client.Sentinel(  # type: ignore[no-untyped-call]
            list(address.hosts),
            sentinel_kwargs={**common, "db": 0, **own, "ssl": address.tls, **tls},
            ssl=address.tls,
            **common,
            **tls,
        )
        return cast("Redis", sentinel.master_for(address.service, max_connections=CROWD))
    where: dict[str, Any]
    if address.kind == "unix":
        where = {"connection_class": UnixDomainSocketConnection, "path": address.path}
        del common["socket_keepalive"]
    else:
        [(host, port)] = address.hosts
        where = {"host": host, "port": port} | ({"connection_class": SSLConnection} if address.tls else {})
    pool = client.BlockingConnectionPool(max_connections=CONNECTIONS, timeout=None, **where, **common, **tls)
    return client.Redis.from_pool(pool)


class Outage:
    """Whether Redis is away, for all calls of a process together: said once when it goes and once when it is back."""

    def __init__(self) -> None:
        self._failing: set[object] = set()  # calls that have failed and go on trying

    @property
    def on(self) -> bool:
        return bool(self._failing)

    def failed(self, call: object, error: Exception) -> None:
        if not self._failing:
            log.warning("Redis cannot be used (%s); trying again until it works", reason_of(error))
        self._failing.add(call)

    def worked(self, call: object) -> None:
        if call in self._failing:
            self._failing.clear()  # those who are still waiting have not tried since
            log.info("Redis works again")

    def given_up(self, call: object) -> None:
        self._failing.discard(call)


OUTAGE: Final = Outage()  # there is one Redis for a process


async def patiently(request: Callable[[], Awaitable[T]], *, outage: Outage = OUTAGE) -> T:
    """What a request to Redis returns, repeated with growing pauses while Redis is away, failing over or loading.

    A request whose answer was lost is repeated too: it must be one that may run twice. Raises RedisRefused, and what
    repeating cannot mend.
    """
    call, pause = object(), FIRST_PAUSE
    try:
        while True:
            try:
                result = await request()
            except Exception as error:
                if is_refusal(error):
                    raise RedisRefused(
                        f"Redis does not accept the user name or password of REDIS_URL: {error}"
                    ) from None
                if not is_passing(error):
                    raise
                _raise_if_cancelled()
                outage.failed(call, error)
            else:
                _raise_if_cancelled()
                outage.worked(call)
                return result
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(LONGEST_PAUSE, 2 * pause)
    finally:
        outage.given_up(call)


def _raise_if_cancelled() -> None:
    """redis-py may swallow a cancellation: it uses `asyncio.wait_for`, which loses some before Python 3.12."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def is_refusal(error: BaseException) -> bool:
    """Whether Redis turned this program away for its user name or password."""
    from redis.exceptions import AuthenticationError, RedisClusterException

    if isinstance(error, AuthenticationError):
        return True
    # A sentinel client and a cluster client wrap what each server said.
    if isinstance(error, RedisClusterException) or type(error).__name__ == "MasterNotFoundError":
        cause = error.__cause__
        return "AuthenticationError" in str(error) or (cause is not None and is_refusal(cause))
    return False


# From Redis 7 on an error within a script begins with its code; before, the code stands in the midst, after a hyphen.
PASSING_CODES: Final = re.compile(
    r"(?:^|[ :]-)(?:MISCONF|UNBLOCKED|NOREPLICAS|BUSY|OOM|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN) "
)


def is_passing(error: BaseException) -> bool:
    """Whether the same request may well succeed when Redis has recovered."""
    from redis import exceptions

    passing = (
        OSError,  # TimeoutError among them
        exceptions.ConnectionError,  # LOADING among them
        exceptions.TimeoutError,
        exceptions.ReadOnlyError,  # a master that is one no more
        exceptions.ClusterError,
        exceptions.TryAgainError,
        exceptions.AskError,  # MOVED among them: more often than the client follows
        exceptions.RedisClusterException,
        exceptions.OutOfMemoryError,
    )
    if isinstance(error, exceptions.ClusterCrossSlotError) or is_refusal(error):
        return False
    if isinstance(error, passing) or _is_of_a_lost_connection(error):
        return True
    return isinstance(error, exceptions.ResponseError) and PASSING_CODES.search(str(error)) is not None


def _is_of_a_lost_connection(error: BaseException) -> bool:
    """A connection that redis-py drops while another task has it in use fails with "'NoneType' has no attribute …".

    From Python 3.12 on it may be asyncio, called by redis-py, where "'NoneType' object is not callable".
    """
    if not isinstance(error, AttributeError | TypeError) or "'NoneType'" not in str(error):
        return False
    modules = [str(frame.f_globals.get("__name__")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    while modules and modules[-1].startswith("asyncio."):
        modules.pop()
    return bool(modules) and modules[-1].startswith("redis.asyncio.")


def reason_of(error: Exception) -> str:
    """On one line, and without the command that redis-py quotes when it is one of several: it may be about a person."""
    words = _QUOTED.sub("", str(error))
    return f"{type(error).__name__}: {words}".splitlines()[0]
