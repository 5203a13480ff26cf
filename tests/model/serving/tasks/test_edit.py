"""Edits by a worker: beside the network, a step at a time, and only where there is a network that edits."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from PIL import Image

from model.errors import AnimatedPicture, EditsUnavailable, EditTextTooLong, JobCancelled
from model.serving.jobs import Job
from model.serving.queue import LINES
from model.serving.tasks import LINES_WITHOUT_EDITOR
from model.serving.tasks.edit import EditResult, EditTask
from model.serving.tasks.photo import PhotoResult, PhotoTask
from model.serving.worker import worker as worker_module
from model.serving.worker.network import Captioners
from model.serving.worker.worker import Worker
from tests.conftest import PHOTOS
from tests.support.clock import eventually
from tests.support.pipes import serving

CAT = (PHOTOS / "cat.jpg").read_bytes()
WINTER = Job("edit", 1, EditTask("make it winter", 60, 3))


@dataclass
class StandIn:
    """Edits in `steps` steps, each of which waits for `go`."""

    steps: int = 4
    go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    done: list[float] = field(default_factory=list)
    ended: int = 0

    def edit(
        self, photo: Image.Image, text: str, strength: float, seed: int, step: Callable[[float], None]
    ) -> Image.Image:
        if text == "too long":
            raise EditTextTooLong("100 tokens")
        try:
            for number in range(self.steps):
                assert self.go.acquire(timeout=60)
                self.done.append((number + 1) / self.steps)
                step(self.done[-1])
        finally:
            self.ended += 1
        return photo.resize((64, 32))


async def test_progress_is_told_and_captions_do_not_wait(captioners: Captioners) -> None:
    editor, shares = StandIn(), list[float]()
    async with serving(captioners, editor=editor) as queue:
        await queue.put(WINTER, CAT)
        waiting = asyncio.create_task(queue.wait("edit", shares.append))
        editor.go.release()
        await eventually(lambda: shares == [0.25])
        photo = Job("photo", 1, PhotoTask(samples=0, sheet=False))
        await queue.put(photo, CAT)
        assert isinstance(await asyncio.wait_for(queue.wait("photo"), 60), PhotoResult)
        assert not waiting.done()
        editor.go.release(3)
        result = await asyncio.wait_for(waiting, 60)
    assert isinstance(result, EditResult)
    assert (result.strength, result.seed, shares) == (60, 3, [0.25, 0.5, 0.75, 1.0])
    with Image.open(io.BytesIO(result.picture)) as edited:
        assert (edited.format, edited.size) == ("JPEG", (64, 32))


async def test_a_cancelled_edit_ends_with_its_step_and_the_next_begins(
    captioners: Captioners, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_module, "HEARTBEAT", 0.05)
    editor = StandIn()
    async with serving(captioners, editor=editor) as queue:
        await queue.put(WINTER, CAT)
        waiting = asyncio.create_task(queue.wait("edit"))
        editor.go.release()
        await eventually(lambda: editor.done)
        await queue.cancel("edit")
        with pytest.raises(JobCancelled):
            await waiting
        await queue.put(Job("next", 2, EditTask("summer")), CAT)
        await asyncio.sleep(0.5)  # until the worker has heard of it
        editor.go.release()
        await eventually(lambda: editor.ended == 1)
        assert editor.done == [0.25, 0.5]
        editor.go.release(4)
        assert isinstance(await asyncio.wait_for(queue.wait("next"), 60), EditResult)


async def test_a_worker_that_stops_hands_an_edit_back(captioners: Captioners) -> None:
    editor = StandIn()
    async with serving(captioners, editor=editor) as queue:
        await queue.put(WINTER, CAT)
        editor.go.release()
        await eventually(lambda: editor.done)
        threading.Timer(0.5, editor.go.release).start()  # the step that it is at
    assert (await queue.status()).waiting["edit"] == 1


async def test_each_step_has_the_time_of_a_thread(captioners: Captioners) -> None:
    """An edit of many steps is no thread that hangs; a step that takes too long is."""
    editor = StandIn()
    worker = Worker(None, captioners, editor=editor)  # type: ignore[arg-type]
    thread = threading.get_ident()
    worker._began[thread] = time.monotonic() - 1000
    held = worker_module._Held(None, "edit", 1.0, 1.0)  # type: ignore[arg-type]
    tools = worker_module._Tools.__new__(worker_module._Tools)
    tools._worker, tools._held = worker, held

    async def nothing(share: float) -> None:
        pass

    tools.progress = nothing  # type: ignore[method-assign]

    def work(step: Callable[[float], None]) -> float:
        before = worker._began[threading.get_ident()]
        time.sleep(0.01)
        step(0.5)
        return worker._began[threading.get_ident()] - before

    assert await tools.edit(work) > 0


async def test_what_cannot_be_edited_is_said(captioners: Captioners) -> None:
    gif = io.BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(gif, "GIF", save_all=True, append_images=frames[1:], duration=100)
    async with serving(captioners, editor=StandIn()) as queue:
        await queue.put(WINTER, gif.getvalue())
        with pytest.raises(AnimatedPicture):
            await asyncio.wait_for(queue.wait("edit"), 60)
        await queue.put(Job("long", 1, EditTask("too long")), CAT)
        with pytest.raises(EditTextTooLong):
            await asyncio.wait_for(queue.wait("long"), 60)


async def test_a_worker_without_the_network_takes_no_edits(captioners: Captioners) -> None:
    assert set(LINES) - set(LINES_WITHOUT_EDITOR) == {"edit", "edit-bulk"}
    async with serving(captioners, editor=None) as queue:
        await queue.put(WINTER, CAT)
        await queue.put(Job("photo", 1, PhotoTask(samples=0, sheet=False)), CAT)
        await asyncio.wait_for(queue.wait("photo"), 60)
        assert (await queue.status()).waiting["edit"] == 1
        assert (queue.served("photo"), queue.served("edit")) == (0.0, None)
    tools = worker_module._Tools.__new__(worker_module._Tools)
    tools.editor = None
    with pytest.raises(EditsUnavailable):
        await EditTask("winter").work(CAT, tools)
