"""Random updates, built from the types of the Bot API (`bot_api_types.json`), which the people of a fake server send.

    crowd = Crowd(server, seed=1)
    crowd.send(50)
    crowd.sent  # what the bot was sent, and by whom

Values are of their documented types and plausible for their names; optional fields are there or not; now and then a
field is unknown, or a value is of a wrong type. Each string that a person may have written contains MARK.
"""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from typing import Any, Final

from tests.support.fake_telegram import Chat, FakeTelegram, Json, Person
from tests.support.random_values import COMMANDS, MARK, NOW, TYPES, Place, Values, damage, utf16_length

# What a message may say beside its one content.
ABOUT: Final = frozenset(
    [
        *("message_id", "message_thread_id", "direct_messages_topic", "from"),
        *("sender_chat", "sender_boost_count", "sender_business_bot", "sender_tag"),
        *("date", "guest_query_id", "business_connection_id", "chat"),
        *("forward_origin", "is_topic_message", "is_automatic_forward", "reply_to_message"),
        *("external_reply", "quote", "reply_to_story", "reply_to_checklist_task_id"),
        *("reply_to_poll_option_id", "via_bot", "guest_bot_caller_user", "guest_bot_caller_chat"),
        *("edit_date", "has_protected_content", "is_from_offline", "is_paid_post"),
        *("media_group_id", "author_signature", "paid_star_count", "entities"),
        *("link_preview_options", "suggested_post_info", "effect_id", "caption"),
        *("caption_entities", "show_caption_above_media", "has_media_spoiler", "reply_markup"),
    ]
)
# Of these with their words, or only in updates of other kinds.
NOT_SAID: Final = {"entities", "caption", "caption_entities", "business_connection_id", "guest_query_id"}
CONTENTS: Final = tuple(name for name in TYPES["Message"] if name not in ABOUT)
COMMON: Final = (
    *("photo", "photo", "photo", "photo", "document", "document", "video", "animation", "video_note"),
    *("sticker", "sticker", "live_photo", "paid_media", "story", "voice", "text", "text", "text", "text"),
)
CAPTIONED: Final = frozenset(("photo", "document", "video", "animation", "live_photo", "paid_media", "voice", "audio"))
UNASKED: Final = tuple(name for name in TYPES["Update"] if name not in ("update_id", "message", "callback_query"))
MESSAGES: Final = tuple(name for name in UNASKED if TYPES["Update"][name] == "Message")


@dataclass(frozen=True)
class Sent:
    """An update, as the bot gets it."""

    id: int
    kind: str
    payload: Any
    chat: int | None = None
    message: int | None = None  # its number in the chat
    damaged: Place | None = None  # where a value is not what the documentation says


class Crowd:
    """People who send a bot all there is to send."""

    def __init__(self, server: FakeTelegram, seed: int, *, people: int = 60, groups: int = 10, media: bytes) -> None:
        """In the `quiet` chats nobody ever means the bot. All files have the bytes `media`, or none."""
        self.server, self.seed, self.media = server, seed, media
        self.sent: list[Sent] = []
        self._album: list[tuple[Chat, Json, str]] = []  # chat, sender and name of an album, for each item to come
        self.random = random.Random(seed)
        self.values = Values(self.random, self._file)
        codes = ("en", "ru", "de", "ru-RU")
        self.people = [
            server.person(f"{MARK} {n}", language_code=codes[n % len(codes)], username=f"{MARK}_{n}")
            for n in range(people)
        ]
        self.groups = [server.group(f"{MARK} group {n}", self.people[n], is_forum=n % 3 == 0) for n in range(groups)]
        channel: Json = {"id": -1_000_900_000_000, "type": "channel", "title": f"{MARK} channel"}
        server.chats[channel["id"]] = Chat(server, channel, self.people[:1])
        self.channel = server.chats[channel["id"]]
        self.quiet = [*self.groups[groups // 2 :], self.channel]

    def send(self, count: int) -> None:
        """An album that begins within these updates ends within them."""
        for left in range(count, 0, -1):
            number = len(self.sent)
            self.random = self.values.random = random.Random(f"{self.seed}/{number}")  # each update by itself
            if not self._album and left > 1 and self.random.random() < 0.03:
                chat = self._chat()
                sender = chat if isinstance(chat, Person) else self.random.choice(self.people)
                self._album = [(chat, sender.user, f"{MARK}{number}")] * min(left, self.random.randint(2, 10))
            self.sent.append(self._item() if self._album else self._one())

    def _one(self) -> Sent:
        chance = self.random.random()
        if chance < 0.7:
            return self._say(self._content(), self._chat())
        if chance < 0.75:
            return self._push("message", self._say_nothing_new())
        if chance < 0.87:
            return self._press()
        if chance < 0.9:
            odd: Any = self.random.choice([{}, [], None, "x", 7, {"id": MARK}, {"chat": None}, {"message": {}}])
            return self._push(self.random.choice(("quantum_message", "message", "callback_query", "")), odd)
        kind = self.random.choice(UNASKED)
        if kind in MESSAGES:
            return self._say(self._content(), self.channel if "channel" in kind else self._chat(), kind)
        return self._push(kind, self.values.value(TYPES["Update"][kind], kind, 0))

    # Messages

    def _chat(self) -> Chat:
        return self.random.choice(self.people if self.random.random() < 0.7 else self.groups)

    def _say_nothing_new(self) -> Json:
        """A message that came before comes again, under another update."""
        before = [each.payload for each in self.sent if each.kind == "message" and each.damaged is None and each.chat]
        return copy.deepcopy(self.random.choice(before)) if before else {}

    def _item(self) -> Sent:
        """Of an album: a photo, or seldom a video."""
        chat, sender, name = self._album.pop()
        if self.random.random() < 0.9:
            content: Json = {"photo": [self.values.make("PhotoSize")]}
        else:
            content = {"video": self.values.make("Video")}
        if self.random.random() < 0.3:
            content["caption"], content["caption_entities"] = self.values.words(1024)
        return self._say(content | {"media_group_id": name}, chat, sender=sender)

    def _say(self, content: Json, chat: Chat, kind: str = "message", sender: Json | None = None) -> Sent:
        if sender is None:
            sender = (chat if isinstance(chat, Person) else self.random.choice(self.people)).user
        kept = chat.new_message(sender, {"text": MARK}, None, None)  # for the bot to reply to
        payload = self._about() | content
        payload |= {"message_id": kept["message_id"], "date": NOW, "from": dict(sender), "chat": dict(chat.shape)}
        if chat not in self.quiet and chat.shape["type"] != "private" and self.random.random() < 0.7:
            self._address(payload)
        for field in ("text", "caption"):
            if chat in self.quiet and str(payload.get(field, "")).startswith("/"):
                payload[field] = f"{MARK}{payload[field]}"
        if chat.shape["type"] == "channel":
            del payload["from"]
            payload["sender_chat"] = dict(chat.shape)
        payload["chat"] |= {
            k: v for k, v in self.values.make("Chat").items() if k not in ("id", "type", "title", "username")
        }
        if self.random.random() < 0.1:
            payload[f"{MARK}_unknown"] = self.random.choice([1, MARK, [MARK], {MARK: None}])
        damaged = damage(self.random, payload) if self.random.random() < 0.06 else None
        return self._push(kind, payload, chat.id, kept["message_id"], damaged)

    def _about(self) -> Json:
        """What else a message may say of itself."""
        about: Json = {}
        names = self.random.sample(sorted(ABOUT - NOT_SAID), 2)
        for name in names if self.random.random() < 0.5 else ():
            about[name] = self.values.value(TYPES["Message"][name], name, 2)
        if about.get("is_topic_message") or "message_thread_id" in about:
            about |= {"is_topic_message": True, "message_thread_id": self.random.randint(2, 9)}
        if "media_group_id" in about:
            about["media_group_id"] = str(self.random.randint(1, 3))
        return about

    def _content(self) -> Json:
        """One content, and a caption where that can have one."""
        kind = self.random.choice(COMMON if self.random.random() < 0.8 else CONTENTS)
        content: Json = {kind: self.values.value(TYPES["Message"][kind], kind, 1)}
        if kind == "text":
            content["text"], content["entities"] = self.values.words(4096)
        if kind == "photo":
            content["photo"] = [self.values.make("PhotoSize") for _ in range(self.random.randint(1, 4))]
        if (
            kind == "live_photo"
        ):  # "For backward compatibility, when this field is set, the photo field will also be set"
            content["photo"] = [self.values.make("PhotoSize")]
        if kind == "animation":  # "… the document field will also be set"
            names = ("file_id", "file_unique_id", "mime_type", "file_size")
            content["document"] = {k: v for k, v in content["animation"].items() if k in names}
        if kind in CAPTIONED and self.random.random() < 0.5:
            content["caption"], content["caption_entities"] = self.values.words(1024)
        return content

    def _address(self, payload: Json) -> None:
        """Let a message be meant for the bot: by a mention, a reply, or a command."""
        field, entities = ("text", "entities") if "text" in payload else ("caption", "caption_entities")
        name = f"@{self.server.bot['username']}"
        match self.random.randint(0, 3) if CAPTIONED & payload.keys() or "text" in payload else 0:
            case 0:
                payload["reply_to_message"] = self.values.make("Message", 2, **{"from": dict(self.server.bot)})
            case 1:
                text = f"{MARK} 𝕬 {self.random.choice([name, name.upper()])} ?"
                payload[field] = text
                payload[entities] = [{"type": "mention", "offset": utf16_length(f"{MARK} 𝕬 "), "length": len(name)}]
            case 2:
                payload[field] = f"{MARK} bot"
                payload[entities] = [
                    {"type": "text_mention", "offset": 0, "length": 3, "user": dict(self.server.bot)},
                ]
            case 3:
                payload[field] = f"{self.random.choice(COMMANDS).partition('@')[0]}{self.random.choice(['', name])}"
                payload[entities] = [{"type": "bot_command", "offset": 0, "length": utf16_length(payload[field])}]

    # Presses

    def _press(self) -> Sent:
        """A button of the bot's own, of an earlier version of it, of a message that is gone, or of no message."""
        chat = self._chat()
        while chat in self.quiet:
            chat = self._chat()
        sender = chat if isinstance(chat, Person) and self.random.random() < 0.9 else self.random.choice(self.people)
        query: Json = {"id": self.server.new_query(), "from": dict(sender.user), "chat_instance": f"{chat.id}"}
        shown = [message for each in self.server.chats.values() for message in each.bot_messages()]
        data = [button["callback_data"] for message in shown for button in buttons(message)] or ["x"]
        query["data"] = self._bent(self.random.choice(data))
        pressable = [message for message in chat.bot_messages() if buttons(message)]
        match self.random.randint(0, 4):
            case 0 | 1 if pressable:
                query["message"] = self.random.choice(pressable)
                query["data"] = self.random.choice(buttons(query["message"]))["callback_data"]
            case 2:
                number = self.random.choice((1, 5, 10**6))
                chat.removed_by_people.add(number)
                query["message"] = {"chat": dict(chat.shape), "message_id": number, "date": 0}
            case 3:
                query["inline_message_id"] = f"{MARK}inline"
                if self.random.random() < 0.5:
                    query["game_short_name"] = query.pop("data")
            case _:
                others = chat.bot_messages()
                if others:
                    query["message"] = self.random.choice(others)
                    own = [button["callback_data"] for button in buttons(query["message"])]
                    query["data"] = self._bent(self.random.choice(own or ["x:1"]))
        return self._push("callback_query", query, chat.id if "message" in query else None)

    def _bent(self, data: str) -> str:
        """Callback data as an older or newer version, or somebody's own client, would send them."""
        parts = data.split(":")
        match self.random.randint(0, 5):
            case 0:
                parts[self.random.randrange(len(parts))] = self.random.choice(("", "0", "-1", "9" * 20, "x", "💥"))
            case 1:
                parts.append("x")
            case 2:
                parts = parts[:-1]
            case 3:
                return "".join(self.random.choices("abc:0123💥\n", k=16))
        return ":".join(parts)[:16] if self.random.random() < 0.1 else ":".join(parts)

    def _file(self, name: str) -> Json:
        """Of a file that the server has; some say that they are too large, or are empty."""
        kind = "photo" if name == "PhotoSize" else name.lower()
        size = self.random.choice((len(self.media),) * 8 + (30 * 2**20, 0))
        entry: Json = self.server.store(kind, self.media if size else b"", {"file_size": size})[kind]
        file: Json = {key: entry[key] for key in ("file_id", "file_unique_id")}
        if "file_size" in TYPES[name] and self.random.random() < 0.8:
            file["file_size"] = size
        if "duration" in TYPES[name]:
            file["duration"] = self.random.choice((0, 3, 59, 299, 4000))
        return file

    def _push(
        self,
        kind: str,
        payload: Any,
        chat: int | None = None,
        message: int | None = None,
        damaged: Place | None = None,
    ) -> Sent:
        update = self.server.push_anything({kind: payload} if kind else {})
        return Sent(update, kind, payload, chat, message, damaged)


def buttons(message: Json) -> list[Json]:
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return [button for row in rows for button in row if "callback_data" in button]
