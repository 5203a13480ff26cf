"""Transactions of the SQLite file: what waits together is written together."""

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from bot.errors import StorageError
from bot.storage.sqlite import Database

SCHEMA = "CREATE TABLE IF NOT EXISTS things (name TEXT)"


def adds(name: str) -> Callable[[sqlite3.Connection], str]:
    def work(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO things VALUES (?)", (name,))
        return name

    return work


def fails(connection: sqlite3.Connection) -> None:
    connection.execute("INSERT INTO things VALUES ('wrong')")
    raise ValueError("no")


def names(connection: sqlite3.Connection) -> list[str]:
    return [name for (name,) in connection.execute("SELECT name FROM things ORDER BY rowid")]


async def test_what_comes_while_the_disk_is_written_to_is_one_transaction(tmp_path: Path) -> None:
    database = await Database.open(tmp_path, schema=SCHEMA)
    statements = list[str]()
    await database.run(lambda connection: connection.set_trace_callback(statements.append))
    wanted = [str(number) for number in range(10)]
    assert await asyncio.gather(*(database.run(adds(name)) for name in wanted)) == wanted
    assert statements.count("COMMIT") == 2  # the first alone, for nothing was being written
    assert await database.run(names) == wanted
    await database.close()


async def test_each_transaction_is_confirmed_as_its_most_careful_part_asks(tmp_path: Path) -> None:
    database = await Database.open(tmp_path, schema=SCHEMA)
    statements = list[str]()
    await database.run(lambda connection: connection.set_trace_callback(statements.append))
    await asyncio.gather(*(database.run(adds(str(number)), at_once=number == 2) for number in range(4)))
    levels = [statement.rpartition(" ")[2] for statement in statements if statement.startswith("PRAGMA synchronous")]
    assert levels == ["NORMAL", "FULL"]
    await database.close()


async def test_what_fails_takes_nothing_with_it(tmp_path: Path) -> None:
    database = await Database.open(tmp_path, schema=SCHEMA)
    works: list[Callable[[sqlite3.Connection], object]] = [adds("0"), adds("1"), fails, adds("2")]
    *first, error, last = await asyncio.gather(*map(database.run, works), return_exceptions=True)
    assert (first, last) == (["0", "1"], "2")
    assert isinstance(error, ValueError)
    assert await database.run(names) == ["0", "1", "2"]
    with pytest.raises(StorageError):
        await database.run(lambda connection: connection.execute("SELECT nonsense"))
    await database.close()


async def test_work_that_nobody_waits_for_any_more_is_not_begun(tmp_path: Path) -> None:
    database = await Database.open(tmp_path, schema=SCHEMA)
    first, second, third = (asyncio.create_task(database.run(adds(str(number)))) for number in range(3))
    await asyncio.sleep(0)  # the first is begun
    second.cancel()
    assert [await first, await third] == ["0", "2"]
    assert await database.run(names) == ["0", "2"]
    await database.close()


async def test_closing_waits_for_what_was_asked_for(tmp_path: Path) -> None:
    database = await Database.open(tmp_path, schema=SCHEMA)
    asked = [asyncio.create_task(database.run(adds(str(number)))) for number in range(3)]
    await asyncio.sleep(0)
    await database.close()
    assert await asyncio.gather(*asked) == ["0", "1", "2"]
    with pytest.raises(StorageError, match="closed"):
        await database.run(names)
    database = await Database.open(tmp_path, schema=SCHEMA)
    assert await database.run(names) == ["0", "1", "2"]
    await database.close()
