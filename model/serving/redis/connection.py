"""The one place that connects to Redis, and the patience with which its outages are borne. No torch.

redis-py is imported when a connection is made and not before.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import re
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar, cast

from model.serving.outage import Backoff, Outage, reason_of
from model.serving.queue import settle
from model.serving.redis.address import RedisAddress, RedisRefused

if TYPE_CHECKING:
    from redis.asyncio import Redis

T = TypeVar("T")

CALL_SECONDS: Final = 5.0  # no answer to a call that does not block means that the connection is dead
CONNECTIONS: Final = 64  # of one client; more calls at once wait for each other
CROWD: Final = 4096  # for those pools that refuse instead of waiting
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 5.0


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


def connect_joined(url: str) -> Redis:
    """As `connect`; GET, SET and scripts called at once, or while others are on their way, go together and in order.

    Redis writes all that comes together to the disk at once, so those calls wait for it once. Their answers are as
    Redis gives them.
    """
    client: Any = connect(url)
    client.execute_command = _Joined(client, CALL_SECONDS).call  # redis-py makes all commands of it
    return cast("Redis", client)


def connect_carrying(url: str, *, block_seconds: float) -> Redis:
    """As `connect`, for scripts with much to carry."""
    client: Any = connect(url, block_seconds=block_seconds)
    client.execute_command = _Direct(client, CALL_SECONDS + block_seconds).call
    return cast("Redis", client)


class LuaScript:
    """A script, which Redis learns when it is first called."""

    def __init__(self, client: Any, source: str) -> None:
        from redis.exceptions import NoScriptError

        self.client = client
        self._source = source
        self._unknown = NoScriptError
        self.sha: Final = hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()

    async def __call__(self, keys: Sequence[str], arguments: Sequence[str | bytes | float], client: Any = None) -> Any:
        """`client`: another than that of the script."""
        client = client or self.client
        command = "EVALSHA", self.sha, len(keys), *keys, *arguments
        try:
            return await client.execute_command(*command)
        except self._unknown:
            await client.script_load(self._source)
            return await client.execute_command(*command)


_Call: TypeAlias = tuple[tuple[Any, ...], dict[str, Any], asyncio.Future[Any]]  # command, options, and its answer


class _Direct:
    """Sends a client's scripts on a connection directly: its own `execute_command` takes several times as long."""

    def __init__(self, client: Any, seconds: float) -> None:
        """`seconds`: without answers for so long means that the connection is dead."""
        from hiredis import pack_command
        from redis.exceptions import ResponseError

        self._client = client
        self._seconds = seconds
        self._alone: Callable[..., Awaitable[Any]] = client.execute_command
        self._pool = getattr(client, "connection_pool", None)  # None: a cluster, which has several
        self._pack = pack_command
        self._wrong = ResponseError

    async def call(self, *command: Any, **options: Any) -> Any:
        if command[0] != "EVALSHA" or self._pool is None:
            return await self._alone(*command, **options)
        [answer] = await self._ask([command])
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _ask(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """An answer or an error of Redis for each of these commands, which go together."""
        assert self._pool is not None
        packed = [self._pack(command) for command in commands]
        connection = await self._pool.get_connection()
        try:
            async with asyncio.timeout(self._seconds):  # one for all; a connection that is left so is closed
                await connection.send_packed_command(packed)
                return [await self._read(connection) for _ in packed]
        except TimeoutError as error:
            raise TimeoutError(str(error) or f"no answer within {self._seconds:g} s") from error
        finally:
            await self._pool.release(connection)

    async def _read(self, connection: Any) -> Any:
        try:
            answer = await connection.read_response(timeout=math.inf)
        except self._wrong as error:
            return error
        if answer is None and (lost := connection._reader.exception()) is not None:
            await connection.disconnect(nowait=True)  # redis-py takes a socket's own timeout for no answer yet
            raise ConnectionError(f"the connection is lost ({lost})") from lost
        return answer


class _Joined(_Direct):
    """What one client calls at once, and while others are on their way."""

    def __init__(self, client: Any, seconds: float) -> None:
        super().__init__(client, seconds)
        self._waiting: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def call(self, *command: Any, **options: Any) -> Any:
        # Of a cluster, others may be for several servers; and what moved to another, the client itself asks for again.
        if command[0] not in ("EVALSHA", "GET", "SET") or _within.get():
            return await self._alone(*command, **options)
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append((command, options, answer))
        if self._sending is None:
            self._sending = asyncio.create_task(self._send())
        return await answer

    async def _send(self) -> None:
        calls: list[_Call] = []
        _within.set(True)
        try:
            await asyncio.sleep(0)  # for what other tasks call now
            while self._waiting:
                calls, self._waiting = self._waiting, []
                for (_, _, answer), result in zip(calls, await self._outcomes(calls), strict=True):
                    settle(answer, result)
        finally:
            for _, _, answer in (*calls, *self._waiting):  # none, unless this was cancelled
                answer.cancel()
            self._waiting, self._sending = [], None

    async def _outcomes(self, calls: Sequence[_Call]) -> list[Any]:
        """An answer or an error for each call. What is wrong with one call harms no other."""
        try:
            return await self._answers(calls)
        except Exception as error:
            if len(calls) == 1 or is_passing(error):
                return [error] * len(calls)
        return [outcome for call in calls for outcome in await self._outcomes([call])]

    async def _answers(self, calls: Sequence[_Call]) -> list[Any]:
        if self._pool is not None:
            return await self._ask([command for command, _, _ in calls])
        if len(calls) == 1:
            [(command, options, _)] = calls
            return [await self._alone(*command, **options)]
        pipeline = self._client.pipeline(transaction=False)
        for command, options, _ in calls:
            pipeline.execute_command(*command, **options)
        answers: list[Any] = await pipeline.execute(raise_on_error=False)
        return answers


OUTAGE: Final = Outage("Redis")  # there is one Redis for a process
_within: Final[ContextVar[bool]] = ContextVar("_within", default=False)  # what sends joined calls
_repeated: Final[ContextVar[bool]] = ContextVar("_repeated", default=False)  # by a call of `patiently` around this one


async def patiently(request: Callable[[], Awaitable[T]], *, outage: Outage = OUTAGE) -> T:
    """What a request to Redis returns, repeated with growing pauses while Redis is away, failing over or loading.

    A request whose answer was lost is repeated too: it must be one that may run twice. Requests within a request are
    repeated with it, and not by themselves. Raises RedisRefused, and what repeating cannot mend.
    """
    if _repeated.get():
        return await request()
    call, backoff, token = object(), Backoff(FIRST_PAUSE, LONGEST_PAUSE), _repeated.set(True)
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
                outage.failed(reason_of(error), call=call)
            else:
                _raise_if_cancelled()
                outage.worked(call)
                return result
            await asyncio.sleep(backoff.next())
    finally:
        _repeated.reset(token)
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
