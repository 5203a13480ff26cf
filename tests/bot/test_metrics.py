"""What Prometheus reads of the bot and of a worker, scraped over HTTP as Prometheus does."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from typing import Any

import pytest
from aiogram import Bot
from aiogram.exceptions import AiogramError, TelegramBadRequest, TelegramNetworkError, TelegramRetryAfter
from aiogram.methods import GetMe, GetUpdates, SendMessage, TelegramMethod
from prometheus_client import CollectorRegistry, generate_latest

from bot.metrics import BotMetrics, watch_queue
from bot.telegram.session import CountRequests
from model.errors import MetricsError
from model.serving.metrics import WorkerMetrics, served_registry
from model.serving.queue import Status
from tests.conftest import ROOT
from tests.support.clock import eventually
from tests.support.metrics import Samples, samples, scrape, value
from tests.support.redis_server import free_port
from web.metrics import WebMetrics


def shown(registry: CollectorRegistry) -> Samples:
    return samples(generate_latest(registry).decode())


def test_a_worker_is_scraped_over_http() -> None:
    port = free_port()
    with served_registry(port) as registry:
        metrics = WorkerMetrics(registry)
        metrics.info.labels("attention", "cpu", "bf16").set(1)
        metrics.job_taken("photo", 0.3)
        metrics.job_taken("photo", -2.0)  # another machine's clock
        metrics.job_taken("clip", 90.0, attempt=2)
        metrics.batch_size.observe(7)
        metrics.jobs.labels("photo", "damaged").inc()
        found = scrape(port)
    assert value(found, "caption_worker_info", model="attention", device="cpu", precision="bf16") == 1
    assert value(found, "caption_job_wait_seconds_count", line="photo") == 2
    assert value(found, "caption_job_wait_seconds_sum", line="photo") == 0.3
    assert ("caption_job_wait_seconds_count", (("line", "clip"),)) not in found  # it was in a dead worker's hands
    assert value(found, "caption_jobs_redelivered_total") == 1
    assert value(found, "caption_batch_size_bucket", le="8.0") == 1
    assert value(found, "caption_batch_size_bucket", le="4.0") == 0
    assert value(found, "caption_jobs_total", kind="photo", outcome="damaged") == 1
    if sys.platform == "linux":
        assert value(found, "process_resident_memory_bytes") > 0
    with pytest.raises(OSError, match="refused"):
        scrape(port)  # the server ended with the block


def test_the_bot_is_scraped_over_http() -> None:
    port = free_port()
    with served_registry(port) as registry:
        metrics = BotMetrics(registry)
        metrics.polled(3)
        metrics.answered("photo", 0.8)
        metrics.answered("photo")
        metrics.failed("not_image")
        metrics.downloaded(1000, 0.1)
        metrics.retry("sendPhoto")
        metrics.queue(Status({"photo": 4}, in_work=2, open_requests=6, workers=1), dead_letters=5)
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
    registry = CollectorRegistry()
    bot = BotMetrics(registry)
    series = []
    for number in range(600):
        bot.answered(f"kind{number}", 1.0)
        bot.failed(f"kind{number}")
        bot.request(f"method{number}", f"outcome{number}", 1.0)
        bot.retry(f"method{number}")
        bot.queue(Status({f"line{number}": 1}, 0, 0, 0), 0)
        if number in (299, 599):
            series.append(len(shown(registry)))
    assert series[0] == series[1]
    assert value(shown(registry), "caption_failures_total", kind="other") == 600


def test_every_metric_is_documented() -> None:
    registry = CollectorRegistry()
    BotMetrics(registry)
    WorkerMetrics(registry)
    written = (ROOT / "docs" / "operations.md").read_text()
    collected = [*registry.collect(), *WebMetrics().registry.collect()]
    families = {family.name: family.type for family in collected if family.name.startswith("caption_")}
    names = [f"{name}_total" if kind == "counter" else name for name, kind in families.items()]
    assert len(names) > 20
    assert [name for name in names if f"`{name}" not in written] == []
    mentioned = {name.removesuffix("_bucket") for name in re.findall(r"\bcaption_\w+", written)}
    assert mentioned <= set(names)


def test_a_port_in_use_is_said_clearly() -> None:
    port = free_port()
    with (
        served_registry(port),
        pytest.raises(MetricsError, match=f"METRICS_PORT {port} cannot be used"),
        served_registry(port),
    ):
        pass


async def test_an_engine_that_fails_does_not_end_the_watch() -> None:
    registry = CollectorRegistry()
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

    watch = asyncio.create_task(watch_queue(Queue(), Inbox(), metrics, every=0.001))  # type: ignore[arg-type]
    await eventually(lambda: len(seen) >= 4)
    watch.cancel()
    assert seen[:4] == [0, 1, 0, 1]
    assert value(shown(registry), "caption_queue_jobs", line="photo") >= 3
    assert value(shown(registry), "caption_queue_dead_letters") == 2


async def test_each_try_of_a_request_is_counted_by_what_became_of_it() -> None:
    registry = CollectorRegistry()
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
