"""Conversations about /colours and the button 🎨: a photo as people with a colour vision deficiency see it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from bot.answers.keyboards import ChooseColours, ShowColours
from model.errors import AnimatedPicture, NotAnImage
from model.serving.jobs import Job, Outcome
from model.serving.tasks.colours import ColoursResult, ColoursTask
from tests.support.conversation import (
    COLOURS,
    DELETE,
    MORE,
    WEIGHED,
    answered,
    button_rows,
    carried,
    downloads,
    edited,
    inaccessible,
    key_of,
    press,
    replied,
    tampered,
    words,
)
from tests.support.fake_queue import Decide, FakeQueue, eventually, last, running_bot, worked
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.jobs import colours_of
from tests.support.pictures import PHOTO, SHEET, picture
from tests.support.records import forget_notes

DRAWN = {kind: picture(400 + 8 * n, 200) for n, kind in enumerate(("protanopia", "deuteranopia", "tritanopia"))}
KINDS = [["✓ protanopia"], ["deuteranopia"], ["tritanopia"]]
GROUP = "what is it, @captions_test_bot ?"

pytestmark = pytest.mark.usefixtures("unpaced")


def draw(job: Job, media: bytes) -> Outcome:
    if not isinstance(job.task, ColoursTask):
        return worked(job, media, sheet=SHEET)
    assert media
    return ColoursResult(DRAWN[job.task.kind])


@pytest.fixture
def outcome() -> Decide:
    return draw


def shows(server: FakeTelegram, kind: str, message: Message) -> bool:
    return "photo" in message and server.file_bytes(message["photo"][-1]["file_id"]) == DRAWN[kind]


async def commanded(person: Person, command: str = "/colours", to: Message | None = None) -> Message:
    await person.send_text(command, reply_to=to)
    return await person.next_message()


async def test_the_last_photo_is_shown_as_with_protanopia(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    await answered(ann)
    question = await ann.send_text("/Colours")
    sheet = await ann.next_message()
    assert shows(server, "protanopia", sheet)
    assert words(sheet) == ["The photo, and beside it what people with protanopia (no cones for red) see of it."]
    assert button_rows(sheet) == [*KINDS, [DELETE]]
    assert replied(sheet) == question["message_id"]
    assert (last(queue).line, colours_of(last(queue)).kind) == ("photo", "protanopia")


async def test_each_kind_takes_the_place_of_the_other(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    await answered(ann)
    sheet = await commanded(ann)
    for kind, cones in (("tritanopia", "blue"), ("deuteranopia", "green"), ("protanopia", "red")):
        assert await press(ann, sheet, kind) is None
        now = await edited(ann, sheet, partial(shows, server, kind))
        assert words(now) == [f"The photo, and beside it what people with {kind} (no cones for {cones}) see of it."]
        assert [row for row in button_rows(now) if row[0].startswith("✓")] == [[f"✓ {kind}"]]
        assert button_rows(now)[-1] == [DELETE]
        assert colours_of(last(queue)).kind == kind
    assert len(ann.bot_messages()) == 2


async def test_the_buttons_sheet_goes_with_the_answer(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    assert await press(ann, answer, COLOURS) is None
    sheet = await ann.next_message()
    assert shows(server, "protanopia", sheet)
    assert button_rows(sheet) == KINDS
    assert replied(sheet) == answer["message_id"]
    await press(ann, sheet, "deuteranopia")
    assert len(button_rows(await edited(ann, sheet, partial(shows, server, "deuteranopia")))) == len(KINDS)
    await eventually(lambda: not queue.admitted)
    await press(ann, answer, DELETE)
    await eventually(lambda: not ann.bot_messages())


async def test_the_buttons_sheet_has_no_deletion_of_its_own_when_the_note_is_gone(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    """It would take the answer for deleted, whose other buttons would then do nothing."""
    answer = await answered(ann)
    await eventually(lambda: not queue.admitted)
    forget_notes(tmp_path, "answer:%")
    await press(ann, answer, COLOURS)
    assert button_rows(await ann.next_message()) == KINDS
    await press(ann, answer, MORE)  # and now a note is there again
    await ann.next_message()
    await press(ann, answer, COLOURS)
    sheet = await ann.next_message()
    await press(ann, sheet, "deuteranopia")
    assert len(button_rows(await edited(ann, sheet, partial(shows, server, "deuteranopia")))) == len(KINDS)


async def test_a_reply_is_about_that_photo(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    """To a photo, its answer, what stands beside that, and a sheet, also when its note is gone; not the last one."""
    photo = await ann.send_photo(PHOTO)
    answer = await ann.next_message()
    await press(ann, answer, WEIGHED)
    chart = await ann.next_message()
    await press(ann, answer, COLOURS)
    beside = await ann.next_message()
    sheet = await commanded(ann, to=photo)
    other = picture(99, 66)
    await ann.send_photo(other)
    await ann.next_message()
    received: list[bytes] = []

    def note(job: Job, media: bytes) -> Outcome:
        received.append(media)
        return draw(job, media)

    queue.outcome = note
    for message in (photo, answer, chart, beside, sheet):
        await commanded(ann, to=message)
    await commanded(ann)
    assert received == [PHOTO] * 5 + [other]


async def test_the_command_may_come_with_the_photo(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    await ann.send_photo(PHOTO, "/colours")
    assert shows(server, "protanopia", await ann.next_message())
    assert len(queue.jobs) == 1


async def test_a_sheet_of_the_command_is_deleted_by_its_own_button(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    sheet = await commanded(ann)
    await eventually(lambda: not queue.admitted)
    await press(ann, sheet, DELETE)
    await eventually(lambda: [each["message_id"] for each in ann.bot_messages()] == [answer["message_id"]])


async def test_with_nothing_to_show_it_asks_for_a_photo(queue: FakeQueue, ann: Person) -> None:
    assert "I know of no picture in this chat" in (await commanded(ann))["text"]
    assert not queue.jobs


async def test_a_clip_is_refused_as_sample_refuses_it(queue: FakeQueue, ann: Person) -> None:
    await answered(ann)
    queue.outcome = lambda job, media: AnimatedPicture("it moves")
    assert "/sample, /colours, /tags and /choose are for still pictures" in (await commanded(ann))["text"]


async def test_a_russian_reads_russian_on_the_sheet_too(server: FakeTelegram, queue: FakeQueue, olga: Person) -> None:
    answer = await answered(olga)
    await press(olga, answer, "🎨 Цвета")
    sheet = await olga.next_message()
    assert words(sheet) == ["Фото, а рядом — каким его видят люди с протанопией (нет колбочек для красного)."]
    labels = colours_of(last(queue)).labels
    titles = [labels.original, *map(labels.seen_with, DRAWN)]  # type: ignore[arg-type]
    assert titles == ["оригинал", "протанопия", "дейтеранопия", "тританопия"]
    await press(olga, sheet, "тританопия")
    now = await edited(olga, sheet, partial(shows, server, "tritanopia"))
    assert button_rows(now) == [["протанопия"], ["дейтеранопия"], ["✓ тританопия"]]


async def test_in_a_group_anybody_may_choose_and_who_asked_deletes(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    bob, eve = server.person("Bob"), server.person("Eve")
    group = server.group("Cats", ann)
    await answered(bob, GROUP, group)
    await bob.send_text("/colours@captions_test_bot", chat=group)
    sheet = await group.next_message()
    await press(eve, sheet, "tritanopia")
    await edited(group, sheet, partial(shows, server, "tritanopia"))
    assert "Only the person who asked" in str(await press(eve, sheet, DELETE))
    await eventually(lambda: not queue.admitted)
    await press(bob, sheet, DELETE)
    await eventually(lambda: sheet["message_id"] not in group.messages)
    assert len(group.bot_messages()) == 1


async def test_a_failure_of_the_worker_is_told_and_the_sheet_stays(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    await answered(ann)
    sheet = await commanded(ann)
    queue.outcome = lambda job, media: NotAnImage()
    await press(ann, sheet, "tritanopia")
    assert "not a picture that I can read" in (await ann.next_message())["text"]
    assert shows(server, "protanopia", server.stored_message(sheet))
    assert "not a picture that I can read" in (await commanded(ann))["text"]


@pytest.mark.parametrize("data", ["ak:{key}:achromatopsia", "ak:{key}", "ak:{key}:", "av:{key}:x", "av", "ak::::"])
async def test_forged_presses_do_nothing(queue: FakeQueue, ann: Person, data: str) -> None:
    answer = await answered(ann)
    done = len(queue.jobs)
    assert await tampered(ann, answer, data.format(key=key_of(carried(answer)[0]))) is None
    await ann.send_text("/start")
    assert (await ann.next_message())["caption"].startswith("Hello")
    assert len(queue.jobs) == done


async def test_a_forged_choice_never_takes_the_place_of_an_answer(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    answer = await answered(ann)
    await tampered(ann, answer, ChooseColours(key=key_of(carried(answer)[0]), kind="tritanopia").pack())
    assert shows(server, "tritanopia", await ann.next_message())
    assert server.stored_message(answer)["caption"] == answer["caption"]
    await tampered(ann, answer, ShowColours(key="forgotten").pack())
    await ann.delete(await ann.send_text("x"))
    await eventually(lambda: len(ann.bot_messages()) >= 3)


async def test_where_the_sheet_cannot_be_edited_another_is_sent(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    """Telegram shows it no more, or refuses the edit. Both sheets go with the answer."""
    answer = await answered(ann)
    await press(ann, answer, COLOURS)
    sheet = await ann.next_message()
    data = ChooseColours(key=key_of(carried(answer)[0]), kind="tritanopia").pack()
    await ann.callback_answer(inaccessible(server, ann, sheet, data))
    assert shows(server, "tritanopia", await ann.next_message())
    server.faults.add("editMessageMedia", "too_old", times=1)
    await press(ann, sheet, "deuteranopia")
    assert shows(server, "deuteranopia", await ann.next_message())
    await eventually(lambda: not queue.admitted)
    await press(ann, answer, DELETE)
    await eventually(lambda: not ann.bot_messages())


async def test_where_no_pictures_are_taken_that_is_said(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    await answered(ann)
    server.faults.add("sendPhoto", "too_old", times=1)
    said = await commanded(ann)
    assert "Telegram did not take my picture" in said["text"]
    assert button_rows(said) == []


async def test_a_sheet_of_an_answer_that_was_deleted_meanwhile_is_not_sent(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    queue.open.clear()
    await press(ann, answer, COLOURS)
    await eventually(lambda: len(queue.jobs) == 2)
    await press(ann, answer, DELETE)
    await eventually(lambda: not ann.bot_messages())
    queue.open.set()
    await eventually(lambda: not queue.admitted)
    assert ann.bot_messages() == []


async def test_it_is_cancelled_and_counted_like_other_requests(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = FakeQueue(outcome=draw)
    async with running_bot(server, queue, tmp_path, admin_ids=frozenset({ann.id})):
        answer = await answered(ann)
        await commanded(ann)
        await eventually(lambda: not queue.admitted)
        queue.open.clear()
        await press(ann, answer, COLOURS)
        await ann.send_text("/colours")
        await eventually(lambda: len(queue.jobs) == 4)
        assert (await commanded(ann, "/cancel"))["text"] == "Cancelled: 2 pictures."
        queue.open.set()
        await eventually(lambda: not queue.admitted)
        report = (await commanded(ann, "/stats"))["text"]
        assert "Requests: 2, answered: 2" in report
        assert any(line.startswith("Colours: 1, half within") for line in report.splitlines())


async def test_after_forget_a_sheet_of_the_command_still_knows_the_photo_that_it_replies_to(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    await ann.send_photo(PHOTO, "/colours")
    sheet = await ann.next_message()
    await eventually(lambda: not queue.admitted)
    forget_notes(tmp_path)
    await press(ann, sheet, "tritanopia")
    now = await edited(ann, sheet, partial(shows, server, "tritanopia"))
    assert button_rows(now)[-1] == [DELETE]
    assert downloads(server) == 2
