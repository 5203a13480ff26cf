"""Vectors of photos by a worker with the shipped weights, and photos found among them."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from model.errors import JobFailed
from model.found import NAME_BYTES, Found, Kept, Vector
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import Job
from model.serving.tasks.base import Task
from model.serving.tasks.find import FindResult, FindTask
from model.serving.tasks.photo import PhotoResult, PhotoTask
from model.serving.tasks.vector import VectorResult, VectorTask
from model.serving.worker.network import Captioners
from tests.conftest import PHOTOS, WEIGHTS
from tests.support.pipes import serving

NAMES = sorted(path.stem for path in PHOTOS.glob("*.jpg"))
ID = {name.encode().ljust(NAME_BYTES)[:NAME_BYTES]: name for name in NAMES}


async def ask(queue: LocalQueue, task: Task, media: bytes) -> Any:
    job = Job(f"{task.NAME}-{id(task)}", 1, task, place="chat")
    await queue.put(job, media)
    try:
        return await asyncio.wait_for(queue.wait(job.id), 120)
    finally:
        await queue.forget(job.id)


async def vector_of(queue: LocalQueue, name: str, **options: Any) -> Vector | None:
    task = PhotoTask(samples=0, sheet=False, picture=name, vector=True, **options)
    found = await ask(queue, task, b"" if options.get("known") else (PHOTOS / f"{name}.jpg").read_bytes())
    assert isinstance(found, PhotoResult)
    return found.vector


@pytest.mark.slow
async def test_photos_are_found_by_words_in_both_languages(captioners: Captioners) -> None:
    async with serving(captioners) as queue:
        plain = await ask(queue, PhotoTask(samples=0, sheet=False), (PHOTOS / "cat.jpg").read_bytes())
        assert plain.vector is None  # nobody asked
        vectors = {name: await vector_of(queue, name) for name in NAMES}
        assert all(vector is not None for vector in vectors.values())
        assert await vector_of(queue, "cat", known=True) == vectors["cat"]  # of kept features
        alone = await ask(queue, VectorTask(), (PHOTOS / "cat.jpg").read_bytes())
        assert isinstance(alone, VectorResult)
        assert alone.vector == vectors["cat"]
        made = next(vector for vector in vectors.values() if vector is not None)
        kept = (Kept("another", 1, 3), Kept(made.model, len(NAMES), len(made.values)))
        media = b"0" * (NAME_BYTES + 3)
        for key, name in ID.items():
            vector = vectors[name]
            assert vector is not None
            media += key + vector.values
        for text, right in (("a cat", "cat"), ("кошка", "cat"), ("a cup of coffee on a table", "coffee")):
            result = await ask(queue, FindTask(text=text, kept=kept), media)
            assert isinstance(result, FindResult)
            assert result.found.compared == len(NAMES)
            assert ID[bytes.fromhex(result.found.hits[0].name)] == right
        nothing = await ask(queue, FindTask(text="two men play football", kept=kept), media)
        assert nothing == FindResult(Found((), compared=len(NAMES)))


@pytest.mark.slow
async def test_without_the_weights_photos_are_answered_and_nothing_is_found(tmp_path: Path) -> None:
    for name in ("encoder", "attention"):
        shutil.copy(WEIGHTS / f"{name}.safetensors", tmp_path)
    async with serving(Captioners(tmp_path, "cpu", "attention", "fp32")) as queue:
        assert await vector_of(queue, "cat") is None
        for task, media in ((FindTask(text="a cat"), b""), (VectorTask(), (PHOTOS / "cat.jpg").read_bytes())):
            with pytest.raises(JobFailed):
                await ask(queue, task, media)
