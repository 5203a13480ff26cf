"""Conversations about clips. The queue is the real one; the test is its worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bot.answers.keyboards import OtherMoments
from bot.answers.settings_menu import MenuPress
from bot.chat_settings import ChatSettings
from model.serving.embedded.queue import LocalQueue
from model.serving.jobs import JobFailure
from model.serving.tasks.photo import PhotoResult, WireCaption
from tests.support.conversation import buttons, press, tampered, timeline_of
from tests.support.fake_queue import eventually, running_bot
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.jobs import clip_of
from tests.support.local_queue import WORKER, all_done, answer, clip_result, joined_queue, take
from tests.support.records import keep, opened, waiting_in
from tests.support.voices import Spoken

pytestmark = pytest.mark.usefixtures("unpaced")


@pytest.fixture
def queue() -> LocalQueue:
    return joined_queue()


@pytest.fixture
async def ann(server: FakeTelegram, queue: LocalQueue, tmp_path: Path) -> AsyncIterator[Person]:
    async with running_bot(server, queue, tmp_path):
        yield server.person("Ann")


def album(server: FakeTelegram, person: Person) -> list[str]:
    """The captions of the album that was sent, if any."""
    calls = [call for call in server.sent(person.id, "sendMediaGroup") if call.ok]
    return [message["caption"] for call in calls for message in call.result]


async def test_a_video_is_answered_with_its_moments_and_a_timeline(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    video = await ann.send_video(b"mp4", duration=64)
    lease = await answer(queue, clip_result())
    assert (lease.job.line, lease.job.user, clip_of(lease.job).moments, lease.media) == ("clip", ann.id, None, b"mp4")
    timeline = await timeline_of(ann)
    assert album(server, ann) == ["scene <0> · 0:00", "scene <1> · 0:08", "scene <2> · 0:16"]
    assert timeline["caption"] == "3 moments in 1:04 · how varied: 62 %"
    assert timeline["reply_to_message"]["message_id"] == video["message_id"]
    assert buttons(timeline) == ["➖ Fewer moments", "➕ More moments", "📄 All captions", "⚙ Settings", "🗑 Delete"]
    await all_done(queue)


async def test_one_moment_is_one_picture(server: FakeTelegram, queue: LocalQueue, ann: Person) -> None:
    await ann.send_video_note(b"mp4")
    await answer(queue, clip_result(chosen=1, still=True))
    moment = await ann.wait_for(lambda m: m.get("caption") == "scene <0> · 0:00", 60)
    assert "photo" in moment
    timeline = await ann.wait_for(lambda m: "One shot" in m.get("caption", ""), 60)
    assert timeline["caption"] == "One shot of 1:04 in which little changes"
    assert buttons(timeline) == ["➕ More moments", "📄 All captions", "⚙ Settings", "🗑 Delete"]
    assert album(server, ann) == []


async def test_whatever_moves_is_a_clip(server: FakeTelegram, queue: LocalQueue, ann: Person) -> None:
    await ann.send_animation(b"gif")  # comes with a document as well
    await ann.send_document(b"mkv", "holiday.MKV", "application/octet-stream")
    await ann.send_document(b"mp4", "clip", "video/mp4")
    await ann.send_document(b"GIF89a", "a.gif", "image/gif")
    media = set()
    for line in ("clip", "clip", "clip-bulk", "clip-bulk"):  # a person's third waits in the bulk lane
        lease = await take(queue, line)
        await queue.finish(WORKER, lease.job.id, clip_result())
        media.add(lease.media)
    assert media == {b"gif", b"mkv", b"mp4", b"GIF89a"}


async def test_other_moments_and_all_captions_are_a_button_away(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    await ann.send_video(b"mp4")
    await answer(queue, clip_result(chosen=2))
    timeline = await timeline_of(ann)
    await ann.callback_answer(await ann.press(timeline, "➕ More moments"))
    lease = await answer(queue, clip_result(chosen=3))
    assert (clip_of(lease.job).moments, lease.media, lease.job.user) == (3, b"mp4", ann.id)
    more = await ann.wait_for(lambda m: "3 moments" in m.get("caption", ""), 60)
    await ann.callback_answer(await ann.press(more, "📄 All captions"))
    await answer(queue, clip_result(chosen=2))
    document = await ann.wait_for(lambda m: "document" in m, 60)
    assert "A star marks" in document["caption"]
    text = server.file_bytes(document["document"]["file_id"]).decode()
    assert text.splitlines()[:3] == ["* 0:00  scene <0>", "* 0:08  scene <1>", "  0:16  scene <2>"]
    assert len(text.splitlines()) == 8


async def test_a_clip_that_has_no_more_moments_offers_none(queue: LocalQueue, ann: Person) -> None:
    await ann.send_video(b"mp4")
    await answer(queue, clip_result(chosen=2))
    first = await timeline_of(ann)
    await ann.press(first, "➕ More moments")
    lease = await answer(queue, clip_result(chosen=2))  # its other frames are of no use
    assert clip_of(lease.job).moments == 3
    second = await ann.wait_for(lambda m: "reply_markup" in m and "photo" in m and m != first, 60)
    assert buttons(second) == ["➖ Fewer moments", "📄 All captions", "⚙ Settings", "🗑 Delete"]


async def test_an_old_button_says_why_it_does_not_work(
    server: FakeTelegram, queue: LocalQueue, ann: Person, tmp_path: Path
) -> None:
    await ann.send_video(b"mp4")
    await answer(queue, clip_result())
    timeline = await timeline_of(ann)
    with opened(tmp_path) as database:
        database.execute("UPDATE chat_notes SET expires = 0")
    await ann.press(timeline, "➕ More moments")
    assert "no longer know which clip" in (await ann.wait_for(lambda m: "no longer" in m.get("text", ""), 60))["text"]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("not_a_clip", "no moving picture"),
        ("damaged_clip", "damaged"),
        ("clip_too_long", "longer than I watch"),
        ("clip_too_large", "too large for me"),
        ("clip_too_slow", "too long to read"),
        ("clips_unavailable", "only look at photos"),
        ("empty", "empty"),
    ],
)
async def test_each_failure_has_its_own_words(queue: LocalQueue, ann: Person, kind: str, words: str) -> None:
    await ann.send_video(b"mp4")
    lease = await take(queue)
    await queue.fail(WORKER, lease.job.id, JobFailure(kind, ""))
    assert await ann.wait_for(lambda m: words in m.get("text", ""), 60)


async def test_what_is_too_big_or_too_long_is_refused_before_any_work(queue: LocalQueue, ann: Person) -> None:
    await ann.send_video(b"mp4", file_size=21 * 1024 * 1024)
    assert "20 MB" in (await ann.next_message())["text"]
    await ann.send_video(b"mp4", duration=301)
    assert "longer than 5 minutes" in (await ann.next_message())["text"]
    assert (await queue.status()).open_requests == 0


async def test_a_gif_of_one_frame_is_described_as_a_picture(queue: LocalQueue, ann: Person) -> None:
    await ann.send_document(b"GIF89a", "still.gif", "image/gif")
    lease = await take(queue)
    await queue.fail(WORKER, lease.job.id, JobFailure("not_a_clip", "a still picture"))
    lease = await take(queue, "photo")
    assert (lease.job.line, lease.media) == ("photo", b"GIF89a")
    await queue.finish(WORKER, lease.job.id, PhotoResult(WireCaption("a cat", 0.5), ()))
    assert await ann.wait_for(lambda m: m.get("text", "").startswith("a cat"), 60)


async def test_a_picture_in_place_of_a_clip_is_answered_after_a_restart(
    server: FakeTelegram, queue: LocalQueue, tmp_path: Path
) -> None:
    """The queue then has the outcome of the picture under the clip's name."""
    ann = server.person("Ann")
    async with running_bot(server, queue, tmp_path, grace=0.2):
        await ann.send_document(b"GIF89a", "still.gif", "image/gif")
        lease = await take(queue)
        await queue.fail(WORKER, lease.job.id, JobFailure("not_a_clip", "a still picture"))
        lease = await take(queue, "photo")
        fault = server.faults.add("sendMessage", "500")
        await queue.finish(WORKER, lease.job.id, PhotoResult(WireCaption("a cat", 0.5), ()))
        await eventually(lambda: fault.fired)
    server.faults.clear()
    async with running_bot(server, queue, tmp_path):
        assert await ann.wait_for(lambda m: m.get("text", "").startswith("a cat"), 60)
    assert (await queue.status()).open_requests == 0


async def test_an_album_that_is_out_is_not_sent_again(server: FakeTelegram, queue: LocalQueue, tmp_path: Path) -> None:
    """The bot ends between the two messages of an answer."""
    ann = server.person("Ann")
    fault = server.faults.add("sendPhoto", "500")
    async with running_bot(server, queue, tmp_path, grace=0.2):
        await ann.send_video(b"mp4")
        await answer(queue, clip_result())
        await eventually(lambda: fault.fired)
    server.faults.clear()
    async with running_bot(server, queue, tmp_path):
        await timeline_of(ann)
    assert len(album(server, ann)) == 3
    assert (await queue.status()).open_requests == 0


async def test_a_press_from_before_a_restart_is_still_served(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    await ann.send_video(b"mp4")
    await answer(queue, clip_result())
    timeline = await timeline_of(ann)
    server.faults.add("answerCallbackQuery", "too_old")
    await ann.press(timeline, "➕ More moments")
    assert clip_of((await answer(queue, clip_result(chosen=4))).job).moments == 4
    assert await ann.wait_for(lambda m: "4 moments" in m.get("caption", ""), 60)


async def test_a_button_of_a_deleted_message_still_says_why_it_does_not_work(ann: Person, olga: Person) -> None:
    """Telegram then says of the message only which it was; the words are in the language of who pressed."""
    await ann.send_text("/start")
    chat = (await ann.next_message())["chat"]
    await tampered(olga, {"chat": chat, "message_id": 1, "date": 0}, "m:forgotten:3")
    assert "больше не знаю" in (await ann.next_message())["text"]


async def test_a_button_works_where_telegram_tells_no_more_of_its_message(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    await ann.send_video(b"mp4")
    await answer(queue, clip_result())
    timeline = await timeline_of(ann)
    [[_, more], *_] = timeline["reply_markup"]["inline_keyboard"]
    bare = {"chat": timeline["chat"], "message_id": timeline["message_id"], "date": 0}
    await tampered(ann, bare, more["callback_data"])
    assert clip_of((await answer(queue, clip_result(chosen=4))).job).moments == 4
    again = await ann.wait_for(lambda m: "4 moments" in m.get("caption", ""), 60)
    assert again["reply_to_message"]["message_id"] == timeline["message_id"]


async def test_where_files_are_refused_captions_come_as_text(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    await ann.send_video(b"mp4")
    await answer(queue, clip_result())
    timeline = await timeline_of(ann)
    server.faults.add("sendDocument", "too_old")  # as where a group lets nobody send files
    await ann.press(timeline, "📄 All captions")
    await answer(queue, clip_result())
    assert await ann.wait_for(lambda m: m.get("text", "").startswith("* 0:"), 60)


async def test_the_model_of_the_chat_looks_at_its_clips(queue: LocalQueue, ann: Person) -> None:
    await ann.send_text("/settings")
    menu = await ann.next_message()
    await tampered(ann, menu, MenuPress(do="set", name="model", value="baseline").pack())
    await ann.send_video(b"mp4")
    assert clip_of((await answer(queue, clip_result())).job).model == "baseline"
    await ann.press(await timeline_of(ann), "➕ More moments")
    assert clip_of((await answer(queue, clip_result(chosen=4))).job).model == "baseline"


@pytest.mark.parametrize("data", ["of:another:version", "t"])
async def test_a_press_that_is_not_understood_is_acknowledged(ann: Person, data: str) -> None:
    await ann.send_text("/start")
    assert await tampered(ann, await ann.next_message(), data) is None


@pytest.mark.parametrize("count", [-1, 0, 11, 1000])
def test_no_more_moments_are_asked_for_than_an_album_holds(count: int) -> None:
    with pytest.raises(ValueError, match="count"):
        OtherMoments.unpack(f"m:key:{count}")


async def test_a_press_that_fails_unforeseen_is_apologised_for(
    server: FakeTelegram, queue: LocalQueue, ann: Person, olga: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To who pressed, in their language, in a group too."""
    group = server.group("Clips", ann)
    await ann.send_video(b"mp4", "@captions_test_bot", chat=group)
    await answer(queue, clip_result())
    timeline = await group.wait_for(lambda m: "3 moments" in m.get("caption", ""), 60)

    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("unforeseen")

    monkeypatch.setattr(queue, "admit", broken)
    await olga.press(timeline, "➕ More moments")
    said = await group.wait_for(lambda m: "что-то пошло не так" in m.get("text", ""), 60)
    assert said["reply_to_message"]["message_id"] == timeline["message_id"]


async def test_a_clip_that_is_answered_is_not_answered_again(
    server: FakeTelegram, queue: LocalQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bot ends after its answer, before that is written down."""
    ann = server.person("Ann")

    async def hangs(_: str) -> None:
        await asyncio.Event().wait()

    with monkeypatch.context() as patched:
        patched.setattr(queue, "forget", hangs)
        async with running_bot(server, queue, tmp_path, grace=0.2):
            await ann.send_video(b"mp4")
            await answer(queue, clip_result())
            timeline = await timeline_of(ann)
    async with running_bot(server, queue, tmp_path):
        await all_done(queue)
    assert len(album(server, ann)) == 3
    assert [m["message_id"] for m in ann.bot_messages() if "reply_markup" in m] == [timeline["message_id"]]


async def test_the_answer_to_a_clip_keeps_to_its_topic_and_can_be_deleted_by_whom_it_was_for(
    server: FakeTelegram, queue: LocalQueue, ann: Person
) -> None:
    group = server.group("Clips", server.person("Olga"), is_forum=True)
    await ann.send_video(b"mp4", "@captions_test_bot", chat=group, thread_id=77)
    await answer(queue, clip_result())
    timeline = await group.wait_for(lambda m: "3 moments" in m.get("caption", ""), 60)
    bare = {"chat": timeline["chat"], "message_id": timeline["message_id"], "date": 0}
    [captions] = [b for row in timeline["reply_markup"]["inline_keyboard"] for b in row if b["text"].startswith("📄")]
    await tampered(ann, bare, captions["callback_data"])
    await answer(queue, clip_result())
    await group.wait_for(lambda m: "document" in m, 60)
    assert {message.get("message_thread_id") for message in group.bot_messages()} == {77}
    bob = server.person("Bob")
    assert "Only the person" in str(await press(bob, timeline, "🗑 Delete"))
    await ann.press(timeline, "🗑 Delete")
    await eventually(lambda: not group.bot_messages())  # the file with all captions, too


async def test_captions_come_first_and_are_read_aloud_where_a_chat_wants_that(
    server: FakeTelegram, queue: LocalQueue, tmp_path: Path, voice: Spoken
) -> None:
    """The bot ends before the last part; nothing comes twice."""
    ann = server.person("Ann")
    await keep(tmp_path, ann.id, ChatSettings(short_first=True, voice=True))
    fault = server.faults.add("sendVoice", "500")
    async with running_bot(server, queue, tmp_path, grace=0.2):
        await ann.send_video(b"mp4")
        await answer(queue, clip_result())
        await eventually(lambda: fault.fired)
    server.faults.clear()
    async with running_bot(server, queue, tmp_path):
        await ann.wait_for(lambda m: "voice" in m, 60)
        await eventually(lambda: not waiting_in(tmp_path))
        first, *_, last = ann.bot_messages()
        assert first["text"] == "scene <0>\nscene <1>\nscene <2>"
        assert "voice" in last
        assert voice.texts[-1] == "scene <0>. scene <1>. scene <2>"
        assert len(ann.bot_messages()) == 1 + 3 + 1 + 1
        await ann.press(await timeline_of(ann), "🗑 Delete")
        await eventually(lambda: not ann.bot_messages())


@pytest.mark.usefixtures("ann")
async def test_a_russian_reads_russian(queue: LocalQueue, olga: Person) -> None:
    await olga.send_video(b"mp4")
    lease = await answer(queue, clip_result(chosen=5))
    timeline = await olga.wait_for(lambda m: "момент" in m.get("caption", ""), 60)
    assert timeline["caption"] == "5 моментов за 1:04 · разнообразие: 62 %"
    assert clip_of(lease.job).labels.moments == "моментов: {count} · разнообразие: {variedness}"
    moments = ["➖ Меньше моментов", "➕ Больше моментов"]
    assert buttons(timeline) == [*moments, "📄 Все описания", "⚙ Настройки", "🗑 Удалить"]
