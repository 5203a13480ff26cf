"""The least that a bot can do: aiogram's polling, a download, a pause in place of the device, a reply; a process."""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import sys

from aiogram import Bot, Dispatcher, F
from aiogram.client.default import DefaultBotProperties
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.types import Message

# What the bot answers to the captions of `simulated_worker.py`, give or take some words.
ANSWER = "<b>a cat is sitting on a white chair</b>\nfairly sure (61 %)\n" + "\n".join(
    f"{number}. a cat is sitting on the {place}"
    for number, place in enumerate(("chair", "table", "bed", "floor", "grass"), 1)
)


async def run(seconds: float) -> None:
    session = AiohttpSession(api=TelegramAPIServer.from_base(os.environ["TELEGRAM_API_URL"]))
    bot = Bot(os.environ["BOT_TOKEN"], session=session, default=DefaultBotProperties(parse_mode="HTML"))
    dispatcher = Dispatcher()

    @dispatcher.message(F.photo)
    async def answer(message: Message) -> None:
        assert message.photo is not None
        await bot.download(message.photo[-1], io.BytesIO())
        await asyncio.sleep(seconds)
        await message.reply(ANSWER)

    await dispatcher.start_polling(bot)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.bare_loop")
    parser.add_argument("--device-ms", type=float, required=True)
    asyncio.run(run(parser.parse_args().device_ms / 1000))
    return 0


if __name__ == "__main__":
    sys.exit(main())
