"""Whatever carries a picture or a clip, said to the bot in every way in which people say it. The test is the worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import JobFailure
from model.serving.tasks.clip import ClipFrame, ClipResult
from model.serving.tasks.photo import PhotoResult, WireCaption
from tests.support.conversation import buttons, replied, tampered
from tests.support.fake_queue import eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Message, Person
from tests.support.jobs import photo_of
from tests.support.local_queue import WORKER, all_done, joined_queue, take
from tests.support.pictures import picture
from tests.support.records import forget_notes

BOT = "@captions_test_bot"


PHOTO, OTHER = picture(), picture(70, 70)
CAPTIONS = PhotoResult(WireCaption("a cat", 0.5), (WireCaption("a dog", 0.3),), sheet=picture(320, 200))
MOMENTS = ClipResult(
    duration=9.0,
    frames=(ClipFrame(1.0, "a cat", 0.5, True), ClipFrame(7.0, "a dog", 0.5, True)),
    variedness=0.5,
    still=False,
    pictures=(picture(), picture()),
    timeline=picture(320, 200),
)


@pytest.fixture
def queue() -> LocalQueue:
    return joined_queue()


@pytest.fixture
async def ann(server: FakeTelegram, queue: LocalQueue, tmp_path: Path) -> AsyncIterator[Person]:
    async with running_bot(server, queue, tmp_path):
        yield server.person("Ann")


@pytest.fixture
def olga(server: FakeTelegram, ann: Person) -> Person:
    return server.person("Ольга", language_code="ru")


async def looked_at(queue: LocalQueue) -> bytes:
    """Caption the next picture; its bytes."""
    lease = await take(queue, "photo")
    await queue.finish(WORKER, lease.job.id, CAPTIONS)
    return lease.media


async def watched(queue: LocalQueue) -> bytes:
    """Find the moments of the next clip; its bytes."""
    lease = await take(queue, "clip")
    await queue.finish(WORKER, lease.job.id, MOMENTS)
    return lease.media


async def moves(queue: LocalQueue) -> None:
    """What a worker says of an animated picture that it is to caption as a still one."""
    lease = await take(queue, "photo")
    await queue.fail(WORKER, lease.job.id, JobFailure("animated", "it moves"))


async def told(person: Person, words: str) -> Message:
    return await person.wait_for(lambda m: words in m.get("text", "") + m.get("caption", ""), 60)


# -- what carries a picture


async def test_a_still_sticker_is_a_picture(queue: LocalQueue, ann: Person) -> None:
    sent = await ann.send_sticker(b"webp")
    assert await looked_at(queue) == b"webp"
    assert replied(await ann.next_message()) == sent["message_id"]


async def test_a_video_sticker_is_a_clip(queue: LocalQueue, ann: Person) -> None:
    await ann.send_sticker(b"webm", is_video=True)
    assert await watched(queue) == b"webm"
    assert await told(ann, "2 moments in 0:09")


async def test_a_drawn_sticker_is_refused(queue: LocalQueue, ann: Person, olga: Person) -> None:
    await ann.send_sticker(b"tgs", is_animated=True)
    assert "moving drawing" in (await ann.next_message())["text"]
    await olga.send_sticker(b"tgs", is_animated=True)
    assert "движущийся рисунок" in (await olga.next_message())["text"]
    assert (await queue.status()).open_requests == 0


@pytest.mark.parametrize(
    ("name", "mime_type"),
    [
        ("IMG_0001.HEIC", "application/octet-stream"),
        ("a", "image/heif"),
        ("a.avif", "image/avif"),
        ("a.bmp", ""),
        ("a.TIFF", ""),
        ("a.jfif", ""),
        ("a.webp", "image/webp"),
    ],
)
async def test_pictures_as_files(queue: LocalQueue, ann: Person, name: str, mime_type: str) -> None:
    await ann.send_document(PHOTO, name, mime_type)
    assert await looked_at(queue) == PHOTO
    assert (await ann.next_message())["caption"].startswith("a cat")


async def test_a_forwarded_post(server: FakeTelegram, queue: LocalQueue, ann: Person) -> None:
    group = server.group("News", server.person("Bob"))
    post = await server.person("Bob").send_photo(PHOTO, "look: https://example.org", chat=group)
    forwarded = await ann.forward(post)
    assert await looked_at(queue) == PHOTO
    assert replied(await ann.next_message()) == forwarded["message_id"]


async def test_paid_media_that_were_paid_for_and_those_that_were_not(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    message = await ann.send_text("/start")
    await ann.next_message()
    bare = {key: value for key, value in message.items() if key not in ("text", "entities")}
    locked = {"type": "preview", "width": 100, "height": 100}
    server.push("message", bare | {"paid_media": {"star_count": 5, "paid_media": [locked]}})
    assert "for sale" in (await ann.next_message())["text"]
    bought = {"type": "photo", **server.store_photo(PHOTO)}
    server.push("message", bare | {"paid_media": {"star_count": 5, "paid_media": [locked, bought]}})
    assert await looked_at(queue) == PHOTO
    assert (await ann.next_message())["caption"].startswith("a cat")


@pytest.mark.parametrize(("language", "button"), [("en", "▶ As a clip"), ("ru", "▶ Как ролик")])
async def test_a_live_photo_is_the_photo_and_on_a_press_the_clip(
    server: FakeTelegram, queue: LocalQueue, ann: Person, language: str, button: str
) -> None:
    person = server.person("P", language_code=language)
    await person.send_live_photo(PHOTO, b"moving", "at the sea")
    assert await looked_at(queue) == PHOTO
    answer = await person.next_message()
    assert answer["caption"].startswith("a cat")
    await person.press(answer, button)
    assert await watched(queue) == b"moving"
    timeline = await person.wait_for(lambda m: "0:09" in m.get("caption", ""))
    assert "2" in timeline["caption"]
    await tampered(person, answer, "al:forged")
    said = {"en": "which clip this was", "ru": "какой это был ролик"}[language]
    await person.wait_for(lambda m: said in m.get("text", ""))


async def test_a_photo_is_no_live_photo(queue: LocalQueue, ann: Person) -> None:
    live = await ann.send_live_photo(PHOTO, b"moving")
    assert await looked_at(queue) == PHOTO
    await ann.next_message()
    await ann.send_photo(PHOTO, reply_to=live)
    assert await looked_at(queue) == PHOTO
    assert "▶ As a clip" not in buttons(await ann.next_message())
    await ann.send_text("/caption", reply_to=live)
    assert await looked_at(queue) == PHOTO
    assert "▶ As a clip" in buttons(await ann.next_message())


async def test_a_live_photo_without_its_still_picture_is_a_clip(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    message = await ann.send_live_photo(PHOTO, b"moving")
    assert await looked_at(queue) == PHOTO
    await ann.next_message()
    live = {key: value for key, value in message["live_photo"].items() if key != "photo"}
    server.push("message", message | {"live_photo": live, "photo": []})
    assert await watched(queue) == b"moving"
    await ann.wait_for(lambda m: "0:09" in m.get("caption", ""))


# -- animated pictures


@pytest.mark.parametrize(
    ("name", "mime_type"), [("a.webp", "image/webp"), ("a.png", "image/png"), ("a.avif", "image/avif"), ("a.jpg", "")]
)
async def test_a_file_that_turns_out_to_move_is_answered_as_a_clip(
    server: FakeTelegram, queue: LocalQueue, ann: Person, name: str, mime_type: str
) -> None:
    await ann.send_document(b"frames", name, mime_type)
    await moves(queue)
    lease = await take(queue, "clip")
    assert (lease.job.line, lease.media) == ("clip", b"frames")
    await queue.finish(WORKER, lease.job.id, MOMENTS)
    assert await told(ann, "2 moments in 0:09")
    assert not [message for message in ann.bot_messages() if "/caption" in message.get("text", "")]
    await all_done(queue)


async def test_a_clip_in_place_of_a_picture_is_answered_after_a_restart(
    server: FakeTelegram, queue: LocalQueue, tmp_path: Path
) -> None:
    """The queue then has the outcome of the clip under the picture's name."""
    person = server.person("Ann")
    async with running_bot(server, queue, tmp_path, grace=0.2):
        await person.send_document(b"frames", "a.webp", "image/webp")
        await moves(queue)
        lease = await take(queue, "clip")
        fault = server.faults.add("sendMediaGroup", "500")
        await queue.finish(WORKER, lease.job.id, MOMENTS)
        await eventually(lambda: fault.fired)
    server.faults.clear()
    async with running_bot(server, queue, tmp_path):
        assert await told(person, "2 moments in 0:09")
    assert (await queue.status()).open_requests == 0


async def test_a_restart_between_picture_and_clip(
    server: FakeTelegram, queue: LocalQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue then still says that the picture moves."""
    person = server.person("Ann")

    async def hangs(_: str) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(queue, "forget", hangs)
        async with running_bot(server, queue, tmp_path, grace=0.2):
            await person.send_document(b"frames", "a.webp", "image/webp")
            await moves(queue)
            await asyncio.sleep(0.1)
    async with running_bot(server, queue, tmp_path):
        assert await watched(queue) == b"frames"
        assert await told(person, "2 moments in 0:09")


# -- which picture is meant


async def test_caption_in_reply_to_somebodys_photo_or_clip(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    photo = await bob.send_photo(PHOTO, chat=group)
    video = await bob.send_video(b"mp4", chat=group)
    await bob.send_photo(OTHER, chat=group)
    asked = await ann.send_text("/caption", chat=group, reply_to=photo)
    assert await looked_at(queue) == PHOTO
    answer = await group.next_message()
    assert answer["caption"].startswith("a cat")
    assert replied(answer) == asked["message_id"]
    await ann.send_text(f"/caption{BOT}", chat=group, reply_to=video)
    assert await watched(queue) == b"mp4"
    await group.wait_for(lambda m: "2 moments" in m.get("caption", ""), 60)


async def test_a_mention_in_reply_to_somebodys_photo_or_clip(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    bob = server.person("Bob")
    group = server.group("Cats", ann)
    photo = await bob.send_photo(PHOTO, chat=group)
    video = await bob.send_video(b"mp4", chat=group)
    await ann.send_text("what is it?", chat=group, reply_to=photo)  # said to Bob
    asked = await ann.send_text(f"{BOT} what is it?", chat=group, reply_to=photo)
    assert await looked_at(queue) == PHOTO
    assert replied(await group.next_message()) == asked["message_id"]
    await ann.send_text(f"and this, {BOT}?", chat=group, reply_to=video)
    assert await watched(queue) == b"mp4"
    await group.wait_for(lambda m: "2 moments" in m.get("caption", ""), 60)


async def test_in_private_a_question_about_an_earlier_photo_is_answered(queue: LocalQueue, ann: Person) -> None:
    photo = await ann.send_photo(PHOTO)
    await looked_at(queue)
    await ann.next_message()
    await ann.send_photo(OTHER)
    await looked_at(queue)
    await ann.next_message()
    await ann.send_text("and what was this?", reply_to=photo)
    assert await looked_at(queue) == PHOTO


@pytest.mark.parametrize("words", ["/caption", "what is this?"])
async def test_a_photo_of_another_chat_that_is_replied_to_here(
    server: FakeTelegram, queue: LocalQueue, ann: Person, words: str
) -> None:
    channel = server.group("News", server.person("Bob"))
    photo = await server.person("Bob").send_photo(PHOTO, chat=channel)
    await ann.reply_elsewhere(photo, words)
    assert await looked_at(queue) == PHOTO
    assert (await ann.next_message())["caption"].startswith("a cat")
    video = await server.person("Bob").send_video(b"mp4", chat=channel)
    await ann.reply_elsewhere(video, words)
    assert await watched(queue) == b"mp4"


async def test_in_a_group_a_photo_of_another_chat_needs_a_mention(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    group = server.group("Cats", ann)
    sticker = await server.person("Bob").send_sticker(OTHER, chat=server.group("News", ann))
    photo = await server.person("Bob").send_photo(PHOTO, chat=server.group("News", ann))
    await ann.reply_elsewhere(sticker, "look at this", chat=group)
    await ann.reply_elsewhere(photo, f"{BOT} what is it?", chat=group)
    assert await looked_at(queue) == PHOTO
    await group.next_message()
    assert len(group.bot_messages()) == 1


async def test_caption_under_a_photo_and_alone(queue: LocalQueue, ann: Person) -> None:
    await ann.send_photo(PHOTO, "/caption")
    assert await looked_at(queue) == PHOTO
    await ann.next_message()
    await ann.send_text("/caption")
    assert await looked_at(queue) == PHOTO
    assert (await ann.next_message())["caption"].startswith("a cat")


async def test_in_a_group_caption_under_a_photo_needs_no_mention(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    group = server.group("Cats", ann)
    await ann.send_photo(PHOTO, "/caption", chat=group)
    assert await looked_at(queue) == PHOTO
    await ann.send_video(b"mp4", "/caption", chat=group)
    assert await watched(queue) == b"mp4"


async def test_caption_with_no_picture_says_what_to_do(queue: LocalQueue, ann: Person, olga: Person) -> None:
    await ann.send_text("/caption")
    assert "as a reply to a photo" in (await ann.next_message())["text"]
    await olga.send_text("/caption")
    assert "ответьте этой командой" in (await olga.next_message())["text"]


async def test_a_reply_to_an_answer_means_what_was_answered(queue: LocalQueue, ann: Person) -> None:
    """Not the sheet, and not the photo that came last. (Its features are still known, so it is named, not sent.)"""
    photo = await ann.send_photo(PHOTO)
    await looked_at(queue)
    answer = await ann.next_message()
    await ann.send_video(b"mp4")
    await watched(queue)
    timeline = await told(ann, "2 moments in 0:09")
    await ann.send_photo(OTHER)
    await looked_at(queue)
    for command in ("/sample", "/caption"):
        await all_done(queue)
        await ann.send_text(command, reply_to=answer)
        lease = await take(queue, "photo")
        await queue.finish(WORKER, lease.job.id, CAPTIONS)
        assert photo_of(lease.job).picture == photo["photo"][-1]["file_unique_id"]
    await ann.send_text("/caption", reply_to=timeline)
    assert await watched(queue) == b"mp4"


@pytest.mark.parametrize("command", ["/caption", "/sample 3"])
async def test_a_command_in_reply_to_no_picture_is_not_about_another_one(
    server: FakeTelegram, queue: LocalQueue, ann: Person, command: str
) -> None:
    await ann.send_photo(PHOTO)
    await looked_at(queue)
    await ann.next_message()
    questions = [
        (await ann.send_document(b"x", "a.pdf", "application/pdf"), "PDF"),
        (await ann.send_sticker(b"tgs", is_animated=True), "moving drawing"),
        (await ann.send_voice(b"x"), "only look at pictures"),
    ]
    for message, words in questions:
        await told(ann, words)
        asked = await ann.send_text(command, reply_to=message)
        answer = await ann.wait_for(lambda m, asked=asked: replied(m) == asked["message_id"], 60)  # type: ignore[misc]
        assert words in answer["text"]
    bob = server.person("Bob")
    drawn = await bob.send_sticker(b"x", chat=server.group("News", bob), is_animated=True)
    asked = await ann.reply_elsewhere(drawn, command)
    answer = await ann.wait_for(lambda m: replied(m) == asked["message_id"], 60)
    assert "moving drawing" in answer["text"]
    await all_done(queue)


@pytest.mark.parametrize("command", ["/caption", "/sample 3"])
async def test_a_reply_to_an_answer_that_is_not_known_any_more_is_not_about_another_picture(
    queue: LocalQueue, ann: Person, tmp_path: Path, command: str
) -> None:
    await ann.send_photo(PHOTO)
    await looked_at(queue)
    answer = await ann.next_message()
    await ann.send_video(b"mp4")
    await watched(queue)
    timeline = await told(ann, "2 moments in 0:09")
    forget_notes(tmp_path, "answer:%")
    forget_notes(tmp_path, "clip:%")
    await ann.send_text(command, reply_to=answer)
    assert await told(ann, "no longer know which picture")
    await ann.send_text(command, reply_to=timeline)
    assert await told(ann, "no longer know which clip")


async def test_sample_of_a_clip_says_what_does_it(queue: LocalQueue, ann: Person, olga: Person) -> None:
    for person, words in ((ann, "/caption as a reply"), (olga, "ответьте на неё командой /caption")):
        video = await person.send_video(b"mp4")
        await watched(queue)
        await all_done(queue)
        await person.send_text("/sample 3", reply_to=video)
        assert await told(person, words)
        animated = await person.send_document(b"frames", "a.webp", "image/webp", "/sample")
        await moves(queue)
        await all_done(queue)
        [last] = [message for message in person.bot_messages() if replied(message) == animated["message_id"]]
        assert words in last["text"]


# -- what is no picture


@pytest.mark.parametrize(
    ("words", "entities"),
    [
        ("look: https://example.org/cat.jpg", []),
        ("so: example.org/cat", [{"type": "url", "offset": 4, "length": 15}]),
        ("this cat", [{"type": "text_link", "offset": 0, "length": 8, "url": "https://example.org/cat.jpg"}]),
    ],
)
async def test_links_are_not_opened(
    server: FakeTelegram, ann: Person, olga: Person, words: str, entities: list[object]
) -> None:
    group = server.group("Cats", ann)
    mention = {"type": "mention", "offset": len(words) + 1, "length": len(BOT)}
    for person, said in ((ann, "do not open links"), (olga, "Ссылки я не открываю")):
        message = await person.send_text("/help")
        await person.next_message()
        server.push("message", message | {"text": words, "entities": entities})
        assert said in (await person.next_message())["text"]
        server.push("message", message | {"text": words, "entities": entities, "chat": group.shape})  # to the others
        both = {"text": f"{words} {BOT}", "entities": [*entities, mention], "chat": group.shape}
        server.push("message", message | both)
        assert said in (await group.next_message())["text"]
    assert len(group.bot_messages()) == 2


async def test_caption_of_a_link_asks_for_the_picture_itself(queue: LocalQueue, ann: Person) -> None:
    await ann.send_photo(PHOTO)
    await looked_at(queue)
    await ann.next_message()
    await ann.send_text("/caption https://example.org/cat.jpg")
    assert "do not open links" in (await ann.next_message())["text"]
    linked = await ann.send_text("https://example.org/cat.jpg")
    assert "do not open links" in (await ann.next_message())["text"]
    await ann.send_text("/sample", reply_to=linked)
    assert "do not open links" in (await ann.next_message())["text"]


async def test_a_link_under_a_photo_does_not_matter(queue: LocalQueue, ann: Person) -> None:
    await ann.send_photo(PHOTO, "from https://example.org")
    assert await looked_at(queue) == PHOTO


@pytest.mark.parametrize(
    ("name", "mime_type", "english", "russian"),
    [
        ("paper.pdf", "application/pdf", "a PDF document", "документ PDF"),
        ("page.html", "text/html", "a web page", "веб-страница"),
        ("drawing.svg", "", "a vector drawing", "векторный рисунок"),
        ("letter.docx", "application/msword", "not a picture that I can read", "не могу открыть"),
    ],
)
async def test_files_that_do_not_claim_to_be_pictures_are_not_downloaded(
    server: FakeTelegram, ann: Person, olga: Person, name: str, mime_type: str, english: str, russian: str
) -> None:
    for person, words in ((ann, english), (olga, russian)):
        await person.send_document(b"bytes", name, mime_type)
        assert words in (await person.next_message())["text"]
    assert not [call for call in server.calls if call.method == "getFile"]


@pytest.mark.parametrize(
    ("kind", "english", "russian"),
    [
        ("svg", "export it as PNG", "как PNG"),
        ("pdf", "a PDF document", "документ PDF"),
        ("web_page", "save the picture itself", "сохраните саму картинку"),
        ("zeros", "nothing in this file but zeros", "одни нули"),
        ("truncated", "breaks off", "обрывается"),
        ("damaged", "is damaged", "повреждена"),
        ("empty", "is empty", "пуст"),
        ("not_image", "not a picture that I can read", "не могу открыть"),
        ("too_large", "too many pixels", "слишком много пикселей"),
    ],
)
async def test_each_fault_of_a_file_has_its_own_words(
    queue: LocalQueue, ann: Person, olga: Person, kind: str, english: str, russian: str
) -> None:
    for person, words in ((ann, english), (olga, russian)):
        await person.send_document(b"bytes", "a.jpg", "image/jpeg")
        lease = await take(queue, "photo")
        await queue.fail(WORKER, lease.job.id, JobFailure(kind, ""))
        assert words in (await person.next_message())["text"]


async def test_help_tells_of_it(ann: Person, olga: Person) -> None:
    for person, words in ((ann, "sticker"), (olga, "стикер")):
        await person.send_text("/help")
        text = (await person.next_message())["text"]
        assert "/caption" in text
        assert words in text.lower()
