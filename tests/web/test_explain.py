"""What is answered beside captions and clips, and what the server says of itself."""

from __future__ import annotations

import io
import math
import re
import tomllib
from functools import partial
from typing import Any

import numpy as np
import pytest

from bot.i18n import create_i18n
from bot.replies.photos import drawn_labels
from model.drawing.labels import LABELS
from model.errors import Unexplainable, UnknownWord
from model.serving.jobs import Job
from model.serving.limits import Rate
from model.serving.tasks.colours import ColoursResult, ColoursTask
from model.serving.tasks.features import FeaturesResult, FeaturesTask
from model.serving.tasks.words import WordsResult, WordsTask
from tests.conftest import ROOT, WEIGHTS
from tests.support.fake_queue import FakeQueue, last
from tests.support.jobs import photo_of
from tests.support.web import JPEG, PHOTO, Web, kind, web_of
from web import VERSION
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


async def test_the_words_weighed_have_those_of_the_translation(web: Web) -> None:
    params = {"caption": "a <cat>", "language": "ru"}
    found = (await web.client.post("/v1/explain", params=params, content=PHOTO, headers=JPEG)).json()
    assert (found["caption"]["text"], found["caption"]["english"]) == ("<кошка>", "a <cat>")
    assert [(step["word"], step["translated"]) for step in found["steps"]] == [
        ("a", ""),
        ("<cat>", "<кошка>"),
        (None, ""),
    ]
    english = await web.client.post("/v1/explain", params={"caption": "a <cat>"}, content=PHOTO, headers=JPEG)
    assert all("translated" not in step for step in english.json()["steps"])


async def test_a_caption_is_explained_of_a_photo_that_workers_know(web: Web) -> None:
    response = await web.client.post("/v1/explain", params={"caption": "a cat", "picture": "A" * 22})
    assert response.status_code == 200
    assert photo_of(last(web.queue)).known


@pytest.mark.parametrize(
    "params",
    [{}, {"caption": ""}, {"caption": "x" * 501}, {"caption": "a", "seed": "1"}, {"caption": "a", "language": "de"}],
)
async def test_the_caption_is_needed_and_checked(web: Web, params: dict[str, str]) -> None:
    assert kind(await web.client.post("/v1/explain", params=params, content=PHOTO, headers=JPEG)) == "option"
    assert not web.queue.jobs


async def test_what_the_model_cannot_say_is_refused() -> None:
    error = Unexplainable("1 of 2 words are not in the model's vocabulary")
    async with web_of(FakeQueue(lambda job, media: error)) as web:
        response = await web.client.post("/v1/explain?caption=qwertz+cat", content=PHOTO, headers=JPEG)
        assert kind(response) == "unexplainable"
        assert response.json()["error"]["message"].endswith(": 1 of 2 words are not in the model's vocabulary.")


async def test_colours_are_answered_as_a_picture() -> None:
    def outcome(job: Job, media: bytes) -> Any:
        assert isinstance(job.task, ColoursTask)
        return ColoursResult(b"\xff\xd8" + job.task.kind.encode())

    async with web_of(FakeQueue(outcome)) as web:
        response = await web.client.post("/v1/colours?kind=tritanopia", content=PHOTO, headers=JPEG)
        assert response.headers["content-type"] == "image/jpeg"
        assert response.content == b"\xff\xd8tritanopia"
        assert kind(await web.client.post("/v1/colours?kind=x", content=PHOTO, headers=JPEG)) == "option"


@pytest.mark.parametrize(("layout", "shape"), [("pooled", (4,)), ("grid", (1, 2, 4))])
async def test_features_are_a_numpy_file_or_json(layout: str, shape: tuple[int, ...]) -> None:
    values = np.arange(math.prod(shape), dtype="<f4").reshape(shape) / 3

    def outcome(job: Job, media: bytes) -> Any:
        assert job.task == FeaturesTask(pooled=layout == "pooled")
        return FeaturesResult(values.shape, values.tobytes())

    async with web_of(FakeQueue(outcome)) as web:
        post = partial(web.client.post, "/v1/features", content=PHOTO, headers=JPEG)
        file = await post(params={"layout": layout})
        assert file.headers["content-type"] == "application/octet-stream"
        read = np.load(io.BytesIO(file.content))
        assert (read.dtype, read.tolist()) == (np.float32, values.tolist())
        found = (await post(params={"layout": layout, "format": "json"})).json()
        assert found == {"layout": layout, "shape": list(shape), "features": values.tolist()}
        assert kind(await post(params={"layout": "all"})) == "option"


async def test_a_word_is_answered_with_those_near_it() -> None:
    def outcome(job: Job, media: bytes) -> Any:
        assert isinstance(job.task, WordsTask)
        if job.task.word != "cat":
            return UnknownWord("secret")
        assert (job.task.model, job.task.count, media) == ("baseline", 2, b"")
        return WordsResult("cat", (0.5, -0.25), (("kitten", 0.45), ("dog", 0.38)))

    async with web_of(FakeQueue(outcome), WebSettings(rate=Rate(1e3, 3))) as web:
        found = await web.client.get("/v1/words/cat?model=baseline&nearest=2")
        assert found.json() == {
            "word": "cat",
            "model": "baseline",
            "embedding": [0.5, -0.25],
            "nearest": [{"word": "kitten", "similarity": 0.45}, {"word": "dog", "similarity": 0.38}],
        }
        assert kind(await web.client.get("/v1/words/qwertz")) == "unknown_word"
        assert kind(await web.client.get("/v1/words/cat?nearest=101")) == "option"
        assert kind(await web.client.get("/v1/words/cat")) == "rate"
        assert not web.queue.admitted


@pytest.mark.parametrize("path", ["explain?caption=a", "colours", "features", "clips"])
async def test_one_file_is_needed_and_no_more(web: Web, path: str) -> None:
    assert kind(await web.client.post(f"/v1/{path}")) == "no_file"
    assert kind(await web.client.post(f"/v1/{path}", content=b"", headers=JPEG)) == "empty"
    assert kind(await web.client.post(f"/v1/{path}", files=[("file", PHOTO)] * 2)) == "too_many_files"
    assert not web.queue.jobs


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
