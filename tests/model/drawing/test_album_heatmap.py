"""The heatmap sheet of an album, and the worker's way to it."""

import asyncio
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.drawing.album_heatmap import TALLEST, WIDTH, Captioned, draw_contact_sheet
from model.errors import TruncatedImage
from model.serving.jobs import decode_job, decode_outcome, encode_job, encode_outcome
from model.serving.tasks.album import AlbumResult, AlbumTask, pack_album
from model.serving.worker.network import Captioners
from model.serving.worker.worker import Worker
from tests.support.attention_maps import maps
from tests.support.jobs import make_job
from tests.support.pipes import Pipes

SIZES = [(640, 480), (480, 640), (1, 1), (640, 10), (10, 640), (300, 300)]


def captioned(number: int, size: tuple[int, int] = (640, 480), words: int = 9, colour: str = "teal") -> Captioned:
    peaks = maps(*[(1, 1)] * words)
    return Captioned(number, Image.new("RGB", size, colour), tuple(["elephants"] * words), peaks)


@pytest.mark.parametrize("count", [1, 2, 5, 6, 10])
@pytest.mark.parametrize("words", [1, 9, 20])
@pytest.mark.parametrize("size", [*SIZES, None])
def test_any_album_fits_a_sheet_that_telegram_takes(count: int, words: int, size: tuple[int, int] | None) -> None:
    sizes = [size or SIZES[number % len(SIZES)] for number in range(count)]
    sheet = draw_contact_sheet([captioned(number + 1, each, words) for number, each in enumerate(sizes)])
    assert sheet.width == WIDTH
    assert 64 < sheet.height <= TALLEST


def test_photos_stand_in_their_order_each_beside_what_it_looked_at() -> None:
    colours = ["red", "lime", "blue"]
    sheet = draw_contact_sheet([captioned(n, (64, 64), colour=colour) for n, colour in enumerate(colours, 1)])
    pixels = np.asarray(sheet).astype(int)
    rows = [np.nonzero((pixels == colour).all(axis=2))[0].mean() for colour in ([255, 0, 0], [0, 255, 0], [0, 0, 255])]
    assert rows == sorted(rows)
    first = pixels[: sheet.height // 3, WIDTH // 2 :]  # to the right of the photo: nothing but its maps
    assert (first[..., 0] > first[..., 2] + 60).any()


def test_the_words_shown_are_those_with_something_to_look_at() -> None:
    """Ten photos leave no room for all words: a word's map is shown before an article's, though this looked harder."""
    words = ("a",) * 8 + ("dog",)
    black = Image.new("RGB", (480, 480), "black")
    items = [Captioned(number, black, words, np.concatenate([maps((0, 0))] * 8 + [maps((7, 7))])) for number in (1, 2)]
    shown = np.asarray(draw_contact_sheet(items * 5).convert("L")).astype(int)
    without = [Captioned(each.number, black, ("a",) * 9, each.attention) for each in items]
    assert (shown - np.asarray(draw_contact_sheet(without * 5).convert("L")).astype(int)).any()


def test_a_photo_without_attention_is_shown_alone() -> None:
    photo = Image.new("RGB", (64, 48), "teal")
    sheet = draw_contact_sheet([Captioned(1, photo, ("a", "dog"), None), Captioned(2, photo, (), None)])
    assert sheet.size[0] == WIDTH


def test_album_jobs_and_results_survive_the_wire() -> None:
    job = make_job("7", 1, AlbumTask, captions=("a dog", "", "Straße"))
    assert decode_job(encode_job(job)) == job
    result = AlbumResult(b"jpeg", 2)
    assert decode_outcome(*encode_outcome(result)) == result


@pytest.mark.slow
async def test_the_worker_draws_what_it_can_of_an_album(captioners: Captioners, photo_files: list[Path]) -> None:
    stop = asyncio.Event()
    async with Pipes() as pipes:
        working = asyncio.create_task(Worker(pipes.consumer, captioners, threads=2, max_batch=2).run(stop))
        photos = [file.read_bytes() for file in photo_files[:3]]
        media = pack_album([photos[0], b"", photos[1], photos[2][:500]])
        await pipes.queue.put(make_job("album", 1, AlbumTask, captions=("a woman", "", "a cat", "a cup")), media)
        await pipes.queue.put(
            make_job("none", 2, AlbumTask, captions=("a woman", "a cup")), pack_album([b"", photos[2][:500]])
        )
        result = await pipes.queue.wait("album")
        assert isinstance(result, AlbumResult)
        assert result.drawn == 2
        assert Image.open(io.BytesIO(result.sheet)).size[0] == WIDTH
        with pytest.raises(TruncatedImage):
            await pipes.queue.wait("none")
        stop.set()
        await working
