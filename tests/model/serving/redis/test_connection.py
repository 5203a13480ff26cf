"""Addresses of Redis, and what happens to calls while it is away."""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.asyncio import Connection, Redis

from model.serving.outage import Outage
from model.serving.redis import connection
from model.serving.redis.address import InvalidAddress, RedisAddress, RedisRefused
from model.serving.redis.connection import LuaScript, connect, connect_carrying, connect_joined, is_passing, patiently
from tests.support.clock import eventually
from tests.support.redis_server import RedisServer


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", RedisAddress("single", (("h", 6379),))),
        ("redis://:p%40ss@h:7/3", RedisAddress("single", (("h", 7),), db=3, password="p@ss")),
        ("rediss://ann:pw@[::1]:7", RedisAddress("single", (("::1", 7),), username="ann", password="pw", tls=True)),
        ("unix:///run/redis.sock?db=2", RedisAddress("unix", path="/run/redis.sock", db=2)),
        ("redis+cluster://h:1,i", RedisAddress("cluster", (("h", 1), ("i", 6379)))),
        (
            "rediss+sentinel://u:p@h,i:5/main/4?sentinel_password=q",
            RedisAddress(
                "sentinel",
                (("h", 26379), ("i", 5)),
                service="main",
                db=4,
                username="u",
                password="p",
                tls=True,
                options=(("sentinel_password", "q"),),
            ),
        ),
    ],
)
def test_each_form_of_address_is_understood(url: str, expected: RedisAddress) -> None:
    assert RedisAddress.parse(url) == expected
    connect(url)  # the client takes all of it


@pytest.mark.parametrize(
    "url",
    [
        "http://:hush@h",
        "redis+gossip://:hush@h",
        "redis://:hush@h:0",
        "redis://:hush@h:70000",
        "redis://:hush@h/one",
        "redis://:hush@h?speed=hush",
        "redis://:hush@a,b",
        "redis://:hush@",
        "redis://:hush@x@h",
        "redis+cluster://:hush@h/2",
        "redis+sentinel://:hush@h",
        "unix://:hush@",
        "redis://:hush @h",
        "hush",
    ],
)
def test_nonsense_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(InvalidAddress) as caught:
        RedisAddress.parse(url)
    assert "hush" not in str(caught.value)


@asynccontextmanager
async def client_of(url: str, connect: Callable[[str], Redis] = connect) -> AsyncIterator[Any]:
    client = connect(url)
    try:
        yield client
    finally:
        await client.aclose()


@pytest.mark.parametrize("connect", [connect, connect_joined, partial(connect_carrying, block_seconds=1.0)])
@pytest.mark.parametrize("cluster", [False, True])
@pytest.mark.slow
async def test_calls_wait_for_redis_and_the_outage_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, cluster: bool, connect: Callable[[str], Redis]
) -> None:
    caplog.set_level(logging.INFO)
    server = RedisServer(tmp_path, cluster=cluster)
    outage = Outage("Redis")
    async with client_of(server.url, connect) as client:
        calls = [
            asyncio.create_task(patiently(lambda key=key: client.set(key, b"1"), outage=outage))  # type: ignore[misc]
            for key in "abc"
        ]
        await asyncio.sleep(0.3)
        assert outage.on
        await asyncio.to_thread(server.start)
        try:
            await asyncio.gather(*calls)
            assert not outage.on
            await asyncio.to_thread(server.restart)
            assert await patiently(lambda: client.get("a"), outage=outage) == b"1"
        finally:
            server.stop()
    said = [record.getMessage() for record in caplog.records if record.name == "model.serving.outage"]
    assert [line.partition(":")[0] for line in said[:2]] == ["Redis fails", "Redis works again"]
    assert len(said) in (2, 4)  # the restart may have gone unnoticed


async def test_what_is_called_at_once_goes_together_in_order_and_fails_by_itself(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    together: list[int] = []
    send: Any = Connection.send_packed_command

    async def counted(self: Any, commands: Any, check_health: bool = True) -> None:
        together.append(len(commands))
        await send(self, commands, check_health)

    async with client_of(redis_server.url, connect_joined) as client:
        await client.flushall()
        append = LuaScript(client, "return redis.call('RPUSH', KEYS[1], ARGV[1])")
        await append(["list"], ["-"])  # the script is known
        monkeypatch.setattr(Connection, "send_packed_command", counted)
        calls = [append(["list"], [number]) for number in range(20)]
        *lengths, error = await asyncio.gather(*calls, client.get("list"), return_exceptions=True)
        assert lengths == list(range(2, 22))
        assert "WRONGTYPE" in str(error)
        assert together == [21]
        assert await client.lrange("list", 1, -1) == [b"%d" % number for number in range(20)]


@pytest.mark.parametrize("connect", [connect_joined, partial(connect_carrying, block_seconds=0.0)])
async def test_scripts_called_at_a_server_that_hangs_are_called_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: Callable[[str], Redis]
) -> None:
    """On another connection: on that one, late answers would be taken for those to other calls."""
    monkeypatch.setattr(connection, "CALL_SECONDS", 0.2)
    outage = Outage("Redis")
    with RedisServer(tmp_path) as server:
        async with client_of(server.url, connect) as client:
            script = LuaScript(client, "return ARGV[1]")
            await script(["key"], ["known"])
            server.pause()
            asked = [patiently(lambda word=word: script(["key"], [word]), outage=outage) for word in "abc"]  # type: ignore[misc]
            calls = asyncio.gather(*asked)
            await eventually(lambda: outage.on)
            server.resume()
            assert await calls == [b"a", b"b", b"c"]


@pytest.mark.parametrize("connect", [connect_joined, partial(connect_carrying, block_seconds=0.0)])
async def test_a_socket_that_gives_up_is_an_outage_and_no_answer(
    tmp_path: Path, connect: Callable[[str], Redis]
) -> None:
    with RedisServer(tmp_path) as server:
        async with client_of(server.url, connect) as client:
            script = LuaScript(client, "return ARGV[1]")
            await script(["key"], ["known"])
            server.pause()
            outage = Outage("Redis")
            calls = [asyncio.create_task(patiently(lambda: script(["key"], ["a"]), outage=outage)) for _ in range(2)]
            await eventually(lambda: client.connection_pool._in_use_connections)
            for used in client.connection_pool._in_use_connections:
                used._reader.set_exception(TimeoutError(errno.ETIMEDOUT, "timed out"))
            await eventually(lambda: outage.on)
            server.resume()
            assert await asyncio.gather(*calls) == [b"a", b"a"]


async def test_a_script_is_made_known_again_to_a_redis_that_has_forgotten_it(redis_server: RedisServer) -> None:
    async with client_of(redis_server.url, connect_joined) as client:
        script = LuaScript(client, "return ARGV[1]")
        for number in range(2):
            await client.script_flush()
            assert await asyncio.gather(*(script(["key"], [each]) for each in (number, "x"))) == [b"%d" % number, b"x"]


class Moving:
    """A client in whose pipelines a call is made again by the client itself, as for a slot that moved."""

    def __init__(self) -> None:
        self.commands: list[Any] = []

    async def execute_command(self, *command: Any) -> Any:
        if command[-1] == "wrong":
            raise ValueError("wrong")
        return command[-1]

    def pipeline(self, transaction: bool) -> Any:
        def add(*command: Any) -> None:
            self.commands.append(command)

        async def execute(raise_on_error: bool) -> list[Any]:
            commands, self.commands = self.commands, []
            if ("SET", "wrong") in commands:
                raise ValueError("a call that cannot be encoded")
            return list(await asyncio.gather(*(asyncio.create_task(client.execute_command(*c)) for c in commands)))

        client = self
        return SimpleNamespace(execute_command=add, execute=execute)


async def test_joined_calls_that_the_client_makes_again_do_not_wait_for_themselves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "connect", lambda url: Moving())
    client: Any = connect_joined("redis+cluster://h")
    async with asyncio.timeout(10):
        assert await asyncio.gather(*(client.execute_command("GET", key) for key in "abc")) == list("abc")
        calls = (client.execute_command("SET", key) for key in ("a", "wrong", "c"))
        one, error, other = await asyncio.gather(*calls, return_exceptions=True)
    assert (one, str(error), other) == ("a", "wrong", "c")


async def test_a_request_within_another_is_repeated_with_it() -> None:
    tries: list[str] = []

    async def fails_once(name: str) -> None:
        tries.append(name)
        if tries.count(name) == 1:
            raise ConnectionResetError

    def both() -> Awaitable[Any]:
        return asyncio.gather(*(patiently(partial(fails_once, name)) for name in "ab"))

    await patiently(both, outage=Outage("Redis"))
    assert tries == ["a", "b", "a", "b"]


async def test_a_wrong_password_is_no_outage(tmp_path: Path) -> None:
    with RedisServer(tmp_path, password="right") as server:
        async with client_of(server.url) as client:
            assert await patiently(client.ping)
        for url in (server.url.replace("right", "wr0ng"), f"redis://127.0.0.1:{server.port}"):
            async with client_of(url) as client:
                with pytest.raises(RedisRefused, match="REDIS_URL") as caught:
                    await patiently(client.ping)
                assert "wr0ng" not in str(caught.value)


async def test_a_server_that_hangs_is_left_and_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.serving.redis.connection.CALL_SECONDS", 0.2)
    outage = Outage("Redis")
    with RedisServer(tmp_path) as server:
        async with client_of(server.url) as client:
            await client.ping()
            server.pause()
            call = asyncio.create_task(patiently(client.ping, outage=outage))
            await eventually(lambda: outage.on)
            server.resume()
            assert await call


@pytest.mark.parametrize(
    ("on", "off"),
    [
        (("REPLICAOF", "127.0.0.1", "1"), ("REPLICAOF", "NO", "ONE")),
        (("CONFIG", "SET", "min-replicas-to-write", "1"), ("CONFIG", "SET", "min-replicas-to-write", "0")),
        (("CONFIG", "SET", "maxmemory", "1"), ("CONFIG", "SET", "maxmemory", "0")),
    ],
)
async def test_scripts_too_wait_for_a_redis_that_refuses_to_write(
    tmp_path: Path, on: tuple[str, ...], off: tuple[str, ...]
) -> None:
    with RedisServer(tmp_path) as server:
        client: Any = connect(server.url)
        script = "return redis.call('SET', KEYS[1], ARGV[1])"
        server.call(*on)
        writing = asyncio.create_task(patiently(lambda: client.eval(script, 1, "key", "value")))
        await asyncio.sleep(0.2)
        assert not writing.done()
        server.call(*off)
        assert await asyncio.wait_for(writing, 60) == b"OK"
        await client.aclose()


async def test_a_connection_that_is_dropped_while_in_use_is_an_outage(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as server:
        async with client_of(server.url) as client:

            async def dropped() -> bytes:
                connection = await client.connection_pool.get_connection()
                try:
                    writing = asyncio.create_task(connection._send_packed_command([b"PING\r\n"]))
                    await connection.disconnect()  # as another task does when it sees the end of the stream
                    await writing
                finally:
                    await client.connection_pool.release(connection)
                raise AssertionError("it had no effect")

            tries = [dropped, client.ping]
            assert await asyncio.wait_for(patiently(lambda: tries.pop(0)()), 60)


@pytest.mark.parametrize(
    ("modules", "what", "lost"),
    [
        (("redis.asyncio.connection",), "none.writelines", True),
        (("redis.asyncio.connection", "asyncio.streams", "asyncio.selector_events"), "none()", True),  # Python 3.12
        (("redis.asyncio.connection",), "len(3)", False),
        (("bot.storage.redis_inbox", "asyncio.streams"), "none()", False),
        (("redis.asyncio.connection", "bot.storage.redis_inbox"), "none.id", False),
    ],
)
def test_a_lost_connection_is_told_from_a_mistake(modules: tuple[str, ...], what: str, lost: bool) -> None:
    """By where it was noticed: `modules`, each called by the one before it."""
    space: dict[str, Any] = {}
    for name in reversed(modules):
        body = "call()" if space else what
        space = {"__name__": name, "none": None, "call": space.get("caller")}
        exec(f"def caller(): {body}", space)
    with pytest.raises((AttributeError, TypeError)) as raised:
        space["caller"]()
    assert is_passing(raised.value) is lost


async def test_what_repeating_cannot_mend_is_raised(tmp_path: Path) -> None:
    from redis.exceptions import ResponseError

    with RedisServer(tmp_path) as server:
        async with client_of(server.url) as client:
            await client.set("a", b"1")
            with pytest.raises(ResponseError):
                await patiently(lambda: client.lpush("a", b"2"))
