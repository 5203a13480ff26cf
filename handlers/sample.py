"""/sample: more captions of a picture."""

from aiogram import Router
from aiogram.filters import Command, CommandObject

from bot.answers.ask import Ask
from bot.answers.photos import Captioning
from bot.sample_options import parse_sample


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(sample, Command("sample", ignore_case=True))
    return router


async def sample(_: object, ask: Ask, command: CommandObject, captioning: Captioning) -> None:
    await captioning.sample(ask, parse_sample(command.args))
