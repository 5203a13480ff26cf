"""What /find finds, end to end: `python -m benchmarks.finding --data flickr8k --split val`.

A person with history on sends photos of a split to the real bot, its worker and its network behind it, by the loopback
Bot API, and then looks for each with each of its captions. A search is right where the photo is among those that are
shown, so what is said to fit nothing counts against it. Captions of as many photos that were not sent show how often
that is said then.

With `--language ru`, queries are those captions of which there is a Russian translation in the pairs that
`model.training.align_words` reads: in English, then the same in Russian. Photos with such captions are sent first, and
of these first those with captions that the dictionary of Russian words was not made of.
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
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bot.chat_settings import ChatSettings
from model.finding import Finder
from model.network.checkpoint import ENCODER_FILE, fingerprint
from model.network.vocabulary import tokenize
from model.training.data import Example, load_split, resolve_data
from model.training.pairs import Pair, load_pairs, split_pairs
from tests.conftest import ROOT
from tests.support.fake_queue import next_answer
from tests.support.fake_telegram import TOKEN, FakeTelegram, Person
from tests.support.program import environment
from tests.support.records import everything, keep

AT_ONCE: Final = 10  # photos in work
PATIENCE: Final = 600.0  # seconds for an answer
QUICK: Final = ChatSettings(history=True, alt_text=True, beam=False, language="en")


@dataclass(frozen=True)
class Search:
    """rank: of the right photo from 0, among those that were shown; None: it was not."""

    rank: int | None
    shown: int
    seconds: float


def summary(found: Sequence[Search]) -> str:
    """Recall, and how often nothing was said to fit."""
    recall = {most: sum(each.rank is not None and each.rank < most for each in found) for most in (1, 5)}
    shares = {f"recall@{most}": count for most, count in recall.items()} | {
        "nothing fits": sum(not each.shown for each in found)
    }
    return ", ".join(f"{name} {count / len(found):.1%}" for name, count in shares.items())


@dataclass(frozen=True)
class Translated:
    """A caption. held_out: the dictionary of Russian words was not made of it."""

    english: str
    russian: str
    held_out: bool


class Russian:
    """The captions that are translated."""

    def __init__(self, pairs: Sequence[Pair]) -> None:
        parts = split_pairs(pairs)
        self._known = {
            pair.english: Translated(pair.english, pair.russian, part != "train")
            for part in ("train", "val", "test")
            for pair in parts[part]
        }

    def of(self, photo: Example) -> list[Translated]:
        said = dict.fromkeys(" ".join(tokenize(caption)) for caption in photo.captions)
        return [self._known[caption] for caption in said if caption in self._known]

    def wanted(self, photo: Example) -> tuple[bool, bool]:
        """Those that sort last have captions for queries."""
        there = self.of(photo)
        return any(each.held_out for each in there), bool(there)


def drawn(options: argparse.Namespace, russian: Russian | None = None) -> tuple[list[Example], list[Example]]:
    """The photos that are sent, and those that are not. Raises DataError."""
    examples = load_split(resolve_data(options.data), options.split)
    rng = random.Random(options.seed)
    if russian is None:
        chosen = rng.sample(examples, 2 * options.photos)
    else:
        rng.shuffle(examples)
        chosen = sorted(examples, key=russian.wanted, reverse=True)
    return chosen[: options.photos], chosen[options.photos : 2 * options.photos]


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


async def search(person: Person, queries: Sequence[tuple[str, str | None]]) -> list[Search]:
    """queries: the words, and the photo that they describe; None: it was not sent."""
    found = []
    for query, right in queries:
        began = time.monotonic()
        await person.send_text(f"/find {query}")
        shown: list[str] = []
        while "text" not in (message := await next_answer(person, PATIENCE)):
            shown.append(message["photo"][-1]["file_id"])
        rank = shown.index(right) if right in shown else None
        found.append(Search(rank, len(shown), time.monotonic() - began))
    return found


async def ask_in_both(person: Person, queries: Sequence[tuple[Translated, str]], weights: Path) -> None:
    """Print what is found in English and in Russian, of all queries and of those that are held out."""
    english = await search(person, [(each.english, file) for each, file in queries])
    russian = await search(person, [(each.russian, file) for each, file in queries])
    finder = Finder.load(weights, fingerprint(weights / ENCODER_FILE))
    unknown = [bool(finder.find(each.russian, (), b"").unknown) for each, _ in queries]
    everyone = range(len(queries))
    for of, rows in (
        ("captions with a translation", everyone),
        ("of these that the dictionary was not made of", [row for row in everyone if queries[row][0].held_out]),
    ):
        print(f"{len(rows)} {of}, of {len({queries[row][1] for row in rows})} photos")
        if rows:
            print(f"  English: {summary([english[row] for row in rows])}")
            print(f"  Russian: {summary([russian[row] for row in rows])}; with unknown words: ", end="")
            print(f"{sum(unknown[row] for row in rows)}")


async def ask_in_english(
    person: Person, queries: Sequence[tuple[str, str]], absent: Sequence[str], about: argparse.Namespace
) -> None:
    """Print what is found. absent: captions of photos that were not sent."""
    there = await search(person, queries)
    away = await search(person, [(text, None) for text in absent])
    print(
        f"{about.data} {about.split}, {about.photos} photos in a chat, their {len(queries)} captions as queries: "
        f"{summary(there)}"
    )
    nothing = sum(not each.shown for each in away) / len(away)
    print(f"captions of {len(absent)} photos that are not there: nothing fits: {nothing:.1%}")
    print(f"median of a search: {1000 * statistics.median(each.seconds for each in there):.0f} ms")


async def run(options: argparse.Namespace) -> None:
    russian = Russian(load_pairs(resolve_data(options.pairs))) if options.language == "ru" else None
    sent, others = drawn(options, russian)
    rng = random.Random(options.seed + 1)
    weights = Path(options.weights).resolve()
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder)
        async with FakeTelegram() as server:
            person = server.person("Ann")
            await keep(data, person.id, QUICK)
            settings = {"BOT_TOKEN": TOKEN, "TELEGRAM_API_URL": server.url, "ADMIN_IDS": str(person.id)}
            settings |= {"DATA_DIR": folder, "WEIGHTS_DIR": str(weights)}
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
                about = [*zip(sent, files, strict=True)]
                if russian is None:
                    queries = [(text, file) for photo, file in about for text in photo.captions]
                    absent = [rng.choice(photo.captions) for photo in others]
                    await ask_in_english(person, queries, absent, options)
                else:
                    both = [(each, file) for photo, file in about for each in russian.of(photo)]
                    await ask_in_both(person, both, weights)
            finally:
                process.terminate()
                await process.wait()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.finding", description=__doc__.split("\n")[0])
    parser.add_argument("--weights", default="weights")
    parser.add_argument("--data", default="flickr8k")
    parser.add_argument("--split", default="val")
    parser.add_argument("--photos", type=int, default=200, help="in the chat, default 200")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--language", choices=("en", "ru"), default="en", help="of the queries, default en")
    parser.add_argument("--pairs", default="russian/captions_en_ru.tsv", metavar="FILE", help="for --language ru")
    asyncio.run(run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
