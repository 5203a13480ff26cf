"""A Bot API server on the loopback interface, and the people who talk to the bot through it.

    async with FakeTelegram() as server:
        ann = server.person("Ann", language_code="en")
        ...  # start the bot with TELEGRAM_API_URL=server.url and BOT_TOKEN=server.token
        photo = await ann.send_photo(picture, "what is it?")
        answer = await ann.next_message()
        await ann.press(answer, "Again")
        assert server.violations == []

Updates wait until a later `offset` confirms them, so a bot may be killed and started again at any moment.
Every call is checked against the documented parameters and limits (`bot_api_rules`).
`python -m tests.support.fake_telegram --photo FILE` lets a person try a bot by hand.
"""

import argparse
import asyncio
import contextlib
import copy
import fnmatch
import functools
import io
import itertools
import json
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final, Literal, Self, TypedDict, TypeVar, Unpack, get_args
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from PIL import Image

from tests.support import bot_api_rules as rules
from tests.support.bot_api_rules import ApiError, Upload, bad_request

TOKEN: Final = "424242:TEST-token-of-a-bot-that-does-not-exist"

Message = dict[str, Any]
Json = dict[str, Any]
T = TypeVar("T")

OPTIONAL_UPDATES: Final = {"chat_member", "message_reaction", "message_reaction_count"}
MEDIA_KINDS: Final = ("photo", "video", "animation", "document", "voice", "video_note", "sticker", "live_photo")
EXTENSIONS: Final = {"photo": ".jpg", "voice": ".oga", "sticker": ".webp", "document": ""}
CLIP: Final[Json] = {"width": 320, "height": 240, "duration": 3, "mime_type": "video/mp4"}
STICKER: Final[Json] = {
    **{"type": "regular", "width": 512, "height": 512, "emoji": "🐱"},
    **{"is_animated": False, "is_video": False},
}
LOOK_SECONDS: Final = 0.1  # between two looks at what happens elsewhere, such as in a log
THUMBNAIL_SIDES: Final = (90, 320, 800)


@dataclass
class Call:
    """One request of the bot. `params` have their documented types once they passed the checks."""

    method: str
    params: Json
    files: dict[str, Upload]
    result: Any = None
    error: str | None = None
    reply_gone: bool = False

    @property
    def ok(self) -> bool:
        return self.error is None and self.result is not None


@dataclass
class StoredFile:
    kind: str
    shape: Json
    content: Callable[[], bytes]
    part: Json  # what a message with this file contains


# Faults

FaultKind = Literal[
    "429",  # Too Many Requests with parameters.retry_after
    "500",
    "502",
    "500_html",  # the same codes with a body that is not JSON, as a proxy answers
    "502_html",
    "drop",  # the connection is cut before the request is processed
    "lose_response",  # processed, but the connection is cut before the answer; half of a download
    "delay",  # processed after `seconds`
    "slow",  # the bytes of a download arrive over `seconds`
    "stall",  # half of a download, and nothing more
    "no_result",  # processed, and answered with success and no result
    "bare",  # an answer of 500 that says nothing but that it failed
    "blocked",  # 403
    "reply_not_found",  # the message replied to is gone; honours allow_sending_without_reply
    "too_old",  # 400, as for a callback query that waited for minutes, or a message to delete after two days
    "gone",  # getFile fails, a download is 404
    "409",  # another poller took over
]


@dataclass
class Fault:
    method: str
    kind: FaultKind
    times: int | None
    probability: float
    retry_after: int
    seconds: float
    chat_id: int | None
    fired: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)  # once it is set, its delays end


class Faults:
    """What goes wrong, in the order in which it was added; at most one fault per request."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._faults: list[Fault] = []

    def add(
        self,
        method: str,
        kind: FaultKind,
        *,
        times: int | None = None,
        probability: float = 1.0,
        retry_after: int = 1,
        seconds: float = 1.0,
        chat_id: int | None = None,
    ) -> Fault:
        """Break `times` calls (default: all) of a method, of "download", or of a pattern such as "send*".

        A pattern never means getUpdates, whose polls would use up the count: name it to break it.
        """
        if kind not in get_args(FaultKind):
            raise ValueError(f"no such fault: {kind!r}")
        fault = Fault(method, kind, times, probability, retry_after, seconds, chat_id)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        self._faults.clear()

    def take(self, method: str, params: Json) -> Fault | None:
        for fault in self._faults:
            if fault.method != method and (method == "getUpdates" or not fnmatch.fnmatchcase(method, fault.method)):
                continue
            if fault.times is not None and fault.fired >= fault.times:
                continue
            if fault.chat_id is not None and str(params.get("chat_id")) != str(fault.chat_id):
                continue
            if fault.kind == "reply_not_found" and "reply_parameters" not in params:
                continue
            if self._random.random() < fault.probability:
                fault.fired += 1
                return fault
        return None


def error_of_fault(fault: Fault, method: str) -> ApiError | None:
    """The official error answer of a fault, for the kinds that are one."""
    match fault.kind:
        case "429":
            return ApiError(429, f"Too Many Requests: retry after {fault.retry_after}", retry_after=fault.retry_after)
        case "500":
            return ApiError(500, "Internal Server Error")
        case "502":
            return ApiError(502, "Bad Gateway")
        case "409":
            return ApiError(409, rules.CONFLICT_POLLING)
        case "blocked":
            return ApiError(403, "Forbidden: bot was blocked by the user")
        case "too_old" if method == "deleteMessage":
            return bad_request("message can't be deleted for everyone", violation=False)
        case "too_old":
            text = "query is too old and response timeout expired or query ID is invalid"
            return bad_request(text, violation=False)
        case "gone" if method == "download":
            return ApiError(404, "Not Found")
        case "gone":
            return bad_request("wrong file_id or the file is temporarily unavailable", violation=False)
    return None


# Chats and people


class Chat:
    """A chat the bot is in, as the people in it see it."""

    def __init__(self, server: "FakeTelegram", shape: Json, administrators: Sequence["Person"] = ()) -> None:
        self.server = server
        self.shape = shape
        self.id: int = shape["id"]
        self.administrators = list(administrators)  # the first one is the owner
        self.members: dict[int, Person] = {person.id: person for person in administrators}
        self.messages: dict[int, Message] = {}
        self.reactions: dict[int, list[str]] = {}
        self.removed_by_people: set[int] = set()
        self._numbers = itertools.count(1)
        self._unread: list[int] = []

    def new_message(self, sender: Json, content: Json, thread_id: int | None, reply_to: Message | None) -> Message:
        message: Message = {
            "message_id": next(self._numbers),
            "from": sender,
            "chat": self.shape,
            "date": int(time.time()),
        }
        if thread_id is not None:
            message |= {"message_thread_id": thread_id, "is_topic_message": True}
        if reply_to is not None:
            message["reply_to_message"] = {k: v for k, v in reply_to.items() if k != "reply_to_message"}
        message |= content
        self.messages[message["message_id"]] = message
        if sender["is_bot"]:
            self._unread.append(message["message_id"])
        self.server.changed()
        return message

    def bot_messages(self) -> list[Message]:
        """What the bot has in this chat now, after edits and deletes."""
        return [copy.deepcopy(message) for message in self.messages.values() if message["from"]["is_bot"]]

    async def next_message(self, timeout: float = 60) -> Message:
        """The next message of the bot not looked at yet, as it is now; deleted ones are passed over."""

        def unread() -> Message | None:
            while self._unread:
                message = self.messages.get(self._unread.pop(0))
                if message is not None:
                    return copy.deepcopy(message)
            return None

        return await self._wait(unread, timeout, "no new message from the bot")

    async def wait_for(self, predicate: Callable[[Message], object], timeout: float = 60) -> Message:
        """The first message of the bot that satisfies the predicate now or after an edit.

        It leaves alone what `next_message` has looked at.
        """
        return await self._wait(
            lambda: next((message for message in self.bot_messages() if predicate(message)), None),
            timeout,
            "no message from the bot satisfies the predicate",
        )

    async def _wait(self, ready: Callable[[], T | None], timeout: float, what: str) -> T:
        found = await self.server.until(ready, timeout)
        if found is None:
            lines = [f"{what} within {timeout} s. The chat:", *self.chat_log(), "The last calls:"]
            lines += [f"{call.method}: {call.error or 'ok'}" for call in self.server.calls[-5:]]
            raise TimeoutError("\n".join(lines))
        return found

    def chat_log(self) -> list[str]:
        """One line per message that is visible now: "3 bot: a cat [Again] [Settings]"."""
        return [
            describe(message) + "".join(f" {{{emoji}}}" for emoji in self.reactions.get(number, []))
            for number, message in self.messages.items()
        ]


def describe(message: Message) -> str:
    """A message on one line: number, sender, kind of media, words, buttons."""
    media = "".join(
        f"[{kind}] " for kind in MEDIA_KINDS if kind in message and not (kind == "document" and "animation" in message)
    )
    words = message.get("text") or message.get("caption") or ""
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    buttons = "".join(f" [{button['text']}]" for row in rows for button in row)
    sender = "bot" if message["from"]["is_bot"] else message["from"]["first_name"]
    return f"{message['message_id']} {sender}: {media}{words}{buttons}"


class Where(TypedDict, total=False):
    """Where a person says something; default: the private chat with the bot, replying to nothing, in no album."""

    chat: Chat | None
    thread_id: int | None
    reply_to: Message | None
    media_group_id: str | None
    has_media_spoiler: bool
    has_protected_content: bool


class Details(Where, total=False):
    """What Telegram tells of a file; `file_size` may claim more bytes than there are."""

    file_size: int
    file_name: str
    mime_type: str
    width: int
    height: int
    length: int
    duration: int
    emoji: str
    is_animated: bool
    is_video: bool


class Person(Chat):
    """A user and, as in Telegram, their private chat with the bot, which has the same id."""

    def __init__(self, server: "FakeTelegram", user: Json) -> None:
        names = {key: user[key] for key in ("id", "first_name", "username") if key in user}
        super().__init__(server, names | {"type": "private"})
        self.user = user

    async def _say(self, content: Json, where: Where) -> Message:
        chat = where.get("chat") or self
        chat.members[self.id] = self
        if (group := where.get("media_group_id")) is not None:
            content = content | {"media_group_id": group}
        content = content | {name: True for name in rules.SHOWN if where.get(name)}
        message = chat.new_message(self.user, content, where.get("thread_id"), where.get("reply_to"))
        self.server.push("message", message)
        return copy.deepcopy(message)

    async def _show(self, kind: str, data: bytes, caption: str | None, defaults: Json, details: Details) -> Message:
        told = {key: value for key, value in details.items() if key not in Where.__annotations__}
        content = self.server.store(kind, data, defaults | told) | caption_part(caption)
        return await self._say(content, details)

    async def send_text(self, text: str, **where: Unpack[Where]) -> Message:
        return await self._say({"text": text} | entities_part("entities", text), where)

    async def send_photo(
        self,
        data: bytes,
        caption: str | None = None,
        *,
        sizes: Sequence[tuple[int, int]] | None = None,
        file_size: int | None = None,
        **where: Unpack[Where],
    ) -> Message:
        """Several PhotoSize, the largest last; bytes that are no picture get made-up sizes."""
        content = self.server.store_photo(data, sizes, file_size) | caption_part(caption)
        return await self._say(content, where)

    async def send_album(
        self, photos: Iterable[bytes], caption: str | None = None, **where: Unpack[Where]
    ) -> list[Message]:
        """An album is N messages that share a media_group_id; its caption is on the first one."""
        where["media_group_id"] = self.server.new_media_group()
        return [await self.send_photo(data, None if number else caption, **where) for number, data in enumerate(photos)]

    async def send_document(
        self,
        data: bytes,
        file_name: str = "file.bin",
        mime_type: str = "application/octet-stream",
        caption: str | None = None,
        *,
        file_size: int | None = None,
        **where: Unpack[Where],
    ) -> Message:
        size = len(data) if file_size is None else file_size
        shape = {"file_name": file_name, "mime_type": mime_type, "file_size": size}
        return await self._say(self.server.store("document", data, shape) | caption_part(caption), where)

    async def send_video(self, data: bytes, caption: str | None = None, **details: Unpack[Details]) -> Message:
        return await self._show("video", data, caption, CLIP | {"file_name": "video.mp4"}, details)

    async def send_animation(self, data: bytes, caption: str | None = None, **details: Unpack[Details]) -> Message:
        """A GIF: the message has `animation` and, for old clients, the same file as `document`."""
        return await self._show("animation", data, caption, CLIP | {"file_name": "gif.mp4"}, details)

    async def send_video_note(self, data: bytes, **details: Unpack[Details]) -> Message:
        return await self._show("video_note", data, None, {"length": 240, "duration": 3}, details)

    async def send_live_photo(
        self, still: bytes, moving: bytes, caption: str | None = None, **where: Unpack[Where]
    ) -> Message:
        """As for old clients, the message has the still picture as `photo`, too."""
        content = self.server.store("live_photo", moving, CLIP) | self.server.store_photo(still)
        content["live_photo"]["photo"] = content["photo"]
        return await self._say(content | caption_part(caption), where)

    async def send_sticker(self, data: bytes, **details: Unpack[Details]) -> Message:
        return await self._show("sticker", data, None, STICKER, details)

    async def send_voice(self, data: bytes, **details: Unpack[Details]) -> Message:
        return await self._show("voice", data, None, {"duration": 3, "mime_type": "audio/ogg"}, details)

    async def send_location(self, latitude: float, longitude: float, **where: Unpack[Where]) -> Message:
        return await self._say({"location": {"latitude": latitude, "longitude": longitude}}, where)

    async def send_contact(self, phone_number: str, first_name: str, **where: Unpack[Where]) -> Message:
        return await self._say({"contact": {"phone_number": phone_number, "first_name": first_name}}, where)

    async def forward(self, message: Message, **where: Unpack[Where]) -> Message:
        origin = {"type": "user", "date": message["date"], "sender_user": message["from"]}
        kept = (*MEDIA_KINDS, "text", "entities", "caption", "caption_entities", "location", "contact")
        content = {key: copy.deepcopy(message[key]) for key in kept if key in message}
        return await self._say({"forward_origin": origin, "forward_date": message["date"]} | content, where)

    async def reply_elsewhere(self, message: Message, text: str, **where: Unpack[Where]) -> Message:
        """Answer a message of another chat in this one: only what it shows comes along, not its words."""
        origin = {"type": "user", "date": message["date"], "sender_user": message["from"]}
        shown = {key: copy.deepcopy(message[key]) for key in MEDIA_KINDS if key in message}
        content = {"text": text, "external_reply": {"origin": origin} | shown} | entities_part("entities", text)
        return await self._say(content, where)

    async def delete(self, message: Message) -> None:
        """Remove a message from its chat; bots are not told."""
        chat = self.server.chats[message["chat"]["id"]]
        del chat.messages[message["message_id"]]
        chat.removed_by_people.add(message["message_id"])

    def react(self, message: Message, *emoji: str, before: Sequence[str] = ()) -> int:
        """Change one's reactions to a message; the update, of which a bot hears where it is an administrator."""
        lists = {"old_reaction": before, "new_reaction": emoji}
        changed = {name: [{"type": "emoji", "emoji": each} for each in found] for name, found in lists.items()}
        where = {name: message[name] for name in ("chat", "message_id")}
        return self.server.push("message_reaction", where | {"user": self.user, "date": int(time.time())} | changed)

    async def press(self, message: Message, button: str) -> Json:
        """Press the inline button with this text or callback data; returns the callback query."""
        current = self.server.stored_message(message)
        rows = current.get("reply_markup", {}).get("inline_keyboard", [])
        buttons = [each for row in rows for each in row]
        pressed = [each for each in buttons if button in (each["text"], each.get("callback_data"))]
        if not pressed or "callback_data" not in pressed[0]:
            raise LookupError(f"no callback button {button!r} in {describe(current)!r}")
        query = {
            "id": self.server.new_query(),
            "from": self.user,
            "message": current,
            "chat_instance": str(current["chat"]["id"]),
            "data": pressed[0]["callback_data"],
        }
        self.server.push("callback_query", query)
        return copy.deepcopy(query)

    async def callback_answer(self, query: Json, timeout: float = 60) -> Json:
        """The parameters with which the bot answered a callback query."""
        return await self._wait(
            lambda: self.server.callback_answers.get(query["id"]),
            timeout,
            "the callback query was not answered",
        )


def entities_part(name: str, text: str) -> Json:
    """The entities Telegram finds in the words of a person: commands and mentions."""
    entities = []
    for match in re.finditer(r"(?<!\S)(/\w{1,32}(?:@\w+)?|@\w{4,32})", text):
        kind = "bot_command" if match[0].startswith("/") else "mention"
        offset = rules.utf16_length(text[: match.start()])
        entities.append({"type": kind, "offset": offset, "length": rules.utf16_length(match[0])})
    return {name: entities} if entities else {}


def caption_part(caption: str | None) -> Json:
    return {} if caption is None else {"caption": caption} | entities_part("caption_entities", caption)


def resized(data: bytes, size: tuple[int, int]) -> bytes:
    """A smaller JPEG of a picture; the same bytes for what is not a picture."""
    if rules.picture_size(data) is None:
        return data
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(data)) as image:
        image.convert("RGB").resize(size).save(buffer, "JPEG")
    return buffer.getvalue()


# The server


class FakeTelegram:
    """The Bot API on 127.0.0.1; use as an async context manager."""

    decodes = True  # uploaded photos, to see whether all of each can be read

    def __init__(self, port: int = 0, *, token: str = TOKEN, seed: int = 0, local_dir: Path | None = None) -> None:
        """With `local_dir` files are handed over on disk and without a size limit, as in --local mode."""
        self.token = token
        self.port = port
        self.local_dir = local_dir
        self.bot: Json = {
            "id": int(token.partition(":")[0]),
            "is_bot": True,
            "first_name": "Captions",
            "username": "captions_test_bot",
        }
        self.faults = Faults(seed)
        self.calls: list[Call] = []
        self.violations: list[str] = []
        self.warnings: list[str] = []
        self.chats: dict[int, Chat] = {}
        self.callback_answers: dict[str, Json] = {}
        self.inline_answers: dict[str, Json] = {}  # by the id of the query
        self.inline_messages: dict[str, Message] = {}  # what was sent by way of a query, by its own kind of id
        self.guest_answers: dict[str, str] = {}  # the id of the query → that of the message
        self.commands: dict[str, list[Json]] = {}
        self.profile: dict[str, str] = {}
        self.webhook: Json = {}
        self._queries: set[str] = set()
        self._files: dict[str, StoredFile] = {}
        self._paths: dict[str, StoredFile] = {}
        self._numbers = itertools.count(1)
        self._update_ids = itertools.count(1001)
        self._pending: dict[int, Json] = {}
        self._confirmed: set[int] = set()
        self._update_of: dict[tuple[int, int], int] = {}
        self._allowed_updates: list[str] = []
        self._poll = 0
        self._changed = asyncio.Event()
        self._webhook_task: asyncio.Task[None] | None = None
        self._handlers: dict[str, Callable[[Call], Any]] = {
            "getMe": self._get_me,
            "getUpdates": self._get_updates,
            "setWebhook": self._set_webhook,
            "deleteWebhook": self._set_webhook,
            "getWebhookInfo": self._get_webhook_info,
            "getFile": self._get_file,
            "sendMessage": self._send_message,
            **{
                f"send{kind.capitalize()}": functools.partial(self._send_media, kind)
                for kind in ("photo", "document", "voice")
            },
            "sendMediaGroup": self._send_media_group,
            "sendChatAction": self._send_chat_action,
            "editMessageText": self._edit_text,
            "editMessageCaption": self._edit_caption,
            "editMessageMedia": self._edit_media,
            "editMessageReplyMarkup": self._edit_reply_markup,
            "deleteMessage": self._delete_message,
            "setMessageReaction": self._set_reaction,
            "answerCallbackQuery": self._answer_callback_query,
            "answerGuestQuery": self._answer_guest_query,
            "answerInlineQuery": self._answer_inline_query,
            "setMyCommands": self._set_commands,
            "getMyCommands": self._get_commands,
            "setMyDescription": functools.partial(self._set_profile, "description", 512),
            "setMyShortDescription": functools.partial(self._set_profile, "short_description", 120),
            "getMyDescription": functools.partial(self._get_profile, "description"),
            "getMyShortDescription": functools.partial(self._get_profile, "short_description"),
            "getChatMember": self._get_chat_member,
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=rules.MAX_UPLOAD + rules.MEGABYTE)
        app.router.add_get("/file/bot{token}/{path:.+}", self._download)
        app.router.add_route("*", "/bot{token}/{method}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if task := self._stop_webhook():
            await asyncio.wait([task])
        self._poll += 1
        self.changed()
        await self._runner.cleanup()

    # What a test says and sees

    def person(self, first_name: str, *, language_code: str = "en", username: str | None = None) -> Person:
        user: Json = {"id": 1000 + next(self._numbers), "is_bot": False, "first_name": first_name}
        user |= {"language_code": language_code} | ({"username": username} if username else {})
        person = Person(self, user)
        self.chats[person.id] = person
        return person

    def group(self, title: str, owner: Person, *administrators: Person, is_forum: bool = False) -> Chat:
        """A supergroup the bot is a member of."""
        shape: Json = {"id": -1_000_000_001_000 - next(self._numbers), "type": "supergroup", "title": title}
        shape |= {"is_forum": True} if is_forum else {}
        self.chats[shape["id"]] = Chat(self, shape, (owner, *administrators))
        return self.chats[shape["id"]]

    def sent(self, chat_id: int | None = None, method: str | None = None) -> list[Call]:
        """Successful calls of a method, by default all that sent a message, oldest first."""
        return [
            call
            for call in self.calls
            if call.ok
            and (call.method == method if method else re.match(r"send(?!ChatAction)", call.method))
            and chat_id in (None, call.params.get("chat_id"))
        ]

    def file_bytes(self, file_id: str) -> bytes:
        return self._files[file_id].content()

    def update_id(self, message: Message) -> int:
        """The update that brought a person's message to the bot."""
        return self._update_of[message["chat"]["id"], message["message_id"]]

    def confirmed(self, update: int | Message) -> bool:
        """Whether the bot has confirmed an update, by a later offset or by a webhook's 2xx answer."""
        return (update if isinstance(update, int) else self.update_id(update)) in self._confirmed

    # What people and chats need

    def changed(self) -> None:
        """Wake everything that waits for a change."""
        event, self._changed = self._changed, asyncio.Event()
        event.set()

    async def until(self, ready: Callable[[], T | None], seconds: float) -> T | None:
        """What `ready` gives as soon as it is not None; None when time is up. It may also look at what is not here."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (value := ready()) is None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(LOOK_SECONDS):
                            await self._changed.wait()
                return value
        return ready()

    def push(self, kind: str, payload: Json) -> int:
        """Queue an update for the bot, unless its allowed_updates leave this kind out."""
        update_id = next(self._update_ids)
        if kind == "message":
            self._update_of[payload["chat"]["id"], payload["message_id"]] = update_id
        if kind in self._allowed_updates or (not self._allowed_updates and kind not in OPTIONAL_UPDATES):
            self._pending[update_id] = {"update_id": update_id, kind: copy.deepcopy(payload)}
            self.changed()
        else:
            self.warnings.append(f"update {kind} is not in allowed_updates")
        return update_id

    def push_anything(self, update: Json, update_id: int | None = None) -> int:
        """Queue an update of any kind and shape, as one from before `allowed_updates` changed, or of a newer server."""
        if update_id is None:
            update_id = next(self._update_ids)
        self._pending[update_id] = {"update_id": update_id} | copy.deepcopy(update)
        self.changed()
        return update_id

    def new_query(self) -> str:
        query_id = str(4_000_000_000 + next(self._numbers))
        self._queries.add(query_id)
        return query_id

    def elsewhere(self, person: "Person", content: Json, **more: Any) -> Message:
        """A message in a chat that the bot is no member of; `push_guest` brings it to the bot."""
        chat = {"id": -1_000_000_900_000 - next(self._numbers), "type": "supergroup", "title": "Elsewhere"}
        numbers = {"message_id": next(self._numbers), "date": int(time.time())}
        return numbers | {"chat": chat, "from": person.user} | content | more

    def push_guest(self, message: Message) -> str:
        """Bring a message in which the bot was mentioned; the id of the query."""
        query_id = self.new_query()
        self.push("guest_message", message | {"guest_query_id": query_id})
        return query_id

    async def guest_answer(self, query_id: str, true: Callable[[Message], object]) -> Message:
        """The message that answers a guest query, once this is so."""

        def ready() -> Message | None:
            message = self.inline_messages.get(self.guest_answers.get(query_id, ""))
            return message if message is not None and true(message) else None

        found = await self.until(ready, 60)
        assert found is not None, self.inline_messages
        return copy.deepcopy(found)

    async def inline(self, person: "Person", words: str, offset: str = "") -> Json:
        """Write the name of the bot and these words in some chat; the bot's answer."""
        number = self.new_query()
        query = {"id": number, "from": person.user, "query": words, "offset": offset, "chat_type": "group"}
        self.push("inline_query", query)
        found = await self.until(lambda: self.inline_answers.get(number), 60)
        assert found is not None
        return found

    def new_media_group(self) -> str:
        return str(13_000_000_000 + next(self._numbers))

    def stored_message(self, message: Message) -> Message:
        """The message as it is now; LookupError if it was deleted."""
        chat = self.chats[message["chat"]["id"]]
        if message["message_id"] not in chat.messages:
            raise LookupError(f"message {message['message_id']} was deleted")
        return chat.messages[message["message_id"]]

    def store(self, kind: str, data: bytes, shape: Json) -> Json:
        """Keep a file; returns what a message with it contains."""
        entry = self._new_shape(kind, {"file_size": len(data)} | shape)
        part = {kind: entry}
        if kind == "animation":
            part["document"] = {k: v for k, v in entry.items() if k not in ("width", "height", "duration")}
        self._files[entry["file_id"]] = StoredFile(kind, entry, lambda: data, part)
        return part

    def store_photo(self, data: bytes, sizes: Sequence[tuple[int, int]] | None = None, size: int | None = None) -> Json:
        """Keep a photo in several sizes, the last with the bytes given, smaller ones made when asked for."""
        if sizes is None:
            width, height = rules.picture_size(data) or (1280, 960)
            scales = [side / max(width, height) for side in THUMBNAIL_SIDES if side < max(width, height)]
            sizes = [(max(1, round(width * s)), max(1, round(height * s))) for s in scales] + [(width, height)]
        part: Json = {"photo": []}
        total = len(data) if size is None else size
        for width, height in sizes:
            is_last = (width, height) == sizes[-1]
            length = total if is_last else min(total, width * height // 8 + 500)
            entry = self._new_shape("photo", {"width": width, "height": height, "file_size": length})
            content = functools.partial(bytes, data) if is_last else functools.partial(resized, data, (width, height))
            self._files[entry["file_id"]] = StoredFile("photo", entry, content, part)
            part["photo"].append(entry)
        return part

    def _new_shape(self, kind: str, shape: Json) -> Json:
        """Identifiers are as long as real ones, so that nobody puts them into 64 bytes of callback data."""
        number = next(self._numbers)
        ids = {"file_id": f"{kind}_{number}_".ljust(80, "x"), "file_unique_id": f"{kind}_{number}_".ljust(16, "u")}
        return ids | shape

    # HTTP

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] != self.token:
            return answer(ApiError(401, "Unauthorized"))
        method = METHOD_NAMES.get(request.match_info["method"].lower())
        if method is None:
            self.violations.append(f"{request.match_info['method']}: no such method")
            return answer(ApiError(404, "Not Found"))
        try:
            params, files = await read_request(request)
        except web.HTTPRequestEntityTooLarge:
            self.violations.append(f"{method}: the request is too large")
            return answer(ApiError(413, "Request Entity Too Large"))
        except (ConnectionError, web.RequestPayloadError, aiohttp.ClientPayloadError):
            return answer(bad_request("the client went away"))  # killed in the middle of a request
        except ValueError as error:
            self.violations.append(f"{method}: {error}")
            return answer(bad_request(str(error)))
        call = Call(method, params, files)
        self.calls.append(call)
        fault = self.faults.take(method, params)
        try:
            if fault is not None and (broken := await self._break(fault, call, request)) is not None:
                return broken
            call.params, unknown = rules.check_parameters(method, params, files)
            self.warnings += unknown
            if method not in self._handlers:
                raise bad_request(f"the fake server does not implement {method}")
            try:
                result = self._handlers[method](call)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                raise bad_request(f"nested parameters have a wrong shape: {error!r}") from error
            call.result = copy.deepcopy(await result if isinstance(result, Awaitable) else result)
        except ApiError as error:
            call.error = error.description
            if error.violation:
                self.violations.append(f"{method}: {error.description}")
            return answer(error)
        finally:
            self.changed()
        if fault is not None and fault.kind == "lose_response":
            return cut(request)
        if fault is not None and fault.kind == "no_result":
            return web.json_response({"ok": True})
        return web.json_response({"ok": True, "result": call.result})

    async def _break(self, fault: Fault, call: Call, request: web.Request) -> web.StreamResponse | None:
        """Let a fault happen before the call is processed; None lets the call go on."""
        if error := error_of_fault(fault, call.method):
            raise error
        if fault.kind == "bare":
            call.error = "500 without a description"
            return web.json_response({"ok": False}, status=500)
        if fault.kind in ("500_html", "502_html"):
            call.error = f"{fault.kind[:3]} with a body that is not JSON"
            return proxy_page(fault)
        if fault.kind == "drop":
            call.error = "connection cut"
            return cut(request)
        if fault.kind == "delay":
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(fault.seconds):
                    await fault.over.wait()
        call.reply_gone = fault.kind == "reply_not_found"
        return None

    async def _download(self, request: web.Request) -> web.StreamResponse:
        """`/file/bot<token>/<file_path>`; a path is known once getFile has given it."""
        path = request.match_info["path"]
        if request.match_info["token"] != self.token:
            return answer(ApiError(401, "Unauthorized"))
        if path not in self._paths:
            return answer(ApiError(404, "Not Found"))
        call = Call("download", {"file_path": path}, {})
        self.calls.append(call)
        fault = self.faults.take("download", {})
        try:
            if fault is not None and (broken := await self._break(fault, call, request)) is not None:
                return broken
        except ApiError as error:
            call.error = error.description
            return answer(error)
        data = self._paths[path].content()
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        if fault is not None and fault.kind == "lose_response":
            call.error = "connection cut"
            await response.write(data[: len(data) // 2])
            return cut(request, response)
        if fault is not None and fault.kind == "stall":
            await response.write(data[: len(data) // 2])
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(fault.seconds):
                    await fault.over.wait()
            call.error = "stalled"
            return cut(request, response)
        slowly = fault.seconds / 10 if fault is not None and fault.kind == "slow" else 0
        step = max(1, -(-len(data) // 10) if slowly else len(data))
        try:
            for start in range(0, len(data), step):
                await asyncio.sleep(slowly)
                await response.write(data[start : start + step])
        except ConnectionError:
            call.error = "the client went away"
        else:
            call.result = len(data)
        return response

    # Updates

    def _get_me(self, call: Call) -> Json:
        return self.bot | {"can_join_groups": True, "can_read_all_group_messages": True, "has_main_web_app": False}

    async def _get_updates(self, call: Call) -> list[Json]:
        """Long polling: an offset confirms what is below it; a second poller ends the first one with 409."""
        if self.webhook.get("url"):
            raise ApiError(409, rules.CONFLICT_WEBHOOK, violation=True)
        params = call.params
        offset = params.get("offset", 0)
        self._allowed_updates = params.get("allowed_updates", self._allowed_updates)
        if offset < 0:  # only the last -offset updates, all before them are forgotten
            offset = [0, *self._pending][offset:][0]
        for update_id in [each for each in self._pending if each < offset]:
            self._confirm(update_id)
        self._poll += 1
        poll = self._poll
        self.changed()  # an older poller sees that it is no longer the only one

        def ready() -> list[Json] | None:
            return list(self._pending.values()) if self._pending or self._poll != poll else None

        updates = await self.until(ready, params.get("timeout", 0))
        if self._poll != poll:
            raise ApiError(409, rules.CONFLICT_POLLING)
        return (updates or [])[: max(1, min(params.get("limit", 100), 100))]

    def _confirm(self, update_id: int) -> None:
        del self._pending[update_id]
        self._confirmed.add(update_id)
        self.changed()

    def _set_webhook(self, call: Call) -> bool:
        """setWebhook and deleteWebhook; plain http is accepted, unlike by the official server."""
        url = call.params.get("url", "")
        if url and str(urlsplit(url).hostname).endswith(".invalid"):
            raise bad_request("bad webhook: Failed to resolve host: Name or service not known", violation=False)
        secret = call.params.get("secret_token", "")
        if secret and not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", secret):
            raise bad_request("secret token contains unallowed characters")
        if not 1 <= call.params.get("max_connections", 40) <= 100:
            raise bad_request("max_connections must be between 1 and 100")
        self._stop_webhook()
        if call.params.get("drop_pending_updates") and self._pending:
            self.warnings.append(f"{call.method}: {len(self._pending)} pending updates were dropped")
            self._pending.clear()
        self._allowed_updates = call.params.get("allowed_updates", self._allowed_updates)
        self.webhook = {"url": url, "secret_token": secret}
        if url:
            self._webhook_task = asyncio.create_task(self._deliver_to_webhook(url))
        return True

    def _get_webhook_info(self, call: Call) -> Json:
        url = self.webhook.get("url", "")
        info: Json = {"url": url, "has_custom_certificate": False, "pending_update_count": len(self._pending)}
        info |= self.webhook.get("last_error", {})
        return info

    async def _deliver_to_webhook(self, url: str) -> None:
        """Post the updates one after the other; each is confirmed by a 2xx answer and repeated otherwise."""
        secret = self.webhook["secret_token"]
        headers = {"X-Telegram-Bot-Api-Secret-Token": secret} if secret else {}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
            while True:
                await self.until(lambda: self._pending or None, 3600)
                for update_id, update in list(self._pending.items()):
                    try:
                        async with session.post(url, json=update, headers=headers) as response:
                            delivered = response.ok
                            if delivered and (await response.read()).strip() not in (b"", b"{}", b"ok", b"OK"):
                                self.warnings.append("a method in answer to a webhook request is not carried out")
                            reason = f"Wrong response from the webhook: {response.status} {response.reason}"
                    except (aiohttp.ClientError, TimeoutError):
                        delivered, reason = False, "Connection refused"
                    if not delivered:
                        error = {"last_error_date": int(time.time()), "last_error_message": reason}
                        self.webhook["last_error"] = error
                        self.changed()
                        await asyncio.sleep(0.1)
                        break
                    self._confirm(update_id)

    def _stop_webhook(self) -> asyncio.Task[None] | None:
        task, self._webhook_task = self._webhook_task, None
        if task is not None:
            task.cancel()
        return task

    def _get_file(self, call: Call) -> Json:
        """At most 20 MB may be downloaded, unless the server runs in local mode."""
        stored = self._files.get(call.params["file_id"])
        if stored is None:
            raise bad_request("wrong file_id or the file is temporarily unavailable")
        if self.local_dir is None and stored.shape["file_size"] > rules.MAX_DOWNLOAD:
            raise bad_request("file is too big", violation=False)
        number = stored.shape["file_id"].split("_")[-2]
        extension = PurePath(stored.shape.get("file_name", "")).suffix or EXTENSIONS.get(stored.kind, ".mp4")
        path = f"{stored.kind}s/file_{number}{extension}"
        if self.local_dir is not None:
            target = self.local_dir / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(stored.content())
            path = str(target)
        self._paths[path] = stored
        names = ("file_id", "file_unique_id", "file_size")
        return {name: stored.shape[name] for name in names} | {"file_path": path}

    # Sending

    def _chat(self, call: Call) -> Chat:
        chat = self.chats.get(call.params.get("chat_id", 0))
        if chat is None:
            raise bad_request("chat not found")
        return chat

    def _message(self, call: Call, verb: str) -> Message:
        """The message a call names; no fault of the bot if people removed it in the meantime."""
        chat, number = self._chat(call), call.params.get("message_id", 0)
        if number not in chat.messages:
            gone = number in chat.removed_by_people or verb == "react"  # people may delete what they sent
            raise bad_request(f"message to {verb} not found", violation=not gone)
        return chat.messages[number]

    def _post(self, call: Call, content: Json) -> Message:
        """Put a message of the bot into its chat."""
        chat, params = self._chat(call), call.params
        reply: Json = params.get("reply_parameters", {})
        reply_to = None if call.reply_gone else chat.messages.get(reply.get("message_id", 0))
        if reply and reply_to is None and not reply.get("allow_sending_without_reply"):
            raise bad_request("message to be replied not found", violation=False)
        if "reply_markup" in params:
            rules.check_reply_markup(params["reply_markup"])
            if "inline_keyboard" in params["reply_markup"]:
                content["reply_markup"] = params["reply_markup"]
        if params.get("protect_content"):
            content["has_protected_content"] = True
        return chat.new_message(self.bot, content, params.get("message_thread_id"), reply_to)

    def _send_message(self, call: Call) -> Message:
        return self._post(call, text_part(call.params))

    def _send_media(self, kind: str, call: Call) -> Message:
        content = self._media(kind, call.params[kind], call) | text_part(call.params, "caption") | covered(call.params)
        return self._post(call, content)

    def _send_media_group(self, call: Call) -> list[Message]:
        """2-10 photos and videos, or documents only; no animations, no buttons."""
        media: list[Json] = call.params["media"]
        if not 2 <= len(media) <= 10:
            raise bad_request("a media group must have 2-10 items")
        kinds = {item.get("type") for item in media}
        if not kinds <= {"photo", "video", "document"}:
            raise bad_request("unallowed media type in a media group")
        if "document" in kinds and len(kinds) > 1:
            raise bad_request("document can't be mixed with other media types")
        if "reply_markup" in call.params or any("reply_markup" in item for item in media):
            raise bad_request("a media group can't have reply_markup")
        group = {"media_group_id": self.new_media_group()}
        contents = [
            self._media(item["type"], item.get("media"), call) | text_part(item, "caption") | covered(item)
            for item in media
        ]
        return [self._post(call, content | group) for content in contents]

    def _media(self, kind: str, source: Any, call: Call) -> Json:
        """The file parts of a message: an upload, `attach://name`, or a file_id of the same kind."""
        if isinstance(source, str) and source.startswith("attach://"):
            source = call.files.get(source.removeprefix("attach://"))
        if isinstance(source, str) and source in self._files:
            known = self._files[source]
            if known.kind != kind:
                raise bad_request(f"can't use file of type {known.kind.title()} as {kind.title()}")
            return copy.deepcopy(known.part)
        if not isinstance(source, Upload):
            raise bad_request("wrong file identifier/HTTP URL specified")
        if not source.data:
            raise bad_request("file must be non-empty")
        if kind == "photo":
            return self.store_photo(source.data, [rules.check_photo(source.data, decode=self.decodes)])
        if len(source.data) > rules.MAX_UPLOAD:
            raise ApiError(413, "Request Entity Too Large", violation=True)
        details: Json = {"mime_type": source.mime_type}
        details |= {"duration": call.params.get("duration", 0)} if kind == "voice" else {"file_name": source.file_name}
        return self.store(kind, source.data, details)

    def _send_chat_action(self, call: Call) -> bool:
        self._chat(call)
        if call.params["action"] not in rules.CHAT_ACTIONS:
            raise bad_request("wrong parameter action in request")
        return True

    # Editing

    def _edit(self, call: Call, *, replaced: Iterable[str], content: Json) -> Message:
        """Replace parts of a message of the bot; buttons go unless the call gives them again."""
        message = self._message(call, "edit")
        if not message["from"]["is_bot"]:
            raise bad_request("message can't be edited")
        if "reply_markup" in call.params:
            rules.check_reply_markup(call.params["reply_markup"])
            if call.params["reply_markup"].get("inline_keyboard"):
                content["reply_markup"] = call.params["reply_markup"]
        gone = {"reply_markup", *replaced}
        if content == {key: value for key, value in message.items() if key in gone}:
            raise bad_request(rules.NOT_MODIFIED)
        for key in gone:
            message.pop(key, None)
        message |= content | {"edit_date": int(time.time())}
        return message

    def _edit_inline(self, call: Call) -> bool:
        """Edit the text of what was sent by way of a query."""
        message = self.inline_messages.get(call.params["inline_message_id"])
        if message is None:
            raise bad_request("MESSAGE_ID_INVALID")
        content = text_part(call.params)
        if "reply_markup" in call.params:
            rules.check_reply_markup(call.params["reply_markup"])
            rules.check_chatless(call.params["reply_markup"])
            content["reply_markup"] = call.params["reply_markup"]
        if content == message:
            raise bad_request(rules.NOT_MODIFIED)
        message.clear()
        message |= content
        return True

    def _edit_text(self, call: Call) -> Message | bool:
        if "inline_message_id" in call.params:
            return self._edit_inline(call)
        if "text" not in self._message(call, "edit"):
            raise bad_request("there is no text in the message to edit")
        return self._edit(call, replaced=("text", "entities"), content=text_part(call.params))

    def _edit_caption(self, call: Call) -> Message:
        if not set(MEDIA_KINDS) & self._message(call, "edit").keys():
            raise bad_request("there is no caption in the message to edit")
        content = text_part(call.params, "caption")
        return self._edit(call, replaced=("caption", "caption_entities"), content=content)

    def _edit_media(self, call: Call) -> Message:
        self._message(call, "edit")
        media = call.params["media"]
        if media.get("type") not in ("photo", "video", "animation", "document"):
            raise bad_request("wrong type of the media")
        content = self._media(media["type"], media.get("media"), call) | text_part(media, "caption")
        content |= covered(media)
        replaced = (*MEDIA_KINDS, "text", "entities", "caption", "caption_entities", "has_media_spoiler")
        return self._edit(call, replaced=replaced, content=content)

    def _edit_reply_markup(self, call: Call) -> Message:
        return self._edit(call, replaced=(), content={})

    def _delete_message(self, call: Call) -> bool:
        del self._chat(call).messages[self._message(call, "delete")["message_id"]]
        return True

    def _set_reaction(self, call: Call) -> bool:
        """A bot may set one reaction, from a fixed list of emoji."""
        message = self._message(call, "react")
        emoji = [str(reaction.get("emoji")) for reaction in call.params.get("reaction", [])]
        if len(emoji) > 1:
            raise bad_request("REACTIONS_TOO_MANY")
        if not rules.REACTIONS.issuperset(emoji):
            raise bad_request("REACTION_INVALID")
        self._chat(call).reactions[message["message_id"]] = emoji
        return True

    def _answer_callback_query(self, call: Call) -> bool:
        query_id = call.params["callback_query_id"]
        if query_id not in self._queries:
            raise bad_request(rules.MISSING["callback_query_id"])
        if len(call.params.get("text", "")) > 200:
            raise bad_request("MESSAGE_TOO_LONG")
        if query_id in self.callback_answers:
            self.warnings.append(f"callback query {query_id} was answered twice")
        self.callback_answers[query_id] = call.params
        return True

    def _answer_guest_query(self, call: Call) -> Json:
        query_id = call.params["guest_query_id"]
        if query_id not in self._queries or query_id in self.guest_answers:
            raise bad_request(rules.MISSING["callback_query_id"], violation=query_id in self.guest_answers)
        content = self._result(call.params["result"])
        self.guest_answers[query_id] = f"inline-{query_id}"
        self.inline_messages[f"inline-{query_id}"] = content
        return {"inline_message_id": f"inline-{query_id}"}

    def _answer_inline_query(self, call: Call) -> bool:
        params = call.params
        query_id = params["inline_query_id"]
        if query_id not in self._queries or query_id in self.inline_answers:
            raise bad_request(rules.MISSING["callback_query_id"], violation=query_id in self.inline_answers)
        if len(params["results"]) > 50 or len({each["id"] for each in params["results"]}) < len(params["results"]):
            raise bad_request("RESULT_ID_DUPLICATE or too many results")
        if len(params.get("next_offset", "").encode()) > 64:
            raise bad_request("NEXT_OFFSET_INVALID")
        if (button := params.get("button")) is not None and not re.fullmatch(
            r"[A-Za-z0-9_-]{1,64}", button["start_parameter"]
        ):
            raise bad_request("START_PARAM_INVALID")
        results = [each | {"sent": self._result(each)} for each in params["results"]]
        self.inline_answers[query_id] = params | {"results": results}
        return True

    def _result(self, result: Json) -> Message:
        """The message that a result of a query becomes: an article, or a photo that the bot has from Telegram."""
        if not 1 <= len(str(result["id"]).encode()) <= 64:
            raise bad_request("RESULT_ID_INVALID")
        if "reply_markup" in result:
            rules.check_chatless(result["reply_markup"])
        match result["type"]:
            case "article" if result["title"]:
                content = result["input_message_content"]
                return text_part(content | {"text": content["message_text"]})
            case "photo":
                stored = self._files.get(result["photo_file_id"])
                if stored is None or stored.kind != "photo":
                    raise bad_request("wrong file identifier/HTTP URL specified")
                return copy.deepcopy(stored.part) | text_part(result, "caption")
        raise bad_request(f"the fake server does not know results of type {result['type']}")

    # Profile and members

    def _set_commands(self, call: Call) -> bool:
        """Apart for each scope and language."""
        rules.check_commands(call.params.get("commands", []))
        self.commands[commands_key(call)] = call.params.get("commands", [])
        return True

    def _get_commands(self, call: Call) -> list[Json]:
        return self.commands.get(commands_key(call), [])

    def _set_profile(self, name: str, limit: int, call: Call) -> bool:
        text = call.params.get(name, "")
        if len(text) > limit:
            raise bad_request(f"{name} is too long, at most {limit} characters")
        self.profile[f"{name}/{call.params.get('language_code', '')}"] = text
        return True

    def _get_profile(self, name: str, call: Call) -> Json:
        return {name: self.profile.get(f"{name}/{call.params.get('language_code', '')}", "")}

    def _get_chat_member(self, call: Call) -> Json:
        chat, user_id = self._chat(call), call.params["user_id"]
        if user_id == self.bot["id"]:
            return {"status": "member", "user": self.bot}
        user = self.chats.get(user_id)
        if not isinstance(user, Person):
            raise bad_request("PARTICIPANT_ID_INVALID")
        for member in self._administrators(chat):
            if member["user"]["id"] == user_id:
                return member
        return {"status": "member" if user_id in chat.members else "left", "user": user.user}

    def _administrators(self, chat: Chat) -> list[Json]:
        owner = [
            {"status": "creator", "user": person.user, "is_anonymous": False} for person in chat.administrators[:1]
        ]
        rights = dict.fromkeys(ADMINISTRATOR_RIGHTS, True) | {"can_be_edited": False, "is_anonymous": False}
        others = chat.administrators[1:]
        return owner + [{"status": "administrator", "user": person.user} | rights for person in others]


METHOD_NAMES: Final = {name.lower(): name for name in rules.METHODS}  # method names are case-insensitive
ADMINISTRATOR_RIGHTS: Final = (
    *("can_manage_chat", "can_delete_messages", "can_manage_video_chats", "can_restrict_members"),
    *("can_promote_members", "can_change_info", "can_invite_users"),
    *("can_post_stories", "can_edit_stories", "can_delete_stories", "can_send_welcome_messages"),
)


def commands_key(call: Call) -> str:
    scope = json.dumps(call.params.get("scope", {"type": "default"}), sort_keys=True)
    return f"{scope}/{call.params.get('language_code', '')}"


def text_part(source: Json, name: Literal["text", "caption"] = "text") -> Json:
    """The text or caption of a message, checked, with its entities."""
    text, entities = rules.formatted(source, name, rules.MAX_TEXT if name == "text" else rules.MAX_CAPTION)
    part: Json = {name: text} if text else {}
    if entities:
        part["entities" if name == "text" else "caption_entities"] = entities
    return part


def covered(source: Json) -> Json:
    """What a message has whose picture was sent as a spoiler."""
    return {"has_media_spoiler": True} if source.get("has_spoiler") else {}


async def read_request(request: web.Request) -> tuple[Json, dict[str, Upload]]:
    """Parameters and files of a request: query string, urlencoded, JSON or multipart."""
    params: Json = dict(request.query)
    files: dict[str, Upload] = {}
    if request.content_type == "application/json":
        params |= await request.json()
    elif request.can_read_body:
        for name, value in (await request.post()).items():
            if isinstance(value, web.FileField):
                files[name] = Upload(value.file.read(), value.filename, value.content_type)
                value.file.close()
            else:
                params[name] = value if isinstance(value, str) else bytes(value).decode()
    return params, files


def answer(error: ApiError) -> web.Response:
    return web.json_response(error.body(), status=error.code)


def proxy_page(fault: Fault) -> web.Response:
    title = {"500": "500 Internal Server Error", "502": "502 Bad Gateway"}[fault.kind[:3]]
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1><hr>nginx/1.18.0</body></html>"
    return web.Response(status=int(title[:3]), text=page, content_type="text/html")


def cut(request: web.Request, response: web.StreamResponse | None = None) -> web.StreamResponse:
    """Close the connection; what is returned can no longer be written."""
    if request.transport is not None:
        request.transport.abort()
    return response or web.Response()


# Trying a bot by hand


async def converse(port: int, photo: Path | None, save: Path | None) -> None:
    """Send one photo as a person and print what the bot answers, until interrupted."""
    async with FakeTelegram(port) as server:
        print(f"TELEGRAM_API_URL={server.url} BOT_TOKEN={server.token}", flush=True)
        server._update_ids = itertools.count(int(time.time()))  # a bot remembers those that it has answered
        ann = server.person("Ann")
        if photo is not None:
            await ann.send_photo(await asyncio.to_thread(photo.read_bytes))
        async for message in arriving(ann):
            print(describe(message), flush=True)
            if save is not None and "photo" in message:
                path = save / f"{message['message_id']}.jpg"
                await asyncio.to_thread(path.write_bytes, server.file_bytes(message["photo"][-1]["file_id"]))
                print(f"  saved as {path}", flush=True)


async def arriving(person: Person) -> AsyncIterator[Message]:
    while True:
        with contextlib.suppress(TimeoutError):
            yield await person.next_message(timeout=3600)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.fake_telegram", description=converse.__doc__)
    parser.add_argument("--port", type=int, default=8081)
    parser.add_argument("--photo", type=Path, help="the photo to send")
    parser.add_argument("--save", type=Path, metavar="DIR", help="a folder for the pictures of the bot")
    options = parser.parse_args()
    if options.save is not None:
        options.save.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(converse(options.port, options.photo, options.save))


if __name__ == "__main__":
    main()
