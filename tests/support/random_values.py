"""Random values of the Bot API's types (`bot_api_types.json`), plausible for the names of their fields."""

from __future__ import annotations

import json
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

Json = dict[str, Any]
Place = tuple[str | int, ...]

TYPES: Final[dict[str, Any]] = json.loads(Path(__file__).with_name("bot_api_types.json").read_text("utf-8"))["types"]
MARK: Final = "zqx"
DEEPEST: Final = 5
NOW: Final = int(time.time())

ALPHABETS: Final = (
    "cat dog photo hello привет кот Straße naïve 猫が好き",
    "\u202eمرحبا بالعالم\u202c שלום עולם \u200f\u200e\u061c",
    "\u200b\u200c\u200d\ufeff\u2060\u00ad\u180e",
    "👨‍👩‍👧‍👦🏳️‍🌈🇩🇪👍🏿😀𝕬𝖇𝔠𝒹𐍈",
    "z̸̡̛͇̱̈́͋a̵̧͉͑l̷̤̀g̶͔̈ȏ̷ \u0300\u0301\u0302",
    "<b>&amp;</b></code> {name} %s %(x)d \\n $1 `*_~|[](x) \"'",
    "\n\r\t\x00\x07\x1b[31m\x7f\x85\u2028\u2029",
    "https://example.com/cat.jpg?a=1&b=2 tg://user?id=1 t.me/x #tag $USD +1-212-555-0123",
)
COMMANDS: Final = (
    *("/start", "/help", "/sample", "/sample 3", "/sample 99 t=x", "/sample 2 t=1.2", "/caption", "/settings"),
    *(
        "/language",
        "/privacy",
        "/forget",
        "/help",
        "/stats",
        "/nosuch",
        "/",
        "/SAMPLE",
        "/start deep-link",
        "/colours",
        "/tags",
        "/tags set sofa, two beds",
        "/choose a dog | a cat",
        "/find a dog on a beach",
        "/sample@other_bot",
        "/sample١",
    ),
)
STRINGS: Final[dict[str, Sequence[str]]] = {
    "language_code": ("en", "ru", "ru-RU", "pt-br", "zh-hans", "", "xx", "de_DE", "e" * 40),
    "mime_type": ("image/jpeg", "image/png", "IMAGE/WEBP", "video/mp4", "image/gif", "application/pdf", "", "x", "/"),
    "emoji": ("👍", "😀", "🎲", "🏀", "👨‍💻"),
    "currency": ("XTR", "USD", "TON"),
    "inline_message_id": ("AAAAAAAAAAAAAAAAAAAAAA",),
    "game_short_name": (f"{MARK}_game",),
}
FILE_NAMES: Final = (
    "cat.jpg",
    "CAT.JPEG",
    "a.b.png",
    ".png",
    "no suffix",
    "clip.mp4",
    "gif.GIF",
    "x.heic",
    "doc.pdf",
    "..",
)
NUMBERS: Final = (0, 1, 2, 3, 7, 60, 299, 1000, 65_536, 2**31, 2**52)


def utf16_length(text: str) -> int:
    """As Telegram counts; halves of characters, too."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


class Values:
    """Each string that a person may have written contains MARK."""

    def __init__(self, source: random.Random, file: Callable[[str], Json]) -> None:
        """`file`: the ids, and what else is known, of a new file of a type."""
        self.random = source
        self.file = file

    def make(self, name: str, depth: int = 0, **given: Any) -> Any:
        """An object of a documented type; `given` fields are taken as they are."""
        shape = TYPES[name]
        if isinstance(shape, list):
            return self.value(shape[0] if depth > DEEPEST else self.random.choice(shape), "", depth + 1)
        if "file_id" in shape:
            given = self.file(name) | given
        made: Json = {}
        for field, types in shape.items():
            if field not in given and (types.startswith("!") or self.random.random() < 0.5 / (depth + 1)):
                made[field] = self.value(types, field, depth + 1)
        return made | given

    def value(self, types: str, name: str, depth: int) -> Any:
        """A value of one of these types ("Integer|String"), for a field of this name."""
        required = types.startswith("!")
        types, _, values = types.removeprefix("!").partition(" = ")
        if values:
            return self.random.choice(values.split(", "))
        chosen = self.random.choice(types.split("|"))
        if chosen.startswith("Array of "):
            count = 0 if depth > DEEPEST else self.random.choice((1, 1, 2, 3))
            return [self.value(chosen.removeprefix("Array of "), name, depth) for _ in range(count)]
        match chosen:
            case "Integer":
                return NOW if re.search(r"date|expire", name) else self.random.choice(NUMBERS)
            case "Float":
                return self.random.choice((0.0, 51.5, -0.1, 1e-9))
            case "Boolean":
                return not required or self.random.random() < 0.4  # optional ones are there when they are true
            case "String" if name == "file_name":
                return f"{MARK}{self.random.choice(FILE_NAMES)}"
            case "String" if name in STRINGS:
                return self.random.choice(STRINGS[name])
            case "String":
                return f"{MARK}{self.random.choice(ALPHABETS)[: self.random.randint(0, 30)]}"
        return self.make(chosen, depth)

    def words(self, most: int) -> tuple[str, list[Json]]:
        """A text of at most so many UTF-16 units, but for a few far too long ones, and its entities."""
        if self.random.random() < 0.15:
            text = f"{self.random.choice(COMMANDS)}"
            return text, [{"type": "bot_command", "offset": 0, "length": utf16_length(text.split()[0])}]
        pieces = [MARK]
        for _ in range(self.random.choice((0, 1, 2, 5, 40, 400))):
            alphabet = self.random.choice(ALPHABETS)
            start = self.random.randrange(len(alphabet))
            pieces.append(alphabet[start : start + self.random.randint(1, 20)])
        if self.random.random() < 0.03:
            pieces.append(self.random.choice(("\ud83d", "\udc00", "\udfff\ud800")))  # halves of a character
        text = "".join(pieces)
        if text.startswith("/"):
            text = MARK + text
        if self.random.random() < 0.97:
            while utf16_length(text) > most:
                text = text[: len(text) * 3 // 4]
        else:
            text *= 1 + 50_000 // len(text)
        return text, [self._entity(utf16_length(text)) for _ in range(self.random.choice((0, 0, 1, 3, 10)))]

    def _entity(self, length: int) -> Json:
        """Mostly within the text; also across its characters' halves, beyond its end, or empty."""
        entity: Json = self.make("MessageEntity", 2)
        offset = self.random.randint(0, length)
        entity |= {"offset": offset, "length": self.random.randint(0, max(1, length - offset))}
        if self.random.random() < 0.1:
            entity["length"] += length
        if self.random.random() < 0.05:
            entity["type"] = "sparkle"
        return entity


def damage(source: random.Random, payload: Json) -> Place:
    """Take a value away, or put one of another type in its place, but not the name of another chat or file; where."""
    places: list[tuple[Place, Any]] = []

    def walk(path: Place, value: Json | list[Any]) -> None:
        inside: Iterable[tuple[str | int, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in inside:
            if (*path, key) != ("chat", "id"):
                places.append(((*path, key), value))
            if isinstance(inner, dict | list):
                walk((*path, key), inner)

    walk((), payload)
    path, holder = source.choice(places)
    if source.random() < 0.3:
        del holder[path[-1]]
    else:
        other = None if path[-1] == "file_id" else MARK
        holder[path[-1]] = source.choice((None, [], {}, [[]], other, -1, 1.5, {MARK: MARK}))
    return path
