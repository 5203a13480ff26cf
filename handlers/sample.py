"""/sample: more captions of a picture."""

from __future__ import annotations

from aiogram import Bot, Router
from aiogram.filters import Command, CommandObject
from aiogram.types import Message

from bot.answers.photos import Captioning
from bot.chat_settings import ChatSettings
from bot.sample_options import parse_sample
from bot.storage.inbox import Accepted


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(sample, Command("sample", ignore_case=True))
    return router


async def sample(
    message: Message,
    bot: Bot,
    command: CommandObject,
    captioning: Captioning,
    accepted: Accepted,
    chat_settings: ChatSettings,
) -> None:
    request = parse_sample(command.args)
    await captioning.sample(bot, message, request, accepted, chat_settings)
