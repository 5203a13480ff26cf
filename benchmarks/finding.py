"""What /find finds, end to end: `python -m benchmarks.finding --data flickr8k --split val`.

A person with history on sends photos of a split to the real bot, its worker and its network behind it, by the loopback
Bot API, and then looks for each with each of its captions. A search is right where the photo is among those that are
shown, so what is said to fit nothing counts against it. Captions of as many photos that were not sent show how often
that is said then.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bot.chat_settings import ChatSettings
from model.training.data import Example, load_split, resolve_data
from tests.conftest import ROOT
from tests.support.fake_queue import next_answer
from tests.support.fake_telegram import TOKEN, FakeTelegram, Person
from tests.support.program import environment
from tests.support.records import everything, keep

AT_ONCE: Final = 10  # photos in work
PATIENCE: Final = 600.0  # seconds for an answer
QUICK: Final = ChatSettings(history=True, alt_text=True, beam=False, language="en")


@dataclass
class Searches:
    """ranks: of the right photo from 0, among those that were shown; None: it was not."""

    ranks: list[int | None] = field(default_factory=list)
    nothing: int = 0  # times that nothing was said to fit
    seconds: list[float] = field(default_factory=list)

    def share(self, most: int) -> float:
        """Recall at `most`."""
        return sum(rank is not None and rank < most for rank in self.ranks) / len(self.ranks)


def drawn(options: argparse.Namespace) -> tuple[list[Example], list[Example]]:
    """The photos that are sent, and those that are not. Raises DataError."""
    examples = load_split(resolve_data(options.data), options.split)
    chosen = random.Random(options.seed).sample(examples, 2 * options.photos)
    return chosen[: options.photos], chosen[options.photos :]


async def send(person: Person, photos: Sequence[Example], folder: Path) -> list[str]:
    """The file ids of the photos, once all are answered."""
    files = []
    for start in range(0, len(photos), AT_ONCE):
        part = photos[start : start + AT_ONCE]
        for photo in part:
            message = await person.send_photo(photo.path.read_bytes())
            files.append(message["photo"][-1]["file_id"])
        for _ in part:
            await next_answer(person, PATIENCE)
    kept = everything(folder).count('"values"')
    print(f"{len(files)} photos answered, {kept} of them can be found", flush=True)
    return files


async def search(person: Person, queries: Sequence[str], files: Sequence[str | None]) -> Searches:
    """files: the photo that each query describes; None: it was not sent."""
    found = Searches()
    for query, right in zip(queries, files, strict=True):
        began = time.monotonic()
        await person.send_text(f"/find {query}")
        shown: list[str] = []
        while "text" not in (message := await next_answer(person, PATIENCE)):
            shown.append(message["photo"][-1]["file_id"])
        found.seconds.append(time.monotonic() - began)
        found.ranks.append(shown.index(right) if right in shown else None)
        found.nothing += not shown
    return found


async def run(options: argparse.Namespace) -> None:
    sent, others = drawn(options)
    rng = random.Random(options.seed + 1)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        async with FakeTelegram() as server:
            person = server.person("Ann")
            await keep(data, person.id, QUICK)
            settings = {"BOT_TOKEN": TOKEN, "TELEGRAM_API_URL": server.url, "ADMIN_IDS": str(person.id)}
            settings |= {"DATA_DIR": folder, "WEIGHTS_DIR": str(Path(options.weights).resolve())}
            with (data / "log").open("wb") as log:
                process = await asyncio.create_subprocess_exec(
                    *(sys.executable, "-m", "benchmarks.serving.bot", "--unpaced"),
                    cwd=ROOT,
                    env=environment(**settings) | {"DEVICE": options.device},
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            try:
                files = await send(person, sent, data)
                queries = [(text, file) for each, file in zip(sent, files, strict=True) for text in each.captions]
                there = await search(person, *zip(*queries, strict=True))
                absent = await search(person, [rng.choice(each.captions) for each in others], [None] * len(others))
            finally:
                process.terminate()
                await process.wait()
    print(
        f"{options.data} {options.split}, {len(files)} photos in a chat, their {len(queries)} captions as queries: "
        f"recall@1 {there.share(1):.1%}, recall@5 {there.share(5):.1%}, nothing fits {there.nothing / len(queries):.1%}"
    )
    print(f"captions of {len(others)} photos that are not there: nothing fits: {absent.nothing / len(others):.1%}")
    print(f"median of a search: {1000 * statistics.median(there.seconds):.0f} ms")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finding", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights")
    parser.add_argument("--data", default="flickr8k")
    parser.add_argument("--split", default="val")
    parser.add_argument("--photos", type=int, default=200, help="in the chat, default 200")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    asyncio.run(run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
