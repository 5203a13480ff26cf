"""The page in a real browser, on a queue whose answers a test decides."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from model.doubt import NotPhoto
from model.serving.jobs import Job
from model.serving.tasks.photo import PhotoResult
from tests.conftest import PHOTOS, ROOT
from tests.support.browser import Page, browser, chromium
from tests.support.fake_queue import FakeQueue, eventually, last
from tests.support.jobs import photo_of
from tests.support.local_queue import WORKER, clip_result, joined_queue, take
from tests.support.web import Web, captioned, served
from web.settings import WebSettings

pytestmark = [
    pytest.mark.skipif(chromium() is None, reason="no Chromium is installed: apt-get install chromium"),
    pytest.mark.xdist_group("browser"),
]

CAT = PHOTOS / "cat.jpg"
CAPTIONS = "document.querySelectorAll('#captions li').length"
HEAT = (
    "(() => { const c = document.querySelector('#heat'); if (!c.width || !c.height) return 0;"
    "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => a + b, 0); })()"
)
STATUS = "document.querySelector('#status').textContent"

Opened = Callable[..., Any]


@pytest.fixture
async def opened() -> AsyncIterator[Opened]:
    """Opens the page of a queue; at the end no script may have failed, nor broken the content security policy."""
    async with AsyncExitStack() as stack:
        pages: list[Page] = []

        async def open_page(queue: Any, settings: WebSettings | None = None) -> tuple[Web, Page]:
            web = await stack.enter_async_context(served(queue, settings))
            page = await stack.enter_async_context(browser())
            pages.append(page)
            await page.shape(1280, 900)
            await page.open(str(web.client.base_url))
            return web, page

        yield open_page
        assert [page.complaints for page in pages] == [[]] * len(pages)


async def test_a_photo_is_captioned_and_its_words_show_where_the_network_looked(opened: Opened) -> None:
    _, page = await opened(FakeQueue(captioned))
    await page.choose("#file", CAT)
    await page.until(f"{CAPTIONS} === 7")
    assert (
        await page.run("document.querySelector('#captions li').innerText.split('\\n')[0].trim()")
        == "a cat on a red sofa"
    )
    assert "a cat on a red sofa" in await page.run(STATUS)
    assert await page.run(HEAT) == 0
    before = await page.screenshot()
    await page.point("#captions li.main .word")
    await page.until(f"{HEAT} > 0")
    assert await page.screenshot() != before
    assert "of its attention" in await page.run("document.querySelector('#looked').textContent")
    await page.point("h1")
    await page.until(f"{HEAT} === 0")


async def test_what_is_no_photo_gets_captions_only_on_request_and_an_unsure_one_is_hedged(opened: Opened) -> None:
    first_line = "document.querySelector('#captions li.main').innerText.split('\\n')[0].trim()"

    def refused(job: Job, media: bytes) -> PhotoResult:
        return dataclasses.replace(captioned(job, media), not_photo=NotPhoto("text", 0.97), sheet=None)

    _, page = await opened(FakeQueue(refused))
    await page.choose("#file", CAT)
    await page.until(f"{CAPTIONS} === 1")
    assert await page.run(first_line) == "This looks like text or a screenshot; I only describe photos."
    assert "only describe photos" in await page.run(STATUS)
    await page.run("document.querySelector('#options').requestSubmit()")
    await page.until(f"{CAPTIONS} === 6")
    assert "only describe photos" in await page.run(first_line)

    def unsure(job: Job, media: bytes) -> PhotoResult:
        found = captioned(job, media)
        assert found.best is not None
        return dataclasses.replace(found, best=dataclasses.replace(found.best, confidence=0.2, beginning="a cat"))

    _, page = await opened(FakeQueue(unsure))
    await page.choose("#file", CAT)
    await page.until(f"{CAPTIONS} === 8")
    assert await page.run(first_line) == "perhaps: a cat"
    assert "perhaps: a cat" in await page.run(STATUS)


async def test_a_slider_draws_other_captions_without_sending_the_photo_again(opened: Opened) -> None:
    web, page = await opened(FakeQueue(captioned))
    await page.choose("#file", CAT)
    await page.until(f"{CAPTIONS} === 7")
    await page.run(
        "(() => { const s = document.querySelector('#samples'); s.value = 2; s.dispatchEvent(new Event('input'));"
        "s.dispatchEvent(new Event('change', {bubbles: true})); })()"
    )
    await page.until(f"{CAPTIONS} === 4")
    again = photo_of(last(web.queue))
    assert again.known
    assert again.samples == 2
    assert await page.run("document.querySelector('output[for=samples]').textContent") == "2"


async def test_words_weighed_and_both_models(opened: Opened) -> None:
    _, page = await opened(FakeQueue(captioned))
    await page.choose("#file", CAT)
    await page.until(f"{CAPTIONS} === 7")
    await page.run("document.querySelector('.weigh').click()")
    await page.until("document.querySelectorAll('#more tbody tr').length === 3")
    assert "<cat> 41 %" in await page.run("document.querySelector('#more').innerText")
    await page.run("document.querySelector('#compare').click()")
    await page.until("document.querySelectorAll('#more tbody tr').length === 2")


@pytest.mark.parametrize("how", ["drop", "paste"])
async def test_a_photo_is_dropped_or_pasted(opened: Opened, how: str) -> None:
    web, page = await opened(FakeQueue(captioned))
    photo = base64.b64encode(CAT.read_bytes()).decode()
    event = (
        "new DragEvent('drop', {dataTransfer: files, bubbles: true, cancelable: true})"
        if how == "drop"
        else "new ClipboardEvent('paste', {clipboardData: files, bubbles: true})"
    )
    await page.run(
        f"(() => {{ const bytes = Uint8Array.from(atob('{photo}'), c => c.charCodeAt(0));"
        "const files = new DataTransfer();"
        "files.items.add(new File([bytes], 'cat.jpg', {type: 'image/jpeg'}));"
        f"document.body.dispatchEvent({event}); }})()"
    )
    await page.until(f"{CAPTIONS} === 7")
    assert len(web.queue.jobs) == 1


async def test_the_keyboard_is_enough(opened: Opened) -> None:
    _, page = await opened(FakeQueue(captioned))
    await page.choose("#file", CAT)
    await page.until(f"{CAPTIONS} === 7")
    for _ in range(20):
        await page.key("Tab", 9)
        if await page.run("document.activeElement.className") == "word":
            break
    assert await page.run(f"document.activeElement.className === 'word' && {HEAT} > 0")
    await page.key("Enter", 13, "\r")
    assert await page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    for _ in range(60):
        await page.key("Tab", 9)
        if await page.run("document.activeElement.id") == "temperature":
            break
    await page.key("ArrowRight", 39)
    assert await page.run("document.querySelector('#temperature').value") == "0.7"


async def test_a_clip_shows_its_progress_and_its_moments(opened: Opened, tmp_path: Path) -> None:
    queue = joined_queue()
    web, page = await opened(queue)
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(b"a clip")
    await page.choose("#file", clip)
    async with asyncio.timeout(60):
        lease = await take(queue)
    await page.until("!document.querySelector('#clip').hidden")
    await queue.progress(WORKER, lease.job.id, 0.4)
    await page.until("document.querySelector('#progress').value === 40")
    await queue.finish(WORKER, lease.job.id, clip_result(3))
    await page.until("document.querySelectorAll('#moments img').length === 3")
    assert await page.run("document.querySelectorAll('#timeline line').length") == 3
    assert await page.run("[...document.querySelectorAll('#moments img')].every(i => i.src.startsWith('blob:'))")
    await page.choose("#file", clip)
    await take(queue)
    await page.until("!document.querySelector('#working').hidden")
    await page.run("document.querySelector('#cancel').click()")
    await eventually(lambda: not queue._entries)
    assert await web.metric('caption_web_cancelled_jobs_total{why="asked"}') == 1


async def test_the_token_is_asked_for_once(opened: Opened) -> None:
    token = "a-token-of-16-or-more"
    queue = FakeQueue(captioned)
    _, page = await opened(queue, WebSettings(token=token))
    await page.choose("#file", CAT)
    await page.until("document.querySelector('#login').open")
    await page.run(
        f"(() => {{ document.querySelector('#token').value = {token!r};"
        "document.querySelector('#login button').click(); })()"
    )
    await page.until(f"{CAPTIONS} === 7")
    await page.run("document.querySelector('#compare').click()")
    await page.until("document.querySelectorAll('#more tbody tr').length === 2")
    assert not await page.run("document.querySelector('#login').open")


async def test_a_photo_that_is_refused_is_explained_in_russian(opened: Opened) -> None:
    from model.errors import TruncatedImage

    _, page = await opened(FakeQueue(lambda job, media: TruncatedImage("x")))
    english = await page.run("[...document.querySelectorAll('[data-words]')].map(e => e.textContent)")
    await page.run(
        "(() => { const l = document.querySelector('#language'); l.value = 'ru';"
        "l.dispatchEvent(new Event('change')); })()"
    )
    russian = await page.run("[...document.querySelectorAll('[data-words]')].map(e => e.textContent)")
    assert [one for one, two in zip(english, russian, strict=True) if one == two] == []
    assert await page.run("document.documentElement.lang") == "ru"
    await page.choose("#file", CAT)
    await page.until("document.querySelector('#error').textContent")
    assert await page.run("document.querySelector('#error').textContent") == "Изображение обрывается."


async def test_it_fits_a_phone(opened: Opened) -> None:
    _, page = await opened(FakeQueue(captioned))
    await page.shape(360, 740, dark=True)
    await page.choose("#file", CAT)
    await page.until(f"{CAPTIONS} === 7")
    assert await page.run("document.documentElement.scrollWidth") <= 360


def test_each_word_is_there_in_both_languages() -> None:
    script = (ROOT / "web" / "static" / "page.js").read_text()
    languages = re.split(r"^  ru: \{", script, maxsplit=1, flags=re.MULTILINE)
    english = set(re.findall(r"(?:^|[{,]) ?\n?\s*(\w+): \"", languages[0]))
    russian = set(re.findall(r"(?:^|[{,]) ?\n?\s*(\w+): \"", languages[1].split("errors: {")[0]))
    assert english == russian
    page = (ROOT / "web" / "static" / "index.html").read_text()
    assert set(re.findall(r'data-words="(\w+)"', page)) <= english
