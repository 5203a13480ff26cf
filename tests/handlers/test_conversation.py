"""What people say to the bot and what it answers, through the loopback Bot API."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from bot.answers.example import Example
from model.errors import DamagedImage, EmptyFile, ImageTooLarge, JobCrashed, JobFailed, NotAnImage
from tests.conftest import ROOT
from tests.support.conversation import answered, buttons, entity, press, replied, tampered, words
from tests.support.fake_queue import FakeQueue, captions, closed_queue, eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.jobs import photo_of
from tests.support.pictures import PHOTO, SHEET, picture


@pytest.fixture
def olga(server: FakeTelegram) -> Person:
    return server.person("Ольга", language_code="ru-RU")


async def silence(server: FakeTelegram, person: Person, question: Message) -> None:
    """All that came before a later message was answered is all that is said."""
    await person.send_text("/help")
    answer = await person.next_message()
    assert "/sample" in answer["text"], question


async def test_a_photo_is_answered_with_one_message(queue: FakeQueue, ann: Person) -> None:
    queue.outcome = lambda job, media: captions(sheet=SHEET)
    photo = await ann.send_photo(PHOTO)
    answer = await ann.next_message()
    assert answer["photo"][-1]["width"] == 320
    assert replied(answer) == photo["message_id"]
    assert answer["caption"].split("\n") == [
        "a cat on a sofa",
        "fairly sure (47 %)",
        "1. a cat sits",
        "2. a cat sleeps",
        "3. a cat on a mat",
        "4. a small animal",
        "5. a cat",
    ]
    assert answer["caption_entities"] == [{"type": "bold", "offset": 0, "length": len("a cat on a sofa")}]
    job = next(iter(queue.jobs.values()))
    assert (job.user, photo_of(job).model, photo_of(job).samples, photo_of(job).seed, photo_of(job).sheet) == (
        ann.id,
        "attention",
        5,
        0,
        True,
    )
    assert len(ann.bot_messages()) == 1


async def test_without_a_sheet_the_words_come_as_text(queue: FakeQueue, olga: Person) -> None:
    await olga.send_document(PHOTO, "cat.JPG", "application/octet-stream")
    answer = await olga.next_message()
    assert answer["text"].startswith("a cat on a sofa\nскорее уверен (47 %)\n1. a cat sits")


async def test_the_baseline_model_is_asked_for_no_sheet(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path, model="baseline"):
        await ann.send_photo(PHOTO)
        await ann.next_message()
    job = next(iter(queue.jobs.values()))
    assert (photo_of(job).model, photo_of(job).sheet) == ("baseline", False)


async def test_the_largest_size_is_looked_at(queue: FakeQueue, ann: Person) -> None:
    seen: list[bytes] = []
    queue.outcome = lambda job, media: seen.append(media) or captions()  # type: ignore[func-returns-value]
    large = picture(1000, 700)
    await ann.send_photo(large)
    await ann.next_message()
    assert seen == [large]


async def test_typing_is_shown_while_it_works(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    queue.open.clear()
    await ann.send_photo(PHOTO)
    action = await server.until(lambda: server.sent(ann.id, "sendChatAction") or None, 60)
    assert action
    assert action[0].params["action"] == "typing"
    queue.open.set()
    await ann.next_message()


async def test_a_failing_chat_action_does_not_matter(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    server.faults.add("sendChatAction", "500")
    await ann.send_photo(PHOTO)
    assert (await ann.next_message())["text"].startswith("a cat")


async def test_a_sheet_that_telegram_refuses_is_left_out(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    queue.outcome = lambda job, media: captions(sheet=b"not a picture")
    await ann.send_photo(PHOTO)
    assert (await ann.next_message())["text"].startswith("a cat")
    assert any(server.violations)
    server.violations.clear()


async def test_sample_repeats_nothing_and_draws_anew_each_time(queue: FakeQueue, ann: Person) -> None:
    queue.outcome = lambda job, media: captions("a dog", "a <b>", "a dog")
    await ann.send_photo(PHOTO)
    await ann.next_message()
    for _ in range(2):
        await ann.send_text("/sample 3")
        assert (await ann.next_message())["text"] == "a dog\n2. a <b>"
    assert len({photo_of(job).seed for job in queue.jobs.values()}) == 3


async def test_sample_in_russian(queue: FakeQueue, olga: Person) -> None:
    await olga.send_text("/sample много")
    assert "от 1 до 10" in (await olga.next_message())["text"]
    await olga.send_text("/sample 2")
    assert "пришлите фото" in (await olga.next_message())["text"]


async def test_sample_as_a_reply_means_that_photo(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    first, second = picture(50, 50), picture(60, 60)
    seen: list[bytes] = []
    queue.outcome = lambda job, media: seen.append(media) or captions("one")  # type: ignore[func-returns-value]
    photo = await bob.send_photo(first, chat=group)
    await bob.send_photo(second, chat=group)
    await ann.send_text("/sample 1", chat=group, reply_to=photo)
    answer = await group.next_message()
    assert answer["text"] == "one"
    assert seen == [first]


async def test_sample_as_a_reply_to_an_answer_means_the_photo_and_not_the_sheet(queue: FakeQueue, ann: Person) -> None:
    queue.outcome = lambda job, media: captions(sheet=SHEET if photo_of(job).sheet else None)
    photo = await ann.send_photo(PHOTO)
    answer = await ann.next_message()
    await ann.send_text("/sample", reply_to=answer)
    await ann.next_message()
    name = photo["photo"][-1]["file_unique_id"]
    assert [photo_of(job).picture for job in queue.jobs.values()] == [name, name]


async def test_sample_under_a_photo_means_that_photo(queue: FakeQueue, ann: Person) -> None:
    await ann.send_photo(PHOTO, "/sample 2")
    assert (await ann.next_message())["text"].startswith("a cat sits")


async def test_sample_with_no_photo_says_to_send_one(queue: FakeQueue, ann: Person) -> None:
    await ann.send_text("/sample")
    assert "no picture in this chat" in (await ann.next_message())["text"]


@pytest.mark.parametrize(
    ("language", "document", "picture", "button", "hello", "last"),
    [
        (
            *("en", "README.md", "answer.jpg", "👁 Show an example"),
            *("Hello! Send me a photo, and I will answer like this:", "This is how I answer a photo."),
        ),
        (
            *("ru", "docs/russian.md", "answer.ru.jpg", "👁 Показать пример"),
            *("Здравствуйте! Пришлите мне фото, и я отвечу так:", "Так я отвечаю на фото."),
        ),
    ],
)
async def test_an_example_is_shown_at_the_start_and_to_who_has_sent_no_photo(
    server: FakeTelegram,
    queue: FakeQueue,
    language: str,
    document: str,
    picture: str,
    button: str,
    hello: str,
    last: str,
) -> None:
    """The example is the answer that the documentation shows, with its picture."""
    text = (ROOT / document).read_text("utf-8")
    example = [line.removeprefix("> ") for line in text.splitlines() if line.startswith("> ")][:7]
    lines = [line.removesuffix("<br>").replace("\\", "").strip("*") for line in example]
    person = server.person("P", language_code=language)
    await person.send_text("/start")
    start = await person.next_message()
    assert words(start)[0] == hello
    greeting = [line.replace("\N{NO-BREAK SPACE}", " ") for line in words(start)]
    assert greeting[2] == lines[0]
    assert greeting[4 : 2 + len(lines)] == lines[2:]
    assert words(start)[3].split("(")[1] == lines[1].split("(")[1]
    assert server.file_bytes(start["photo"][-1]["file_id"]) == (ROOT / "docs" / picture).read_bytes()
    await person.send_text("/sample")
    said = await person.next_message()
    assert buttons(said) == [button]
    for _ in range(2):  # the second press is forged
        await tampered(person, said, f"e:{person.id}")
    shown = await person.wait_for(lambda now: now["message_id"] == said["message_id"] and "photo" in now)
    assert words(shown)[: len(lines)] == words(start)[2 : 2 + len(lines)]
    assert words(shown)[-1].startswith(last)
    assert buttons(shown) == []
    assert shown["photo"] == start["photo"]  # Telegram got it once
    assert len(person.bot_messages()) == 2


async def test_only_the_person_who_asked_is_shown_the_example(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    group = server.group("Cats", ann)
    await ann.send_text("/sample", chat=group)
    said = await group.next_message()
    bob = server.person("Bob")
    assert "Only the person who asked" in str(await press(bob, said, "👁 Show an example"))
    assert "Only the person who asked" in str(await tampered(bob, said, f"e:{ann.id}"))
    assert await press(ann, said, "👁 Show an example") is None
    await group.wait_for(lambda now: "photo" in now)
    answer = await answered(bob, "@captions_test_bot", group)
    assert "too old" in str(await tampered(ann, answer, f"e:{ann.id}"))  # a forged press takes no answer's place
    assert words(server.stored_message(answer)) == words(answer)


@pytest.mark.parametrize("kind", ["too_old", None])
async def test_the_example_without_its_picture(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Literal["too_old"] | None
) -> None:
    """Where Telegram refuses it, or the program was installed without its documentation."""
    if kind is None:
        monkeypatch.setattr("bot.app.Example", lambda: Example(tmp_path / "none.jpg"))
    else:
        server.faults.add("sendPhoto", kind)
    async with running_bot(server, FakeQueue(), tmp_path):
        await ann.send_text("/start")
        assert "Hello!" in (await ann.next_message())["text"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EmptyFile("x"), "is empty"),
        (NotAnImage("x"), "not a picture that I can read"),
        (DamagedImage("x"), "is damaged"),
        (ImageTooLarge("x"), "too many pixels"),
        (JobCrashed("x"), "several times"),
        (JobFailed("x"), "went wrong while I worked"),
    ],
)
async def test_each_failure_has_its_own_words(
    queue: FakeQueue, ann: Person, olga: Person, error: Exception, words: str
) -> None:
    queue.outcome = lambda job, media: error if job.user == ann.id else captions()
    photo = await ann.send_photo(PHOTO)
    await olga.send_photo(PHOTO)
    answer = await ann.next_message()
    assert words in answer["text"]
    assert replied(answer) == photo["message_id"]
    assert (await olga.next_message())["text"].startswith("a cat")


async def test_a_file_of_more_than_20_mb_is_not_downloaded(
    server: FakeTelegram, queue: FakeQueue, ann: Person, olga: Person
) -> None:
    for person, said in ((ann, "larger than 20 MB"), (olga, "больше 20 МБ")):
        await person.send_document(PHOTO, "big.png", "image/png", file_size=20 * 1024 * 1024 + 1)
        assert said in (await person.next_message())["text"]
    assert not [call for call in server.calls if call.method in ("getFile", "download")]


async def test_a_picture_that_telegram_lost(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    server.faults.add("download", "gone")
    await ann.send_photo(PHOTO)
    assert "no longer gives me" in (await ann.next_message())["text"]


@pytest.mark.parametrize("kind", ["500", "drop", "lose_response", "429"])
async def test_a_download_survives_faults(server: FakeTelegram, queue: FakeQueue, ann: Person, kind: str) -> None:
    server.faults.add("getFile" if kind == "429" else "download", kind, times=1)  # type: ignore[arg-type]
    await ann.send_photo(PHOTO)
    assert (await ann.next_message())["text"].startswith("a cat")


async def test_too_much_at_once_is_answered_with_busy(
    server: FakeTelegram, ann: Person, olga: Person, tmp_path: Path
) -> None:
    queue = closed_queue()
    async with running_bot(server, queue, tmp_path, max_per_user=2, max_queue=3):
        for _ in range(3):
            await ann.send_photo(PHOTO)
        assert "already working on 2 requests of yours" in (await ann.next_message())["text"]
        for _ in range(2):
            await olga.send_photo(PHOTO)
        assert "больше работы, чем я успеваю" in (await olga.next_message())["text"]
        queue.open.set()
        for person in (ann, ann, olga):
            assert (await person.next_message())["text"].startswith("a cat")
        await ann.send_photo(PHOTO)
        assert (await ann.next_message())["text"].startswith("a cat")


async def test_downloads_wait_for_room_in_memory(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = closed_queue()
    big = PHOTO + bytes(700_000)
    async with running_bot(server, queue, tmp_path, max_media_bytes=1024 * 1024):
        for _ in range(3):
            await ann.send_document(big, "big.jpg", "image/jpeg")
        await eventually(lambda: queue.media)
        await asyncio.sleep(0.3)
        queue.open.set()
        for _ in range(3):
            assert (await ann.next_message())["text"].startswith("a cat")
    assert queue.most_bytes == len(big)


async def test_start_and_help_in_both_languages(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    for code, hello, english in (("en", "Hello", "are in English"), ("ru", "Здравствуйте", "на английском и перевожу")):
        person = server.person("P", language_code=code)
        await person.send_text("/start")
        assert hello in (await person.next_message())["caption"]
        await person.send_text("/help")
        text = (await person.next_message())["text"]
        assert english in text
        assert "/sample 8 t=1.2" in text
    nobody = server.person("Q", language_code="ja")
    await nobody.send_text("/start")
    assert "Hello" in (await nobody.next_message())["caption"]


async def test_anything_else_is_answered_with_what_to_send(queue: FakeQueue, ann: Person) -> None:
    async def answer_to(message: Message) -> str:
        answer = await ann.next_message()
        assert replied(answer) == message["message_id"]
        text: str = answer["text"]
        return text

    assert "Send me a photo" in await answer_to(await ann.send_text("hello"))
    assert "do not open links" in await answer_to(await ann.send_text("look: https://example.org/cat.jpg"))
    linked = await ann.send_text("see")
    assert "Send me a photo" in await answer_to(linked)
    bare = {"text": "so: @ann_b example.org/cat", "entities": [entity("mention", 4, 6), entity("url", 11, 15)]}
    ann.server.push("message", linked | bare)
    assert "do not open links" in await answer_to(linked)
    assert "do not know this command" in await answer_to(await ann.send_text("/dance"))
    assert "only look at pictures" in await answer_to(await ann.send_voice(b"x"))
    assert "only look at pictures" in await answer_to(await ann.send_location(1.0, 2.0))
    assert "only look at pictures" in await answer_to(await ann.send_contact("1", "Bob"))
    assert "moving drawing" in await answer_to(await ann.send_sticker(b"x", is_animated=True))
    assert "not a picture" in await answer_to(await ann.send_document(b"x", "a.zip", "application/zip"))
    assert not queue.jobs


async def test_edits_and_service_messages_are_not_answered(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    message = await ann.send_text("hello")
    await ann.next_message()
    server.push("edited_message", message | {"text": "hello again"})
    server.push("channel_post", message)
    server.warnings.clear()  # these kinds are not even asked for
    server.push("message", {k: v for k, v in message.items() if k != "text"} | {"new_chat_title": "x"})
    await silence(server, ann, message)


async def test_in_a_group_only_what_is_said_to_the_bot_is_answered(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    group = server.group("Cats", ann)
    await ann.send_photo(PHOTO, chat=group)
    await ann.send_text("hello", chat=group)
    await ann.send_text("/dance", chat=group)
    await ann.send_document(b"x", "a.pdf", "application/pdf", chat=group)
    photo = await ann.send_photo(PHOTO, "what is it, @captions_test_bot ?", chat=group)
    answer = await group.next_message()
    assert replied(answer) == photo["message_id"]
    reply = await ann.send_photo(PHOTO, chat=group, reply_to=answer)
    assert replied(await group.next_message()) == reply["message_id"]
    await ann.send_text("/sample@captions_test_bot", chat=group)
    assert (await group.next_message())["text"].startswith("a cat sits")
    assert len(group.bot_messages()) == 3


async def test_a_topic_is_answered_in_the_topic(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    forum = server.group("Forum", ann, is_forum=True)
    await ann.send_photo(PHOTO, "@captions_test_bot", chat=forum, thread_id=7)
    assert (await forum.next_message())["message_thread_id"] == 7


async def test_a_photo_that_was_deleted_meanwhile_is_answered_all_the_same(queue: FakeQueue, ann: Person) -> None:
    queue.open.clear()
    photo = await ann.send_photo(PHOTO)
    await eventually(lambda: queue.jobs)
    await ann.delete(photo)
    queue.open.set()
    assert "reply_to_message" not in await ann.next_message()


async def test_a_closed_bot_serves_its_list_and_refuses_others_in_their_language(
    server: FakeTelegram, ann: Person, olga: Person, tmp_path: Path
) -> None:
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path, allowed_ids=frozenset({ann.id})):
        await ann.send_photo(PHOTO)
        assert (await ann.next_message())["text"].startswith("a cat")
        await olga.send_photo(PHOTO)
        assert "узкого круга" in (await olga.next_message())["text"]
        group = server.group("Friends", olga)
        await olga.send_text("/help", chat=group)
        await ann.send_text("/help", chat=group)
        await group.next_message()
    assert len(queue.jobs) == 1
    assert len(group.bot_messages()) == 1  # Ann's answer alone


async def test_many_photos_of_one_chat_show_one_chat_action(
    server: FakeTelegram, queue: FakeQueue, ann: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bot.answers.sending.ACTION_INTERVAL", 3600.0)
    queue.open.clear()
    for _ in range(12):
        await ann.send_photo(PHOTO)
    await eventually(lambda: len(queue.jobs) == 12)
    await server.until(lambda: server.sent(ann.id, "sendChatAction") or None, 60)
    assert len(server.sent(ann.id, "sendChatAction")) == 1
    queue.open.set()
    for _ in range(12):
        await ann.next_message()


async def test_a_stop_does_not_cut_an_answer_off_on_its_way(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    """Telegram is slow to confirm the answer, and the bot is stopped meanwhile: it is not answered again."""
    slow = server.faults.add("sendMessage", "delay", times=1, seconds=60)
    queue = FakeQueue()
    async with running_bot(server, queue, tmp_path, grace=2.0) as bot:
        await ann.send_photo(PHOTO)
        await eventually(lambda: slow.fired)
        bot.stop.set()
        await asyncio.sleep(2.5)  # longer than its grace; who is sending has it twice
        slow.over.set()
        assert await bot.status() == 0
    async with running_bot(server, queue, tmp_path):
        await ann.send_text("/help")
        await server.until(lambda: len(ann.bot_messages()) >= 2 or None, 60)
        await asyncio.sleep(0.3)
    assert len(ann.bot_messages()) == 2
    assert len(queue.jobs) == 1
