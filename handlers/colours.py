"""/colours, and the buttons for colour vision deficiencies."""

from aiogram import Router
from aiogram.filters import Command

from bot.answers.ask import Ask
from bot.answers.colours import Colours
from bot.answers.keyboards import ChooseColours, ShowColours


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(command, Command("colours", ignore_case=True))
    router.callback_query.register(show, ShowColours.filter())
    router.callback_query.register(choose, ChooseColours.filter())
    return router


async def command(_: object, ask: Ask, colours: Colours) -> None:
    await colours.command(ask)


async def show(_: object, ask: Ask, callback_data: ShowColours, colours: Colours) -> None:
    await colours.show(ask, callback_data.key)


async def choose(_: object, ask: Ask, callback_data: ChooseColours, colours: Colours) -> None:
    await colours.choose(ask, callback_data)
