"""Edits over HTTP: accepted at once, watched, cancelled; and not there where no worker edits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import JobFailure
from model.serving.tasks.edit import EditResult, EditTask
from tests.support.fake_queue import FakeQueue, eventually
from tests.support.jobs import edit_of
from tests.support.local_queue import WORKER, joined_queue, take
from tests.support.pictures import picture
from tests.support.web import JPEG, PHOTO, Web, kind, web_of

EDITED = picture()
WINTER: dict[str, Any] = {"text": "make it winter", "strength": 40, "seed": 7}


@pytest.fixture
async def edits() -> AsyncIterator[tuple[Web, LocalQueue]]:
    queue = joined_queue()
    queue.join(WORKER, "edit")
    async with web_of(queue) as web:
        yield web, queue


async def begin(web: Web, **options: Any) -> str:
    response = await web.client.post("/v1/edits", content=PHOTO, headers=JPEG, params=WINTER | options)
    assert response.status_code == 202
    assert response.headers["location"] == f"/v1/edits/{response.json()['id']}"
    return str(response.headers["location"])


async def test_an_edit_from_its_arrival_to_its_picture(edits: tuple[Web, LocalQueue]) -> None:
    web, queue = edits
    address = await begin(web)
    lease = await take(queue, "edit")
    assert (edit_of(lease.job), lease.media) == (EditTask("make it winter", 40, 7), PHOTO)
    await queue.progress(WORKER, lease.job.id, 0.5)
    state = (await web.client.get(address)).json()
    assert (state["state"], state["percent"], state["result"]) == ("working", 50, None)
    await queue.finish(WORKER, lease.job.id, EditResult(EDITED, 40, 7))
    events = await web.client.get(f"{address}/events")
    assert events.text.strip().split("\n\n")[-1].startswith("event: done\n")
    result = (await web.client.get(address)).json()["result"]
    assert (result["strength"], result["seed"]) == (40, 7)
    assert (await web.client.get(result["picture"])).content == EDITED


async def test_an_edit_is_cancelled_or_fails_with_its_reason(edits: tuple[Web, LocalQueue]) -> None:
    web, queue = edits
    address = await begin(web)
    lease = await take(queue, "edit")
    assert (await web.client.delete(address)).status_code == 204
    await eventually(lambda: not queue._entries)
    assert await queue.extend(WORKER, [lease.job.id]) == []
    address = await begin(web)
    await queue.fail(WORKER, (await take(queue, "edit")).job.id, JobFailure("edit_text", "secret"))
    await eventually(lambda: not queue._entries)
    failed = (await web.client.get(address)).json()
    assert (failed["state"], failed["error"]["kind"]) == ("failed", "edit_text")
    assert "secret" not in str(failed)


@pytest.mark.parametrize("text", ["", " ", "❄️☃️", "x" * 501, "x" * 10_000])
async def test_bad_words_are_refused(edits: tuple[Web, LocalQueue], text: str) -> None:
    web, queue = edits
    response = await web.client.post("/v1/edits", content=PHOTO, headers=JPEG, params={"text": text})
    assert kind(response) == "option"
    assert not queue._entries


async def test_one_client_has_few_edits_at_once(edits: tuple[Web, LocalQueue]) -> None:
    web, _queue = edits
    for _ in range(3):
        await begin(web)
    refused = await web.client.post("/v1/edits", content=PHOTO, headers=JPEG, params=WINTER)
    assert kind(refused) == "busy"


async def test_without_a_worker_that_edits_there_is_nothing() -> None:
    queue = FakeQueue()
    async with web_of(queue) as web:
        ask = {"content": PHOTO, "headers": JPEG, "params": WINTER}
        assert kind(await web.client.post("/v1/edits", **ask)) == "not_found"  # type: ignore[arg-type]
        assert "edit" not in (await web.client.get("/openapi.json")).text.lower().replace("credit", "")
        queue.edits = 600.0
        assert kind(await web.client.post("/v1/edits", **ask)) == "edits_unavailable"  # type: ignore[arg-type]
