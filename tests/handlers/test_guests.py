"""The bot where it is no member: people mention it beside a photo, and its answer needs no chat."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path

import pytest

from bot.chat_settings import ChatSettings
from bot.service.limits import Throttle
from bot.storage.notes import GUEST
from model.errors import AnimatedPicture, DamagedImage, JobCrashed
from model.serving.tasks.clip import ClipTask
from tests.support.conversation import words
from tests.support.fake_queue import FakeQueue, captions, closed_queue, eventually, last, running_bot
from tests.support.fake_telegram import FakeTelegram, Message, Person, caption_part
from tests.support.jobs import photo_of
from tests.support.local_queue import clip_result
from tests.support.pictures import PHOTO
from tests.support.records import everything, keep, waiting_in

BOT = "@captions_test_bot"


def shown(server: FakeTelegram, person: Person, caption: str = BOT) -> Message:
    """A photo that mentions the bot, in a chat that it is no member of."""
    return server.elsewhere(person, server.store_photo(PHOTO) | caption_part(caption))


def is_done(message: Message) -> bool:
    return str(message["text"]).startswith("a cat on a sofa")


@pytest.mark.parametrize(
    ("language", "waits", "sure"),
    [("en", "I am looking at it.", "fairly sure (47 %)"), ("ru", "Смотрю. Описания", "скорее уверен (47 %)")],
)
async def test_a_mention_is_answered_at_once_and_then_with_captions(
    server: FakeTelegram, queue: FakeQueue, language: str, waits: str, sure: str
) -> None:
    person = server.person("Ann", language_code=language)
    queue.open.clear()
    query = server.push_guest(shown(server, person))
    stub = await server.guest_answer(query, lambda message: True)
    assert stub["text"].startswith(waits)
    assert "reply_markup" not in stub
    queue.open.set()
    answer = await server.guest_answer(query, is_done)
    assert words(answer)[1:3] == [sure, "1. a cat sits"]
    [[copy]] = answer["reply_markup"]["inline_keyboard"]
    assert copy["copy_text"] == {"text": "a cat on a sofa"}
    assert not photo_of(last(queue)).sheet
    sent = {
        call.method
        for call in server.calls
        if not call.method.startswith(("get", "setMy", "download", "deleteWebhook"))
    }
    assert sent == {"answerGuestQuery", "editMessageText"}


async def test_a_mention_in_reply_to_a_photo_means_that_photo(
    server: FakeTelegram, queue: FakeQueue, ann: Person
) -> None:
    bob = server.person("Bob")
    photo = shown(server, bob, "look")
    mention = server.elsewhere(ann, {"text": BOT}, reply_to_message=photo, chat=photo["chat"])
    await server.guest_answer(server.push_guest(mention), is_done)
    assert last(queue).user == ann.id
    assert photo_of(last(queue)).picture == photo["photo"][-1]["file_unique_id"]


@pytest.mark.parametrize(
    ("language", "said"), [("en", "Mention me in reply to a photo"), ("ru", "Упомяните меня в ответе")]
)
async def test_a_mention_of_no_photo_gets_a_hint(
    server: FakeTelegram, queue: FakeQueue, language: str, said: str
) -> None:
    person = server.person("Ann", language_code=language)
    query = server.push_guest(server.elsewhere(person, {"text": f"hi {BOT}"}))
    await server.guest_answer(query, lambda message: message["text"].startswith(said))
    assert not queue.jobs


async def test_a_clip_is_answered_with_its_moments(server: FakeTelegram, queue: FakeQueue, ann: Person) -> None:
    queue.outcome = lambda job, media: clip_result() if isinstance(job.task, ClipTask) else AnimatedPicture("moves")
    film = server.store("video", b"film", {"width": 1, "height": 1, "duration": 3})
    for content in (film, server.store("document", b"frames", {"mime_type": "image/webp", "file_name": "a.webp"})):
        query = server.push_guest(server.elsewhere(ann, content | caption_part(BOT)))
        answer = await server.guest_answer(query, lambda message: "moments in" in message["text"])
        assert words(answer)[:2] == ["0:00 scene <0>", "0:08 scene <1>"]
        assert "reply_markup" not in answer


async def test_a_photo_that_comes_as_an_ordinary_message_too_is_answered_once(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = FakeQueue()
    group = server.group("Cats", ann)
    async with running_bot(server, queue, tmp_path):
        first = await ann.send_photo(PHOTO, BOT, chat=group)
        query = server.push_guest(first)
        await group.next_message()
        guest = {**first, "message_id": 10_000}
        query = server.push_guest(guest)
        await server.guest_answer(query, is_done)
        server.push("message", guest)
        question = await ann.send_text(f"/help{BOT}", chat=group)
        await group.next_message()
        await eventually(lambda: server.confirmed(question))
    assert len(group.bot_messages()) == 2
    assert list(server.guest_answers) == [query]
    assert len(queue.jobs) == 2
    async with running_bot(server, queue, tmp_path):  # what is known is known to the next process
        server.push("message", guest)
        server.push_guest(first)
        await ann.send_text(f"/help{BOT}", chat=group)
        await group.next_message()
    assert len(group.bot_messages()) == 3
    assert len(server.guest_answers) == 1
    assert GUEST.prefix in everything(tmp_path)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (DamagedImage("x"), "This picture is damaged"),
        (JobCrashed("x"), "I tried several times"),
        (RuntimeError("unforeseen"), "Something went wrong on my side"),
    ],
)
async def test_a_failure_takes_the_place_of_the_first_line(
    server: FakeTelegram, queue: FakeQueue, ann: Person, error: Exception, said: str
) -> None:
    queue.outcome = lambda job, media: error
    query = server.push_guest(shown(server, ann))
    await server.guest_answer(query, lambda message: message["text"].startswith(said))


@pytest.mark.slow
async def test_limits_of_a_person_hold(server: FakeTelegram, ann: Person, tmp_path: Path) -> None:
    queue = closed_queue()
    async with running_bot(server, queue, tmp_path, max_per_user=1):
        await ann.send_photo(PHOTO)
        await eventually(lambda: queue.jobs)
        query = server.push_guest(shown(server, ann))
        await server.guest_answer(query, lambda message: "already working on 1 request of yours" in message["text"])


@pytest.mark.parametrize("photo", [True, False])
async def test_who_asks_too_often_is_told_once_and_then_not_answered(
    server: FakeTelegram, ann: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, photo: bool
) -> None:
    monkeypatch.setattr("bot.app.Throttle", partial(Throttle, burst=2, interval=3600.0))
    bob = server.person("Bob")
    async with running_bot(server, FakeQueue(), tmp_path):
        await bob.send_text("/help")  # what the first poll brings has waited, and is not refused
        await bob.next_message()
        for answered in (True, True, True, False, False):
            message = shown(server, ann) if photo else server.elsewhere(ann, {"text": BOT})
            query = server.push_guest(message)
            if answered:
                last = await server.guest_answer(query, lambda shown: not shown["text"].startswith("I am looking"))
        await server.guest_answer(server.push_guest(shown(server, bob)), is_done)
        await eventually(lambda: not waiting_in(tmp_path))
    assert last["text"].startswith("You ask faster than I can follow.")
    assert len(server.guest_answers) == 4


async def test_the_settings_are_those_of_the_person_and_never_of_the_chat(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue = FakeQueue()
    message = shown(server, ann)
    await keep(tmp_path, message["chat"]["id"], ChatSettings(language="ru", samples=8))
    await keep(tmp_path, ann.id, ChatSettings(alt_text=True, model="baseline"))
    async with running_bot(server, queue, tmp_path):
        query = server.push_guest(message)
        await server.guest_answer(query, lambda shown: shown["text"] == "A cat on a sofa.")
    assert (photo_of(last(queue)).model, photo_of(last(queue)).samples) == ("baseline", 0)
    assert f"({message['chat']['id']}" not in everything(tmp_path).replace("chat_settings", "")


async def test_it_can_be_switched_off_and_strangers_get_nothing(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    queue, bob = FakeQueue(), server.person("Bob")
    async with running_bot(server, queue, tmp_path, guest_mode=False):
        number = server.push_anything({"guest_message": shown(server, ann) | {"guest_query_id": server.new_query()}})
        await eventually(lambda: server.confirmed(number))
        await ann.send_text("/help")
        await ann.next_message()
        assert all("guest_message" not in call.params["allowed_updates"] for call in server.sent(method="getUpdates"))
    async with running_bot(server, queue, tmp_path, allowed_ids=frozenset({ann.id})):
        await eventually(lambda: "guest_message" in server._allowed_updates)
        between = shown(server, bob) | {"chat": {"id": ann.id, "type": "private", "first_name": "Ann"}}
        server.push_guest(between)  # of two people, one of whom the bot serves
        await server.guest_answer(server.push_guest(shown(server, ann)), is_done)
    assert len(server.guest_answers) == len(queue.jobs) == 1
    assert len(ann.bot_messages()) == 1


@pytest.mark.parametrize(
    "change", [{"guest_query_id": "forged"}, {"from": None}, {"photo": "x"}, {"reply_to_message": 7}]
)
async def test_forged_and_repeated_queries_harm_nothing(
    server: FakeTelegram, queue: FakeQueue, ann: Person, change: dict[str, object]
) -> None:
    message = shown(server, ann) | {"guest_query_id": server.new_query()}
    server.push_anything({"guest_message": message | change})
    query = server.push_guest(shown(server, ann))
    await server.guest_answer(query, is_done)
    number = server.push_anything({"guest_message": message | {"message_id": 77}})
    update = {"update_id": number, "guest_message": message | {"message_id": 77}}
    await eventually(lambda: server.confirmed(number))
    server._pending[number] = update
    await server.guest_answer(message["guest_query_id"], is_done)
    assert ann.bot_messages() == []


async def test_nobody_is_named_in_the_log_or_in_what_is_kept(
    server: FakeTelegram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    person = server.person("Marked-Name", username="marked_name")
    person.user["id"] = 987654321
    async with running_bot(server, FakeQueue(lambda job, media: captions()), tmp_path):
        message = shown(server, person, f"Marked-Words {BOT}")
        message["chat"]["title"] = "Marked-Title"
        await server.guest_answer(server.push_guest(message), is_done)
        await eventually(lambda: "Marked" not in everything(tmp_path))
    assert "marked" not in (caplog.text + everything(tmp_path)).casefold()
    assert "987654321" not in caplog.text
    assert str(message["chat"]["id"]) not in caplog.text + everything(tmp_path)
