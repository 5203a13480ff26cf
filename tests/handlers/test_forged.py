"""Whatever a client sends in the place of a button, for whatever message: nothing that is there changes."""

from __future__ import annotations

import asyncio
import itertools
import logging
import random
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from bot.answers import keyboards
from bot.answers.keyboards import Cancel, DeleteAnswer, Forget
from bot.answers.settings_menu import MenuPress
from bot.answers.status import Rhythm
from handlers.buttons import SAYING, WORK
from model.serving.jobs import Job, Outcome
from tests.support.conversation import (
    DELETE,
    HEATMAP,
    answered,
    buttons,
    carried,
    edited,
    inaccessible,
    key_of,
    menu_of,
    press,
    tampered,
)
from tests.support.fake_queue import FakeQueue, drawn, eventually, is_status, next_answer, running_bot, worked
from tests.support.fake_telegram import Chat, FakeTelegram, Message, Person
from tests.support.pictures import PHOTO, SHEET
from tests.support.records import forget_notes, opened
from tests.support.russian import translated

BOT: Final = "@captions_test_bot"
PRESSES: Final = 400
# All that a button may be for, but the one that opens a new menu for administrators.
PREFIXES: Final = sorted(
    {data.__prefix__ for data, *_ in (*WORK, *SAYING) if data is not keyboards.OpenSettings}
    | {Cancel.__prefix__, Forget.__prefix__}
)
# Whoever sees them may press them.
PUBLIC: Final = ("am", "an", "ah", "aw", "av", "ac", "ak", "al", "m", "t", "as", "ag", "ae")
TAILS: Final[dict[str, list[Any]]] = {  # what comes after the key; empty: a person
    **{"an": [0, 1, "x"], "ah": [1, 2**70, -1], "m": [1, 3, 11], "ak": ["protanopia", "x"]},
    **{"ad": [], "az": [], "as": []},
}
MENU: Final = tuple(
    data.pack()
    for data in (
        MenuPress(do="close"),
        MenuPress(do="reset"),
        MenuPress(do="show"),
        MenuPress(do="set", name="heatmap", value="0"),
    )
)


class Held(FakeQueue):
    """Never done with what is in `held`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.held = set[str]()

    async def wait(self, job_id: str, progress: Callable[[float], None] | None = None) -> Outcome:
        if self.jobs[job_id].user in map(int, self.held):
            await asyncio.Event().wait()
        return await super().wait(job_id, progress)


def outcome(job: Job, media: bytes) -> Outcome | Exception:
    """All captions are translated, so that each kind of button is there."""
    return translated(drawn(job, SHEET) or worked(job, sheet=SHEET, chart=SHEET))


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch, unpaced: None) -> None:
    monkeypatch.setattr("bot.answers.album_plans.QUIET", 0.3)
    monkeypatch.setattr("bot.answers.clips._send_album", no_album)


async def no_album(*_: Any) -> list[int]:
    return []


@pytest.fixture
def queue() -> Held:
    return Held(outcome)


@pytest.fixture
async def running(server: FakeTelegram, queue: Held, tmp_path: Path) -> AsyncIterator[None]:
    async with running_bot(server, queue, tmp_path, grace=0.1, rhythm=Rhythm(after=0.5, every=3600.0)):
        yield


@dataclass
class Place:
    """A group, its people, and one message of each kind."""

    group: Chat
    people: list[Person]  # the first is its administrator
    shown: list[tuple[Person, Message]] = field(default_factory=list)  # whose it is

    async def fill(self, server: FakeTelegram, queue: Held) -> None:
        ann, bob, _ = self.people
        group = self.group
        for person in (ann, bob):
            answer = await answered(person, BOT, group)
            await press(person, answer, HEATMAP)
            self.shown.append((person, await edited(group, answer, lambda m: "1" in buttons(m))))
            self.shown.append((person, await answered(person, BOT, group)))
            await press(person, self.shown[-1][1], "🎨 Colours")
            self.shown.append((person, await group.next_message()))
            await person.send_album([PHOTO] * 2, BOT, chat=group)
            self.shown.append((person, await group.next_message()))
            await person.send_video(b"mp4", BOT, chat=group)
            self.shown.append((person, await group.next_message()))
            await press(person, self.shown[1][1], "↔ Compare models")
            self.shown.append((person, await group.next_message()))
            self.shown.append((person, await menu_of(person, "/forget", group)))
            self.shown.append((person, await answered(person)))
        self.shown.append((ann, await menu_of(ann, "/settings", group)))
        server.faults.add("setMessageReaction", "too_old")  # so that there is a status with a button
        queue.held.add(str(bob.id))
        self.shown.append((bob, await bob.send_photo(PHOTO, BOT, chat=group)))
        self.shown.append((bob, await group.wait_for(is_status)))


def forgeries(place: Place, seed: int) -> Iterator[tuple[Person, Message, str, bool]]:
    """Who presses, under which message, what, and whether Telegram still shows the message."""
    chance = random.Random(seed)
    shown = sorted({data for _, message in place.shown for data in carried(message)})
    keys = sorted({key_of(data) for data in shown if data.split(":")[0] not in ("set", "forget", "x", "e")})
    owners = {key_of(data): person for person, message in place.shown for data in carried(message)}
    odd = ["", "unknown", "a\x00b", "🐈" * 9, "x" * 40, "-1", "answer", "../..", "%", "'; --"]
    for turn in itertools.count():
        prefix = PREFIXES[turn % len(PREFIXES)]
        owner, message = chance.choice(place.shown)
        private = message["chat"]["type"] == "private"
        presser = owner if private else chance.choice(place.people)
        own = {key_of(data) for data in carried(message)}
        user: Any = chance.choice([*(p.id for p in place.people), 0, -1, 2**70, 1087968824, "", "x"])
        match prefix:
            case "x":
                data = f"x:{user}"
                if user == presser.id:
                    continue  # as /cancel, wherever it is said
            case "forget":
                data = f"forget:{chance.choice(['ask', 'yes', 'no', 'maybe'])}:{user}"
                if "forget:no:" in carried(message) and presser is owner:
                    continue  # no forgery: who is asked may answer, and need not be asked twice
            case "set":
                data = chance.choice(MENU)
            case "e":
                data = f"e:{user}"
            case _:
                key = chance.choice(keys if chance.random() < 0.6 else odd)
                tail = [chance.choice(TAILS[prefix] or [user])] if prefix in TAILS else []
                data = ":".join(map(str, [prefix, key, *tail]))
                if key in own and (prefix in PUBLIC or presser is owner or presser is place.people[0]):
                    continue  # no forgery: the button is there, or might have been
        visible = chance.random() < 0.8
        if data in carried(message) or len(data.encode()) > 64:
            continue
        known = owners.get(key_of(data))
        if not visible and known is not None and (prefix in PUBLIC or presser in (place.people[0], known)):
            continue  # the note decides, and it says that this person may
        if prefix == "set" and (carried(message)[:1] or [""])[0].startswith("set:"):
            continue
        yield presser, message, data, visible


def notes(folder: Path) -> dict[str, str]:
    """What is noted of answers, and settings."""
    with opened(folder) as database:
        found = database.execute("SELECT chat || ' ' || key, text FROM chat_notes WHERE key NOT LIKE 'known:%'")
        return dict(found.fetchall()) | dict(database.execute("SELECT 'of ' || chat, settings FROM chats").fetchall())


@pytest.mark.slow
@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("seed", [1, 2])
async def test_forged_presses_change_nothing(
    server: FakeTelegram,
    queue: Held,
    ann: Person,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    seed: int,
) -> None:
    caplog.set_level(logging.WARNING)
    people = [ann, server.person("Bob"), server.person("Eve")]
    place = Place(server.group("Cats", ann), people)
    await place.fill(server, queue)
    await eventually(lambda: all(job.user == people[1].id for job in queue.admitted.values()))
    shown = {(m["chat"]["id"], m["message_id"]): dict(server.stored_message(m)) for _, m in place.shown}
    noted, waiting = notes(tmp_path), set(queue.admitted)
    queries = []
    for presser, message, data, visible in itertools.islice(forgeries(place, seed), PRESSES):
        if visible:
            query = {"id": server.new_query(), "from": presser.user, "message": server.stored_message(message)}
            server.push("callback_query", query | {"chat_instance": "1", "data": data})
        else:
            query = inaccessible(server, presser, message, data)
        queries.append(query["id"])
    await eventually(lambda: all(query in server.callback_answers for query in queries), 120)
    for person in people:  # what was pressed is over
        await person.send_text("/start")
        await person.wait_for(lambda m: m.get("caption", "").startswith("Hello"), 120)
    await eventually(lambda: set(queue.admitted) <= waiting, 120)
    now = {where: server.chats[where[0]].messages.get(where[1]) for where in shown}
    assert {where: (shown[where], message) for where, message in now.items() if message != shown[where]} == {}
    assert set(queue.admitted) == waiting  # nothing was cancelled
    after = notes(tmp_path)
    assert {key: (noted.get(key), after.get(key)) for key in {*noted, *after} if after.get(key) != noted.get(key)} == {}
    assert [record.getMessage() for record in caplog.records] == []


@pytest.mark.usefixtures("running")
async def test_a_button_of_one_answer_does_nothing_under_another(server: FakeTelegram, ann: Person) -> None:
    """Of the same person, in a private chat: the kinds of messages that there are."""
    first, second = await answered(ann), await answered(ann)
    for data in carried(first):
        if not data.startswith("s"):
            await tampered(ann, second, data)
            assert "no longer know" in (await ann.next_message())["text"]
    assert server.stored_message(second) == second
    assert server.stored_message(first) == first


@pytest.mark.usefixtures("running")
async def test_whose_an_answer_is_says_the_note_and_not_the_button(
    server: FakeTelegram, queue: Held, ann: Person, tmp_path: Path
) -> None:
    bob, eve = server.person("Bob"), server.person("Eve")
    group = server.group("Cats", ann)
    answer = await answered(bob, BOT, group)
    forged = DeleteAnswer(key=key_of(carried(answer)[0]), user=eve.id).pack()
    assert "Only the person" in str(await tampered(eve, answer, forged))
    forget_notes(tmp_path)
    await tampered(eve, answer, forged)
    assert "no longer know" in (await group.next_message())["text"]
    assert server.stored_message(answer) == answer
    await press(ann, answer, DELETE)  # an administrator
    await eventually(lambda: answer["message_id"] not in group.messages)


@pytest.mark.usefixtures("running")
async def test_an_old_message_of_which_nothing_is_known_is_not_deleted_with_another_answer(
    server: FakeTelegram, ann: Person
) -> None:
    bob, eve = server.person("Bob"), server.person("Eve")
    group = server.group("Cats", ann)
    theirs, own = await answered(bob, BOT, group), await answered(eve, BOT, group)
    delete = next(data for data in carried(own) if data.startswith("ad:"))
    await eve.callback_answer(inaccessible(server, eve, theirs, delete))
    assert "48 hours" in (await group.next_message())["text"]
    assert server.stored_message(theirs) == theirs
    await press(eve, own, DELETE)
    await eventually(lambda: own["message_id"] not in group.messages)


@pytest.mark.usefixtures("running")
async def test_a_button_that_is_pressed_after_its_answer_was_deleted_is_silent(
    server: FakeTelegram, queue: Held, ann: Person
) -> None:
    await ann.send_album([PHOTO] * 2)
    album = await next_answer(ann)
    await ann.send_video(b"mp4")
    clip = await next_answer(ann)
    for answer in (album, clip):
        await press(ann, answer, DELETE)
    await eventually(lambda: not ann.bot_messages())
    for answer in (album, clip):
        for data in carried(answer):
            if not data.startswith("s"):
                await tampered(ann, answer, data)
    await ann.send_text("/start")
    await ann.next_message()
    assert len(ann.bot_messages()) == 1


def test_every_button_that_has_a_key_says_under_what_it_stands() -> None:
    keyed = {data for data, *_ in (*WORK, *SAYING) if "key" in data.model_fields}
    assert keyed == set(keyboards.UNDER)
