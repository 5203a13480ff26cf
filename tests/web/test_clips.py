"""Clips: accepted at once, watched while they are worked on, cancelled, and their pictures."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import JobFailure
from model.serving.queue import Limits
from tests.support.fake_queue import eventually
from tests.support.jobs import clip_of
from tests.support.local_queue import RUSSIAN, WORKER, answer, clip_result, joined_queue, take
from tests.support.web import Web, kind, served, web_of
from web.settings import MIB, WebSettings

CLIP = b"a clip"
MP4 = {"content-type": "video/mp4"}


@pytest.fixture
async def clips() -> AsyncIterator[tuple[Web, LocalQueue]]:
    queue = joined_queue()
    async with web_of(queue, WebSettings(limits=Limits(100, 2), clip_bytes=MIB)) as web:
        yield web, queue


async def begin(web: Web, **params: Any) -> str:
    response = await web.client.post("/v1/clips", content=CLIP, headers=MP4, params=params)
    assert response.status_code == 202
    name = str(response.json()["id"])
    assert response.headers["location"] == f"/v1/clips/{name}"
    return name


async def state(web: Web, name: str) -> dict[str, Any]:
    found: dict[str, Any] = (await web.client.get(f"/v1/clips/{name}")).json()
    return found


async def test_a_clip_from_its_arrival_to_its_pictures(clips: tuple[Web, LocalQueue]) -> None:
    web, queue = clips
    first, second = await begin(web), await begin(web, moments=4, model="baseline", language="ru")
    await eventually(lambda: len(queue._lines["clip"]) == 2)
    assert (await state(web, first))["place"] == 0
    waiting = await state(web, second)
    assert (waiting["state"], waiting["place"], waiting["percent"], waiting["result"]) == ("waiting", 1, 0, None)
    lease = await take(queue)
    assert lease.media == CLIP
    await queue.progress(WORKER, lease.job.id, 0.25)
    working = await state(web, first)
    assert (working["state"], working["percent"]) == ("working", 25)
    await queue.finish(WORKER, lease.job.id, clip_result(3))
    await eventually(lambda: lease.job.id not in queue._entries)
    done = await state(web, first)
    assert (done["state"], done["percent"], done["error"]) == ("done", 100, None)
    result = done["result"]
    assert (result["duration"], len(result["frames"]), len(result["moments"])) == (64.0, 8, 3)
    assert list(result["moments"][0]) == ["time", "text", "score", "picture"]
    for address in (result["timeline"], *(moment["picture"] for moment in result["moments"])):
        drawn = await web.client.get(address)
        assert drawn.headers["content-type"] == "image/jpeg"
        assert drawn.content == clip_result().timeline
    task = clip_of((await answer(queue, clip_result(4))).job)
    assert (task.moments, task.model, task.labels.photo, task.language) == (4, "baseline", "фото", "ru")


async def test_moments_and_frames_are_russian_beside_the_english_ones(clips: tuple[Web, LocalQueue]) -> None:
    web, queue = clips
    for translation in (RUSSIAN, dataclasses.replace(RUSSIAN, failed=("low probability",)), None):
        name = await begin(web, language="ru")
        await answer(queue, clip_result(1, translation=translation))
        await eventually(lambda: not queue._entries)
        result = (await state(web, name))["result"]
        for each in (result["moments"][0], result["frames"][0]):
            passed = translation is not None and translation.passed
            assert (each["text"], each["english"]) == ("сцена" if passed else "scene <0>", "scene <0>")
            assert each.get("translation", {}).get("passed") == (None if translation is None else passed)


async def test_events_tell_of_each_change_and_end(clips: tuple[Web, LocalQueue]) -> None:
    web, queue = clips
    name = await begin(web)

    async def work() -> None:
        lease = await take(queue)
        for share in (0.5, 0.75):
            await queue.progress(WORKER, lease.job.id, share)
            await asyncio.sleep(0.05)
        await queue.finish(WORKER, lease.job.id, clip_result())

    working = asyncio.create_task(work())
    response = await web.client.get(f"/v1/clips/{name}/events")
    await working
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [event.split("\n") for event in response.text.strip().split("\n\n")]
    states = [json.loads(event[1].removeprefix("data: ")) for event in events]
    assert [event[0] for event in events] == [f"event: {each['state']}" for each in states]
    assert [each["percent"] for each in states if each["state"] == "working"] == [50, 75]
    assert states[-1]["state"] == "done"
    assert states[-1]["result"]["moments"]


async def test_a_deleted_clip_is_cancelled(clips: tuple[Web, LocalQueue]) -> None:
    web, queue = clips
    name = await begin(web)
    lease = await take(queue)
    assert (await web.client.delete(f"/v1/clips/{name}")).status_code == 204
    assert kind(await web.client.get(f"/v1/clips/{name}")) == "not_found"
    assert kind(await web.client.delete(f"/v1/clips/{name}")) == "not_found"
    await eventually(lambda: not queue._entries)
    assert await queue.extend(WORKER, [lease.job.id]) == []  # the worker learns of it
    assert await web.metric('caption_web_cancelled_jobs_total{why="asked"}') == 1


async def test_a_clip_that_fails_says_why(clips: tuple[Web, LocalQueue]) -> None:
    web, queue = clips
    name = await begin(web)
    await queue.fail(WORKER, (await take(queue)).job.id, JobFailure("clip_too_long", "secret"))
    await eventually(lambda: not queue._entries)
    failed = await state(web, name)
    assert (failed["state"], failed["error"]["kind"]) == ("failed", "clip_too_long")
    assert "secret" not in json.dumps(failed)


async def test_open_clips_of_a_client_have_a_limit(clips: tuple[Web, LocalQueue]) -> None:
    web, queue = clips
    for _ in range(2):
        await begin(web)
    assert kind(await web.client.post("/v1/clips", content=CLIP, headers=MP4)) == "busy"
    await answer(queue, clip_result())
    await eventually(lambda: len(queue._entries) == 1)
    await begin(web)


async def test_bad_clips_are_refused_at_once(clips: tuple[Web, LocalQueue]) -> None:
    web, queue = clips
    post = web.client.post
    assert kind(await post("/v1/clips", content=bytes(MIB + 1), headers=MP4)) == "too_many_bytes"
    for option in ("moments=11", "language=de"):
        assert kind(await post(f"/v1/clips?{option}", content=CLIP, headers=MP4)) == "option"
    assert kind(await web.client.get("/v1/clips/x")) == "not_found"
    assert kind(await web.client.get("/v1/clips/" + "A" * 22 + "/events")) == "not_found"
    assert not queue._entries


async def test_a_stopping_server_ends_streams_and_cancels_clips() -> None:
    queue = joined_queue()
    async with served(queue) as web:
        name = await begin(web)
        await take(queue)
        async with web.client.stream("GET", f"/v1/clips/{name}/events") as events:
            lines = events.aiter_lines()
            assert await anext(lines) == "event: waiting"
            web.app.state.clips.stop_streams()
            async with asyncio.timeout(60):
                assert [line async for line in lines][-1] == ""
    assert not queue._entries
