"""Clips and edits take long: each is a job of its own, asked about by its id, for an hour after it is over."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar, cast

from cachetools import TTLCache

from model.serving.jobs import Job, Outcome
from model.serving.tasks.clip import ClipResult, ClipTask
from model.serving.tasks.edit import EditResult
from web.errors import ApiError, api_error
from web.schemas import ClipMoments, EditedPhoto, ErrorDetail, Frame, JobState, Moment
from web.settings import Model
from web.work import KEPT_SECONDS, Work, was_cancelled

log = logging.getLogger(__name__)

S = TypeVar("S", bound=JobState)

MOST: Final = 10_000  # clips that are remembered
LOOK_SECONDS: Final = 2.0  # how often its place in line is looked up
STILL_THERE: Final = 15.0  # seconds after which a stream of events says so


@dataclass(eq=False)
class _Clip:
    id: str
    job: Job
    state: Literal["waiting", "working", "done", "failed", "cancelled"] = "waiting"
    place: int = 0
    share: float = 0.0
    result: Any = None  # as the state shows it
    error: ApiError | None = None
    running: asyncio.Task[None] | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)  # replaced at each change

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")

    def tell(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()

    def shown(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "state": self.state,
            "place": self.place,
            "percent": 100 if self.state == "done" else min(99, int(100 * self.share)),
            "result": self.result,
            "error": None if self.error is None else ErrorDetail(**self.error.body["error"]),
        }


class Clips(Generic[S]):
    """The clips of this process, or its edits."""

    def __init__(
        self,
        work: Work,
        state: type[S],
        shape: Callable[[Work, Job, Outcome], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`state`: what is told of each; `shape`: its result of a job's outcome."""
        self._work = work
        self._state = state
        self._shape = shape
        self._open: dict[str, _Clip] = {}
        self._over: TTLCache[str, _Clip] = TTLCache(MOST, KEPT_SECONDS, clock)
        self._stopping = False

    async def begin(self, job: Job, media: bytes, held: AsyncExitStack) -> S:
        """Run an admitted job. `held` is closed when it is over."""
        clip = _Clip(secrets.token_urlsafe(16), job)
        self._open[clip.id] = clip
        clip.running = asyncio.create_task(self._run(clip, media, held))
        await asyncio.sleep(0)  # it has begun: a task that is cancelled before it begins cleans nothing up
        return self._shown(clip)

    def open_of(self, user: int) -> int:
        """How many of one client are not over."""
        return sum(clip.job.user == user for clip in self._open.values())

    async def state(self, name: str) -> S:
        """Raises ApiError."""
        clip = self._get(name)
        await self._look(clip)
        return self._shown(clip)

    async def cancel(self, name: str) -> None:
        """Stop a clip in flight and forget it, also its result. Raises ApiError."""
        clip = self._get(name)
        if clip.running is not None and not clip.over:
            self._work.metrics.cancelled("asked")
            clip.running.cancel()
            await asyncio.wait([clip.running])
        self._over.pop(name, None)

    async def events(self, name: str) -> AsyncIterator[str]:
        """Server-sent events, each with the clip's state: place, percent, and at last its end."""
        clip = self._get(name)

        async def stream() -> AsyncIterator[str]:
            await self._look(clip)
            said, when = "", time.monotonic()
            while True:
                changed = clip.changed
                state = self._shown(clip)
                text = state.model_dump_json()
                if text != said:
                    said, when = text, time.monotonic()
                    yield f"event: {state.state}\ndata: {text}\n\n"
                elif time.monotonic() - when > STILL_THERE:
                    when = time.monotonic()
                    yield ": still there\n\n"
                if clip.over or self._stopping:
                    return
                try:
                    async with asyncio.timeout(LOOK_SECONDS):
                        await changed.wait()
                except TimeoutError:
                    await self._look(clip)

        return stream()

    def stop_streams(self) -> None:
        """Streams of events end now: this process is to stop."""
        self._stopping = True
        for clip in self._open.values():
            clip.tell()

    async def close(self) -> None:
        """Cancel all that run."""
        running = [clip.running for clip in self._open.values() if clip.running is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _shown(self, clip: _Clip) -> S:
        return self._state(**clip.shown())

    def _get(self, name: str) -> _Clip:
        clip = self._open.get(name) or self._over.get(name)
        if clip is None:
            raise ApiError("not_found")
        return clip

    async def _look(self, clip: _Clip) -> None:
        if clip.state == "waiting" and self._work.reachable():
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    clip.place = await self._work.queue.position(clip.job.id)
            except TimeoutError:
                return

    async def _run(self, clip: _Clip, media: bytes, held: AsyncExitStack) -> None:
        def progress(share: float) -> None:
            clip.state, clip.place, clip.share = "working", 0, share
            clip.tell()

        try:
            async with held:
                outcome = await self._work.run(clip.job, media, progress)
            clip.result = self._shape(self._work, clip.job, outcome)
            clip.state = "done"
        except BaseException as error:
            clip.state = "cancelled" if was_cancelled(error) else "failed"
            clip.error = ApiError("cancelled") if was_cancelled(error) else api_error(cast(Exception, error))
            if clip.error.kind == "failed":
                log.exception("a clip or an edit failed")
            if not isinstance(error, Exception):
                raise
        finally:
            del media
            self._open.pop(clip.id, None)
            self._over[clip.id] = clip
            clip.tell()


def moments_of(work: Work, job: Job, result: Outcome) -> ClipMoments:
    """What is told of a clip that was watched."""
    assert isinstance(result, ClipResult)
    task = cast(ClipTask, job.task)
    keep = work.pictures.keep
    return ClipMoments(
        model=cast(Model, task.model),
        duration=result.duration,
        still=result.still,
        variedness=result.variedness,
        moments=[
            Moment.of(frame, keep(picture), task.language)
            for frame, picture in zip(result.moments, result.pictures, strict=True)
        ],
        frames=[Frame.of(frame, task.language) for frame in result.frames],
        timeline=keep(result.timeline),
    )


def edited_of(work: Work, job: Job, result: Outcome) -> EditedPhoto:
    """What is told of a photo that was edited."""
    assert isinstance(result, EditResult)
    return EditedPhoto(picture=work.pictures.keep(result.picture), strength=result.strength, seed=result.seed)
