"""Requests reach people through a `Delivery`, whatever that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest

from bot.config import Settings
from bot.service.in_progress import Group, InWork
from bot.service.limits import Throttle
from bot.service.requests import QUIET, FirstSend, Request, Requests
from bot.storage.inbox import Accepted, Place
from model.errors import JobCancelled
from model.serving.jobs import Job, Outcome
from tests.support.fake_queue import FakeQueue, captions, eventually
from tests.support.jobs import make_job

ANN = Place(7, None, 7)


class Window:
    """A delivery that shows nothing to anybody."""

    def __init__(self) -> None:
        self.busy: list[Group] = []
        self.hooks: list[FirstSend] = []

    @asynccontextmanager
    async def busy_shown(self, group: Group) -> AsyncIterator[None]:
        self.busy.append(group)
        yield
        self.busy.remove(group)

    @contextmanager
    def hooked(self, hook: FirstSend) -> Iterator[None]:
        self.hooks.append(hook)
        yield


class Desk:
    """The service behind one window."""

    def __init__(self) -> None:
        self.queue, self.in_work, self.window = FakeQueue(), InWork(), Window()
        self.answers: list[Outcome] = []
        self.requests = Requests(Settings(), self.queue, self.in_work, self.window, Throttle())

    def ask(self, number: int = 1, **further: Any) -> Request:
        async def fetch(_: object) -> bytes:
            return b"media"

        job, accepted = make_job(f"job-{number}", ANN.user), Accepted(number, 100.0)
        about: dict[str, Any] = {"place": ANN, "message": 1, "accepted": accepted, "kind": "photo", "update": number}
        return Request(job=job, size=5, fetch=fetch, **about | further)

    async def answer(self, result: Outcome) -> None:
        self.answers.append(result)


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_a_request_is_shown_as_busy_until_its_result_is_there(desk: Desk) -> None:
    desk.queue.open.clear()
    serving = asyncio.create_task(desk.requests.serve(desk.ask(), desk.answer))
    await eventually(lambda: desk.queue.jobs)
    assert [work.job.id for work in desk.window.busy[0].works] == ["job-1"]
    desk.queue.open.set()
    await serving
    assert desk.answers == [captions()]
    assert desk.window.busy == []
    assert "job-1" in desk.queue.admitted  # until its update is done with
    await desk.requests.settle("job-1", again=False)
    assert desk.queue.admitted == {}


async def test_until_the_first_send_an_answer_can_be_cancelled_and_not_after_it(desk: Desk) -> None:
    turn, sent = asyncio.Event(), []

    async def wait() -> None:
        await turn.wait()

    async def send(_: Outcome) -> None:
        for part in (1, 2):
            await desk.window.hooks[-1].turn(wait)
            desk.window.hooks[-1].out()
            sent.append(part)
            assert desk.in_work.cancel(ANN, Accepted(9, 200.0)) == {}

    waiting = asyncio.create_task(desk.requests.serve(desk.ask(1), send))
    await eventually(lambda: desk.window.hooks)
    assert desk.in_work.cancel(ANN, Accepted(2, 100.0)) == {"job-1": "photo"}
    with pytest.raises(JobCancelled):
        await waiting
    assert sent == []
    turn.set()
    await desk.requests.serve(desk.ask(3), send)
    assert sent == [1, 2]


async def test_what_was_taken_back_can_be_cancelled_again(desk: Desk) -> None:
    async def at_once() -> None:
        return None

    async def send(_: Outcome) -> None:
        hook = desk.window.hooks[-1]
        await hook.turn(at_once)
        assert desk.requests.sending
        assert desk.in_work.cancel(ANN, Accepted(2, 200.0)) == {}
        hook.taken_back()
        assert not desk.requests.sending
        assert desk.in_work.cancel(ANN, Accepted(2, 200.0)) == {"job-1": "photo"}
        await hook.turn(at_once)

    with pytest.raises(JobCancelled):
        await desk.requests.serve(desk.ask(), send)


async def test_of_many_requests_at_once_few_files_are_looked_for_before_their_job_is_admitted(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[int] = []
    asked, admitted = [], asyncio.Event()
    admit_at_once = desk.queue.admit

    async def admit(job: Job, *, before: bool = False) -> None:
        asked.append(job.id)
        await admitted.wait()
        await admit_at_once(job, before=before)

    monkeypatch.setattr(desk.queue, "admit", admit)
    requests = [  # of messages that waited: no person's speed is looked at
        desk.ask(number, begin=partial(begun.append, number), accepted=Accepted(number, 100.0, waited=True))
        for number in range(20)
    ]
    async with asyncio.TaskGroup() as group:
        for request in requests:
            group.create_task(desk.requests.serve(request, desk.answer))
        await eventually(lambda: len(asked) == 20)
        assert begun == list(range(QUIET))
        admitted.set()
    assert len(desk.answers) == 20
    begun.clear()
    for request in requests:
        await desk.requests.settle(request.job.id, again=False)
    await desk.requests.serve(desk.ask(21, begin=partial(begun.append, 21)), desk.answer)
    assert begun == [21]
