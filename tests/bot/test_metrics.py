"""What Prometheus reads of the bot and of a worker, scraped over HTTP as Prometheus does."""

from __future__ import annotations

import asyncio
import contextlib
import re
import subprocess
import sys
from typing import Any

import pytest
from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramNetworkError, TelegramRetryAfter
from aiogram.methods import GetMe, GetUpdates, SendMessage, TelegramMethod
from prometheus_client import CollectorRegistry, generate_latest

from bot.metrics import BotMetrics, bot_metrics, watch_queue
from bot.telegram.session import CountRequests
from model.errors import MetricsError
from model.serving.metrics import WorkerMetrics, create_registry, served, worker_metrics
from model.serving.queue import Status
from model.serving.tasks import LINES, TASKS
from tests.conftest import ROOT
from tests.support.metrics import Samples, samples, scrape, value
from tests.support.redis_server import free_port


def shown(registry: CollectorRegistry) -> Samples:
    return samples(generate_latest(registry).decode())


def test_a_worker_is_scraped_over_http() -> None:
    port = free_port()
    with worker_metrics(port, kinds=TASKS, lines=LINES) as metrics:
        metrics.ready("attention", "cpu", "bf16")
        metrics.job_taken("photo", 0.3)
        metrics.job_taken("photo", -2.0)  # another machine's clock
        metrics.job_taken("clip", 90.0, attempt=2)
        metrics.decoded("photo", 0.02)
        metrics.batch(7, 0.2)
        metrics.drawn(0.04)
        metrics.job_done("photo")
        metrics.job_done("photo", "damaged")
        found = scrape(port)
    assert value(found, "caption_worker_info", model="attention", device="cpu", precision="bf16") == 1
    assert value(found, "caption_job_wait_seconds_count", line="photo") == 2
    assert value(found, "caption_job_wait_seconds_sum", line="photo") == 0.3
    assert value(found, "caption_job_wait_seconds_count", line="clip") == 0  # not in line, but in a dead worker's hands
    assert value(found, "caption_jobs_redelivered_total") == 1
    assert value(found, "caption_batch_size_bucket", le="8.0") == 1
    assert value(found, "caption_batch_size_bucket", le="4.0") == 0
    assert value(found, "caption_forward_seconds_sum") == 0.2
    assert value(found, "caption_decode_seconds_count", kind="photo") == 1
    assert value(found, "caption_draw_seconds_count") == 1
    assert value(found, "caption_jobs_total", kind="photo", outcome="done") == 1
    assert value(found, "caption_jobs_total", kind="photo", outcome="damaged") == 1
    if sys.platform == "linux":
        assert value(found, "process_resident_memory_bytes") > 0
    with pytest.raises(OSError, match="refused"):
        scrape(port)  # the server ended with the block


def test_the_bot_is_scraped_over_http() -> None:
    port = free_port()
    with bot_metrics(port) as metrics:
        metrics.polled(3)
        metrics.answered("photo", 0.8)
        metrics.answered("photo")
        metrics.failed("not_image")
        metrics.downloaded(1000, 0.1)
        metrics.retry("sendPhoto")
        metrics.queue(Status({"photo": 4}, in_work=2, open_requests=6, workers=1))
        metrics.dead_letters(5)
        found = scrape(port)
    assert value(found, "caption_updates_total") == 3
    assert value(found, "caption_telegram_last_poll_timestamp_seconds") > 1.7e9
    assert value(found, "caption_answers_total", kind="photo") == 2
    assert value(found, "caption_answer_seconds_count", kind="photo") == 1
    assert value(found, "caption_failures_total", kind="not_image") == 1
    assert value(found, "caption_downloaded_bytes_total") == 1000
    assert value(found, "caption_telegram_retries_total", method="sendPhoto") == 1
    assert value(found, "caption_queue_jobs", line="photo") == 4
    assert value(found, "caption_queue_jobs", line="clip-bulk") == 0
    assert value(found, "caption_queue_in_work") == 2
    assert value(found, "caption_queue_open_requests") == 6
    assert value(found, "caption_queue_workers") == 1
    assert value(found, "caption_queue_dead_letters") == 5


def test_labels_are_bounded() -> None:
    """Whatever is passed, the number of series does not grow with people or requests."""
    registry = create_registry()
    bot, worker = BotMetrics(registry), WorkerMetrics(registry, kinds=TASKS, lines=LINES)
    series = []
    for number in range(600):
        bot.answered(f"kind{number}", 1.0)
        bot.failed(f"kind{number}")
        bot.request(f"method{number}", f"outcome{number}", 1.0)
        bot.retry(f"method{number}")
        bot.queue(Status({f"line{number}": 1}, 0, 0, 0))
        worker.job_taken(f"line{number}", 1.0)
        worker.decoded(f"kind{number}", 1.0)
        worker.job_done(f"kind{number}", f"failure{number}")
        if number in (299, 599):
            series.append(len(shown(registry)))
    assert series[0] == series[1]
    assert value(shown(registry), "caption_failures_total", kind="other") == 600
    assert value(shown(registry), "caption_jobs_total", kind="other", outcome="other") == 600


def test_every_metric_is_documented() -> None:
    registry = create_registry()
    BotMetrics(registry)
    WorkerMetrics(registry, kinds=TASKS, lines=LINES)
    written = (ROOT / "docs" / "operations.md").read_text()
    families = {family.name: family.type for family in registry.collect() if family.name.startswith("caption_")}
    names = [f"{name}_total" if kind == "counter" else name for name, kind in families.items()]
    assert len(names) > 20
    assert [name for name in names if f"`{name}" not in written] == []
    mentioned = {name.removesuffix("_bucket") for name in re.findall(r"\bcaption_\w+", written)}
    assert mentioned <= set(names)


def test_a_port_in_use_is_said_clearly() -> None:
    with (
        served(create_registry(), 0) as port,
        pytest.raises(MetricsError, match=f"METRICS_PORT {port} cannot be used"),
        worker_metrics(port, kinds=TASKS, lines=LINES),
    ):
        pass


async def test_an_engine_that_fails_does_not_end_the_watch() -> None:
    registry = create_registry()
    metrics = BotMetrics(registry)
    seen: list[float] = []

    class Queue:
        async def status(self) -> Status:
            seen.append(value(shown(registry), "caption_queue_reachable"))
            if len(seen) == 2:
                raise ConnectionError("no Redis")
            return Status({"photo": len(seen)}, 0, 0, 1)

    class Inbox:
        async def dead(self) -> list[str]:
            return ["one", "two"]

    watch = asyncio.create_task(watch_queue(Queue(), Inbox(), metrics, every=0.001))
    while len(seen) < 4:
        await asyncio.sleep(0.001)
    watch.cancel()
    assert seen[:4] == [0, 1, 0, 1]
    assert value(shown(registry), "caption_queue_jobs", line="photo") >= 3
    assert value(shown(registry), "caption_queue_dead_letters") == 2


async def test_each_try_of_a_request_is_counted_by_what_became_of_it() -> None:
    registry = create_registry()
    count = CountRequests(BotMetrics(registry))
    send, poll = SendMessage(chat_id=1, text="hello"), GetUpdates()
    bot = Bot("42:TEST")
    outcomes: list[tuple[TelegramMethod[Any], AiogramError | None]] = [
        (send, TelegramRetryAfter(send, "too fast", 3)),
        (send, TelegramNetworkError(send, "gone")),
        (send, None),
        (GetMe(), TelegramBadRequest(GetMe(), "no")),
        (poll, None),
    ]
    for method, error in outcomes:

        async def answer(bot: Bot, method: TelegramMethod[Any], error: AiogramError | None = error) -> Any:
            if error is not None:
                raise error

        with contextlib.suppress(AiogramError):
            await count(answer, bot, method)
    await bot.session.close()
    found = shown(registry)
    for name, outcome in (
        ("sendMessage", "flood"),
        ("sendMessage", "network"),
        ("sendMessage", "ok"),
        ("getMe", "refused"),
        ("getUpdates", "ok"),
    ):
        assert value(found, "caption_telegram_requests_total", method=name, outcome=outcome) == 1
    assert value(found, "caption_telegram_request_seconds_count") == 4  # long polls wait on purpose


def test_metrics_without_a_port_can_be_called_and_import_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from model.serving.metrics import worker_metrics\n"
        "with worker_metrics(None, kinds=(), lines=()) as worker:\n"
        "    worker.batch(3, 0.1)\n"
        "heavy = {'torch', 'numpy', 'PIL', 'aiogram'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
