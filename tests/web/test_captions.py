"""POST /v1/captions: what is asked of the worker, what is answered, and what is refused."""

from __future__ import annotations

import asyncio
import dataclasses
from functools import partial
from typing import Any

import pytest

from model.decoding.sampling import Sampling
from model.doubt import NotPhoto
from model.errors import KINDS, FeaturesGone, NotAnImage
from model.serving.jobs import Job
from model.serving.queue import Busy, JobLost, Limits
from tests.support.fake_queue import FakeQueue, closed_queue, eventually, last
from tests.support.jobs import changed, photo_of
from tests.support.web import JPEG, PHOTO, RUSSIAN, UNCERTAIN, Web, captioned, kind, web_of
from web.settings import WebSettings


async def test_a_photo_as_the_whole_body(web: Web) -> None:
    response = await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)
    assert response.status_code == 200
    [photo] = response.json()["photos"]
    assert photo["greedy"]["text"] == "a cat on a sofa"
    assert photo["best"]["text"] == "a cat on a red sofa"
    assert len(photo["samples"]) == 5
    assert photo["sheet"] is None
    assert photo["picture"] is None
    for caption in (photo["greedy"], photo["best"], *photo["samples"]):
        assert " ".join(word["text"] for word in caption["words"]) == caption["text"]
        for word in caption["words"]:
            assert word["log_prob"] == -0.5
            assert sum(map(sum, word["attention"])) == pytest.approx(1)
    task = photo_of(last(web.queue))
    assert (task.samples, task.beam, task.seed, task.sampling, task.sheet) == (5, 10, 0, Sampling(), False)
    assert (task.picture, task.model) == ("", "attention")


async def test_each_option_reaches_the_worker_from_query_and_form(web: Web) -> None:
    given = (
        "model=baseline samples=3 temperature=1.2 top_k=7 top_p=0.9 ladder=true seed=9 beam=1 language=ru sheet=true"
    )
    options = dict(each.split("=") for each in given.split())
    await web.client.post("/v1/captions", params=options, content=PHOTO, headers=JPEG)
    asked = photo_of(last(web.queue))
    assert (asked.model, asked.samples, asked.seed, asked.beam, asked.sheet) == ("baseline", 3, 9, None, True)
    assert asked.sampling == Sampling(1.2, 7, 0.9, True)
    assert (asked.labels.photo, asked.language) == ("фото", "ru")
    await web.client.post("/v1/captions", data=options, files={"file": ("a.jpg", PHOTO)})
    assert photo_of(last(web.queue)) == asked
    await web.client.post("/v1/captions", params={"seed": "4"}, data={"seed": "5"}, files={"file": PHOTO})
    assert photo_of(last(web.queue)).seed == 5


async def test_what_is_no_photo_is_told() -> None:
    def refused(job: Job, media: bytes) -> Any:
        return dataclasses.replace(captioned(job, media), not_photo=NotPhoto("screen", 0.9712), sheet=None)

    async with web_of(FakeQueue(refused)) as web:
        response = await web.client.post("/v1/captions?sheet=true", content=PHOTO, headers=JPEG)
        [photo] = response.json()["photos"]
        assert photo["not_photo"] == {"kind": "screen", "probability": 0.9712}
        assert photo["sheet"] is None
        assert photo["samples"]
    async with web_of(FakeQueue(captioned)) as web:
        response = await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)
        assert response.json()["photos"][0]["not_photo"] is None


async def test_russian_captions_come_with_the_english_ones_and_with_how_certain_they_are(web: Web) -> None:
    response = await web.client.post("/v1/captions?language=ru", content=PHOTO, headers=JPEG)
    [photo] = response.json()["photos"]
    assert photo_of(last(web.queue)).language == "ru"
    best, sample = photo["best"], photo["samples"][0]
    assert (best["text"], best["english"]) == (RUSSIAN["a cat on a red sofa"][0], "a cat on a red sofa")
    assert best["translation"] == {
        "text": best["text"],
        "probability": 0.84,
        "passed": True,
        "failed": [],
        "words": ["кошка", "на", "красном", "диване"],
        "aligned": [[0, 1], [2], [3, 4], [5]],
    }
    assert [word["text"] for word in best["words"]] == best["english"].split()
    assert sample["text"] == sample["english"] == "a cat with 1 <legs>"
    assert (sample["translation"]["passed"], sample["translation"]["failed"]) == (False, [*UNCERTAIN])


async def test_what_workers_did_not_translate_is_english() -> None:
    async with web_of(FakeQueue(lambda job, media: captioned(changed(job, job.id, language="en"), media))) as web:
        response = await web.client.post("/v1/captions?language=ru", content=PHOTO, headers=JPEG)
    greedy = response.json()["photos"][0]["greedy"]
    assert greedy["text"] == greedy["english"] == "a cat on a sofa"
    assert "translation" not in greedy


async def test_english_captions_have_no_fields_of_russian_ones(web: Web) -> None:
    response = await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)
    assert list(response.json()["photos"][0]["best"]) == ["text", "confidence", "beginning", "words"]


async def test_the_sheet_lies_at_an_address_of_its_own(web: Web) -> None:
    response = await web.client.post("/v1/captions?sheet=true", content=PHOTO, headers=JPEG)
    [photo] = response.json()["photos"]
    sheet = await web.client.get(photo["sheet"])
    assert sheet.headers["content-type"] == "image/jpeg"
    assert sheet.content == b"\xff\xd8sheet"
    assert kind(await web.client.get("/v1/pictures/" + "A" * 22)) == "not_found"


async def test_several_photos_are_answered_each_for_itself() -> None:
    def outcome(job: Job, media: bytes) -> Any:
        return NotAnImage("text") if media == b"text" else captioned(job, media)

    async with web_of(FakeQueue(outcome)) as web:
        files = [("file", ("a.jpg", PHOTO)), ("file", ("b.jpg", b"text")), ("file", ("c.jpg", b""))]
        response = await web.client.post("/v1/captions", files=files)
        assert response.status_code == 200
        good, text, empty = response.json()["photos"]
        assert (good["file"], text["file"], empty["file"]) == ("a.jpg", "b.jpg", "c.jpg")
        assert good["greedy"]["text"] == "a cat on a sofa"
        assert (text["error"]["kind"], empty["error"]["kind"]) == ("not_image", "empty")
        assert len({job.request for job in web.queue.jobs.values()}) == 1  # they count as one


async def test_a_photo_is_asked_about_again_without_its_bytes(web: Web) -> None:
    first = await web.client.post("/v1/captions?keep=true", content=PHOTO, headers=JPEG)
    name = first.json()["photos"][0]["picture"]
    sent = photo_of(last(web.queue))
    again = await web.client.post("/v1/captions", params={"picture": name, "temperature": "1.5"})
    assert again.status_code == 200
    task = photo_of(last(web.queue))
    assert task.known
    assert (task.picture, last(web.queue).place) == (sent.picture, f"web:{name}")
    both = await web.client.post("/v1/captions", params={"picture": name}, content=PHOTO, headers=JPEG)
    assert kind(both) == "option"
    assert kind(await web.client.post("/v1/captions", params={"picture": name, "sheet": "true"})) == "option"


async def test_a_photo_that_no_worker_knows_is_to_be_sent_again() -> None:
    async with web_of(FakeQueue(lambda job, media: FeaturesGone("gone"))) as web:
        assert kind(await web.client.post("/v1/captions", params={"picture": "A" * 22})) == "picture_gone"


@pytest.mark.parametrize(
    "option",
    f"temperature=nan temperature=inf temperature=0 temperature=2.1 top_p=0 top_p=1.01 top_k=-1 seed={10**30} "
    f"seed={'9' * 5000} seed=-1 seed=1.5 samples=1000 samples=x beam=0 model=gpt language=xx sheet=perhaps "
    "picture=../../etc/passwd colour=red seed=1&seed=2".split(),
)
async def test_options_are_checked(web: Web, option: str) -> None:
    response = await web.client.post(f"/v1/captions?{option}", content=PHOTO, headers=JPEG)
    assert kind(response) == "option"
    assert option.partition("=")[0] in response.json()["error"]["message"]
    form = dict([option.partition("&")[0].split("=")])
    if "&" not in option:
        response = await web.client.post("/v1/captions", data=form, files={"file": PHOTO})
        assert kind(response) == "option"
    assert not web.queue.jobs
    assert (await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)).status_code == 200


BAD_BODIES: list[tuple[dict[str, Any], str]] = [
    ({}, "no_file"),
    ({"content": b"", "headers": JPEG}, "empty"),
    ({"files": {"file": ("a.jpg", b"")}}, "empty"),
    ({"files": [("file", PHOTO)] * 11}, "too_many_files"),
    ({"json": {"url": "http://169.254.169.254/"}}, "content_type"),
    ({"data": {"file": "x"}}, "content_type"),
    ({"content": b"x" * (21 << 20), "headers": JPEG}, "too_many_bytes"),
    ({"files": {"file": b"x" * (21 << 20)}}, "too_many_bytes"),
    ({"content": PHOTO, "headers": {"content-type": "multipart/form-data"}}, "malformed"),
    ({"content": PHOTO, "headers": {"content-type": "multipart/form-data; boundary=x"}}, "malformed"),
    ({"content": b"--x\r\n", "headers": {"content-type": "multipart/form-data; boundary=x"}}, "malformed"),
    ({"content": PHOTO, "headers": {"content-type": "multipart/form-data; boundary=" + "x" * 999}}, "malformed"),
    ({"data": {"caption": "x" * 5000}, "files": {"file": PHOTO}}, "option"),
]


@pytest.mark.parametrize(("body", "reason"), BAD_BODIES)
async def test_bad_bodies_are_refused(web: Web, body: dict[str, Any], reason: str) -> None:
    assert kind(await web.client.post("/v1/captions", **body)) == reason
    assert not web.queue.jobs
    assert (await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)).status_code == 200


async def test_each_failure_of_the_work_has_a_status_and_words(web: Web) -> None:
    for reason in KINDS:
        web.queue.outcome = partial(lambda error, *_: error, KINDS[reason]("secret words of the worker"))
        response = await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)
        assert kind(response) in (reason, "picture_gone" if reason == "features_gone" else reason)
        assert ("secret" in response.text) == (reason == "unexplainable")  # which is about the words of the request


@pytest.mark.parametrize(("error", "reason"), [(Busy(3), "busy"), (Busy(), "busy"), (JobLost("x"), "features_gone")])
async def test_a_queue_that_refuses_says_when_to_come_again(error: Exception, reason: str) -> None:
    def outcome(job: Job, media: bytes) -> Any:
        raise error

    async with web_of(FakeQueue(outcome)) as web:
        response = await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)
        assert kind(response) == reason
        assert int(response.headers["retry-after"]) >= 1
        assert not web.queue.admitted


async def test_places_in_the_queue_are_given_back(web: Web) -> None:
    await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)
    await eventually(lambda: not web.queue.admitted)
    assert not web.queue.cancelled


async def test_a_photo_that_is_not_done_in_time_is_cancelled() -> None:
    queue = closed_queue(captioned)
    async with web_of(queue, WebSettings(answer_seconds=0.05)) as web:
        assert kind(await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)) == "timeout"
        await eventually(lambda: queue.cancelled)
        assert await web.metric('caption_web_cancelled_jobs_total{why="timeout"}') == 1


async def test_a_queue_that_is_away_is_said_at_once_and_used_when_it_is_back() -> None:
    there = asyncio.Event()
    async with web_of(FakeQueue(captioned), reachable=there.is_set) as web:
        response = await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)
        assert kind(response) == "unavailable"
        assert "retry-after" in response.headers
        assert (await web.client.get("/health")).status_code == 503
        there.set()
        assert (await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)).status_code == 200
        assert (await web.client.get("/health")).json() == {"status": "ok", "workers": 1}


async def test_open_requests_of_a_client_have_a_limit() -> None:
    queue = closed_queue(captioned)
    async with web_of(queue, WebSettings(limits=Limits(requests=10, requests_per_person=2))) as web:
        waiting = [asyncio.create_task(web.client.post("/v1/captions", content=PHOTO, headers=JPEG)) for _ in range(2)]
        await eventually(lambda: len(queue.admitted) == 2)
        assert kind(await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)) == "busy"
        queue.open.set()
        assert [(await each).status_code for each in waiting] == [200, 200]
        assert (await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)).status_code == 200


async def test_unforeseen_errors_are_answered_without_their_words() -> None:
    def outcome(job: Job, media: bytes) -> Any:
        raise RuntimeError("secret")

    async with web_of(FakeQueue(outcome)) as web:
        web.client._transport.raise_app_exceptions = False  # type: ignore[attr-defined]
        response = await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)
        assert kind(response) == "failed"
        assert "secret" not in response.text
