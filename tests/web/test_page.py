"""The page in a real browser, on a queue whose answers a test decides."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import io
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any, Final

import pytest
import pytest_asyncio
from axe_playwright_python.async_playwright import Axe
from PIL import Image
from playwright.async_api import Browser, Page, async_playwright, expect

from model.doubt import NotPhoto
from model.drawing.colour_vision import GAP, TITLE
from model.drawing.labels import RUSSIAN as RUSSIAN_LABELS
from model.errors import FeaturesGone, TruncatedImage
from model.found import Found, Hit, Vector, numbered
from model.serving.jobs import Job, JobFailure
from model.serving.tasks.colours import ColoursResult, ColoursTask, _draw
from model.serving.tasks.find import FindResult, FindTask
from model.serving.tasks.photo import PhotoResult
from model.serving.tasks.tags import TagsResult, TagsTask
from model.serving.tasks.vector import VectorResult, VectorTask
from model.tagging.answers import Tag
from tests.conftest import PHOTOS
from tests.support.corpus import encoded
from tests.support.fake_queue import FakeQueue, eventually, last
from tests.support.jobs import clip_of, photo_of
from tests.support.local_queue import RUSSIAN, WORKER, answer, clip_result, joined_queue, take
from tests.support.web import Web, captioned, served
from web.settings import WebSettings

CHROMIUM: Final = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed: apt-get install chromium"),
    pytest.mark.timeout(300),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(120),  # of scripts and of its own messages Playwright waits for ever
]

PATIENCE = 60.0  # seconds for one thing that the browser is to do
CAT = PHOTOS / "cat.jpg"
CLIP: Any = {"name": "clip.mp4", "mimeType": "video/mp4", "buffer": b"a clip"}
HEAT = (
    "() => { const c = document.querySelector('#heat'); if (!c.width || !c.height) return 0;"
    "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.reduce((a, b) => a + b, 0); }"
)
WARMTH = (  # the heat in the middle of each quarter of the photo, in [0, 255]
    "() => { const c = document.querySelector('#heat'), at = (x, y) => c.getContext('2d')"
    ".getImageData(x * c.width, y * c.height, 1, 1).data[3];"
    "return [at(0.1, 0.1), at(0.9, 0.1), at(0.1, 0.9), at(0.9, 0.9)]; }"
)
PIXELS = (  # of the last picture, at some points
    "(points) => { const image = document.querySelector('#more img');"
    "const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), context = canvas.getContext('2d');"
    "context.drawImage(image, 0, 0);"
    "return points.map(([x, y]) => [...context.getImageData(x, y, 1, 1).data.slice(0, 3)]); }"
)
FILES = (
    "(photo) => { const bytes = Uint8Array.from(atob(photo), (c) => c.charCodeAt(0)); const files = new DataTransfer();"
    "files.items.add(new File([bytes], 'cat.jpg', {type: 'image/jpeg'})); return files; }"
)
COPY = (
    "async () => { const image = document.querySelector('#picture');"
    "const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight);"
    "canvas.getContext('2d').drawImage(image, 0, 0);"
    "await navigator.clipboard.write([new ClipboardItem({'image/png': await canvas.convertToBlob()})]); }"
)

Opened = Callable[..., Any]
expect.set_options(timeout=1000 * PATIENCE)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--disable-gpu"], timeout=1000 * PATIENCE
        )
        yield browser
        await asyncio.wait_for(browser.close(), PATIENCE)


@pytest_asyncio.fixture(loop_scope="module")
async def opened(browser: Browser) -> AsyncIterator[Opened]:
    """Opens the page of a queue; at the end no script may have failed, nor broken the content security policy."""
    async with AsyncExitStack() as stack:
        complaints: list[str] = []

        async def open_page(queue: Any, settings: WebSettings | None = None) -> tuple[Web, Page]:
            web = await stack.enter_async_context(served(queue, settings))
            context = await browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
            stack.push_async_callback(context.close)
            await context.grant_permissions(["clipboard-read", "clipboard-write"])
            page = await context.new_page()
            page.set_default_timeout(1000 * PATIENCE)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if "Policy" in said.text else None)
            await page.goto(str(web.client.base_url))
            return web, page

        yield open_page
        assert complaints == []


async def show(page: Page, file: Any = CAT, captions: int = 7) -> None:
    """Choose a photo and wait for its captions."""
    await page.set_input_files("#file", file)
    await expect(page.locator("#captions li")).to_have_count(captions)


async def test_words_show_where_the_network_looked(opened: Opened) -> None:
    _, page = await opened(FakeQueue(captioned))
    await show(page)
    main = page.locator("#captions li.main")
    await expect(main).to_contain_text("a cat on a red sofa")
    await expect(page.locator("#status")).to_contain_text("a cat on a red sofa")
    word, stage = main.locator(".word").first, page.locator("#stage")
    plain = await stage.screenshot(), await word.screenshot()
    await word.hover()
    await page.wait_for_function(f"({HEAT})() > 0")
    assert plain[0] != await stage.screenshot()
    assert plain[1] != await word.screenshot()  # what is under the cursor
    await expect(page.locator("#looked")).to_contain_text("of its attention")
    await page.hover("h1")
    await page.wait_for_function(f"({HEAT})() === 0")


async def test_russian_words_show_where_the_network_looked_for_the_english_ones(opened: Opened) -> None:
    web, page = await opened(FakeQueue(captioned))
    await page.select_option("#language", "ru")  # captions follow it
    await show(page)
    main = page.locator("#captions li.main")
    words = main.locator("span[lang=ru] .word")
    await expect(words).to_have_text(["кошка", "на", "красном", "диване"])
    await expect(page.locator("#status")).to_contain_text("кошка на красном диване")
    await expect(main.locator("[lang=en]")).to_be_hidden()
    plain = await page.locator("#stage").screenshot()
    await words.first.hover()
    await page.wait_for_function(f"({HEAT})() > 0")
    assert plain != await page.locator("#stage").screenshot()
    await expect(page.locator("#looked")).to_contain_text("«кошка» (a cat)")
    left, right, *below = await page.evaluate(WARMTH)  # "a" looks at the first region, "cat" at the second
    assert min(left, right) > 3 * max(below)
    await words.last.focus()
    left, right, *below = await page.evaluate(WARMTH)
    assert right > 3 * max(left, *below)
    await main.locator("summary").press("Enter")
    english = main.locator("[lang=en] .word")
    await expect(english).to_have_text(["a", "cat", "on", "a", "red", "sofa"])
    await english.nth(2).click()
    await expect(page.locator("#looked")).to_contain_text("«on»")
    await expect(english.nth(2)).to_have_attribute("aria-pressed", "true")
    failed = page.locator("#captions li").last
    await expect(failed.locator("[lang=en] .word")).to_have_text(["a", "cat", "with", "5", "<legs>"])
    await expect(failed).to_contain_text("перевод ненадёжен")
    await main.locator(".weigh").click()
    await expect(page.locator("#more tbody th").nth(1)).to_have_text("<кошка> (<cat>) 41 %")
    asked = photo_of(last(web.queue))
    assert (asked.explain, asked.language) == ("a cat on a red sofa", "ru")
    await page.click("#compare")
    await expect(page.locator("#more .model [lang=ru]")).to_have_count(2)


async def test_captions_are_shown_in_another_language_than_the_page_is(opened: Opened) -> None:
    web, page = await opened(FakeQueue(captioned))
    await show(page)
    await page.click("#options button")
    await eventually(lambda: len(web.queue.jobs) == 2)
    drawn = photo_of(last(web.queue))
    await page.select_option("#spoken", "ru")
    main = page.locator("#captions li.main")
    await expect(main.locator("[lang=ru]")).to_have_count(1)
    await expect(page.locator("html")).to_have_attribute("lang", "en")
    assert photo_of(last(web.queue)) == dataclasses.replace(  # the same samples
        drawn, language="ru", labels=RUSSIAN_LABELS
    )
    await page.select_option("#language", "ru")
    await page.select_option("#spoken", "en")
    await expect(main.locator("[lang=ru]")).to_have_count(0)
    await expect(main.locator("summary")).to_have_count(0)
    assert photo_of(last(web.queue)) == drawn
    await page.select_option("#spoken", "")
    await expect(main.locator("[lang=ru]")).to_have_count(1)


async def test_the_moments_of_a_clip_are_in_russian(opened: Opened) -> None:
    queue = joined_queue()
    _, page = await opened(queue)
    await page.select_option("#spoken", "ru")
    await page.set_input_files("#file", CLIP)
    assert clip_of((await answer(queue, clip_result(2, translation=RUSSIAN))).job).language == "ru"
    moments = page.locator("#moments li")
    await expect(moments.locator("[lang=ru]")).to_have_text(["сцена", "сцена"])
    await expect(moments.first.locator("[lang=en]")).to_be_hidden()
    await moments.first.locator("summary").click()
    await expect(moments.first.locator("[lang=en]")).to_have_text("scene <0>")
    await page.select_option("#spoken", "en")
    lease = await take(queue)
    await page.select_option("#spoken", "ru")  # while it is in work: it is asked about again
    await queue.finish(WORKER, lease.job.id, clip_result(2))
    await answer(queue, clip_result(2, translation=dataclasses.replace(RUSSIAN, failed=("low probability",))))
    await expect(moments.locator("[lang=en]").first).to_have_text("scene <0>")
    await expect(moments.first).to_contain_text("the translation is not certain")


# As computed apart from this program: Machado's matrices of severity 1.0, and Brettel's method with the constants of
# libDaltonLens, of which each half-plane has two of these colours.
SEEN: Final = {
    "protanopia": [(92, 82, 38), (163, 145, 49), (0, 93, 204), (203, 179, 0)],
    "deuteranopia": [(131, 117, 32), (149, 136, 68), (0, 79, 198), (215, 192, 49)],
    "tritanopia": [(201, 32, 71), (80, 147, 170), (0, 98, 124), (239, 168, 175)],
}
PAINTED: Final = [(200, 40, 40), (40, 160, 60), (50, 70, 200), (230, 180, 40)]
SQUARE = 64  # pixels


async def test_a_photo_is_shown_beside_what_is_seen_with_each_colour_vision_deficiency(opened: Opened) -> None:
    def outcome(job: Job, media: bytes) -> PhotoResult | ColoursResult:
        return _draw(media, job.task) if isinstance(job.task, ColoursTask) else captioned(job, media)

    picture, out = Image.new("RGB", (4 * SQUARE, SQUARE)), io.BytesIO()
    for at, colour in enumerate(PAINTED):
        picture.paste(colour, (SQUARE * at, 0, SQUARE * (at + 1), SQUARE))
    picture.save(out, "PNG")
    _, page = await opened(FakeQueue(outcome))
    await show(page, {"name": "squares.png", "mimeType": "image/png", "buffer": out.getvalue()})
    middles = [(SQUARE * at + SQUARE // 2, TITLE + SQUARE // 2) for at in range(4)]
    points = middles + [(picture.width + GAP + x, y) for x, y in middles]
    for kind, seen in SEEN.items():
        await page.select_option("#colours select", kind)
        await page.click("#colours button")
        await expect(page.locator(f"#more img[alt={kind}]")).to_have_js_property("complete", True)
        found = await page.evaluate(PIXELS, points)
        assert found == [pytest.approx(colour, abs=2) for colour in (*PAINTED, *seen)], kind


async def test_what_is_no_photo_gets_captions_only_on_request_and_an_unsure_one_is_hedged(opened: Opened) -> None:
    def refused(job: Job, media: bytes) -> PhotoResult:
        return dataclasses.replace(captioned(job, media), not_photo=NotPhoto("text", 0.97), sheet=None)

    _, page = await opened(FakeQueue(refused))
    await show(page, captions=1)
    words = "This looks like text or a screenshot; I only describe photos."
    await expect(page.locator("#captions li.main")).to_contain_text(words)
    await expect(page.locator("#status")).to_contain_text(words)
    await page.click("#options button")
    await expect(page.locator("#captions li")).to_have_count(6)
    await expect(page.locator("#captions li.main")).to_contain_text(words)

    for confidence, said in ((0.2, "perhaps: a cat"), (0.4, "a cat")):

        def doubtful(job: Job, media: bytes, confidence: float = confidence) -> PhotoResult:
            found = captioned(job, media)
            assert found.best is not None
            best = dataclasses.replace(found.best, confidence=confidence, beginning="a cat")
            return dataclasses.replace(found, best=best)

        _, page = await opened(FakeQueue(doubtful))
        await show(page, captions=8)
        await expect(page.locator("#captions li.main")).to_contain_text(said)
        await expect(page.locator("#captions li.main")).not_to_contain_text("sofa")
        assert ("perhaps" in await page.locator("#captions li.main").inner_text()) == said.startswith("perhaps")
        await expect(page.locator("#status")).to_contain_text(said)


async def test_sliders_draw_other_captions_without_sending_the_photo_again(opened: Opened) -> None:
    web, page = await opened(FakeQueue(captioned))
    await show(page)
    await page.locator("#samples").fill("2")
    await expect(page.locator("#captions li")).to_have_count(4)
    await expect(page.locator("output[for=samples]")).to_have_text("2")
    drawn = photo_of(last(web.queue))
    assert (drawn.known, drawn.samples) == (True, 2)
    await page.click("#options button")
    await eventually(lambda: len(web.queue.jobs) == 3)
    again = photo_of(last(web.queue))
    assert (again.known, again.samples) == (True, 2)
    assert again.seed != drawn.seed


async def test_a_photo_that_the_worker_does_not_know_is_sent_again(opened: Opened) -> None:
    """With several workers that is common."""

    def knows_none(job: Job, media: bytes) -> PhotoResult | Exception:
        return captioned(job, media) if media else FeaturesGone("another worker has them")

    web, page = await opened(FakeQueue(knows_none))
    await show(page)
    await page.locator("#samples").fill("2")
    await expect(page.locator("#captions li")).to_have_count(4)
    sent = photo_of(last(web.queue))
    assert (sent.known, sent.samples) == (False, 2)


async def test_words_weighed_both_models_and_the_visits_history(opened: Opened) -> None:
    web, page = await opened(FakeQueue(captioned))
    await show(page)
    await page.locator(".weigh").first.click()
    await expect(page.locator("#more tbody tr")).to_have_count(3)
    await expect(page.locator("#more")).to_contain_text("<cat> 41 %")
    await page.click("#compare")
    await expect(page.locator("#more .model")).to_have_count(2)
    assert {photo_of(job).model for job in web.queue.jobs.values()} == {"attention", "baseline"}
    await show(page, PHOTOS / "temple.jpg")
    asked = len(web.queue.jobs)
    await expect(page.locator("#history button")).to_have_count(2)
    await page.locator("#history button").last.click()
    await expect(page.locator("#captions li")).to_have_count(7)
    await expect(page.locator("#more")).to_be_empty()
    assert len(web.queue.jobs) == asked


async def test_tags_are_judged(opened: Opened) -> None:
    def judged(job: Job, media: bytes) -> PhotoResult | TagsResult:
        if not isinstance(job.task, TagsTask):
            return captioned(job, media)
        tags = (Tag(name, 0.53 if name == "dog" else 0.1, holds=name == "dog") for name in job.task.tags)
        return TagsResult((*tags, Tag("minibar", None, unknown=("minibar",))))

    web, page = await opened(FakeQueue(judged))
    await show(page)
    await page.click("#tags button")
    await expect(page.locator("#more li")).to_have_text(["dog · 53 %"])
    await page.fill("#tags input", "cat, sofa")
    await page.keyboard.press("Enter")
    await expect(page.locator("#more li")).to_have_text(["None fits.", "minibar cannot be judged; unknown: minibar"])
    await expect(page.locator("#status")).to_contain_text("None fits.")
    asked = last(web.queue).task
    assert isinstance(asked, TagsTask)
    assert (asked.tags, asked.known) == (("cat", "sofa"), True)


async def test_photos_of_the_visit_are_found_by_words(opened: Opened) -> None:
    said = Found((Hit(numbered(1), 0.71),), ("xylophone",), compared=2)

    def outcome(job: Job, media: bytes) -> Any:
        match job.task:
            case VectorTask():
                return VectorResult(Vector("mine", b"x"))
            case FindTask():
                return FindResult(said)
        return captioned(job, media)

    _, page = await opened(FakeQueue(outcome))
    for file in (CAT, PHOTOS / "coffee.jpg"):
        await show(page, file)
    first = await page.locator("#history img").last.get_attribute("src")
    await page.fill("#find input", "a cat on a xylophone")
    await page.keyboard.press("Enter")
    await expect(page.locator("#status")).to_have_text(
        "Photos found: 1. Words that are not known, and were left out: xylophone."
    )
    await expect(page.locator("#found button")).to_have_text(["a cat on a red sofa · 71 %"])
    assert await page.locator("#found img").get_attribute("src") == first
    await page.click("#found button")
    assert await page.locator("#picture").get_attribute("src") == first
    await page.select_option("#language", "ru")
    said = Found((), compared=2)
    await page.fill("#find input", "кошка")
    await page.keyboard.press("Enter")
    await expect(page.locator("#status")).to_have_text("Ничего подходящего нет.")
    await expect(page.locator("#found li")).to_have_count(0)
    await page.fill("#find input", "🐈")
    await page.keyboard.press("Enter")
    await expect(page.locator("#error")).to_contain_text("Напишите словами")
    said = Found((), ("ксилофон",), understood=False)
    await page.fill("#find input", "ксилофон")
    await page.keyboard.press("Enter")
    await expect(page.locator("#error")).to_contain_text("Ни одно из этих слов не известно")


async def test_a_photo_is_dropped_and_pasted(opened: Opened) -> None:
    web, page = await opened(FakeQueue(captioned))
    photo = base64.b64encode(CAT.read_bytes()).decode()
    files = await page.evaluate_handle(FILES, photo)
    await page.dispatch_event("#drop", "drop", {"dataTransfer": files})
    await expect(page.locator("#captions li")).to_have_count(7)
    await page.evaluate(COPY)
    await page.keyboard.press("Control+V")
    await expect(page.locator("#history button")).to_have_count(2)
    assert len(web.queue.jobs) == 2


async def test_the_keyboard_is_enough(opened: Opened) -> None:
    _, page = await opened(FakeQueue(captioned))

    async def tab(selector: str) -> None:
        for _ in range(80):
            await page.keyboard.press("Tab")
            if await page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"the Tab key does not lead to {selector}")

    page.once("filechooser", lambda chooser: chooser.set_files(CAT))
    await tab("#file")
    await page.keyboard.press("Enter")
    await expect(page.locator("#captions li")).to_have_count(7)
    await tab(".word")
    assert await page.evaluate(HEAT) > 0
    await page.keyboard.press("Enter")
    assert await page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    await tab("#temperature")
    await page.keyboard.press("ArrowRight")
    await expect(page.locator("#temperature")).to_have_value("0.7")
    await tab("#compare")
    await page.keyboard.press("Enter")
    await expect(page.locator("#more .model")).to_have_count(2)


async def test_a_clip_shows_its_progress_and_its_moments_and_another_is_cancelled(opened: Opened) -> None:
    queue = joined_queue()
    web, page = await opened(queue)
    await page.set_input_files("#file", CLIP)
    lease = await take(queue)
    await queue.progress(WORKER, lease.job.id, 0.4)
    await expect(page.locator("#progress")).to_have_js_property("value", 40)
    await queue.finish(WORKER, lease.job.id, clip_result(3))
    await expect(page.locator("#moments img")).to_have_count(3)
    await expect(page.locator("#timeline line")).to_have_count(3)
    assert await page.evaluate("[...document.querySelectorAll('#moments img')].every((each) => each.naturalWidth > 0)")
    await page.set_input_files("#file", CLIP)
    await take(queue)
    await page.click("#cancel")
    await eventually(lambda: not queue._entries)
    await expect(page.locator("#working")).to_be_hidden()
    assert await web.metric('caption_web_cancelled_jobs_total{why="asked"}') == 1


async def test_a_clip_goes_on_while_photos_are_looked_for(opened: Opened) -> None:
    queue = joined_queue()
    _, page = await opened(queue)
    await page.set_input_files("#file", CAT)
    lease = await take(queue, "photo")
    await queue.finish(WORKER, lease.job.id, captioned(lease.job))
    await expect(page.locator("#history li")).to_have_count(1)
    await page.set_input_files("#file", CLIP)
    clip = await take(queue)
    await page.fill("#find input", "a cat")
    await page.keyboard.press("Enter")
    lease = await take(queue, "photo")
    await queue.finish(WORKER, lease.job.id, VectorResult(Vector("mine", b"x")))
    lease = await take(queue, "photo")
    await queue.finish(WORKER, lease.job.id, FindResult(Found((Hit(numbered(0), 0.71),), compared=1)))
    await expect(page.locator("#found button")).to_have_count(1)
    await expect(page.locator("#working")).to_be_visible()
    await queue.finish(WORKER, clip.job.id, clip_result(3))
    await expect(page.locator("#moments img")).to_have_count(3)


async def test_large_photos_are_looked_at_in_small_copies(opened: Opened) -> None:
    sizes: list[int] = []

    def outcome(job: Job, media: bytes) -> Any:
        match job.task:
            case VectorTask():
                sizes.append(max(Image.open(io.BytesIO(media)).size))
                return VectorResult(Vector("mine", b"x"))
            case FindTask():
                return FindResult(Found((), compared=1))
        return captioned(job, media)

    _, page = await opened(FakeQueue(outcome))
    noise = Image.effect_noise((2000, 1500), 80)
    await show(page, {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": encoded(noise, "JPEG", quality=90)})
    await page.fill("#find input", "a cat")
    await page.keyboard.press("Enter")
    await expect(page.locator("#status")).to_have_text("Nothing fits well.")
    assert sizes == [853]


async def test_a_picture_that_moves_is_sent_as_a_clip(opened: Opened) -> None:
    queue = joined_queue()
    _, page = await opened(queue)
    await page.set_input_files("#file", {**CLIP, "name": "a.webp", "mimeType": "image/webp"})
    lease = await take(queue, "photo")
    await queue.fail(WORKER, lease.job.id, JobFailure("animated", "it moves"))
    lease = await take(queue)
    await queue.finish(WORKER, lease.job.id, clip_result(3))
    await expect(page.locator("#moments img")).to_have_count(3)


async def test_the_token_is_asked_for_until_it_is_right_and_then_no_more(opened: Opened) -> None:
    token = "a-token-of-16-or-more"
    _, page = await opened(FakeQueue(captioned), WebSettings(token=token))
    await page.set_input_files("#file", CAT)
    await expect(page.locator("#login")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.locator("#error")).not_to_be_empty()
    await page.set_input_files("#file", CAT)
    for tried in ("wrong", token):
        await page.fill("#token", tried)
        await page.keyboard.press("Enter")
    await expect(page.locator("#captions li")).to_have_count(7)
    await page.click("#compare")
    await expect(page.locator("#more .model")).to_have_count(2)
    await expect(page.locator("#login")).to_be_hidden()


async def test_a_photo_that_is_refused_is_explained_in_russian(opened: Opened) -> None:
    _, page = await opened(FakeQueue(lambda job, media: TruncatedImage("x")))
    words = page.locator("[data-words]")
    english = await words.all_text_contents()
    await page.select_option("#language", "ru")
    russian = await words.all_text_contents()
    assert [one for one, two in zip(english, russian, strict=True) if one == two] == []
    await expect(page.locator("html")).to_have_attribute("lang", "ru")
    await page.set_input_files("#file", CAT)
    await expect(page.locator("#error")).to_have_text("Изображение обрывается.")


async def test_it_is_accessible_and_fits_in_light_and_dark_on_desktop_and_phone(opened: Opened) -> None:
    queue = joined_queue()
    _, clips = await opened(queue)
    await clips.select_option("#spoken", "ru")
    await clips.set_input_files("#file", CLIP)
    await answer(queue, clip_result(3, translation=RUSSIAN))
    await expect(clips.locator("#moments img")).to_have_count(3)
    await clips.locator("summary").first.click()
    _, photos = await opened(FakeQueue(captioned))
    await photos.select_option("#spoken", "ru")
    await show(photos)
    await photos.locator(".weigh").first.click()
    await expect(photos.locator("#more tbody tr")).to_have_count(3)
    await photos.locator("summary").first.click()
    await photos.locator(".word").first.click()
    for page in (clips, photos):
        for width, height in ((1280, 900), (360, 740)):
            await page.set_viewport_size({"width": width, "height": height})
            for scheme in ("light", "dark"):
                await page.emulate_media(color_scheme=scheme)
                found = (await Axe().run(page)).response["violations"]
                assert [(each["id"], each["nodes"]) for each in found] == [], (width, scheme)
            assert await page.evaluate("document.documentElement.scrollWidth") <= width
