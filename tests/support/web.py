"""The web application on a queue whose answers a test decides, asked in process or over a loopback port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from array import array
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from model.serving.jobs import Job
from model.serving.tasks.base import Language, WireTranslation
from model.serving.tasks.photo import PhotoResult, WireCaption, WireMaps
from tests.support.clock import eventually
from tests.support.fake_queue import FakeQueue, worked
from tests.support.jobs import photo_of
from tests.support.program import Program
from web.app import create_app
from web.errors import ERRORS
from web.settings import WebSettings

RUSSIAN = {
    "a cat on a red sofa": ("кошка на\N{NO-BREAK SPACE}красном диване", ((0, 1), (2,), (3, 4), (5,))),
    "a cat on a sofa": ("кошка на\N{NO-BREAK SPACE}диване", ((0, 1), (2,), (3, 4))),
    "a <cat>": ("<кошка>", ((0, 1),)),
    "a cat": ("кошка", ((0, 1),)),
}
UNCERTAIN = ("colour: red", "low probability")


def translation(english: str) -> WireTranslation:
    """One that passed for those in `RUSSIAN`, else one that did not."""
    if english not in RUSSIAN:
        return WireTranslation("красный кот", 0.3, UNCERTAIN, ("красный", "кот"), ((0,), (1,)))
    text, aligned = RUSSIAN[english]
    return WireTranslation(text, 0.84, (), tuple(text.split()), aligned)


def detailed(caption: WireCaption, language: Language = "en") -> WireCaption:
    """Each word looks mostly at one of 2 × 2 regions, the next one at the next."""
    words = tuple(caption.text.split())
    shares = [0.7 if region == at % 4 else 0.1 for at in range(len(words)) for region in range(4)]
    return replace(
        caption,
        words=words,
        log_probs=(-0.5,) * len(words),
        attention=WireMaps((len(words), 2, 2), array("d", shares).tobytes()),
        translation=translation(caption.text) if language == "ru" else None,
    )


def captioned(job: Job, media: bytes = b"") -> PhotoResult:
    """As a worker answers a photo."""
    task = photo_of(job)
    result = worked(job, media, sheet=b"\xff\xd8sheet", chart=b"\x89PNGchart")
    assert task.details
    said = partial(detailed, language=task.language)
    russian = {"<cat>": "<кошка>"} if task.language == "ru" else {}
    return replace(
        result,
        greedy=said(result.greedy),
        samples=tuple(map(said, result.samples)),
        best=said(WireCaption("a cat on a red sofa", 0.5)) if task.beam else None,
        weighed=tuple(replace(step, translated=russian.get(step.word, "")) for step in result.weighed),
    )


@dataclass
class Web:
    app: FastAPI
    queue: FakeQueue
    client: httpx.AsyncClient

    async def metric(self, name: str) -> float:
        text = (await self.client.get("/metrics")).text
        [line] = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(line.rpartition(" ")[2])


PATIENCE = 110.0  # seconds for a server to be well, and for one answer
PATIENT = WebSettings(chunk_seconds=300.0, body_seconds=600.0)  # a crowded machine may stand still for seconds


@contextlib.asynccontextmanager
async def web_of(queue: Any, settings: WebSettings | None = None, **options: Any) -> AsyncIterator[Web]:
    """In process."""
    app = create_app(settings or PATIENT, queue, **options)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client,
    ):
        yield Web(app, queue, client)


@contextlib.asynccontextmanager
async def served(queue: Any, settings: WebSettings | None = None, **options: Any) -> AsyncIterator[Web]:
    """By uvicorn, at a loopback port."""
    app = create_app(settings or PATIENT, queue, **options)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1, lifespan="on")
        server = uvicorn.Server(config)
        running = asyncio.create_task(server._serve([listening]))  # without its signal handlers
        port = listening.getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            await eventually(lambda: server.started)
            yield Web(app, queue, client)
        server.should_exit = True
        async with asyncio.timeout(60):
            await running


def at(port: int) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE)


async def answered(client: httpx.AsyncClient, program: Program, wanted: Callable[[httpx.Response], object]) -> None:
    """Wait until /health answers as wanted."""
    said: object = "nothing answers"
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                assert program.runs(), program.log.read_text()
                with contextlib.suppress(httpx.ConnectError):
                    said = await client.get("/health")
                    if wanted(said):
                        return
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise AssertionError(f"not well within {PATIENCE:.0f} s: {said}\n{program.log.read_text()}") from None


PHOTO = b"\xff\xd8 a photo"
JPEG = {"content-type": "image/jpeg"}


def kind(response: httpx.Response) -> str:
    """Of an error; its body has nothing else."""
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"kind", "message"}
    assert response.status_code == ERRORS[body["error"]["kind"]][0]
    return str(body["error"]["kind"])
