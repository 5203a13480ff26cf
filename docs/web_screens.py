"""The page of the web, as pictures for the documentation: `python -m docs.web_screens`.

The real program, with its network, in the Chromium of this machine.
"""

from __future__ import annotations

import asyncio
import io
import shutil
import tempfile
from pathlib import Path
from typing import Final

from PIL import Image
from playwright.async_api import Browser, ViewportSize, async_playwright

from tests.support.program import Program, running
from tests.support.redis_server import free_port
from tests.support.web import answered, at

DOCS: Final = Path(__file__).parent
PHOTO: Final = DOCS.parent / "tests" / "photos" / "temple.jpg"
WORD: Final = "tower"
SIZES: Final = {"web-desktop": (1200, 760), "web-phone": (390, 760)}


async def draw(browser: Browser, url: str, name: str) -> None:
    """The page with a photo, its captions, and where the network finds one word."""
    width, height = SIZES[name]
    page = await browser.new_page(viewport=ViewportSize(width=width, height=height), locale="en-GB")
    page.set_default_timeout(300_000)
    await page.goto(url)
    await page.set_input_files("#file", PHOTO)
    await page.locator("#captions li.main .word", has_text=WORD).click()
    await page.mouse.move(1, 1)
    await page.evaluate("scrollTo(0, innerWidth < 600 ? document.querySelector('#photo').offsetTop : 0)")
    picture = Image.open(io.BytesIO(await page.screenshot())).convert("RGB")
    picture.save(DOCS / f"{name}.jpg", quality=85)


async def main() -> None:
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        program = Program(Path(folder), "web", WEB_PORT=str(port))
        async with running(program), at(port) as client, async_playwright() as playwright:
            await answered(client, program, lambda health: health.json()["workers"])
            browser = await playwright.chromium.launch(executable_path=shutil.which("chromium"))
            for name in SIZES:
                await draw(browser, str(client.base_url), name)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
