"""The log goes to stderr and shows no secret, wherever it hides."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest
from pydantic import SecretStr

from bot.config import Settings
from bot.logs import configure_logging, impersonal, whereabouts
from model.serving.job_context import working_for
from model.serving.jobs import decode_job, encode_job
from model.serving.outage import reason_of
from tests.support.fake_queue import captions, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.local_queue import WORKER, joined_queue, take
from tests.support.pictures import PHOTO

TOKEN = "123456789:AAE-secret_part_of_the_token_xyz"


pytestmark = pytest.mark.usefixtures("root_logger")


def fail() -> None:
    raise RuntimeError(f"cannot connect to https://api.telegram.org/bot{TOKEN.replace(':', '%3A')}/getMe")


def log_some() -> None:
    logging.getLogger("x").info("calling %s", f"http://h/bot{TOKEN}/getMe")
    try:
        fail()
    except RuntimeError:
        logging.getLogger("x").exception("failed", stack_info=True, extra={"job": 7})


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_token_is_taken_out(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure_logging(Settings(token=SecretStr(TOKEN), redis_url=SecretStr("redis://:pw@h"), log_format=log_format))  # type: ignore[arg-type]
    log_some()
    logging.getLogger("x").warning("no redis://:pw@h today")
    written = capsys.readouterr()
    assert written.out == ""
    assert "RuntimeError: cannot connect" in written.err
    assert "***" in written.err
    assert "secret_part" not in written.err
    assert ":pw@" not in written.err


def test_json_is_one_object_per_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format="json"))
    log_some()
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [line["level"] for line in lines] == ["INFO", "ERROR"]
    assert lines[1]["job"] == "7"
    assert "Traceback" in lines[1]["exception"]


async def test_lines_name_the_job_they_are_about(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("x")

    async def work(job: str) -> None:
        with working_for(job):
            await asyncio.sleep(0)
            logger.info("at work")

    for log_format in ("text", "json"):
        configure_logging(Settings(log_format=log_format))
        await asyncio.gather(work("1-7"), work("1-8"))
        logger.info("idle")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2] for line in lines[:3]] == ["at work job=1-7", "at work job=1-8", "idle"]
    assert [json.loads(line).get("job") for line in lines[3:]] == ["1-7", "1-8", None]


async def test_one_trace_goes_through_bot_queue_and_worker(
    server: FakeTelegram, ann: Person, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also through lines that name no job."""
    queue = joined_queue()
    async with running_bot(server, queue, tmp_path):
        configure_logging(Settings(log_format="json"))
        server.faults.add("sendMessage", "blocked", times=1)
        command = await ann.send_text("/help")
        photo = await ann.send_photo(PHOTO)
        lease = await take(queue, "photo")
        job = decode_job(json.loads(json.dumps(encode_job(lease.job))))  # as it gets to the worker
        with working_for(job.id):
            logging.getLogger("worker").info("done")
        await queue.finish(WORKER, job.id, captions())
        await ann.next_message()
        await eventually(lambda: server.confirmed(photo))
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    traces = {line["trace"] for line in lines if line.get("job") == job.id}
    assert [len(trace) for trace in traces] == [32]
    assert {line["message"] for line in lines if line.get("trace") in traces} >= {"done", "answered"}
    [refused] = [line for line in lines if "refused the answer" in line["message"]]
    assert str(server.update_id(command)) in refused["message"]
    assert "job" not in refused
    assert refused["trace"] not in traces


def test_the_password_alone_is_taken_out_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(redis_url=SecretStr("redis://ann:pass%20word@h")))
    logging.getLogger("x").warning("AUTH ann 'pass word' failed")
    assert "pass word" not in capsys.readouterr().err


def test_the_level_is_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_level="ERROR"))
    logging.getLogger("x").warning("quiet")
    assert capsys.readouterr().err == ""


def test_whereabouts_of_an_error_are_told_without_its_words() -> None:
    words = "private"
    try:
        try:
            fail()
        except RuntimeError as error:
            raise ValueError(words) from error
    except ValueError as error:
        told = whereabouts(error)
    assert "in fail" in told
    assert "builtins.ValueError" in told
    assert "builtins.RuntimeError" in told
    assert "private" not in told
    assert "secret_part" not in told


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        ("Bad Request: not enough rights to send photos", "Bad Request: not enough rights to send photos"),
        ("migrated to a supergroup with id -1001234567890", "migrated to a supergroup with id #"),
        ('can\'t parse entities: Unsupported start tag "ann" at byte offset 12', None),
    ],
)
def test_what_telegram_says_is_told_without_people(said: str, logged: str | None) -> None:
    assert impersonal(said) == (logged or said.replace("ann", "…"))


async def test_an_error_that_nobody_handles_is_logged_without_its_words(
    server: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = "-".join(["Marked", "Words"])  # lines of code are logged

    def secret(words: str) -> None:
        raise ValueError(words)

    async def forgotten() -> None:
        secret(words)

    async with running_bot(server, joined_queue(), tmp_path):
        asyncio.get_running_loop().call_soon(secret, words)
        task = asyncio.create_task(forgotten())
        await asyncio.wait([task])
        del task
        await eventually(lambda: caplog.text.count("builtins.ValueError") == 2)
    assert "in secret" in caplog.text
    assert words not in caplog.text


def test_commands_that_redis_quotes_are_left_out() -> None:
    quoted = "Command # 1 (SET {captions}:bot:1:note:777123:clip:x AgACAgIA (1) ...) of pipeline caused error: OOM now"
    assert reason_of(ConnectionError(quoted)) == "ConnectionError: OOM now"
