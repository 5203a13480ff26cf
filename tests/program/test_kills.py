"""Nothing is lost: two hundred photos, and every process killed again and again while they are answered."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support.bot_api_rules import NOT_MODIFIED
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.program import Program, running
from tests.support.redis_server import RedisServer

PHOTOS = 200
PEOPLE = 20
KILLS = 5  # of each of bot and worker
SECONDS = 25.0  # over which the kills are spread
PATIENCE = 480.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(PATIENCE + 90)]


def pictures(photos: list[Image.Image]) -> list[bytes]:
    """A few small files: what they show does not matter here."""
    files = []
    for photo in photos:
        out = io.BytesIO()
        photo.resize((320, 240)).save(out, "JPEG")
        files.append(out.getvalue())
    return files


async def send_all(people: list[Person], files: list[bytes], seconds: float) -> None:
    for number in range(PHOTOS):
        await people[number % len(people)].send_photo(files[number % len(files)])
        await asyncio.sleep(seconds / PHOTOS)


async def kill_at_random(kill: Callable[[], Awaitable[None]], times: int, rng: random.Random) -> int:
    """How often it was killed."""
    moments = sorted(rng.uniform(1.0, SECONDS) for _ in range(times))
    for pause in (later - earlier for earlier, later in zip([0.0, *moments], moments, strict=False)):
        await asyncio.sleep(pause)
        await kill()
    return len(moments)


def answers(server: FakeTelegram) -> Counter[tuple[int, int]]:
    """How often each photo was answered with captions: under a sheet, the caption in bold."""
    return Counter(
        (int(call.params["chat_id"]), int(call.result["reply_to_message"]["message_id"]))
        for call in server.calls
        if call.method == "sendPhoto" and call.ok
    )


async def check(server: FakeTelegram, killing: Awaitable[tuple[int, ...]], allowed: Callable[[int], int]) -> None:
    kills = sum(await killing)
    done = await server.until(lambda: len(answers(server)) >= PHOTOS or None, PATIENCE)
    others = [call.params.get("text") for call in server.calls if call.method == "sendMessage" and call.ok]
    assert done, f"{len(answers(server))} of {PHOTOS} were answered; other messages: {Counter(others)}"
    await asyncio.sleep(2.0)  # for answers that must not come
    found = answers(server)
    doubled = sum(found.values()) - len(found)
    print(f"{len(found)} answered, {doubled} twice, {kills} kills")
    assert len(found) == PHOTOS
    assert doubled <= allowed(kills)
    # What tells people of the wait may be changed or deleted twice: after a kill, or when the response was lost.
    twice = ("message to delete not found", NOT_MODIFIED)
    assert [each for each in server.violations if not each.endswith(twice)] == []


async def restart(program: Program) -> None:
    await program.kill()
    await program.start()


@pytest.mark.parametrize("faults", [False, True], ids=["kills", "kills and a bad network"])
async def test_redis_mode_loses_nothing(
    faults: bool, tmp_path: Path, photos: list[Image.Image], small_weights: str
) -> None:
    rng = random.Random(20 + faults)
    async with FakeTelegram(seed=1) as server:
        people = [server.person(f"Person {number}") for number in range(PEOPLE)]
        lost = []
        if faults:  # on a fifth of all calls
            for kind, probability in (("429", 0.05), ("500", 0.05), ("drop", 0.055), ("lose_response", 0.06)):
                lost = [server.faults.add("*", kind, probability=probability)]  # type: ignore[arg-type]
        with RedisServer(tmp_path / "redis") as redis:
            bot = Program.bot(server, tmp_path / "bot", "bot", REDIS_URL=redis.url)
            worker = Program(tmp_path / "worker", "worker", REDIS_URL=redis.url, WEIGHTS_DIR=small_weights)

            async def restart_redis() -> None:
                await asyncio.to_thread(redis.restart)

            async with running(bot, worker):
                killing = asyncio.gather(
                    kill_at_random(lambda: restart(bot), KILLS, rng),
                    kill_at_random(lambda: restart(worker), KILLS, rng),
                    kill_at_random(restart_redis, 2, rng),
                )
                await send_all(people, pictures(photos), SECONDS * 0.8)
                await check(server, killing, lambda kills: kills + sum(fault.fired for fault in lost))
            keys = redis.call("KEYS", "{captions}:job:*") + redis.call("KEYS", "{captions}:media:*")
            assert keys == "*0\r\n*0\r\n"


async def test_embedded_mode_loses_nothing(tmp_path: Path, photos: list[Image.Image], small_weights: str) -> None:
    rng = random.Random(30)
    async with FakeTelegram(seed=1) as server:
        people = [server.person(f"Person {number}") for number in range(PEOPLE)]
        program = Program.bot(server, tmp_path / "bot", WEIGHTS_DIR=small_weights)

        async def kill_worker() -> None:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                for pid in program.worker_pids():
                    os.kill(pid, signal.SIGKILL)

        async with running(program):
            killing = asyncio.gather(
                kill_at_random(lambda: restart(program), KILLS, rng), kill_at_random(kill_worker, KILLS, rng)
            )
            await send_all(people, pictures(photos), SECONDS * 0.8)
            await check(server, killing, lambda kills: kills)
