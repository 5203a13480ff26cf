"""Who may ask, from where, how often; and what each answer carries."""

from __future__ import annotations

import httpx
import pytest

from model.serving.limits import Rate
from tests.support.clock import Clock
from tests.support.fake_queue import FakeQueue
from tests.support.processes import imported
from tests.support.web import JPEG, PHOTO, Web, captioned, kind, web_of
from web.limits import client_of, user_of
from web.settings import WebSettings, is_loopback

TOKEN = "a-token-of-16-or-more"


async def test_each_address_but_the_page_wants_the_token() -> None:
    async with web_of(FakeQueue(captioned), WebSettings(token=TOKEN)) as web:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}, {"authorization": "Bearer é"}):
            sent = httpx.Headers(headers, encoding="utf-8")
            for path in ("/info", "/metrics", "/openapi.json", "/v1/clips/x", "/v1/pictures/x"):
                response = await web.client.get(path, headers=sent)
                assert kind(response) == "unauthorized"
                assert response.headers["www-authenticate"] == "Bearer"
            response = await web.client.post(
                "/v1/captions", content=PHOTO, headers=httpx.Headers({**JPEG, **sent}, encoding="utf-8")
            )
            assert kind(response) == "unauthorized"
        for path in ("/", "/health"):
            assert (await web.client.get(path)).status_code == 200
        right = {"authorization": f"bearer {TOKEN}", "host": "captions.example.org"}
        assert (await web.client.get("/info", headers=right)).status_code == 200
        assert (await web.client.post("/v1/captions", content=PHOTO, headers=JPEG | right)).status_code == 200


async def test_the_document_names_the_token_where_there_is_one() -> None:
    right = {"authorization": f"Bearer {TOKEN}"}
    async with web_of(FakeQueue(captioned), WebSettings(token=TOKEN)) as web:
        document = (await web.client.get("/openapi.json", headers=right)).json()
    [name] = document["components"]["securitySchemes"]
    scheme = document["components"]["securitySchemes"][name]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["security"] == [{name: []}]
    assert document["paths"]["/health"]["get"]["security"] == []  # open to everybody
    async with web_of(FakeQueue(captioned)) as web:
        assert "security" not in (await web.client.get("/openapi.json")).json()


async def test_tokens_cannot_be_guessed_quickly() -> None:
    settings = WebSettings(token=TOKEN, rate=Rate(60.0, 3))
    async with web_of(FakeQueue(captioned), settings, clock=Clock()) as web:
        answers = [kind(await web.client.get("/info", headers={"authorization": "Bearer x"})) for _ in range(5)]
        assert answers == ["unauthorized"] * 3 + ["rate"] * 2
        assert (await web.client.get("/info", headers={"authorization": f"Bearer {TOKEN}"})).status_code == 200


@pytest.mark.parametrize(
    ("headers", "refused"),
    [
        ({"origin": "https://evil.example"}, True),
        ({"origin": "null"}, True),
        ({"origin": "http://127.0.0.1:8001"}, True),
        ({"origin": "http://127.0.0.1.evil.example:8000"}, True),
        ({"origin": "http://[broken"}, True),
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "same-site"}, True),
        ({"origin": "http://127.0.0.1:8000", "sec-fetch-site": "same-origin"}, False),
        ({}, False),
    ],
)
async def test_pages_of_other_sites_cannot_post(web: Web, headers: dict[str, str], refused: bool) -> None:
    response = await web.client.post("/v1/captions", content=PHOTO, headers=JPEG | headers)
    assert response.status_code == (403 if refused else 200)
    assert "access-control-allow-origin" not in response.headers
    if refused:
        assert kind(response) == "foreign_origin"
        assert not web.queue.jobs


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8000", "[broken", "192.0.2.1"])
async def test_a_foreign_name_that_leads_here_is_refused(web: Web, host: str) -> None:
    assert kind(await web.client.get("/info", headers={"host": host})) == "foreign_host"


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "127.1.2.3"])
async def test_names_of_this_machine_are_served(web: Web, host: str) -> None:
    assert (await web.client.get("/info", headers={"host": host})).status_code == 200


async def test_a_client_that_asks_too_often_waits() -> None:
    clock = Clock()
    async with web_of(FakeQueue(captioned), WebSettings(rate=Rate(10.0, 2)), clock=clock) as web:
        statuses = [(await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)).status_code for _ in range(3)]
        assert statuses == [200, 200, 429]
        response = await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)
        assert kind(response) == "rate"
        clock.now += float(response.headers["retry-after"])
        assert (await web.client.post("/v1/captions", content=PHOTO, headers=JPEG)).status_code == 200


async def test_each_answer_has_the_security_headers(web: Web) -> None:
    for response in (
        await web.client.get("/"),
        await web.client.get("/health"),
        await web.client.get("/nothing"),
        await web.client.post("/v1/captions"),
        await web.client.get("/info", headers={"host": "evil.example"}),
    ):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert "server" not in response.headers


@pytest.mark.parametrize(
    "path",
    [
        "/v1/clips/..%2f..%2fetc%2fpasswd",
        "/v1/clips/../../etc/passwd",
        "/v1/pictures/..%2f..%2fapp.py",
        "/v1/words/..%2f..%2fapp",
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/x",
    ],
)
async def test_paths_lead_nowhere_else(web: Web, path: str) -> None:
    assert kind(await web.client.get(path)) == "not_found"


async def test_other_methods_are_refused(web: Web) -> None:
    assert kind(await web.client.get("/v1/captions")) == "method"
    assert kind(await web.client.put("/info")) == "method"


def test_clients_are_told_apart_by_address() -> None:
    assert client_of("2001:db8::1") == client_of("2001:db8::2") != client_of("2001:db8:0:1::1")
    assert client_of("192.0.2.1") != client_of("192.0.2.2")
    assert user_of("192.0.2.1") != user_of("192.0.2.2")
    assert 1 << 52 <= user_of("") < 1 << 53
    assert [is_loopback(host) for host in ("::1", "127.9.9.9", "0.0.0.0", "::", "example.org")] == [True, True] + [
        False
    ] * 3


def test_the_web_imports_nothing_heavy_and_nothing_of_the_bot() -> None:
    heavy = ("torch", "torchvision", "numpy", "PIL", "cv2", "redis", "aiogram", "bot", "handlers")
    assert imported("web.app", heavy) == "[]"
