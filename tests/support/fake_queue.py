"""A queue with no worker behind it, whose answers a test decides, and the bot run on it.

`python -m tests.support.fake_queue URL FOLDER` is a bot whose pictures are never done, to be killed by a test.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bot.telegram import quick_import  # noqa: F401

# isort: split
from pydantic import SecretStr

from bot.answers.keyboards import Cancel
from bot.answers.status import Rhythm
from bot.app import run_bot
from bot.config import Settings
from handlers import create_routers
from model.errors import CaptionError, JobCancelled
from model.serving.jobs import Job, Outcome
from model.serving.queue import Busy, JobProducer, Limits, Status
from model.serving.redis.producer import RedisQueue
from model.serving.tasks.album import AlbumResult, AlbumTask
from model.serving.tasks.clip import ClipFrame, ClipResult, ClipTask
from model.serving.tasks.colours import ColoursResult, ColoursTask
from model.serving.tasks.photo import PhotoResult, WeighedWord, WireCaption
from model.serving.tasks.rank import RankResult, RankTask
from model.serving.tasks.tags import TagsResult, TagsTask
from model.tagging.answers import Choice, Ranking, Tag
from tests.support.clock import eventually as eventually
from tests.support.fake_telegram import TOKEN, FakeTelegram, Message, Person
from tests.support.jobs import photo_of

NO_STATUS = Rhythm(after=3600.0)  # most tests are not about waiting, and may be slow
WEIGHED = (
    WeighedWord("a", 0.834, (("two", 0.09), ("the", 0.004))),
    WeighedWord("<cat>", 0.41, (("dog", 0.22), ("man", 0.2), ("sofa", 0.1), ("tie", 0.05))),
    WeighedWord("", 0.0, ()),
)
SAMPLES = ("a cat sits", "a cat sleeps", "a cat on a mat", "a small animal", "a cat")


def captions(*samples: str, greedy: str = "a cat on a sofa", sheet: bytes | None = None) -> PhotoResult:
    return PhotoResult(WireCaption(greedy, 0.466), tuple(WireCaption(text, 0.3) for text in samples or SAMPLES), sheet)


def worked(job: Job, media: bytes = b"", *, sheet: bytes | None = None, chart: bytes | None = None) -> PhotoResult:
    """As a worker answers: what was shown does not come again, and a caption from before is explained."""
    task = photo_of(job)
    drawn = None if task.chart or not task.sheet else sheet
    if task.explain:
        weighed = WEIGHED if task.chart else ()
        return PhotoResult(
            WireCaption(task.explain, 0.3), (), drawn, chart=chart if task.chart else None, weighed=weighed
        )
    others = (f"a cat with {number} <legs>" for number in itertools.count(1))
    new = (text for text in others if text not in (task.exclude or ()))
    return PhotoResult(
        WireCaption("a cat on a sofa", 0.466),
        tuple(WireCaption(text, 0.3) for text in itertools.islice(new, task.samples)),
        drawn,
        other=WireCaption("a dog on a sofa", 0.2) if task.compare else None,
    )


def drawn(job: Job, picture: bytes) -> Outcome | None:
    """As a worker answers jobs other than those on photos, with this as each picture; None for those."""
    match job.task:
        case ClipTask(moments=moments):
            shown = moments or 3
            frames = tuple(ClipFrame(float(n), f"scene {n}", 0.5, n < shown) for n in range(5))
            return ClipResult(5.0, frames, 0.5, False, (picture,) * shown, picture)
        case AlbumTask(captions=texts):
            return AlbumResult(picture, len(texts))
        case ColoursTask():
            return ColoursResult(picture)
        case TagsTask(tags=tags):
            return TagsResult(tuple(Tag(name, 0.5, holds=True) for name in tags))
        case RankTask(texts=texts):
            return RankResult(Ranking(tuple(Choice(text, 0.4) for text in texts), 0.2))
    return None


Decide = Callable[[Job, bytes], Outcome | Exception]


@dataclass
class FakeQueue:
    """A `JobProducer`; `outcome` says what becomes of a job, once `open` is set. `jobs` are all that ever were put."""

    outcome: Decide = lambda job, media: captions()
    alive: int = 1
    edits: float | None = None  # since how many seconds no worker that edits is there; None: none ever was
    limits: Limits = field(default_factory=Limits)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    jobs: dict[str, Job] = field(default_factory=dict)
    media: dict[str, bytes] = field(default_factory=dict)
    admitted: dict[str, Job] = field(default_factory=dict)  # and not forgotten
    results: dict[str, Outcome | Exception] = field(default_factory=dict)
    most_bytes: int = 0
    positions: dict[str, int] = field(default_factory=dict)  # job → jobs before it; others are next
    cancelled: set[str] = field(default_factory=set)
    forgotten_places: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.open.set()

    async def admit(self, job: Job, *, before: bool = False) -> None:
        if job.id not in self.admitted and not before:
            request = (job.user, job.request or job.id)
            requests = {(each.user, each.request or each.id) for each in self.admitted.values()}
            own = sum(user == job.user for user, _ in requests)
            if request not in requests and own >= self.limits.requests_per_person:
                raise Busy(own)
            if request not in requests and len(requests) >= self.limits.requests:
                raise Busy
        if job.id in self.admitted and job.id in self.jobs:  # as the queue in Redis does it
            self.jobs[job.id] = job
        self.admitted[job.id] = job

    async def has(self, job_id: str) -> bool:
        return job_id in self.media or job_id in self.results

    async def put(self, job: Job, media: bytes) -> None:
        if job.id in self.cancelled:
            raise JobCancelled("cancelled")
        assert job.id in self.admitted
        if not await self.has(job.id):
            self.jobs[job.id] = job
            self.media[job.id] = media
            self.most_bytes = max(self.most_bytes, sum(map(len, self.media.values())))

    async def wait(self, job_id: str, progress: Callable[[float], None] | None = None) -> Outcome:
        await self.open.wait()
        if job_id not in self.results:
            outcome = self.outcome(self.jobs[job_id], self.media.pop(job_id))
            if not isinstance(outcome, CaptionError | Outcome):
                raise outcome
            self.results[job_id] = outcome
        result = self.results[job_id]
        if isinstance(result, Exception):
            raise result
        return result

    async def forget(self, job_id: str) -> None:
        self.admitted.pop(job_id, None)
        self.media.pop(job_id, None)
        self.results.pop(job_id, None)

    async def cancel(self, job_id: str) -> None:
        self.cancelled.add(job_id)
        await self.forget(job_id)

    async def is_cancelled(self, job_id: str) -> bool:
        return job_id in self.cancelled

    async def forget_place(self, place: str) -> None:
        self.forgotten_places.append(place)

    async def position(self, job_id: str) -> int:
        return self.positions.get(job_id, 0)

    async def status(self) -> Status:
        return Status({}, len(self.media), len(self.admitted), self.alive)

    def workers_alive(self) -> int:
        return self.alive

    def served(self, line: str) -> float | None:
        return self.edits if line == "edit" else 0.0 if self.alive else None


def closed_queue(outcome: Decide = FakeQueue.outcome, **settings: Any) -> FakeQueue:
    """A queue whose jobs stay in work until a test sets its `open`."""
    queue = FakeQueue(outcome, **settings)
    queue.open.clear()
    return queue


def last(queue: FakeQueue) -> Job:
    return list(queue.jobs.values())[-1]


@dataclass
class RunningBot:
    stop: asyncio.Event
    task: asyncio.Task[int]

    async def status(self) -> int:
        """The exit status, when the bot ends by itself."""
        async with asyncio.timeout(60):
            return await self.task


def settings_for(server: FakeTelegram, folder: Path, **changes: Any) -> Settings:
    values: dict[str, Any] = {"token": SecretStr(TOKEN), "api_url": server.url, "data_dir": folder}
    return Settings(**(values | changes))


@asynccontextmanager
async def running_bot(
    server: FakeTelegram,
    queue: JobProducer,
    folder: Path,
    *,
    grace: float = 5.0,
    rhythm: Rhythm = NO_STATUS,
    **changes: Any,
) -> AsyncIterator[RunningBot]:
    """The bot in this process, talking to the loopback server; it is stopped as on SIGTERM at the end."""
    stop = asyncio.Event()
    settings = settings_for(server, folder, **changes)
    if isinstance(queue, FakeQueue):
        queue.limits = Limits(settings.max_queue, settings.max_per_user)
    redis = queue.connection if isinstance(queue, RedisQueue) else None
    running = run_bot(settings, queue, create_routers(), stop, redis=redis, grace=grace, rhythm=rhythm)
    task = asyncio.create_task(running)
    try:
        yield RunningBot(stop, task)
    except BaseException as error:
        if task.done():  # what the test waited for could not come any more
            error.add_note(f"the bot had ended by itself: {task}")
        raise
    finally:
        stop.set()
        async with asyncio.timeout(60):
            await asyncio.gather(task, return_exceptions=True)


async def next_answer(person: Person, timeout: float = 60.0) -> Message:
    """The bot's next message, but for what it shows to those who wait: machines differ in speed."""
    while is_status(message := await person.next_message(timeout)):
        pass
    return message


def is_status(message: Message) -> bool:
    """Whether this is what a person is shown while they wait."""
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return any(button.get("callback_data", "").startswith(f"{Cancel.__prefix__}:") for row in rows for button in row)


async def never(url: str, folder: str) -> int:
    queue = closed_queue()
    settings = Settings(token=SecretStr(TOKEN), api_url=url, data_dir=Path(folder))
    return await run_bot(settings, queue, create_routers(), asyncio.Event())


if __name__ == "__main__":
    sys.exit(asyncio.run(never(*sys.argv[1:])))
