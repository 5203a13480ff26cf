"""What is sent as a spoiler, or protected from being passed on, is shown accordingly, and not kept for longer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.dead_letters import dead
from model.errors import JobCrashed
from model.serving.jobs import Job, Outcome
from model.serving.tasks.colours import ColoursTask
from tests.support.conversation import COLOURS, HEATMAP, MORE, WEIGHED, answered, buttons, edited, press, tampered
from tests.support.fake_queue import Decide, FakeQueue, drawn, eventually, last, running_bot, settings_for, worked
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.jobs import clip_of, photo_of
from tests.support.pictures import PHOTO, SHEET, picture
from tests.support.records import note_keys, waiting_in

CHART = picture(400, 300, "PNG")
SPOILER: dict[str, Any] = {"has_media_spoiler": True}
PROTECTED: dict[str, Any] = {"has_protected_content": True}

pytestmark = pytest.mark.usefixtures("unpaced")


def found(job: Job, media: bytes) -> Outcome | Exception:
    return drawn(job, SHEET) or worked(job, sheet=SHEET, chart=CHART)


@pytest.fixture
def outcome() -> Decide:
    return found


def pictures(person: Person) -> list[Message]:
    return [message for message in person.bot_messages() if "photo" in message]


def notes(folder: Path) -> set[str]:
    """The kinds of what is noted of chats."""
    return {key.partition(":")[0] for key in note_keys(folder)}


async def press_all(person: Person, answer: Message) -> None:
    """All buttons that give pictures: five more."""
    await press(person, answer, WEIGHED)
    await press(person, answer, COLOURS)
    sheet = await person.wait_for(lambda m: "tritanopia" in buttons(m), 60)
    await press(person, sheet, "tritanopia")
    await edited(person, sheet, lambda m: "edit_date" in m)
    await press(person, answer, MORE)
    await edited(person, answer, lambda m: "10. " in m["caption"])
    await press(person, answer, HEATMAP)
    await press(person, await edited(person, answer, lambda m: buttons(m)[0] == "1"), "2")
    await eventually(lambda: len(pictures(person)) == 4)


async def test_all_that_is_made_of_a_spoiler_is_one(
    server: FakeTelegram, queue: FakeQueue, ann: Person, tmp_path: Path
) -> None:
    await ann.send_photo(PHOTO, **SPOILER)
    answer = await ann.next_message()
    await press_all(ann, answer)
    assert all(message.get("has_media_spoiler") for message in pictures(ann))
    assert not any(photo_of(job).picture for job in queue.jobs.values() if not isinstance(job.task, ColoursTask))
    assert not any(photo_of(job).known for job in queue.jobs.values() if not isinstance(job.task, ColoursTask))
    assert notes(tmp_path) <= {"answer", "beside", "rated"}


async def test_the_moments_of_a_clip_under_a_spoiler_are_spoilers(queue: FakeQueue, ann: Person) -> None:
    await ann.send_video(b"mp4", **SPOILER)
    timeline = await ann.wait_for(lambda m: "moments" in m.get("caption", ""), 60)
    assert len(pictures(ann)) == 4
    await press(ann, timeline, "➖ Fewer moments")
    await eventually(lambda: len(pictures(ann)) == 7)
    assert all(message.get("has_media_spoiler") for message in pictures(ann))
    assert not any(clip_of(job).keep for job in queue.jobs.values())


async def test_an_album_with_one_spoiler_has_a_spoiler_for_its_sheet(
    queue: FakeQueue, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.answers.album_plans.QUIET", 0.3)
    group = ann.server.new_media_group()
    await ann.send_photo(PHOTO, media_group_id=group)
    await ann.send_photo(PHOTO, media_group_id=group, **SPOILER)
    answer = await ann.next_message()
    await press(ann, answer, "🔥 Heatmaps")
    await eventually(lambda: pictures(ann))
    assert pictures(ann)[0]["has_media_spoiler"]


async def test_what_is_protected_is_shown_on_its_sheet_alone(
    queue: FakeQueue, ann: Person, olga: Person, tmp_path: Path
) -> None:
    await ann.send_photo(PHOTO, **PROTECTED)
    answer = await ann.next_message()
    assert (answer["has_protected_content"], "has_media_spoiler" in answer) == (True, False)
    assert COLOURS not in buttons(answer)
    await ann.send_text("/colours", reply_to=ann.messages[1])
    assert "protected from being passed on" in (await ann.next_message())["text"]
    await press(ann, answer, HEATMAP)
    await press(ann, await edited(ann, answer, lambda m: buttons(m)[0] == "1"), "2")
    await eventually(lambda: len(pictures(ann)) == 2)
    assert all(message["has_protected_content"] for message in pictures(ann))
    assert not any(photo_of(job).picture for job in queue.jobs.values())
    await olga.send_photo(PHOTO, **PROTECTED)
    answer = await olga.next_message()
    key = answer["reply_markup"]["inline_keyboard"][0][0]["callback_data"].partition(":")[2]
    await tampered(olga, answer, f"av:{key}")  # the button of an earlier version
    assert "защищена от пересылки" in (await olga.next_message())["text"]
    assert notes(tmp_path) <= {"answer", "beside", "rated"}


async def test_the_moments_of_a_protected_clip_are_told_in_words(queue: FakeQueue, ann: Person) -> None:
    await ann.send_video(b"mp4", **PROTECTED)
    timeline = await ann.wait_for(lambda m: "moments" in m.get("caption", ""), 60)
    words = next(message for message in ann.bot_messages() if "text" in message)
    assert "scene 1" in words["text"]
    assert pictures(ann) == [timeline]
    assert timeline["has_protected_content"]


async def test_neither_is_the_last_picture_of_a_chat_and_others_are_as_before(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    plain = await answered(ann)
    assert not {"has_media_spoiler", "has_protected_content"} & plain.keys()
    assert photo_of(last(queue)).picture
    for covered in (SPOILER, PROTECTED):
        await ann.send_photo(PHOTO, **covered)
        await ann.next_message()
        await ann.send_text("/sample")
        assert "no picture in this chat" in (await ann.next_message())["text"]
        await ann.send_text("/sample 1", reply_to=ann.messages[max(ann.messages) - 3])
        assert "a cat" in (await ann.next_message())["text"]


async def test_what_is_tried_again_by_hand_is_still_a_spoiler(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = FakeQueue(lambda job, media: JobCrashed("brought down a worker 3 times"))
    async with running_bot(server, queue, tmp_path):
        await ann.send_photo(PHOTO, **SPOILER)
        await ann.next_message()
        await eventually(lambda: not waiting_in(tmp_path))
    await dead(settings_for(server, tmp_path), "retry", None)
    queue.outcome = found
    async with running_bot(server, queue, tmp_path):
        assert (await ann.next_message())["has_media_spoiler"]
