"""The bot among people: it speaks when spoken to, in the topic in which it was, and obeys administrators."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bot.answers.keyboards import OpenSettings
from bot.answers.status import Rhythm
from bot.chat_settings import ChatSettings
from model.errors import DamagedImage
from model.serving.embedded.queue import LocalQueue
from tests.support.conversation import ONLY_ADMINISTRATORS, becomes, buttons, entity, menu_of, press, replied, tampered
from tests.support.fake_queue import FakeQueue, captions, closed_queue, eventually, running_bot
from tests.support.fake_telegram import Chat, FakeTelegram, Message, Person
from tests.support.jobs import photo_of
from tests.support.local_queue import WORKER, answer, clip_result
from tests.support.pictures import PHOTO, SHEET
from tests.support.records import kept

BOT = "@captions_test_bot"


pytestmark = pytest.mark.usefixtures("unpaced")


@pytest.fixture
def bob(server: FakeTelegram) -> Person:
    """An administrator."""
    return server.person("Bob", language_code="en")


@pytest.fixture
def eve(server: FakeTelegram) -> Person:
    """A member."""
    return server.person("Eve", language_code="en")


@pytest.fixture
def group(server: FakeTelegram, ann: Person, bob: Person) -> Chat:
    """Ann is its owner."""
    return server.group("Cats", ann, bob)


async def nothing_was_said(group: Chat, person: Person, before: int = 0) -> None:
    """All that came before a later message was answered is all that is said."""
    await person.send_text(f"/start{BOT}", chat=group)
    assert (await group.next_message())["text"].startswith("Hello")
    assert len(group.bot_messages()) == before + 1, group.chat_log()


async def in_the_name_of(server: FakeTelegram, group: Chat, sender: dict[str, Any], text: str) -> Message:
    """A message that Telegram attributes to a chat rather than to a person."""
    anonymous = {"id": 1087968824, "is_bot": True, "first_name": "Group", "username": "GroupAnonymousBot"}
    command = [entity("bot_command", 0, len(text))] if text.startswith("/") else []
    message = {
        "message_id": 1_000_001,
        "date": 1,
        "chat": group.shape,
        "from": anonymous,
        "sender_chat": sender,
        "text": text,
        "entities": command,
    }
    server.push("message", message)
    return message


# What is answered


async def test_a_mention_in_words_alone_gets_one_line(queue: FakeQueue, group: Chat, eve: Person) -> None:
    question = await eve.send_text(f"what can you do, {BOT}?", chat=group)
    said = await group.next_message()
    assert said["text"].startswith("Send a photo with my name in its caption, or /caption as a reply to a photo")
    assert replied(said) == question["message_id"]
    await nothing_was_said(group, eve, 1)


async def test_commands_are_answered_and_those_of_other_bots_are_not(
    queue: FakeQueue, group: Chat, eve: Person
) -> None:
    for command in ("/help@other_bot", "/start@other_bot", "/sample@other_bot 3", "/settings@other_bot", "/dance"):
        await eve.send_text(command, chat=group)
    await eve.send_text(f"/help@other_bot like {BOT[1:]} does", chat=group)
    for command, words in (("/help", "Send me"), ("/HELP", "Send me"), (f"/help{BOT}", "Send me"), ("/start", "Hello")):
        await eve.send_text(command, chat=group)
        assert words in (await group.next_message())["text"]
    unknown = await eve.send_text(f"/dance{BOT}", chat=group)
    said = await group.next_message()
    assert "do not know this command" in said["text"]
    assert replied(said) == unknown["message_id"]
    assert len(group.bot_messages()) == 5


async def test_what_is_asked_for_in_a_group_is_what_gets_an_answer_there(
    server: FakeTelegram, queue: FakeQueue, group: Chat, eve: Person
) -> None:
    """A photo alone is passed over, so nobody is told to send just that."""
    olga = server.person("Ольга", language_code="ru")
    for command in ("/start", "/caption", "/sample"):
        await eve.send_text(command, chat=group)
        assert "a photo with my name in its caption" in (await group.next_message())["text"]
        await olga.send_text(command, chat=group)
        assert "фото с моим именем в подписи" in (await group.next_message())["text"]


async def test_talk_among_people_is_not_answered(
    server: FakeTelegram, queue: FakeQueue, group: Chat, eve: Person
) -> None:
    await eve.send_text(f"/start{BOT}", chat=group)
    hello = await group.next_message()
    await eve.send_text("thank you!", chat=group, reply_to=hello)
    await eve.send_text("see https://example.org/cat.jpg", chat=group)
    await eve.send_voice(b"x", chat=group)
    await eve.send_location(1.0, 2.0, chat=group)
    await eve.send_sticker(b"x", chat=group)
    await eve.send_document(b"x", "a.pdf", "application/pdf", chat=group)
    await eve.send_photo(PHOTO, "my cat", chat=group)
    await nothing_was_said(group, eve, 1)
    assert not queue.jobs


@pytest.mark.parametrize(
    "service",
    [
        {"new_chat_members": [{"id": 424242, "is_bot": True, "first_name": "Captions"}]},
        {"left_chat_member": {"id": 77, "is_bot": False, "first_name": "X"}},
        {"new_chat_title": "Dogs"},
        {"group_chat_created": True},
        {"forum_topic_created": {"name": "x", "icon_color": 7322096}},
    ],
)
async def test_service_messages_are_not_answered(
    server: FakeTelegram, queue: FakeQueue, group: Chat, eve: Person, service: dict[str, Any]
) -> None:
    server.push("message", {"message_id": 5000, "date": 1, "chat": group.shape, "from": eve.user, **service})
    await nothing_was_said(group, eve)


async def test_posts_of_a_linked_channel_and_of_bots_are_not_answered(
    server: FakeTelegram, queue: FakeQueue, group: Chat, eve: Person
) -> None:
    channel = {"id": -1_000_000_077_077, "type": "channel", "title": "News"}
    telegram = {"id": 777000, "is_bot": False, "first_name": "Telegram"}
    about = {"message_id": 5001, "date": 1, "chat": group.shape, "text": f"{BOT} /help"}
    mention = {"entities": [entity("mention", 0, len(BOT))]}
    server.push("message", about | mention | {"from": telegram, "sender_chat": channel, "is_automatic_forward": True})
    robot = {"id": 78, "is_bot": True, "first_name": "Robot", "username": "robot_bot"}
    server.push("message", about | mention | {"message_id": 5002, "from": robot})
    server.push("message", about | {"message_id": 5003, "from": robot, "text": "/help"})
    await nothing_was_said(group, eve)


async def test_who_writes_in_the_name_of_a_channel_is_answered_like_anybody(
    server: FakeTelegram, queue: FakeQueue, group: Chat
) -> None:
    channel = {"id": -1_000_000_077_077, "type": "channel", "title": "News"}
    await in_the_name_of(server, group, channel, "/help")
    assert "Send me" in (await group.next_message())["text"]


async def test_an_unforeseen_failure_is_told_only_to_who_spoke_to_the_bot(
    server: FakeTelegram, queue: FakeQueue, group: Chat, eve: Person
) -> None:
    strange = {"message_id": 5004, "date": "yesterday", "chat": group.shape, "from": eve.user}
    for text in ("hello", "/help@other_bot", "me@example.org /x"):
        server.push("message", strange | {"text": text})
    server.push("message", strange | {"text": f"{BOT} help", "is_automatic_forward": True})
    await nothing_was_said(group, eve)
    server.push("message", strange | {"text": f"/help{BOT}"})
    assert "got no answer" in (await group.next_message())["text"]


# Administrators


async def test_settings_are_for_administrators(
    server: FakeTelegram, group: Chat, ann: Person, bob: Person, eve: Person, tmp_path: Path
) -> None:
    async with running_bot(server, FakeQueue(), tmp_path):
        for command in ("/settings", "/language"):
            question = await eve.send_text(command, chat=group)
            said = await group.next_message()
            assert said["text"] == ONLY_ADMINISTRATORS
            assert replied(said) == question["message_id"]
            assert "reply_markup" not in said
        menu = await menu_of(ann, f"/settings{BOT}", group)
        assert await press(eve, menu, "Short answer first: off") == ONLY_ADMINISTRATORS
        assert await press(eve, menu, "✖ Close") == ONLY_ADMINISTRATORS
        assert await press(bob, menu, "Short answer first: off") == "Short answer first: on"
        await becomes(ann, menu, "Short answer first: on")
        assert await press(ann, menu, "Heatmap: on") == "Heatmap: off"
        await becomes(ann, menu, "Heatmap: off")
    assert await kept(tmp_path, group.id) == ChatSettings(short_first=True, heatmap=False)
    assert await kept(tmp_path, ann.id) == ChatSettings()


async def test_the_button_under_an_answer_is_for_administrators_too(
    server: FakeTelegram, queue: FakeQueue, group: Chat, ann: Person, eve: Person
) -> None:
    await eve.send_photo(PHOTO, BOT, chat=group)
    answered = await group.next_message()
    assert await tampered(eve, answered, OpenSettings().pack()) == ONLY_ADMINISTRATORS
    assert await tampered(ann, answered, OpenSettings().pack()) is None
    assert replied(await group.next_message()) == answered["message_id"]
    assert len(group.bot_messages()) == 2


async def test_anonymous_administrators_count_and_other_chats_do_not(
    server: FakeTelegram, queue: FakeQueue, group: Chat
) -> None:
    await in_the_name_of(server, group, group.shape, "/settings")
    assert (await group.next_message())["text"].startswith("Settings of this chat")
    channel = {"id": -1_000_000_077_077, "type": "channel", "title": "News"}
    await in_the_name_of(server, group, channel, "/settings")
    assert (await group.next_message())["text"] == ONLY_ADMINISTRATORS


async def test_where_members_are_hidden_nobody_is_taken_for_an_administrator(
    server: FakeTelegram, queue: FakeQueue, group: Chat, ann: Person
) -> None:
    server.faults.add("getChatMember", "gone", times=1)
    assert (await menu_of(ann, "/settings", group))["text"] == ONLY_ADMINISTRATORS


async def test_settings_move_with_a_group_that_becomes_a_supergroup(
    server: FakeTelegram, ann: Person, tmp_path: Path
) -> None:
    old, new = server.group("Cats", ann), server.group("Cats", ann)
    old.shape["type"] = "group"
    async with running_bot(server, FakeQueue(), tmp_path):
        menu = await menu_of(ann, "/settings", old)
        await press(ann, menu, "Heatmap: on")
        await becomes(ann, menu, "Heatmap: off")
        moved = {"message_id": 6000, "date": 1, "chat": old.shape, "from": ann.user, "migrate_to_chat_id": new.id}
        server.push("message", moved)
        back = {"message_id": 1, "date": 1, "chat": new.shape, "from": ann.user, "migrate_from_chat_id": old.id}
        server.push("message", back)
        await ann.send_text("/start")
        await ann.next_message()
        assert "Heatmap: off" in (await menu_of(ann, "/settings", new))["text"]
        assert len(new.bot_messages()) == 1
    assert await kept(tmp_path, old.id) == ChatSettings()


# Topics

TOPIC = 7


def strays(server: FakeTelegram, forum: Chat) -> list[str]:
    """Calls that sent something to the forum, but not to the topic."""
    calls = [call for call in server.calls if call.method.startswith("send") and call.params.get("chat_id") == forum.id]
    assert calls
    return [call.method for call in calls if call.params.get("message_thread_id") != TOPIC]


async def test_all_that_is_said_in_a_topic_is_answered_there(
    server: FakeTelegram, ann: Person, eve: Person, tmp_path: Path
) -> None:
    forum = server.group("Forum", ann, is_forum=True)
    queue = FakeQueue(lambda job, media: captions(sheet=SHEET if photo_of(job).sheet else None))
    async with running_bot(server, queue, tmp_path):

        async def said(person: Person, text: str) -> Message:
            await person.send_text(text, chat=forum, thread_id=TOPIC)
            return await forum.next_message()

        await eve.send_photo(PHOTO, BOT, chat=forum, thread_id=TOPIC)
        answered = await forum.next_message()
        assert "photo" in answered
        for text in ("/start", "/help", "/privacy", "/sample", "/sample 99", f"/dance{BOT}", BOT, "/settings"):
            await said(eve, text)
        menu = await said(ann, "/settings")
        await press(ann, menu, "Heatmap: on")
        await said(ann, "/language")
        question = await said(ann, "/forget")
        await press(ann, question, "🗑 Delete")
        await tampered(ann, answered, OpenSettings().pack())
        assert "reply_markup" in await forum.next_message()
        queue.outcome = lambda job, media: DamagedImage("x")
        await eve.send_photo(PHOTO, BOT, chat=forum, thread_id=TOPIC)
        assert "is damaged" in (await forum.next_message())["text"]
        queue.outcome = lambda job, media: RuntimeError("unforeseen")
        await eve.send_photo(PHOTO, BOT, chat=forum, thread_id=TOPIC)
        assert "went wrong on my side" in (await forum.next_message())["text"]
        about = {"chat": forum.shape, "from": eve.user, "message_thread_id": TOPIC, "is_topic_message": True}
        server.push("message", about | {"message_id": 7000, "date": "yesterday", "text": f"/help{BOT}"})
        assert "went wrong on my side" in (await forum.next_message())["text"]
        assert await tampered(eve, answered, "m:unknown:3") is None  # a clip that is not known any more
        assert "no longer know which clip" in (await forum.next_message())["text"]
    assert strays(server, forum) == []


async def test_notices_of_a_topic_are_shown_there(
    server: FakeTelegram, ann: Person, eve: Person, tmp_path: Path
) -> None:
    server.faults.add("setMessageReaction", "too_old")  # so that there is a status
    forum = server.group("Forum", ann, is_forum=True)
    queue = closed_queue(alive=0)
    async with running_bot(server, queue, tmp_path, rhythm=Rhythm(after=0.1), max_per_user=1):
        await eve.send_photo(PHOTO, BOT, chat=forum, thread_id=TOPIC)
        assert "waits in line" in (await forum.next_message())["text"]
        await eve.send_photo(PHOTO, BOT, chat=forum, thread_id=TOPIC)
        assert "already working on 1 request of yours" in (await forum.next_message())["text"]
        queue.open.set()
        await forum.wait_for(lambda message: message.get("text", "").startswith("a cat"))
    assert strays(server, forum) == []


async def test_a_clip_of_a_topic_is_answered_there(
    server: FakeTelegram, ann: Person, eve: Person, tmp_path: Path
) -> None:
    forum = server.group("Forum", ann, is_forum=True)
    queue = LocalQueue()
    queue.join(WORKER)
    async with running_bot(server, queue, tmp_path):
        await eve.send_video(b"mp4", BOT, chat=forum, thread_id=TOPIC)
        await answer(queue, clip_result(3))
        timeline = await forum.wait_for(lambda message: "moment" in message.get("caption", ""))
        query = await eve.press(timeline, "📄 All captions")
        await eve.callback_answer(query)
        await answer(queue, clip_result(3))
        await forum.wait_for(lambda message: "document" in message)
        await eve.press(timeline, "➖ Fewer moments")
        await answer(queue, clip_result(2))
        await forum.wait_for(lambda message: message.get("caption", "").startswith("2 moments"))
        await eve.press(timeline, "➖ Fewer moments")
        await answer(queue, clip_result(1, still=True))
        await forum.wait_for(lambda message: message.get("caption", "").startswith("One shot"))
    assert server.sent(forum.id, "sendMediaGroup")
    assert strays(server, forum) == []


async def test_a_reply_outside_of_a_topic_names_none(
    server: FakeTelegram, queue: FakeQueue, ann: Person, eve: Person
) -> None:
    """In the general topic messages have no topic, and in other groups `message_thread_id` is that of a thread."""
    forum = server.group("Forum", ann, is_forum=True)
    await eve.send_text("/start", chat=forum)
    await forum.next_message()
    group = server.group("Cats", ann)
    thread = {"message_id": 8000, "date": 1, "chat": group.shape, "from": eve.user, "message_thread_id": 3}
    server.push("message", thread | {"text": "/help", "entities": [entity("bot_command", 0, 5)]})
    await group.next_message()
    await eventually(lambda: len(server.sent()) == 2)
    assert [call.params.get("message_thread_id") for call in server.sent()] == [None, None]
    assert "reply_markup" not in server.sent()[0].params
    assert buttons(await menu_of(ann, "/settings", forum))
