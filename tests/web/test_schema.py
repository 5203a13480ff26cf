"""What the OpenAPI document says is what the server does, whatever is sent."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
import uvicorn
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from model.errors import UnknownWord
from model.found import Found, Hit, Vector, numbered
from model.serving.jobs import Job
from model.serving.limits import Rate
from model.serving.tasks.clip import ClipTask
from model.serving.tasks.colours import ColoursResult, ColoursTask
from model.serving.tasks.features import FeaturesResult, FeaturesTask
from model.serving.tasks.find import FindResult, FindTask
from model.serving.tasks.rank import RankResult, RankTask
from model.serving.tasks.tags import TagsResult, TagsTask
from model.serving.tasks.vector import VectorResult, VectorTask
from model.serving.tasks.words import WordsResult, WordsTask
from model.tagging.answers import Choice, Ranking, Tag
from tests.support.fake_queue import FakeQueue
from tests.support.local_queue import RUSSIAN, clip_result
from tests.support.web import captioned
from web import schemas
from web.app import create_app
from web.settings import WebSettings

PATIENCE = 60.0  # seconds
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


def outcome(job: Job, media: bytes) -> Any:
    match job.task:
        case ClipTask():
            return clip_result(translation=RUSSIAN if job.task.language == "ru" else None)
        case ColoursTask():
            return ColoursResult(b"\xff\xd8")
        case FeaturesTask(pooled=pooled):
            return FeaturesResult((2,) if pooled else (1, 1, 2), bytes(8))
        case TagsTask():
            return TagsResult((Tag("dog", 0.5, holds=True), Tag("minibar", None, unknown=("minibar",))))
        case RankTask():
            return RankResult(Ranking((Choice("a dog", 0.5),), 0.5))
        case VectorTask():
            return VectorResult(Vector("mine", b"x"))
        case FindTask(kept=kept):
            return FindResult(Found((Hit(numbered(0), 0.5),), compared=sum(each.count for each in kept)))
        case WordsTask(word=word) if "q" not in word:
            return WordsResult(word, (0.5, -0.25), (("dog", 0.5),))
        case WordsTask():
            return UnknownWord("no")
    return captioned(job, media)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a server in a thread of its own."""
    app = create_app(WebSettings(rate=Rate(1e-6, 1_000_000)), FakeQueue(outcome))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        until = time.monotonic() + PATIENCE
        while not server.started:
            assert thread.is_alive(), "the server ended before it had started"
            assert time.monotonic() < until, "the server does not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join(PATIENCE)
        assert not thread.is_alive(), "the server does not stop"


def test_each_json_answer_has_an_example_that_is_one() -> None:
    document = create_app(WebSettings(), FakeQueue()).openapi()
    named = {
        content["schema"]["$ref"].rpartition("/")[2]
        for operations in document["paths"].values()
        for operation in operations.values()
        for status, response in operation["responses"].items()
        for content in response.get("content", {}).values()
        if "$ref" in content["schema"] and status in ("200", "202", "422")
    }
    assert len(named) >= 8
    for name in named - {"Info"}:
        model = getattr(schemas, name)
        for example in document["components"]["schemas"][name]["examples"]:
            assert json.loads(model.model_validate(example).model_dump_json()) == example


def test_the_types_of_a_body_are_those_of_what_is_sent() -> None:
    paths = create_app(WebSettings(), FakeQueue()).openapi()["paths"]
    types = {path: set(paths[path]["post"]["requestBody"]["content"]) for path in ("/v1/clips", "/v1/captions")}
    both = {"multipart/form-data", "application/octet-stream"}
    assert {"video/mp4", "image/gif"} | both < types["/v1/clips"]
    assert types["/v1/captions"] == {"image/jpeg", "image/png"} | both


@pytest.mark.slow
def test_each_answer_is_as_documented(address: str) -> None:
    schema = schemathesis.openapi.from_url(f"{address}/openapi.json", timeout=PATIENCE)
    operations: list[Any] = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]
    assert len(operations) >= 14
    seen: set[tuple[str, int]] = set()
    for operation in operations:
        good = operation.as_strategy()
        for cases in (good, good | operation.as_strategy(schemathesis.GenerationMode.NEGATIVE)):

            @settings(
                max_examples=12, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
            )
            @given(case=cases)
            def documented(case: Any) -> None:
                seen.add((case.path, case.call_and_validate(checks=CHECKS, timeout=PATIENCE).status_code))

            documented()
    photo = ("captions", "explain", "colours", "features", "tags", "find")
    assert {("/v1/clips", 202), ("/v1/words/{word}", 200), *((f"/v1/{name}", 200) for name in photo)} <= seen
    assert {(f"/v1/{name}", 422) for name in (*photo, "clips", "words/{word}")} <= seen
