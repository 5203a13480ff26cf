"""Tags and rankings by a worker: its features are kept, also for captions, and what cannot be done is said."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest

from model.errors import AnimatedPicture, FeaturesGone, JobFailed
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import Job
from model.serving.tasks.base import Task
from model.serving.tasks.photo import PhotoTask
from model.serving.tasks.rank import RankResult, RankTask
from model.serving.tasks.tags import TagsResult, TagsTask
from model.serving.worker.network import Captioners
from model.tagging.tagger import TAGS_FILE
from tests.conftest import PHOTOS, WEIGHTS
from tests.support.pipes import serving

CAT = (PHOTOS / "cat.jpg").read_bytes()
GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff"
    + 2 * (b"!\xf9\x04\x00\x0a\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00")
    + b";"
)


async def ask(queue: LocalQueue, task: Task, media: bytes = CAT) -> Any:
    job = Job(f"{task.NAME}-{id(task)}", 1, task, place="chat")
    await queue.put(job, media)
    try:
        return await asyncio.wait_for(queue.wait(job.id), 60)
    finally:
        await queue.forget(job.id)


async def test_a_photo_is_looked_at_once_for_tags_descriptions_and_captions(captioners: Captioners) -> None:
    async with serving(captioners) as queue:
        found = await ask(queue, TagsTask(picture="cat", tags=("кошка", "pizza", "minibar")))
        assert isinstance(found, TagsResult)
        cat, pizza, minibar = found.tags
        assert (cat.holds, pizza.holds, minibar.unknown) == (True, False, ("minibar",))
        ranked = await ask(queue, RankTask(picture="cat", known=True, texts=("a dog", "a close up of a cat")), b"")
        assert isinstance(ranked, RankResult)
        assert ranked.ranking.best is not None
        assert ranked.ranking.best.text == "a close up of a cat"
        assert (await ask(queue, PhotoTask(picture="cat", known=True, samples=0, sheet=False), b"")).greedy.text
        await ask(queue, PhotoTask(picture="cat again", samples=0, sheet=False))
        again = await ask(queue, TagsTask(picture="cat again", known=True, tags=("cat",)), b"")
        assert again.tags[0].probability == pytest.approx(cat.probability, abs=1e-3)


async def test_what_cannot_be_looked_at_fails(captioners: Captioners) -> None:
    async with serving(captioners) as queue:
        with pytest.raises(FeaturesGone):
            await ask(queue, TagsTask(picture="other", known=True, tags=("cat",)), b"")
        with pytest.raises(AnimatedPicture):
            await ask(queue, RankTask(texts=("a cat", "a dog")), GIF)


async def test_without_the_weights_for_tags_that_is_said(tmp_path: Path) -> None:
    for file in WEIGHTS.glob("*.safetensors"):
        if file.name != TAGS_FILE:
            shutil.copy(file, tmp_path)
    async with serving(Captioners(tmp_path, "cpu", "attention", "fp32")) as queue:
        with pytest.raises(JobFailed, match=TAGS_FILE):
            await ask(queue, TagsTask(tags=("cat",)))
