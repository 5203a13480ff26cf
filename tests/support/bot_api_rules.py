"""What the official Bot API accepts: parameter types, HTML markup, documented limits, error texts.

`bot_api.json` beside this file is a compact extract of the official documentation. Everything here is
a pure function of one call; what depends on chats and files lives in `fake_telegram`.
"""

import html
import io
import json
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

BOT_API: Final[dict[str, Any]] = json.loads(Path(__file__).with_name("bot_api.json").read_text("utf-8"))
METHODS: Final[dict[str, dict[str, str]]] = BOT_API["methods"]
REACTIONS: Final = frozenset(BOT_API["reactions"])

MEGABYTE: Final = 1024 * 1024
MAX_DOWNLOAD: Final = 20 * MEGABYTE
MAX_PHOTO: Final = 10 * MEGABYTE
MAX_UPLOAD: Final = 50 * MEGABYTE
MAX_TEXT: Final = 4096
SHOWN: Final = ("has_media_spoiler", "has_protected_content")  # of a message, when they are true
MAX_CAPTION: Final = 1024

CONFLICT_POLLING: Final = (
    "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running"
)
CONFLICT_WEBHOOK: Final = (
    "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
)
NOT_MODIFIED: Final = (
    "message is not modified: specified new message content and reply markup are exactly the same "
    "as a current content and reply markup of the message"
)
CHAT_ACTIONS: Final = frozenset(
    [
        *("typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice"),
        *("upload_document", "choose_sticker", "find_location", "record_video_note", "upload_video_note"),
    ]
)
MISSING: Final = {
    "chat_id": "chat_id is empty",
    "text": "message text is empty",
    "message_id": "message identifier is not specified",
    "file_id": "file_id not specified",
    "callback_query_id": "query is too old and response timeout expired or query ID is invalid",
    "action": "wrong parameter action in request",
} | {kind: f"there is no {kind} in the request" for kind in ("photo", "video", "document", "animation", "voice")}

ENTITY_OF_TAG: Final = {
    **dict.fromkeys(("b", "strong"), "bold"),
    **dict.fromkeys(("i", "em"), "italic"),
    **dict.fromkeys(("u", "ins"), "underline"),
    **dict.fromkeys(("s", "strike", "del"), "strikethrough"),
    **dict.fromkeys(("tg-spoiler", "span"), "spoiler"),
    **{"code": "code", "pre": "pre", "a": "text_link", "blockquote": "blockquote"},
}
ATTRIBUTE: Final = re.compile(r"""\s+([^\s=>]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>"']+)))?""")
WORDS: Final = re.compile(r"&?[^<&]+|&")
TAG_NAME: Final = re.compile(r"[^\s>]*")
CHARACTER_REFERENCE: Final = re.compile(r"&(?:lt|gt|amp|quot|#\d{1,7}|#[xX][0-9a-fA-F]{1,6});?")


class ApiError(Exception):
    """An answer with `ok: false`. A violation is the bot's own mistake, not bad luck."""

    def __init__(self, code: int, description: str, *, retry_after: int | None = None, violation: bool = False) -> None:
        super().__init__(description)
        self.code = code
        self.description = description
        self.retry_after = retry_after
        self.violation = violation

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"ok": False, "error_code": self.code, "description": self.description}
        if self.retry_after is not None:
            body["parameters"] = {"retry_after": self.retry_after}
        return body


def bad_request(text: str, *, violation: bool = True) -> ApiError:
    return ApiError(400, f"Bad Request: {text}", violation=violation)


@dataclass(frozen=True)
class Upload:
    """A file that came inside a multipart request."""

    data: bytes
    file_name: str
    mime_type: str


def utf16_length(text: str) -> int:
    """Telegram counts offsets and lengths in UTF-16 code units."""
    return len(text.encode("utf-16-le")) // 2


# Parameters


def check_parameters(method: str, raw: dict[str, Any], uploads: dict[str, Upload]) -> tuple[dict[str, Any], list[str]]:
    """Parameters of a call with their documented types, and warnings about those not documented."""
    fields = METHODS[method]
    given = {name: value for name, value in {**raw, **uploads}.items() if name in fields}
    unknown = [f"{method}: unknown parameter {name!r}" for name in raw if name not in fields]
    for name, types in fields.items():
        if types.startswith("!") and given.get(name) in (None, ""):
            raise bad_request(MISSING.get(name, f'parameter "{name}" is required'))
    return {name: _typed(name, value, fields[name].removeprefix("!")) for name, value in given.items()}, unknown


def _typed(name: str, value: Any, types: str) -> Any:
    """A value as one of its documented types; forms and query strings carry everything as text."""
    alternatives = types.split("|")

    def wrong() -> ApiError:
        return bad_request(f'parameter "{name}" must be {types.replace("|", " or ")}')

    if isinstance(value, Upload):
        if "InputFile" not in alternatives:
            raise wrong()
        return value
    if "Integer" in alternatives and re.fullmatch(r"-?\d+", str(value)):
        return int(value)
    if "Float" in alternatives and re.fullmatch(r"-?\d+(\.\d+)?", str(value)):
        return float(value)
    if "Boolean" in alternatives and str(value).lower() in ("true", "false", "1", "0"):
        return str(value).lower() in ("true", "1")
    if "String" in alternatives:
        return str(value)
    if {"Integer", "Float", "Boolean", "InputFile"} & set(alternatives):
        raise wrong()
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            raise bad_request(f"can't parse {name} JSON object") from None
    if not isinstance(value, list if types.startswith("Array of") else dict):
        raise wrong()
    return value


# Text


def formatted(source: dict[str, Any], name: str, limit: int) -> tuple[str, list[dict[str, Any]]]:
    """The text under `name` and its entities; the limit counts what is left after entity parsing."""
    text = str(source.get(name) or "")
    mode = str(source.get("parse_mode") or "").lower()
    entities: list[dict[str, Any]] = source.get("entities" if name == "text" else "caption_entities") or []
    if mode == "html":
        text, entities = parse_html(text)
    elif mode in ("markdown", "markdownv2"):
        raise bad_request(f"the fake server does not parse {mode}")
    elif mode:
        raise bad_request("unsupported parse_mode")
    text, entities = trimmed(text, entities)
    if name == "text" and not text:
        raise bad_request("message text is empty")
    if utf16_length(text) > limit:
        raise bad_request("message is too long" if name == "text" else "message caption is too long")
    return text, entities


def trimmed(text: str, entities: list[dict[str, Any]]) -> tuple[str, list[dict[str, Any]]]:
    """Telegram strips white space around a text; entities move and shrink with it."""
    start = utf16_length(text) - utf16_length(text.lstrip())
    text = text.strip()
    end = start + utf16_length(text)
    kept = []
    for entity in entities:
        first = max(int(entity["offset"]), start)
        last = min(int(entity["offset"]) + int(entity["length"]), end)
        if first < last:
            kept.append({**entity, "offset": first - start, "length": last - first})
    return text, sorted(kept, key=lambda entity: (entity["offset"], -entity["length"]))


def parse_html(source: str) -> tuple[str, list[dict[str, Any]]]:
    """Text and entities of HTML markup; the error texts are those of the official server."""
    text = ""
    entities: list[dict[str, Any]] = []
    open_tags: list[tuple[str, int, dict[str, str]]] = []  # name, UTF-16 offset, attributes
    position = 0

    def wrong(what: str) -> ApiError:
        return bad_request(f"can't parse entities: {what}")

    while position < len(source):
        offset = len(source[:position].encode())
        if reference := CHARACTER_REFERENCE.match(source, position):
            text += html.unescape(reference[0].removesuffix(";") + ";")
            position = reference.end()
        elif words := WORDS.match(source, position):
            text += words[0]
            position = words.end()
        elif source.startswith("</", position):
            end = source.find(">", position)
            if not open_tags:
                raise wrong(f"Unexpected end tag at byte offset {offset}")
            if end < 0:
                raise wrong(f"Unclosed end tag at byte offset {offset}")
            found = source[position + 2 : end].strip().lower()
            tag, start, attributes = open_tags.pop()
            if found and found != tag:
                raise wrong(f'Unmatched end tag at byte offset {offset}, expected "</{tag}>", found "</{found}>"')
            length = utf16_length(text) - start
            if length:
                inside = text.encode("utf-16-le")[2 * start :].decode("utf-16-le")
                _close(entities, tag, start, length, attributes, inside)
            position = end + 1
        else:
            tag = TAG_NAME.findall(source, position + 1)[0].lower()
            position += 1 + len(tag)
            attributes = {}
            if position < len(source) and tag not in ENTITY_OF_TAG:
                raise wrong(f'Unsupported start tag "{tag}" at byte offset {offset}')
            while attribute := ATTRIBUTE.match(source, position):
                value = attribute[2] or attribute[3] or attribute[4] or ""
                attributes[attribute[1].lower()] = html.unescape(value)
                position = attribute.end()
            position += len(source[position:]) - len(source[position:].lstrip())
            if not source.startswith(">", position):
                raise wrong(f"Unclosed start tag at byte offset {offset}")
            if tag == "span" and attributes.get("class") != "tg-spoiler":
                raise wrong(f'Tag "span" must have class "tg-spoiler" at byte offset {offset}')
            open_tags.append((tag, utf16_length(text), attributes))
            position += 1
    if open_tags:
        raise wrong(f'Can\'t find end tag corresponding to start tag "{open_tags[-1][0]}"')
    for entity in entities:
        if entity["type"] == "code":  # only a <pre> around it shows the language
            entity.pop("language", None)
    return text, entities


def _close(
    entities: list[dict[str, Any]],
    tag: str,
    offset: int,
    length: int,
    attributes: dict[str, str],
    inside: str,
) -> None:
    """Add the entity of a tag that ends here."""
    entity: dict[str, Any] = {"type": ENTITY_OF_TAG[tag], "offset": offset, "length": length}
    if tag == "a":
        url = attributes.get("href") or inside
        if not re.match(r"(https?|tg|mailto|tel|ton)://?\S|[\w-]+(\.[\w-]+)+", url):
            return
        entity["url"] = url
    elif tag == "blockquote" and "expandable" in attributes:
        entity["type"] = "expandable_blockquote"
    elif tag == "code" and attributes.get("class", "").startswith("language-"):
        entity["language"] = attributes["class"].removeprefix("language-")
    elif tag == "pre" and entities and entities[-1]["type"] == "code":
        code = entities[-1]
        if (code["offset"], code["length"]) == (offset, length):
            entity = {**entities.pop(), "type": "pre"}
    entities.append(entity)


# Keyboards, pictures, commands


def check_reply_markup(markup: dict[str, Any]) -> None:
    """Buttons need a text and an action; callback data is 1-64 bytes."""
    rows = markup.get("inline_keyboard")
    if rows is None:
        if not {"keyboard", "remove_keyboard", "force_reply"} & markup.keys():
            raise bad_request("object expected as reply markup")
        return
    for button in (button for row in rows for button in row):
        if not button.get("text"):
            raise bad_request('can\'t parse inline keyboard button: Field "text" must be of type String')
        if len(button) < 2:
            raise bad_request("can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard")
        if "callback_data" in button and not 1 <= len(str(button["callback_data"]).encode()) <= 64:
            raise bad_request("BUTTON_DATA_INVALID")
        if "copy_text" in button and not 1 <= utf16_length(str(button["copy_text"].get("text", ""))) <= 256:
            raise bad_request("BUTTON_COPY_TEXT_INVALID")
    if sum(len(row) for row in rows) > 100:
        raise bad_request("REPLY_MARKUP_TOO_LONG")


def check_chatless(markup: dict[str, Any]) -> None:
    """Under what is sent by way of a query, a button of this bot works only where it needs no chat."""
    for button in (button for row in markup.get("inline_keyboard", ()) for button in row):
        if "callback_data" in button:
            raise bad_request("a button that needs a chat where there is none")


def picture_size(data: bytes, *, decode: bool = False) -> tuple[int, int] | None:
    """Width and height in pixels; None for what is not a picture."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if decode and sum(image.size) <= 10_000:
                    image.load()
                return image.size
    except Image.DecompressionBombError:
        return (100_000, 100_000)
    except (OSError, ValueError, SyntaxError):
        return None


def check_photo(data: bytes, *, decode: bool = True) -> tuple[int, int]:
    """Size of an uploaded photo: at most 10 MB, width + height at most 10000, ratio at most 20.

    `decode`: also whether all of it can be read.
    """
    if len(data) > MAX_PHOTO:
        raise bad_request(
            f"file of size {len(data)} bytes is too big for a photo; the maximum size is {MAX_PHOTO} bytes"
        )
    size = picture_size(data, decode=decode)
    if size is None:
        raise bad_request("IMAGE_PROCESS_FAILED")
    width, height = size
    if width + height > 10_000 or max(size) > 20 * min(size):
        raise bad_request("PHOTO_INVALID_DIMENSIONS")
    return width, height


def check_commands(commands: list[dict[str, Any]]) -> None:
    """Up to 100 commands; names of 1-32 lowercase letters, digits, underscores; descriptions of 1-256."""
    if len(commands) > 100:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    for command in commands:
        if not re.fullmatch(r"[a-z0-9_]{1,32}", str(command.get("command", ""))):
            raise bad_request("BOT_COMMAND_INVALID")
        if not 1 <= utf16_length(str(command.get("description", ""))) <= 256:
            raise bad_request("BOT_COMMAND_DESCRIPTION_INVALID")
