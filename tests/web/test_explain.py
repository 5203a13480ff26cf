"""POST /v1/explain and POST /v1/colours, and what the server says of itself."""

from __future__ import annotations

import re
import tomllib
from typing import Any

import pytest

from bot.i18n import create_i18n
from bot.replies.photos import drawn_labels
from model.errors import Unexplainable
from model.serving.jobs import Job
from model.serving.tasks.colours import ColoursResult, ColoursTask
from tests.conftest import ROOT, WEIGHTS
from tests.support.fake_queue import FakeQueue, last
from tests.support.jobs import photo_of
from tests.support.web import JPEG, PHOTO, Web, kind, web_of
from web import VERSION
from web.labels import LABELS
from web.settings import WebSettings


async def test_the_words_of_a_caption_are_weighed(web: Web) -> None:
    params = {"caption": "a <cat>", "chart": "true"}
    response = await web.client.post("/v1/explain", params=params, content=PHOTO, headers=JPEG)
    assert response.status_code == 200
    found = response.json()
    assert found["caption"]["text"] == "a <cat>"
    assert [step["word"] for step in found["steps"]] == ["a", "<cat>", None]
    assert found["steps"][0]["others"] == [{"word": "two", "probability": 0.09}, {"word": "the", "probability": 0.004}]
    assert (await web.client.get(found["chart"])).headers["content-type"] == "image/png"
    assert photo_of(last(web.queue)).explain == "a <cat>"
    again = await web.client.post("/v1/explain", data={"caption": "a cat"}, files={"file": PHOTO})
    assert again.json()["chart"] is None


async def test_a_caption_is_explained_of_a_photo_that_workers_know(web: Web) -> None:
    response = await web.client.post("/v1/explain", params={"caption": "a cat", "picture": "A" * 22})
    assert response.status_code == 200
    assert photo_of(last(web.queue)).known


@pytest.mark.parametrize("params", [{}, {"caption": ""}, {"caption": "x" * 501}, {"caption": "a", "seed": "1"}])
async def test_the_caption_is_needed_and_checked(web: Web, params: dict[str, str]) -> None:
    assert kind(await web.client.post("/v1/explain", params=params, content=PHOTO, headers=JPEG)) == "option"
    assert not web.queue.jobs


async def test_what_the_model_cannot_say_is_refused() -> None:
    error = Unexplainable("1 of 2 words are not in the model's vocabulary")
    async with web_of(FakeQueue(lambda job, media: error)) as web:
        response = await web.client.post("/v1/explain?caption=qwertz+cat", content=PHOTO, headers=JPEG)
        assert kind(response) == "unexplainable"


async def test_colours_are_answered_as_a_picture() -> None:
    def outcome(job: Job, media: bytes) -> Any:
        assert isinstance(job.task, ColoursTask)
        return ColoursResult(b"\xff\xd8" + job.task.kind.encode())

    async with web_of(FakeQueue(outcome)) as web:
        response = await web.client.post("/v1/colours?kind=tritanopia", content=PHOTO, headers=JPEG)
        assert response.headers["content-type"] == "image/jpeg"
        assert response.content == b"\xff\xd8tritanopia"
        assert kind(await web.client.post("/v1/colours?kind=x", content=PHOTO, headers=JPEG)) == "option"
        assert kind(await web.client.post("/v1/colours")) == "no_file"
        assert kind(await web.client.post("/v1/colours", files=[("file", PHOTO)] * 2)) == "too_many_files"


async def test_the_server_says_what_it_is() -> None:
    async with web_of(FakeQueue(), WebSettings(weights_dir=WEIGHTS)) as web:
        info = (await web.client.get("/info")).json()
    assert [model["name"] for model in info["models"]] == ["attention", "baseline"]
    assert all(model["bytes"] > 1_000_000 for model in info["models"])
    assert info["limits"]["photo_bytes"] == 20 * 1024 * 1024
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert info["version"] == VERSION == project["version"]


def test_each_word_is_there_in_both_languages() -> None:
    script = (ROOT / "web" / "static" / "page.js").read_text()
    languages = re.split(r"^  ru: \{", script, maxsplit=1, flags=re.MULTILINE)
    english = set(re.findall(r"(?:^|[{,]) ?\n?\s*(\w+): \"", languages[0]))
    russian = set(re.findall(r"(?:^|[{,]) ?\n?\s*(\w+): \"", languages[1].split("errors: {")[0]))
    assert english == russian
    page = (ROOT / "web" / "static" / "index.html").read_text()
    assert set(re.findall(r'data-words="(\w+)"', page)) <= english


def test_drawn_pictures_say_the_same_as_the_bots() -> None:
    i18n = create_i18n()
    for language, labels in LABELS.items():
        with i18n.context(), i18n.use_locale(language):
            assert labels == drawn_labels()
