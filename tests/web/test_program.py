"""`start.py web` with its own worker and the real network."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from PIL import Image, ImageOps

from model.command import CaptionRequest, caption_files
from tests.conftest import PHOTOS, ROOT, WEIGHTS
from tests.support.corpus import png_bomb
from tests.support.program import Program, environment, running
from tests.support.redis_server import free_port
from tests.support.web import PATIENCE, answered, at

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

MIB = 1 << 20
MEMORY = 32 * MIB


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def program(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Program, httpx.AsyncClient]]:
    """With its own worker and little room for media."""
    port = free_port()
    limits = {"MAX_PER_USER": "300", "MAX_MEDIA_BYTES": str(MEMORY)}
    program = Program(tmp_path_factory.mktemp("web"), "web", WEB_PORT=str(port), **limits)
    async with running(program), at(port) as client:
        await answered(client, program, lambda health: health.json()["workers"])
        yield program, client
        assert await program.stop() == 0


def twenty(folder: Path) -> list[Path]:
    """The photos of the tests, and variants of them in other formats, colours, sizes and orientations."""
    photos = sorted(PHOTOS.glob("*.jpg"))
    images = [Image.open(photo).convert("RGB") for photo in photos]
    exif = [Image.Exif(), Image.Exif()]
    exif[0][0x0112], exif[1][0x0112] = 6, 3  # lying on its side; upside down
    astronaut, cat, coffee, flower, photographer, rocket, temple = images
    variants: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (astronaut.crop((40, 20, 400, 420)), "jpg", {}),
        (temple.crop((0, 60, temple.width // 2, temple.height)), "jpg", {"quality": 60}),
        (ImageOps.mirror(cat), "jpg", {}),
        (ImageOps.mirror(rocket), "png", {}),
        (cat.rotate(90, expand=True), "jpg", {"exif": exif[0]}),
        (flower.rotate(180), "jpg", {"exif": exif[1]}),
        (coffee, "png", {}),
        (photographer.convert("RGBA"), "png", {}),
        (astronaut, "webp", {}),
        (flower, "heic", {}),
        (temple.convert("L"), "jpg", {}),
        (rocket.convert("CMYK"), "jpg", {}),
        (coffee.resize((coffee.width // 3, coffee.height // 3)), "gif", {}),
    ]
    for number, (image, suffix, options) in enumerate(variants):
        photos.append(folder / f"variant-{number}.{suffix}")
        image.save(photos[-1], **options)
    return photos


def in_the_terminal(photos: list[Path]) -> list[dict[str, Any]]:
    """What `start.py caption` prints."""
    terminal = subprocess.run(
        [sys.executable, str(ROOT / "start.py"), "caption", *map(str, photos), "--seed", "7", "--json"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE,
    )
    return [json.loads(line) for line in terminal.stdout.splitlines()]


async def test_twenty_photos_are_captioned_as_in_the_terminal(
    program: tuple[Program, httpx.AsyncClient], tmp_path: Path
) -> None:
    photos = twenty(tmp_path)
    assert len(photos) == 20
    found: list[dict[str, Any]] = []
    for photo in photos:
        response = await program[1].post("/v1/captions?seed=7", files={"file": (photo.name, photo.read_bytes())})
        assert response.status_code == 200
        found += response.json()["photos"]
    for here, there in zip(found, in_the_terminal(photos), strict=True):
        assert (here["not_photo"] is None) == (there["not_photo"] is None)
        for name in ("greedy", "best"):
            assert here[name]["text"] == there[name]["text"]
            assert here[name]["confidence"] == pytest.approx(there[name]["confidence"], abs=0.01)
        assert [each["text"] for each in here["samples"]] == [each["text"] for each in there["samples"]]


async def test_russian_captions_are_those_of_the_terminal(
    program: tuple[Program, httpx.AsyncClient], capsys: pytest.CaptureFixture[str]
) -> None:
    photos = sorted(PHOTOS.glob("*.jpg"))
    files = [str(photo) for photo in photos]
    request = CaptionRequest(files, WEIGHTS, "cpu", precision="fp32", samples=2, seed=7, as_json=True, language="ru")
    assert caption_files(request) == 0  # in this process: another one would load the network anew
    terminal = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    certain = set()
    for photo, there in zip(photos, terminal, strict=True):
        asked = {"language": "ru", "seed": "7", "samples": "2"}
        response = await program[1].post("/v1/captions", params=asked, files={"file": photo.read_bytes()})
        [here] = response.json()["photos"]
        said, printed = ([each["greedy"], each["best"], *each["samples"]] for each in (here, there))
        for one, other in zip(said, printed, strict=True):
            assert (one["text"], one["english"]) == (other["text"], other["english"])
            probability = other["translation"].pop("probability")
            assert one["translation"].pop("probability") == pytest.approx(probability, abs=0.01)
            assert one["translation"] == other["translation"]
            certain.add(one["translation"]["passed"])
    assert certain == {True, False}  # or this test sees only half


@pytest.mark.parametrize(
    ("make", "status", "kind"),
    [(lambda: b"text" * 99, 415, "not_image"), (png_bomb, 413, "too_large")],
    ids=["text", "50,000 x 50,000"],
)
async def test_what_is_no_photo_is_refused(
    program: tuple[Program, httpx.AsyncClient], make: Callable[[], bytes], status: int, kind: str
) -> None:
    media = make()
    for path in ("/v1/captions", "/v1/features", "/v1/colours"):
        response = await program[1].post(path, files={"file": ("photo.jpg", media, "image/jpeg")})
        assert (response.status_code, response.json()["error"]["kind"]) == (status, kind)


async def test_a_crowd_does_not_take_more_memory_than_it_may(program: tuple[Program, httpx.AsyncClient]) -> None:
    running, client = program
    assert running.process is not None
    facts = Path(f"/proc/{running.process.pid}/status")

    def peak() -> int:
        """Bytes that the web process has had in memory at most."""
        status = facts.read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])

    before, media = peak(), b"\xff\xd8" + bytes(4 * MIB)

    async def ask() -> int:
        try:
            response = await crowd.post("/v1/captions", content=media, headers={"content-type": "image/jpeg"})
        except httpx.TransportError:  # it was refused, and went on sending for too long to read it
            return 429
        return response.status_code

    async with httpx.AsyncClient(base_url=client.base_url, timeout=PATIENCE, limits=httpx.Limits()) as crowd:
        statuses = await asyncio.gather(*(ask() for _ in range(300)))
    assert set(statuses) <= {408, 415, 422, 429}  # 408: on a slow machine
    assert set(statuses) & {415, 422}
    assert peak() - before < 6 * MEMORY  # together they have 37 times as much
    assert (await client.get("/health")).json()["status"] == "ok"
