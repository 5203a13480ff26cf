"""What people do in a chat with the bot, and what they read there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.support.fake_telegram import Chat, FakeTelegram, Message, Person
from tests.support.pictures import PHOTO

MORE, HEATMAP, WEIGHED = "🎲 More captions", "🔥 Heatmap", "📊 Words weighed"
COLOURS, TAGS, COMPARE, COPY = "🎨 Colours", "🏷 Tags", "↔ Compare models", "📋 Copy"
SETTINGS, DELETE, BACK = "⚙ Settings", "🗑 Delete", "◀ Back"
ASKED_FOR = {"callback_query", "guest_message", "inline_query", "message", "message_reaction"}  # kinds of updates
ONLY_ADMINISTRATORS = "In a group only its administrators can change this."


def replied(answer: Message) -> int:
    """The id of the message that this one replies to."""
    number: int = answer["reply_to_message"]["message_id"]
    return number


def entity(kind: str, offset: int, length: int) -> dict[str, object]:
    return {"type": kind, "offset": offset, "length": length}


def words(message: Message) -> list[str]:
    """The lines of a message."""
    return str(message.get("caption") or message.get("text")).split("\n")


def button_rows(message: Message) -> list[list[str]]:
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return [[button["text"] for button in row] for row in rows]


def buttons(message: Message) -> list[str]:
    return [button for row in button_rows(message) for button in row]


def carried(message: Message) -> list[str]:
    """What the buttons of a message carry, but for those that open or copy something themselves."""
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return [button["callback_data"] for row in rows for button in row if "callback_data" in button]


def key_of(data: str) -> str:
    """Under which key an answer is noted, by what its buttons carry; of other buttons it is empty."""
    return data.split(":")[1] if ":" in data else ""


async def press(person: Person, message: Message, button: str) -> str | None:
    """What the answer to the press says, once the bot has done what was asked."""
    query = await person.press(message, button)
    said: str | None = (await person.callback_answer(query)).get("text")
    return said


async def tampered(person: Person, message: Message, data: str) -> str | None:
    """A press that no button of the menu makes."""
    query = {"id": person.server.new_query(), "from": person.user, "message": message, "chat_instance": "1"}
    person.server.push("callback_query", query | {"data": data})
    said: str | None = (await person.callback_answer(query)).get("text")
    return said


def inaccessible(server: FakeTelegram, person: Person, message: Message, data: str) -> dict[str, Any]:
    """A press under a message of which Telegram tells no more than which it was."""
    query = {
        "id": server.new_query(),
        "from": person.user,
        "message": {"chat": message["chat"], "message_id": message["message_id"], "date": 0},
        "chat_instance": "1",
        "data": data,
    }
    server.push("callback_query", query)
    return query


async def menu_of(person: Person, command: str = "/settings", chat: Chat | None = None) -> Message:
    await person.send_text(command, chat=chat)
    return await (chat or person).next_message()


async def becomes(person: Person, message: Message, words: str) -> Message:
    """The message, once it says this."""

    def ready() -> Message | None:
        current = person.server.stored_message(message)
        return current if words in current["text"] else None

    found = await person.server.until(ready, 60)
    assert found is not None, person.server.stored_message(message)["text"]
    return found


async def edited(chat: Chat, message: Message, true: Callable[[Message], object]) -> Message:
    """The message, once an edit has made `true` hold for it."""
    return await chat.wait_for(lambda now: now["message_id"] == message["message_id"] and true(now), 60)


async def timeline_of(person: Person) -> Message:
    return await person.wait_for(lambda m: "photo" in m and "moment" in m.get("caption", ""), 60)


async def answered(person: Person, caption: str | None = None, chat: Chat | None = None) -> Message:
    """The answer to a photo."""
    await person.send_photo(PHOTO, caption, chat=chat)
    return await (chat or person).next_message()


def answers(person: Person) -> list[int]:
    """The messages that were answered."""
    return sorted(replied(each) for each in person.bot_messages())


async def all_answered(server: FakeTelegram, person: Person, questions: list[Message]) -> None:
    """Each of these has one answer, and nothing else has."""
    await server.until(lambda: True if len(person.bot_messages()) >= len(questions) else None, 60)
    assert answers(person) == [each["message_id"] for each in questions]


def downloads(server: FakeTelegram) -> int:
    """How many files the bot downloaded."""
    return sum(call.method == "download" for call in server.calls)
