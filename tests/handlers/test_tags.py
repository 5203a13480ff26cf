"""Conversations about /tags, /choose and the button 🏷."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.serving.jobs import Job, Outcome
from model.serving.tasks.rank import RankResult, RankTask
from model.serving.tasks.tags import TagsResult, TagsTask
from model.tagging.answers import Choice, Ranking, Tag
from model.tagging.lists import names
from tests.support.conversation import DELETE, ONLY_ADMINISTRATORS, TAGS, answered, button_rows, press, replied, words
from tests.support.fake_queue import Decide, FakeQueue, eventually, last, running_bot, worked
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.jobs import photo_of
from tests.support.pictures import PHOTO

pytestmark = pytest.mark.usefixtures("unpaced")


def judge(job: Job, media: bytes) -> Outcome:
    """Dogs and sofas are there, minibars cannot be judged; of descriptions the longest fits, unless one says "none"."""
    if isinstance(job.task, TagsTask):
        return TagsResult(tuple(map(judged, job.task.tags)))
    if isinstance(job.task, RankTask):
        texts = sorted(job.task.texts, key=lambda text: -len(text))
        choices = tuple(Choice(text, 0.5 / (n + 1)) for n, text in enumerate(texts) if "minibar" not in text)
        unknown = tuple(Choice(text, None, ("minibar",)) for text in texts if "minibar" in text)
        return RankResult(Ranking(choices + unknown, 0.9 if "none" in texts else 0.2))
    return worked(job, media)


def judged(name: str) -> Tag:
    if "minibar" in name:
        return Tag(name, None, unknown=("minibar",))
    there = name in ("dog", "sofa", "диван")
    return Tag(name, 0.83 if there else 0.04, there)


@pytest.fixture
def outcome() -> Decide:
    return judge


async def said(person: Person, command: str, to: Message | None = None) -> Message:
    await person.send_text(command, reply_to=to)
    return await person.next_message()


def asked_tags(queue: FakeQueue) -> tuple[str, ...]:
    task = last(queue).task
    assert isinstance(task, TagsTask)
    return task.tags


async def test_tags_of_the_last_photo_by_the_dictionaries_that_ship(queue: FakeQueue, ann: Person) -> None:
    await answered(ann)
    found = await said(ann, "/Tags")
    assert words(found) == ["dog · 83 %"]
    assert button_rows(found) == [[DELETE]]
    assert asked_tags(queue) == names("default")
    assert last(queue).task.needs_media is False  # a worker has its features
    hotel = words(await said(ann, "/tags hotel"))
    assert asked_tags(queue) == names("hotel")
    assert hotel[0] == "None of the 14 tags that I can judge fits."
    assert "a pool · 4 %" in hotel
    assert hotel[-1] == "I cannot judge “a minibar”, since I do not know: minibar."


async def test_the_button_judges_the_photo_of_its_answer(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    await answered(ann)
    assert await press(ann, answer, TAGS) is None
    found = await ann.next_message()
    assert words(found) == ["dog · 83 %"]
    assert replied(found) == answer["message_id"]
    assert button_rows(found) == []
    await eventually(lambda: not queue.admitted)
    await press(ann, answer, DELETE)
    await eventually(lambda: found["message_id"] not in [each["message_id"] for each in ann.bot_messages()])


async def test_a_chat_sets_its_own_list_and_goes_back(queue: FakeQueue, ann: Person) -> None:
    answer = await answered(ann)
    assert words(await said(ann, "/tags set sofa, two beds,\nбалкон; sofa")) == [
        "This chat's list has 3 tags now: sofa, two beds, балкон. "
        "/tags judges them; /tags reset goes back to my own dictionary.",
        "More than once there, and counted once: sofa.",
    ]
    assert words(await said(ann, "/tags")) == ["sofa · 83 %", "two beds · 4 %", "балкон · 4 %"]
    await press(ann, answer, TAGS)
    assert words(await ann.next_message())[0] == "sofa · 83 %"
    assert words(await said(ann, "/tags dog, <b>")) == ["dog · 83 %", "<b> · 4 %"]  # this once
    assert asked_tags(queue) == ("dog", "<b>")
    await said(ann, "/tags reset")
    await said(ann, "/tags")
    assert asked_tags(queue) == names("default")


async def test_in_a_group_administrators_set_the_list(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    await bob.send_text("/tags@captions_test_bot set sofa", chat=group)
    assert (await group.next_message())["text"] == ONLY_ADMINISTRATORS
    await ann.send_text("/tags@captions_test_bot set sofa", chat=group)
    assert "has 1 tag now" in (await group.next_message())["text"]


async def test_the_best_description_is_chosen(queue: FakeQueue, ann: Person) -> None:
    photo = await answered(ann)
    found = await said(ann, "/choose a dog | a cat on a sofa\na dog | a minibar", photo)
    assert words(found) == [
        "a cat on a sofa · 50 %",
        "a dog · 17 %",
        "none of these · 20 %",
        "I cannot judge “a minibar”, since I do not know: minibar.",
        "“a dog” is there more than once; I counted it once.",
    ]
    assert button_rows(found) == [[DELETE]]
    none = await said(ann, "/choose\nnone\na dog")
    assert words(none)[0] == "none of these · 90 %"


@pytest.mark.parametrize(
    ("command", "begins"),
    [
        ("/tags set", "Which tags?"),
        ("/tags , ,", "Which tags?"),
        (f"/tags set {','.join(map(str, range(500)))}", "These are 500 tags, and I take 50 at most."),
        (f"/tags {'x' * 4000}", "The tag “xxx"),
        ("/tags set sofa, 🛋", "“🛋” is no tag that I understand"),
        ("/tags set две beds", "The tag “две beds” mixes two languages."),
        ("/choose", "Which descriptions?"),
        ("/choose a dog", "There is nothing to choose from: I see only “a dog”."),
        ("/choose a dog | A dog", "These 2 descriptions are the same: “a dog”."),
        (f"/choose {'|'.join(map(str, range(500)))}", "These are 500 descriptions, and I take 50 at most."),
        (f"/choose a | {'x' * 4000}", "The description “xxx"),
        ("/choose a dog | 🐶", "“🐶” describes nothing that I understand"),
        ("/choose a dog | собака on grass", "The description “собака on grass” mixes two languages."),
    ],
)
async def test_a_list_that_cannot_be_used_has_words_of_its_own(
    queue: FakeQueue, ann: Person, command: str, begins: str
) -> None:
    lines = words(await said(ann, command))
    assert lines[0].startswith(begins)
    assert lines[-1].startswith("For example: /")
    assert not queue.jobs


@pytest.mark.parametrize("command", ["/tags", "/choose a dog | a cat"])
async def test_with_nothing_to_look_at_a_photo_is_asked_for(queue: FakeQueue, ann: Person, command: str) -> None:
    assert "I know of no picture in this chat" in (await said(ann, command))["text"]
    assert not queue.jobs


@pytest.mark.parametrize("command", ["/tags", "/choose a dog | a cat"])
async def test_a_reply_to_such_an_answer_means_its_photo(
    server: FakeTelegram, queue: FakeQueue, ann: Person, command: str
) -> None:
    """Also where the photo is covered, and less is noted of it."""
    covered = ann.new_message(ann.user, server.store_photo(PHOTO) | {"has_media_spoiler": True}, None, None)
    server.push("message", covered)
    await ann.next_message()
    found = await said(ann, command, covered)
    task = last(queue).task
    assert isinstance(task, (TagsTask, RankTask))
    assert task.picture == ""  # nothing is kept of it
    await answered(ann)
    before = len(queue.jobs)
    assert words(await said(ann, "/caption", found))[0] == "a cat on a sofa"
    assert photo_of(list(queue.jobs.values())[before]).picture == ""
    assert words(await said(ann, "/sample 1", found))[0].startswith("a cat with")


async def test_a_russian_reads_the_dictionary_in_russian(queue: FakeQueue, olga: Person) -> None:
    await answered(olga)
    assert words(await said(olga, "/tags")) == ["собака · 83 %"]
    assert words(await said(olga, "/tags диван, стол")) == ["диван · 83 %", "стол · 4 %"]
    assert words(await said(olga, "/tags стол"))[0] == "Единственный тег, о котором я могу судить, не подходит."
    hotel = words(await said(olga, "/tags hotel"))
    assert hotel[0] == "Не подходит ни один из 14 тегов, о которых я могу судить."
    assert "кровать размера кинг-сайз · 4 %" in hotel
    assert hotel[-1] == "Не могу судить о «мини-бар», потому что не знаю слов: minibar."
    assert words(await said(olga, "/choose собака | кошка на диване"))[-1] == "ни одно из них · 20 %"
    assert words(await said(olga, "/choose"))[0].startswith("Какие описания?")


async def test_they_are_cancelled_and_counted_like_other_requests(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = FakeQueue(outcome=judge)
    async with running_bot(server, queue, tmp_path, admin_ids=frozenset({ann.id})):
        await answered(ann)
        await said(ann, "/tags")
        await said(ann, "/choose a dog | a cat")
        await eventually(lambda: not queue.admitted)
        queue.open.clear()
        await ann.send_text("/tags hotel")
        await eventually(lambda: len(queue.jobs) == 4)
        assert (await said(ann, "/cancel"))["text"] == "Cancelled: 1 picture."
        queue.open.set()
        await eventually(lambda: not queue.admitted)
        report = (await said(ann, "/stats"))["text"].splitlines()
        counted = {line.split(",")[0] for line in report if line.startswith(("Tags", "Choices"))}
        assert counted == {"Tags: 1", "Choices: 1"}
