"""POST /v1/find."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from model.command import show_found
from model.errors import NotAnImage, OutOfMemory
from model.found import Found, Hit, Kept, Vector, numbered
from model.serving.jobs import Job
from model.serving.queue import Limits
from model.serving.tasks.find import FindResult, FindTask
from model.serving.tasks.vector import VectorResult, VectorTask
from model.serving.worker.network import Captioners
from tests.conftest import PHOTOS, WEIGHTS
from tests.support.fake_queue import FakeQueue, eventually, last
from tests.support.pipes import serving
from tests.support.web import JPEG, PHOTO, kind, web_of
from web.settings import WebSettings

DOG = {"text": "a dog"}


def outcome(job: Job, media: bytes) -> Any:
    """Photos are as certain as their one value says, in percent."""
    if isinstance(job.task, VectorTask):
        return NotAnImage("secret") if media == b"text" else VectorResult(Vector("mine", media[-1:]))
    assert isinstance(job.task, FindTask)
    if job.task.text == "xylophone":
        return FindResult(Found((), ("xylophone",), understood=False))
    parts = [media[start : start + 9] for start in range(0, len(media), 9)]
    hits = [Hit(part[:8].hex(), part[8] / 100) for part in sorted(parts, key=lambda part: -part[8]) if part[8] > 9]
    return FindResult(Found(tuple(hits), compared=sum(each.count for each in job.task.kept)))


def sent(*media: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("file", (f"{at}.jpg", each)) for at, each in enumerate(media)]


async def test_photos_are_found_the_best_first_and_nothing_of_them_is_kept() -> None:
    async with web_of(FakeQueue(outcome)) as web:
        response = await web.client.post("/v1/find", data={"text": " a  dog "}, files=sent(b"\x14", b"\x01", b"\x50"))
        assert response.status_code == 200
        assert response.json() == {
            "text": "a dog",
            "none_fits": False,
            "found": [
                {"index": 2, "file": "2.jpg", "probability": 0.8},
                {"index": 0, "file": "0.jpg", "probability": 0.2},
            ],
            "compared": 3,
            "unknown": [],
            "failed": [],
        }
        assert last(web.queue).task == FindTask("a dog", (Kept("mine", 3, 1),))
        *looked, _ = web.queue.jobs.values()
        assert [job.task for job in looked] == [VectorTask()] * 3
        assert {job.place for job in web.queue.jobs.values()} == {""}
        assert len({job.request for job in looked}) == 1  # they count as one
        await eventually(lambda: not web.queue.admitted)
        assert not web.queue.media
        assert await web.metric('caption_web_requests_total{route="find",status="200"}') == 1


async def test_one_photo_fits_or_does_not() -> None:
    async with web_of(FakeQueue(outcome)) as web:
        for photo, none in ((b"\x14", False), (b"\x01", True)):
            found = (await web.client.post("/v1/find", params=DOG, content=photo, headers=JPEG)).json()
            assert (found["none_fits"], len(found["found"]), found["compared"]) == (none, not none, 1)


async def test_files_that_are_no_photos_are_named_beside_the_others() -> None:
    async with web_of(FakeQueue(outcome)) as web:
        found = (await web.client.post("/v1/find", data=DOG, files=sent(b"text", b"\x14", b""))).json()
        assert [(each["index"], each["error"]["kind"]) for each in found["failed"]] == [(0, "not_image"), (2, "empty")]
        assert [each["file"] for each in found["found"]] == ["1.jpg"]
        assert "secret" not in str(found)
        found = (await web.client.post("/v1/find", data=DOG, files=sent(b"text", b""))).json()
        assert (found["compared"], found["none_fits"], len(found["failed"])) == (0, False, 2)
        assert kind(await web.client.post("/v1/find", data=DOG, files=sent(b"text"))) == "not_image"


async def test_what_fails_here_is_no_answer() -> None:
    def short(job: Job, media: bytes) -> Any:
        return OutOfMemory("all of it is taken") if media == b"large" else outcome(job, media)

    async with web_of(FakeQueue(short)) as web:
        assert kind(await web.client.post("/v1/find", data=DOG, files=sent(b"large", b"large"))) == "out_of_memory"
        found = (await web.client.post("/v1/find", data=DOG, files=sent(b"large", b"\x01"))).json()
        assert (found["compared"], found["none_fits"], len(found["failed"])) == (1, True, 1)


async def test_a_request_that_was_admitted_is_not_refused_when_its_photos_are_read() -> None:
    """Though a person may have one request, and the jobs of its photos are forgotten a little later."""

    class Slow(FakeQueue):
        async def forget(self, job_id: str) -> None:
            if isinstance(self.admitted[job_id].task, FindTask):
                await super().forget(job_id)

    async with web_of(Slow(outcome, limits=Limits(requests_per_person=1))) as web:
        assert (await web.client.post("/v1/find", data=DOG, files=sent(b"\x14", b"\x01"))).status_code == 200


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at least 1 character"),
        (" \n", "has no words"),
        ("🐶🏖", "“🐶🏖” has no words"),
        ("dog " * 31, "longer than 200 characters or 30 words"),
        ("x" * 4_000, "longer than 200 characters or 30 words"),
        ("x" * 10_000, "at most 4000 characters"),
    ],
)
async def test_words_that_nothing_can_be_looked_for_by_are_refused(text: str, said: str) -> None:
    async with web_of(FakeQueue(outcome)) as web:
        response = await web.client.post("/v1/find", params={"text": text}, content=PHOTO, headers=JPEG)
        assert kind(response) == "option"
        message = response.json()["error"]["message"]
        assert message.startswith("text: ")
        assert said in message
        assert kind(await web.client.post("/v1/find", content=PHOTO, headers=JPEG)) == "option"  # none at all
        assert not web.queue.jobs


async def test_words_of_which_none_is_known_are_named() -> None:
    async with web_of(FakeQueue(outcome)) as web:
        response = await web.client.post("/v1/find", data={"text": "xylophone"}, files=sent(b"\x14"))
        assert kind(response) == "unknown_words"
        assert "xylophone" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("media", "reason"),
    [
        ((), "no_file"),
        ((b"\x14",) * 4, "too_many_files"),
        ((b"x" * 101,), "too_many_bytes"),
        ((b"x" * 100, b"x" * 100, b"x" * 100), "too_many_bytes"),  # each may be as large, all together may not
    ],
)
async def test_limits_are_checked_before_the_work(
    media: tuple[bytes, ...], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.uploads.FORM_BYTES", 600)
    async with web_of(FakeQueue(outcome), WebSettings(find_files=3, photo_bytes=100, memory=400)) as web:
        body: dict[str, Any] = {"files": sent(*media)} if media else {}
        assert kind(await web.client.post("/v1/find", params=DOG, **body)) == reason
        assert not web.queue.jobs


async def test_vectors_of_another_release_are_not_passed_over() -> None:
    def mixed(job: Job, media: bytes) -> Any:
        return FindResult(Found((), compared=1)) if isinstance(job.task, FindTask) else outcome(job, media)

    async with web_of(FakeQueue(mixed)) as web:
        assert kind(await web.client.post("/v1/find", data=DOG, files=sent(b"\x14", b"\x15"))) == "features_gone"


@pytest.mark.slow
async def test_photos_are_found_as_in_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    paths = sorted(PHOTOS.glob("*.jpg"))
    assert len(paths) > 5
    files = [("file", (str(path), path.read_bytes())) for path in paths]
    fitting = 0
    async with serving(Captioners(WEIGHTS, "cpu", "attention", "fp32")) as queue, web_of(queue) as web:
        for text in ("a cup of coffee", "кошка и чашка", "кошка и ксилофон", "two men play football"):
            response = await web.client.post("/v1/find", data={"text": text}, files=files)
            assert response.status_code == 200
            ours = response.json()
            await asyncio.to_thread(show_found, [*map(str, paths)], text, WEIGHTS, ("cpu", "fp32"), as_json=True)
            theirs = json.loads(capsys.readouterr().out.splitlines()[-1])
            assert [each["file"] for each in ours["found"]] == [each["file"] for each in theirs["found"]]
            for one, other in zip(ours["found"], theirs["found"], strict=True):
                assert one["probability"] == pytest.approx(other["probability"], abs=0.01)
                assert str(paths[one["index"]]) == one["file"]
            assert ours["unknown"] == theirs["unknown"]
            fitting += len(ours["found"])
        assert ours["none_fits"]
    assert fitting > 2


def test_places_are_names() -> None:
    assert [int(numbered(place), 16) for place in (0, 1, 49, 70_000)] == [0, 1, 49, 70_000]
