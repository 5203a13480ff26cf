"""Conversations about /edit: a photo changed by words, where workers have a network for it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from bot.answers.keyboards import EditAgain
from bot.answers.picture_edits import BURST
from bot.answers.status import Rhythm
from model.editor import Editor
from model.errors import AnimatedPicture, EditRefused, EditsUnavailable, EditTextTooLong, EditTooSlow
from model.serving.jobs import Job, Outcome
from model.serving.tasks.edit import EditResult, EditTask
from model.serving.worker.worker import Worker
from tests.support.conversation import (
    DELETE,
    answered,
    button_rows,
    buttons,
    carried,
    inaccessible,
    key_of,
    press,
    replied,
    tampered,
)
from tests.support.conversation import words as lines
from tests.support.editors import write_editor
from tests.support.fake_queue import FakeQueue, eventually, last, running_bot, worked
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.jobs import edit_of
from tests.support.local_queue import WORKER, joined_queue, take
from tests.support.pictures import PHOTO, picture
from tests.support.pipes import Pipes
from tests.support.records import everything, waiting_in

EDITED = picture(96, 64)
SAID = "A machine edited this photo: not everything in it is real."
WINTER = "/edit make it look like winter"
AGAIN, WEAKER, STRONGER = "🎲 Another seed", "➖ Weaker", "➕ Stronger"
GROUP = "what is it, @captions_test_bot ?"

pytestmark = pytest.mark.usefixtures("unpaced")


def edit(job: Job, media: bytes) -> Outcome:
    if not isinstance(job.task, EditTask):
        return worked(job, media)
    assert media
    return EditResult(EDITED, job.task.strength, job.task.seed)


@pytest.fixture
async def queue(server: FakeTelegram, tmp_path: Path) -> AsyncIterator[FakeQueue]:
    """The queue of a running bot, behind which photos are edited."""
    queue = FakeQueue(outcome=edit, edits=0.0)
    async with running_bot(server, queue, tmp_path):
        yield queue


async def said(person: Person, command: str, to: Message | None = None, **where: Any) -> Message:
    await person.send_text(command, reply_to=to, **where)
    return await (where.get("chat") or person).next_message()


def shows(server: FakeTelegram, message: Message) -> bool:
    return "photo" in message and server.file_bytes(message["photo"][-1]["file_id"]) == EDITED


async def test_the_last_photo_is_edited_and_the_answer_says_that_a_machine_did(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    await answered(ann)
    question = await ann.send_text("/Edit <b>winter</b> &amp; snow strength=40 seed=7")
    edited = await ann.next_message()
    assert shows(server, edited)
    assert lines(edited) == [SAID, "<b>winter</b> &amp; snow", "strength 40 % · seed 7"]
    assert button_rows(edited) == [[AGAIN], [WEAKER, STRONGER], [DELETE]]
    assert replied(edited) == question["message_id"]
    assert (last(queue).line, edit_of(last(queue))) == ("edit", EditTask("<b>winter</b> &amp; snow", 40, 7))


async def test_without_a_network_that_edits_nothing_is_said_of_edits(
    server: FakeTelegram, tmp_path: Path, olga: Person
) -> None:
    """No command, no button and no mention; where there is one, menus and help of both languages have it."""
    ann = server.person("Ann")
    group = server.group("Cats", ann)
    queue = FakeQueue(outcome=edit)

    def menus() -> dict[str, list[str]]:
        return {key: [row["command"] for row in rows] for key, rows in server.commands.items()}

    async with running_bot(server, queue, tmp_path, admin_ids=frozenset({ann.id})):
        await eventually(lambda: len(menus()) == 6)
        answer = await answered(ann)
        for person, unknown in ((ann, "I do not know this command"), (olga, "не знаю")):
            texts = [json.dumps(await said(person, command), ensure_ascii=False) for command in ("/help", "/privacy")]
            assert not any("edit" in text.replace("edit_date", "") for text in texts)
            assert unknown in (await said(person, WINTER))["text"]
        await ann.send_text(f"/edit@captions_test_bot {WINTER}", chat=group)
        assert "I do not know this command" in (await group.next_message())["text"]
        assert not any("edit" in each.lower() for each in buttons(answer))
        assert not any("edit" in names for names in menus().values())
        assert not any(job.line == "edit" for job in queue.jobs.values())
    queue.edits = 0.0
    async with running_bot(server, queue, tmp_path, admin_ids=frozenset({ann.id})):
        await eventually(lambda: all("edit" in names for names in menus().values()))
        for person in (ann, olga):
            assert "/edit make it" in (await said(person, "/help"))["text"]
            assert "/edit" in (await said(person, "/privacy"))["text"]


async def test_without_a_network_that_edits_a_photo_with_edit_is_any_photo(
    server: FakeTelegram, tmp_path: Path, olga: Person
) -> None:
    """In groups the command may be another bot's."""
    ann, queue = server.person("Ann"), FakeQueue(outcome=edit)
    group = server.group("Cats", ann)
    async with running_bot(server, queue, tmp_path):
        photo = await ann.send_photo(PHOTO, WINTER)
        assert (await ann.next_message())["text"].startswith("a cat")
        assert "I do not know this command" in (await said(ann, WINTER, photo))["text"]
        shown = await ann.send_photo(PHOTO, WINTER, chat=group)
        await ann.send_text(WINTER, chat=group, reply_to=shown)
        assert (await answered(ann, GROUP, group))["text"].startswith("a cat")  # and nothing before it
        assert (len(group.bot_messages()), len(queue.jobs)) == (1, 2)


async def test_menus_follow_workers_that_come_and_go(
    server: FakeTelegram, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are away for a day are forgotten."""
    monkeypatch.setattr("bot.answers.picture_edits.LOOK", 0.05)
    queue = FakeQueue()

    def shown() -> bool:
        return any(row["command"] == "edit" for row in server.commands.get('{"type": "default"}/', ()))

    async with running_bot(server, queue, tmp_path):
        await eventually(lambda: server.commands)
        assert not shown()
        queue.edits = 0.0
        await eventually(shown)
        queue.edits = 3600.0
        await asyncio.sleep(0.3)
        assert shown()
        queue.edits = None
        await eventually(lambda: not shown())


async def test_a_program_with_a_model_of_its_own_offers_edits_at_once(server: FakeTelegram, tmp_path: Path) -> None:
    ann = server.person("Ann")
    queue = FakeQueue(outcome=edit, edits=None)
    async with running_bot(server, queue, tmp_path, edit_model=tmp_path):
        await ann.send_photo(PHOTO)
        await ann.next_message()
        assert "not running right now, or is just starting" in (await said(ann, WINTER))["text"]
        queue.edits = 0.0
        assert shows(server, await said(ann, WINTER))


async def test_buttons_edit_the_same_photo_by_the_same_words(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    """With another seed, or the same one and another strength; nothing keeps the words but the message."""
    await ann.send_photo(picture(80, 60), f"{WINTER} strength=90 seed=5")
    edited = await ann.next_message()
    assert button_rows(edited) == [[AGAIN], [WEAKER, STRONGER], [DELETE]]
    assert await press(ann, edited, STRONGER) is None
    strongest = await ann.next_message()
    assert edit_of(last(queue)) == EditTask("make it look like winter", 100, 5)
    assert button_rows(strongest) == [[AGAIN], [WEAKER], [DELETE]]
    assert replied(strongest) == edited["message_id"]
    await press(ann, strongest, AGAIN)
    other = await ann.next_message()
    task = edit_of(last(queue))
    assert (task.text, task.strength, task.seed != 5) == ("make it look like winter", 100, True)
    assert lines(other)[1:] == ["make it look like winter", f"strength 100 % · seed {task.seed}"]
    await eventually(lambda: not queue.admitted)
    await press(ann, strongest, DELETE)
    await eventually(lambda: len(ann.bot_messages()) == 2)


async def test_an_edit_of_an_edit_is_one_of_the_photo(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    received: list[bytes] = []

    def note(job: Job, media: bytes) -> Outcome:
        received.append(media)
        return edit(job, media)

    queue.outcome = note
    await ann.send_photo(PHOTO)
    await ann.next_message()
    edited = await said(ann, WINTER)
    await ann.send_photo(picture(90, 60))
    await ann.next_message()
    await said(ann, "/edit now make it night", edited)
    assert received == [PHOTO, PHOTO, picture(90, 60), PHOTO]


async def test_nothing_is_kept_of_the_words(queue: FakeQueue, ann: Person, tmp_path: Path) -> None:
    await ann.send_photo(PHOTO, "/edit make it look like Hogwarts")
    await ann.next_message()
    await eventually(lambda: not queue.admitted)
    await eventually(lambda: not waiting_in(tmp_path))
    assert "Hogwarts" not in everything(tmp_path)


@pytest.mark.parametrize(
    ("command", "english", "russian"),
    [
        ("/edit", "What shall I change?", "Что изменить?"),
        ("/edit ❄️☃️ 2", "“❄️☃️ 2” tells me nothing", "«❄️☃️ 2» мне ничего не говорит"),
        ("/edit " + 750 * "word ", "These are 3750 characters, and I take 500", "Здесь знаков: 3750"),
        ("/edit winter strength=0", "I did not understand “strength=0”", "Не понимаю «strength=0»"),
        ("/edit winter seed=&lt;", "I did not understand “seed=&lt;”", "Не понимаю «seed=&lt;»"),
    ],
)
async def test_words_that_cannot_be_used_are_answered_with_words_of_their_own(
    queue: FakeQueue, ann: Person, olga: Person, command: str, english: str, russian: str
) -> None:
    for person, expected in ((ann, english), (olga, russian)):
        await answered(person)
        text = (await said(person, command))["text"]
        assert expected in text
        assert "/edit make it look like winter" in text
    assert not any(job.line == "edit" for job in queue.jobs.values())


@pytest.mark.parametrize(
    ("failure", "english", "russian"),
    [
        (EditTextTooLong(), "more than the network that edits reads", "больше, чем читает сеть"),
        (EditTooSlow(), "took too long, and I gave it up", "слишком много времени"),
        (EditRefused(), "not fit to be shown", "показывать нельзя"),
        (EditsUnavailable(), "not running right now", "сейчас не работает"),
        (AnimatedPicture(), "I edit still pictures only", "только неподвижные"),
    ],
)
async def test_each_failure_has_words_of_its_own(
    queue: FakeQueue, ann: Person, olga: Person, failure: Exception, english: str, russian: str
) -> None:
    for person, expected in ((ann, english), (olga, russian)):
        await answered(person)
        queue.outcome = lambda job, media: failure
        assert expected in (await said(person, WINTER))["text"]
        queue.outcome = edit


async def test_with_no_photo_or_a_clip_it_says_what_to_send(queue: FakeQueue, ann: Person, olga: Person) -> None:
    assert "I know of no picture in this chat" in (await said(ann, WINTER))["text"]
    assert "не знаю" in (await said(olga, WINTER))["text"]
    queue.open.clear()
    video = await ann.send_video(b"mp4")
    assert "I edit still pictures only" in (await said(ann, WINTER, video))["text"]
    queue.open.set()
    assert not any(job.line == "edit" for job in queue.jobs.values())


async def test_while_no_worker_edits_that_is_said_and_nothing_waits(queue: FakeQueue, ann: Person) -> None:
    edited = await said(ann, WINTER, await _photo(ann))
    await eventually(lambda: not queue.admitted)
    done, queue.edits = len(queue.jobs), 600.0
    assert "not running right now" in (await said(ann, WINTER))["text"]
    await press(ann, edited, AGAIN)
    assert "not running right now" in (await ann.next_message())["text"]
    queue.edits = None  # for so long that /edit is no command any more
    await press(ann, edited, AGAIN)
    assert "not running right now" in (await ann.next_message())["text"]
    assert len(queue.jobs) == done


async def test_each_person_has_a_quota_and_administrators_none(server: FakeTelegram, tmp_path: Path) -> None:
    ann, bob = server.person("Ann"), server.person("Bob")
    queue = FakeQueue(outcome=edit, edits=0.0)
    async with running_bot(server, queue, tmp_path, admin_ids=frozenset({bob.id})):
        for person, allowed in ((ann, BURST), (bob, BURST + 2)):
            await answered(person)
            for _ in range(allowed):
                assert shows(server, await said(person, WINTER))
        refused = (await said(ann, WINTER))["text"]
        assert refused.startswith(f"Edits take long, so each person can have {BURST} in a short time.")
        await press(ann, ann.bot_messages()[-2], AGAIN)
        assert "Edits take long" in (await ann.next_message())["text"]
        assert (await answered(ann))["text"].startswith("a cat")  # captions go on


async def test_a_spoiler_gives_a_spoiler_and_protected_stays_protected(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    """Edits of edits too; and neither becomes the chat's last picture."""
    for kind in ("has_media_spoiler", "has_protected_content"):
        await ann.send_photo(PHOTO, WINTER, **{kind: True})  # type: ignore[arg-type]
        edited = await ann.next_message()
        await press(ann, edited, AGAIN)
        again = await ann.next_message()
        other = {"has_media_spoiler", "has_protected_content"} - {kind}
        assert all(message[kind] and not other & message.keys() for message in (edited, again))
    assert "I know of no picture in this chat" in (await said(ann, WINTER))["text"]
    assert {call.params["chat_id"] for call in server.calls if call.method == "sendPhoto"} == {ann.id}


@pytest.mark.parametrize(
    "data",
    ["ay:{key}:5:", "ay:{key}:101:", "ay:{key}:60:-1", "ay:{key}:x:", "ay:{key}", "ay:other:60:3", "ay::60:", "ay"],
)
async def test_forged_presses_do_nothing(queue: FakeQueue, ann: Person, data: str) -> None:
    edited = await said(ann, WINTER, await _photo(ann))
    done = len(queue.jobs)
    await tampered(ann, edited, data.format(key=key_of(carried(edited)[0])))
    await ann.send_text("/start")
    await ann.wait_for(lambda m: (m.get("caption") or "").startswith("Hello"), 60)
    assert len(queue.jobs) == done


async def test_a_press_under_another_message_edits_nothing(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    """Nor under one that Telegram shows no more: nobody knows its words."""
    answer = await answered(ann)
    edited = await said(ann, WINTER)
    done = len(queue.jobs)
    data = carried(edited)[0]
    await tampered(ann, answer, data)
    assert "no longer know which picture" in (await ann.next_message())["text"]
    mallory = server.person("Mallory")
    forged = {**edited, "chat": {"id": mallory.id, "type": "private"}}
    await tampered(mallory, forged, data)
    assert "no longer know which picture" in (await mallory.next_message())["text"]
    await ann.callback_answer(inaccessible(server, ann, edited, data))
    assert "no longer know which picture" in (await ann.next_message())["text"]
    await tampered(ann, answer, EditAgain(key=key_of(carried(answer)[0]), strength=60, seed=1).pack())
    assert "no longer know which picture" in (await ann.next_message())["text"]
    assert len(queue.jobs) == done


async def test_in_a_group_anybody_may_ask_and_who_asked_deletes(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    bob, eve = server.person("Bob"), server.person("Eve")
    group = server.group("Cats", ann)
    await answered(bob, GROUP, group)
    edited = await said(bob, "/edit@captions_test_bot make it winter", chat=group)
    assert lines(edited)[1] == "make it winter"
    await press(eve, edited, AGAIN)
    other = await group.next_message()
    assert (last(queue).user, edit_of(last(queue)).text) == (eve.id, "make it winter")
    assert "Only the person who asked" in str(await press(eve, edited, DELETE))
    await eventually(lambda: not queue.admitted)
    await press(eve, other, DELETE)
    await press(bob, edited, DELETE)
    await eventually(lambda: len(group.bot_messages()) == 1)


async def test_where_no_pictures_are_taken_that_is_said(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    await answered(ann)
    server.faults.add("sendPhoto", "too_old", times=1)
    refused = await said(ann, WINTER)
    assert "Telegram did not take my picture" in refused["text"]
    assert button_rows(refused) == []


async def test_progress_is_shown_and_cancel_ends_it(server: FakeTelegram, tmp_path: Path, olga: Person) -> None:
    ann, queue = server.person("Ann"), joined_queue()
    queue.join(WORKER, "edit")
    async with running_bot(server, queue, tmp_path, rhythm=Rhythm(after=0.1, every=0.2)):
        for person, text, stopped in (
            (ann, "I am editing your photo: {} %", "Cancelled: 1 picture."),
            (olga, "Меняю ваше фото: {} %", "Отменено: 1 картинка."),
        ):
            await person.send_photo(PHOTO, WINTER)
            lease = await take(queue, "edit")
            await person.wait_for(lambda m, text=text: m.get("text") == text.format(0), 60)  # type: ignore[misc]
            await queue.progress(WORKER, lease.job.id, 0.4)
            status = await person.wait_for(lambda m, text=text: m.get("text") == text.format(40), 60)  # type: ignore[misc]
            assert (await press(person, status, buttons(status)[0])) == stopped
            assert await queue.extend(WORKER, [lease.job.id]) == []  # a worker learns of it so
            await eventually(lambda person=person: not person.bot_messages())  # type: ignore[misc]


async def test_an_edit_waits_in_line_with_words_of_its_own(server: FakeTelegram, tmp_path: Path) -> None:
    ann, queue = server.person("Ann"), joined_queue()
    queue.join(WORKER, "edit")
    async with running_bot(server, queue, tmp_path, grace=0.2, rhythm=Rhythm(after=0.1, every=0.2)):
        await queue.put(Job("other", 1, EditTask("x")), b"")
        await ann.send_photo(PHOTO, WINTER)
        await ann.wait_for(lambda m: m.get("text") == "Your edit waits in line. Its place: 2.", 60)
        await queue.leave(WORKER)
        await ann.wait_for(lambda m: "Your edit waits in line: the program" in m.get("text", ""), 60)
        await ann.send_photo(PHOTO)
        await ann.wait_for(lambda m: m.get("text", "").startswith("I am working on 2 pictures."), 60)


async def test_an_edit_is_counted_in_the_statistics(server: FakeTelegram, tmp_path: Path) -> None:
    ann, queue = server.person("Ann"), FakeQueue(outcome=edit, edits=0.0)
    async with running_bot(server, queue, tmp_path, admin_ids=frozenset({ann.id})):
        await ann.send_photo(PHOTO, WINTER)
        await ann.next_message()
        await eventually(lambda: not queue.admitted)
        assert any(line.startswith("Edits: 1, half within") for line in lines(await said(ann, "/stats")))


@pytest.mark.slow
async def test_the_whole_way_with_a_real_pipeline(server: FakeTelegram, tmp_path: Path) -> None:
    """Bot, queue, worker and diffusers; the same seed gives the same picture, and too many words are not cut."""
    ann = server.person("Ann")
    editor = Editor.load(write_editor(tmp_path / "model", "instruct"), "cpu", steps=2)
    async with Pipes() as pipes:
        stop = asyncio.Event()
        serving = asyncio.create_task(Worker(pipes.consumer, None, editor=editor).run(stop))  # type: ignore[arg-type]
        await eventually(lambda: pipes.queue.served("edit") == 0)
        async with running_bot(server, pipes.queue, tmp_path):
            await ann.send_photo(picture(80, 60), "/edit winter seed=3")
            first = await ann.next_message()
            again = await said(ann, "/edit winter seed=3", first)
            assert "more than the network that edits reads" in (await said(ann, f"/edit {'x' * 90}", first))["text"]
        stop.set()
        await serving
    pictures = [server.file_bytes(message["photo"][-1]["file_id"]) for message in (first, again)]
    assert pictures[0] == pictures[1] != picture(80, 60)
    assert lines(first) == [SAID, "winter", "strength 60 % · seed 3"]


async def _photo(person: Person) -> Message:
    """A photo that was answered."""
    photo = await person.send_photo(PHOTO)
    await person.next_message()
    return photo
