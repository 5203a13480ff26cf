"""The life of a worker process: on its own, for the bots at a Redis, or as the child of a bot."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, NoReturn

from model.editor import EditModelError, Editor
from model.errors import MetricsError
from model.media.clips import ClipLimits
from model.network.checkpoint import CheckpointError
from model.network.config import DecoderKind, Precision
from model.network.device import usual_batch
from model.serving.embedded.process import NO_RESTART, connect_to_parent
from model.serving.health import FOLDER, Deadline, heartbeat
from model.serving.metrics import WorkerMetrics, served_registry
from model.serving.queue import JobConsumer
from model.serving.redis.address import RedisRefused
from model.serving.redis.consumer import RedisConsumer
from model.serving.tasks import LINES, LINES_WITHOUT_EDITOR
from model.serving.worker.network import Captioners
from model.serving.worker.worker import THREAD_SECONDS, Worker, WorkerHung

log = logging.getLogger(__name__)

GRACE: Final = 120.0  # seconds to finish what is in hand when asked to stop
SILENCE: Final = 60.0  # seconds without a word from the queue, after which the worker is unwell


class _CannotStart(Exception):
    """The settings cannot be used on this machine; the message says why."""


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """As the settings of the same names."""

    weights_dir: Path
    data_dir: Path
    device: str = "auto"
    model: DecoderKind = "attention"
    precision: Precision = "auto"
    max_batch: int | None = None  # `usual_batch` of the device
    max_attempts: int = 3
    max_video_seconds: int = 300
    metrics_port: int | None = None
    edit_model: Path | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """Of the queue, that it takes from."""
        return LINES_WITHOUT_EDITOR if self.edit_model is None else LINES


Connect = Callable[[], AbstractAsyncContextManager[JobConsumer]]


def serve_redis(url: str, options: WorkerOptions) -> int:
    """Serve the bots at a Redis until SIGTERM or SIGINT; an exit status.

    Asked to stop, it finishes what the network holds and hands back the rest, for at most `GRACE` seconds; what it
    then still holds is delivered to others when its leases end.
    """
    return asyncio.run(_serve(options, partial(_redis_consumer, url, options), signal.SIGTERM, signal.SIGINT))


def serve_parent(options: WorkerOptions) -> int:
    """Serve the bot that started this process; an exit status."""

    async def main() -> int:
        consumer = await connect_to_parent()
        # Ctrl-C reaches the parent too, which ends us.
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)

        @asynccontextmanager
        async def connected() -> AsyncIterator[JobConsumer]:
            yield consumer
            await consumer.close()

        return await _serve(options, connected, signal.SIGTERM)

    return asyncio.run(main())


@asynccontextmanager
async def _redis_consumer(url: str, options: WorkerOptions) -> AsyncIterator[JobConsumer]:
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
    consumer = RedisConsumer(url, name, max_attempts=options.max_attempts, lines=options.lines)
    await consumer.open()
    yield consumer
    await consumer.close()


async def _serve(options: WorkerOptions, connect: Connect, *stop_signals: signal.Signals) -> int:
    stop = asyncio.Event()
    for number in stop_signals:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    forward = Deadline("in one run of the network", THREAD_SECONDS)
    queue = Deadline("no answer from the queue", SILENCE)

    async def work(metrics: WorkerMetrics) -> None:
        try:
            captioners = await asyncio.to_thread(
                Captioners, options.weights_dir, options.device, options.model, options.precision
            )
        except ValueError as error:
            raise _CannotStart(str(error)) from error
        captioner = captioners.encoder
        max_batch = options.max_batch or usual_batch(captioner.device)
        if captioner.device.type == "cuda":
            forward.set()
            await asyncio.to_thread(captioners.warm_up, max_batch)
            await asyncio.to_thread(captioners.draw_on, captioner.device)
            forward.clear()
        editor = None
        if options.edit_model is not None:
            editor = await asyncio.to_thread(Editor.load, options.edit_model, options.device)
            log.info("it edits photos, too, with %s", options.edit_model)
        async with connect() as consumer:
            metrics.info.labels(options.model, str(captioner.device), captioner.arithmetic).set(1)
            log.info("the worker is ready: %s on %s (%s)", options.model, captioner.engine, captioner.why)
            worker = Worker(
                consumer,
                captioners,
                max_batch=max_batch,
                clip_limits=ClipLimits(seconds=options.max_video_seconds),
                editor=editor,
                metrics=metrics,
                forward=forward,
                heard=queue.set,
            )
            await worker.run(stop)

    try:
        with served_registry(options.metrics_port) as registry:
            async with heartbeat(options.data_dir / FOLDER, "worker", [forward, queue]):
                working = asyncio.create_task(work(WorkerMetrics(registry)))
                stopped = asyncio.create_task(stop.wait())
                await asyncio.wait([working, stopped], return_when=asyncio.FIRST_COMPLETED)
                stopped.cancel()
                async with asyncio.timeout(GRACE):
                    await working
    except TimeoutError:
        log.warning("the worker did not finish within %.0f s of being asked to stop", GRACE)
        _exit_at_once(0)
    except WorkerHung as error:
        log.error("%s", error)
        _exit_at_once(1)
    except (CheckpointError, EditModelError, _CannotStart, MetricsError, RedisRefused) as error:
        log.error("the worker cannot go on: %s", error)
        return NO_RESTART
    return 0


def _exit_at_once(status: int) -> NoReturn:
    """Without waiting for threads, which may never return from the network."""
    logging.shutdown()
    os._exit(status)
