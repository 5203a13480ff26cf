"""POST /v1/tags and POST /v1/rank."""

from __future__ import annotations

from typing import Any

import pytest

from model.serving.jobs import Job
from model.serving.tasks.rank import RankResult, RankTask
from model.serving.tasks.tags import TagsResult, TagsTask
from model.tagging.answers import Choice, Ranking, Tag
from model.tagging.lists import names
from tests.support.fake_queue import FakeQueue, last
from tests.support.web import JPEG, PHOTO, kind, web_of


def outcome(job: Job, media: bytes) -> Any:
    if isinstance(job.task, TagsTask):
        there = Tag("sofa", 0.8, holds=True)
        return TagsResult((Tag("tv", 0.1), Tag("minibar", None, unknown=("minibar",)), there))
    assert isinstance(job.task, RankTask)
    return RankResult(Ranking((Choice("a dog", 0.3), Choice("a minibar", None, ("minibar",))), 0.7))


async def test_tags_are_judged() -> None:
    async with web_of(FakeQueue(outcome)) as web:
        response = await web.client.post("/v1/tags?list=hotel&keep=true", content=PHOTO, headers=JPEG)
        assert response.status_code == 200
        found = response.json()
        assert [(tag["name"], tag["holds"]) for tag in found["tags"]] == [("sofa", True), ("tv", False)]
        assert (found["none_fits"], found["unjudgeable"]) == (False, [{"text": "minibar", "unknown": ["minibar"]}])
        task = last(web.queue).task
        assert isinstance(task, TagsTask)
        assert task.tags == names("hotel")
        await web.client.post("/v1/tags", params={"tags": "диван, tv", "picture": found["picture"]})
        task = last(web.queue).task
        assert isinstance(task, TagsTask)
        assert (task.tags, task.known, task.picture) == (("диван", "tv"), True, found["picture"])


async def test_descriptions_are_ranked() -> None:
    async with web_of(FakeQueue(outcome)) as web:
        response = await web.client.post("/v1/rank", data={"texts": "a dog | a minibar"}, files={"file": PHOTO})
        assert response.status_code == 200
        found = response.json()
        assert (found["best"], found["none"]) == (None, 0.7)
        assert found["choices"] == [{"text": "a dog", "probability": 0.3}]
        assert found["unjudgeable"] == [{"text": "a minibar", "unknown": ["minibar"]}]


@pytest.mark.parametrize(
    ("address", "params"),
    [
        ("/v1/rank", {}),
        ("/v1/rank", {"texts": "a dog"}),
        ("/v1/rank", {"texts": "a dog | 🐶"}),
        ("/v1/tags", {"list": "other"}),
        ("/v1/tags", {"tags": ",".join(map(str, range(500)))}),
        ("/v1/tags", {"model": "baseline"}),
    ],
)
async def test_lists_that_cannot_be_used_are_refused(address: str, params: dict[str, str]) -> None:
    async with web_of(FakeQueue(outcome)) as web:
        assert kind(await web.client.post(address, params=params, content=PHOTO, headers=JPEG)) == "option"
        assert not web.queue.jobs
