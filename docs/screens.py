"""What people see, on one sheet: `python -m docs.screens [FILE.png]`.

The real program, with its network, answers people on a Bot API server of the tests; their chats are drawn.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path
from typing import Any, Final

from docs.chat_picture import draw_chat, side_by_side
from tests.support.fake_telegram import FakeTelegram, Person
from tests.support.program import Program, running

PHOTOS: Final = Path(__file__).parent.parent / "tests" / "photos"
QUIET: Final = 2.0  # seconds without a call of the bot, after which it has said what it had to say
ASKING: Final = ("getUpdates", "sendChatAction")


def photo(name: str) -> bytes:
    return (PHOTOS / f"{name}.jpg").read_bytes()


async def settled(server: FakeTelegram) -> None:
    """Wait until the bot says nothing more."""

    def said() -> int:
        return sum(call.method not in ASKING for call in server.calls)

    before = -1
    while (now := said()) != before:
        before = now
        await asyncio.sleep(QUIET)


def has_buttons(message: dict[str, Any]) -> bool:
    return "🎲" in str(message.get("reply_markup"))


async def press(person: Person, message: dict[str, Any], *signs: str) -> None:
    """Press the buttons whose labels begin so, one after the other."""
    for sign in signs:
        stored = person.server.stored_message(message)
        labels = [button["text"] for row in stored["reply_markup"]["inline_keyboard"] for button in row]
        [label] = [label for label in labels if label.startswith(sign)]
        await person.press(message, label)
        await settled(person.server)


async def more_captions(person: Person) -> None:
    await person.send_photo(photo("cat"))
    answer = await person.wait_for(has_buttons)
    await press(person, answer, "🎲", "🔥")


async def one_heatmap(person: Person) -> None:
    await person.send_photo(photo("temple"))
    answer = await person.wait_for(has_buttons)
    await press(person, answer, "🔥", "2", "◀", "📊", "↔")


async def sampled(person: Person) -> None:
    await person.send_photo(photo("photographer"))
    answer = await person.wait_for(has_buttons)
    await press(person, answer, "🔤")
    await person.send_text("/sample 4 ladder")
    await settled(person.server)
    await person.send_text("/sample 99")
    await settled(person.server)


async def settings(person: Person) -> None:
    await person.send_text("/settings")
    await settled(person.server)
    await person.send_text("/privacy")
    await settled(person.server)


async def album(person: Person) -> None:
    await person.send_album([photo(name) for name in ("coffee", "rocket", "flower", "photographer")])
    answer = await person.wait_for(lambda message: "🔥" in str(message.get("reply_markup")))
    await press(person, answer, "🔥")


SCREENS: Final = {
    "Ann": (more_captions, "en"),
    "Ben": (one_heatmap, "en"),
    "Ольга": (sampled, "ru"),
    "Света": (settings, "ru"),
    "Eve": (album, "en"),
}


async def draw(file: Path, names: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with FakeTelegram() as server, running(Program.bot(server, Path(folder))):
            screens = []
            for name in names:
                converse, language = SCREENS[name]
                person = server.person(name, language_code=language)
                await converse(person)
                await settled(server)
                messages = [*person.messages.values()]
                screens.append(draw_chat(name, messages, server.file_bytes))
    side_by_side(screens).save(file)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m docs.screens", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", default=Path("screens.png"))
    parser.add_argument("--only", nargs="+", choices=list(SCREENS), default=list(SCREENS))
    options = parser.parse_args()
    asyncio.run(draw(options.file, options.only))


if __name__ == "__main__":
    main()
