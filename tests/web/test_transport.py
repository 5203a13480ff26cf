"""Over a real port: bodies that break off, stall or lie about their length, clients that hang up, crowds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest

from model.serving.jobs import Job
from model.serving.limits import Rate
from model.serving.queue import Limits
from tests.support.fake_queue import FakeQueue, closed_queue, eventually
from tests.support.web import JPEG, PATIENT, PHOTO, Web, captioned, kind, served
from web.settings import MIB, WebSettings

POST = b"POST /v1/captions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: image/jpeg\r\n"


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection whose body was refused is soon closed."""
    monkeypatch.setattr("web.linger.SECONDS", 0.1)


@pytest.fixture
async def patient() -> AsyncIterator[Web]:
    async with served(FakeQueue(captioned)) as web:
        yield web


async def said(web: Web, sent: bytes, *, end: bool = False) -> bytes:
    """What is answered to these bytes, until the server closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.client.base_url.port)
    writer.write(sent)
    if end:
        writer.write_eof()
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    return answer


async def still_works(web: Web) -> None:
    assert (await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)).status_code == 200


async def test_a_photo_over_the_wire(patient: Web) -> None:
    await still_works(patient)
    assert list(patient.queue.results) == []


@pytest.mark.parametrize("path", ["/", "/health", "/info", "/openapi.json", "/v1/pictures/" + "A" * 22, "/none"])
async def test_head_is_answered_as_get_without_the_body(patient: Web, path: str) -> None:
    got, head = [await patient.client.request(method, path) for method in ("GET", "HEAD")]
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert head.headers["content-type"] == got.headers["content-type"]
    assert (await patient.client.head("/v1/captions")).status_code == 405
    assert (await patient.client.head(f"/v1/clips/{'A' * 22}/events")).status_code == 405
    await still_works(patient)


async def test_forms_that_are_no_forms_are_not_logged(patient: Web, caplog: pytest.LogCaptureFixture) -> None:
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = await patient.client.post("/v1/captions", content=b"abc", headers=headers)
    assert kind(response) == "malformed"
    assert not caplog.records


@pytest.mark.usefixtures("brief")
async def test_a_body_that_is_said_to_be_too_large_is_not_read(patient: Web) -> None:
    answer = await said(patient, POST + b"Content-Length: 99999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"too_many_bytes" in answer
    await still_works(patient)


async def first_said(web: Web, chunk: bytes, pause: float) -> tuple[bytes, int]:
    """What is answered to a body without a length or an end, and how many bytes of it were sent until then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", web.client.base_url.port)
    sent = 0

    async def send() -> None:
        nonlocal sent
        with contextlib.suppress(ConnectionError):
            writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
            while True:
                writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                await writer.drain()
                sent += len(chunk)
                await asyncio.sleep(pause)

    sending = asyncio.create_task(send())
    async with asyncio.timeout(60):
        answer = await reader.readuntil(b"}}")
    until = sent
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    writer.close()
    return answer, until


async def test_a_body_without_a_length_is_read_up_to_the_limit(patient: Web) -> None:
    answer, sent = await first_said(patient, bytes(MIB), 0)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert sent < 40 * MIB
    await still_works(patient)


async def test_25_megabytes_are_refused(patient: Web) -> None:
    response = await patient.client.post("/v1/captions", content=b"x" * 25_000_000, headers=JPEG)
    assert kind(response) == "too_many_bytes"
    await still_works(patient)


@pytest.mark.parametrize("length", [b"-1", b"x", b"1, 2", b"1\r\nContent-Length: 2"])
async def test_a_length_that_is_none_is_refused(patient: Web, length: bytes) -> None:
    answer = await said(patient, POST + b"Content-Length: " + length + b"\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 400 ")
    await still_works(patient)


async def test_a_body_that_is_longer_than_it_says_is_cut_off(patient: Web) -> None:
    answer = await said(patient, POST + b"Content-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO + b"more\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 400 " in answer  # what follows is no request
    await still_works(patient)


async def test_no_length_is_no_body(patient: Web) -> None:
    answer = await said(patient, POST + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    await still_works(patient)


@pytest.mark.usefixtures("brief")
async def test_a_body_that_stalls_is_given_up() -> None:
    async with served(FakeQueue(captioned), replace(PATIENT, chunk_seconds=0.2)) as web:
        answer = await said(web, POST + b"Content-Length: 1000\r\n\r\nabc")
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"slow_body" in answer
        web.app.state.work.settings = PATIENT
        await still_works(web)


async def test_a_body_that_drips_is_given_up() -> None:
    async with served(FakeQueue(captioned), replace(PATIENT, body_seconds=0.5)) as web:
        answer, _ = await first_said(web, b"x", 0.02)
        assert answer.startswith(b"HTTP/1.1 408 ")
        web.app.state.work.settings = PATIENT
        await still_works(web)


async def test_a_body_that_breaks_off_is_no_job() -> None:
    async with served(FakeQueue(captioned)) as web:
        await said(web, POST + b"Content-Length: 1000\r\n\r\nabc", end=True)
        assert not web.queue.jobs
        await still_works(web)


async def test_a_client_that_hangs_up_cancels_its_job() -> None:
    queue = closed_queue(captioned)
    async with served(queue) as web:
        _, writer = await asyncio.open_connection("127.0.0.1", web.client.base_url.port)
        writer.write(POST + b"Content-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO)
        await eventually(lambda: queue.media)
        writer.close()
        await eventually(lambda: queue.cancelled)
        assert not queue.admitted
        assert not queue.media
        assert await web.metric('caption_web_cancelled_jobs_total{why="gone"}') == 1
        queue.open.set()
        await still_works(web)


class Slow(FakeQueue):
    """Says that a job is admitted when `says` is set."""

    says: asyncio.Event

    async def admit(self, job: Job, *, before: bool = False) -> None:
        await super().admit(job, before=before)
        await self.says.wait()


@pytest.mark.parametrize("path", ["captions", "clips"])
async def test_a_client_that_hangs_up_while_it_is_admitted_leaves_nothing_behind(path: str) -> None:
    queue = Slow(captioned)
    queue.says = asyncio.Event()
    queue.open.clear()
    settings = WebSettings(limits=Limits(1, 1), memory=len(PHOTO))
    async with served(queue, settings) as web:
        _, writer = await asyncio.open_connection("127.0.0.1", web.client.base_url.port)
        post = POST.replace(b"captions", path.encode())
        writer.write(post + b"Content-Length: %d\r\n\r\n" % len(PHOTO) + PHOTO)
        await eventually(lambda: web.app.state.work._open._clients)
        writer.close()
        await asyncio.sleep(0.2)  # the server hears of it
        queue.says.set()
        await eventually(lambda: not web.app.state.work._open._clients)
        await eventually(lambda: not queue.admitted)
        queue.open.set()
        await still_works(web)


async def test_a_crowd_is_answered_or_told_to_come_again_and_fits_in_memory() -> None:
    settings = WebSettings(memory=2 * MIB, limits=Limits(40, 40), rate=Rate(1e-3, 1000))
    photo = PHOTO + bytes(MIB // 4)
    async with served(FakeQueue(captioned), settings) as web:

        async def ask() -> int:
            response = await web.client.post("/v1/captions", content=photo, headers=JPEG)
            if response.status_code != 200:
                assert kind(response) == "busy"
            return response.status_code

        web.client._limits = httpx.Limits(max_connections=None)  # type: ignore[attr-defined]
        statuses = await asyncio.gather(*(ask() for _ in range(60)))
        assert set(statuses) <= {200, 429}
        assert statuses.count(200) >= 20
        assert web.queue.most_bytes <= settings.memory
        await still_works(web)


async def test_a_stopping_server_cancels_what_it_waits_for() -> None:
    queue = closed_queue(captioned)
    async with served(queue) as web:
        asking = asyncio.create_task(web.client.post("/v1/captions", content=PHOTO, headers=JPEG))
        await eventually(lambda: queue.media)
    await asyncio.gather(asking, return_exceptions=True)
    assert queue.cancelled
    assert not queue.admitted
