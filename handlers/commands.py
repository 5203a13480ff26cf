"""Commands that are answered at once, and those about a picture but /caption."""

from __future__ import annotations

from aiogram import F, Router
from aiogram.enums import ChatType
from aiogram.filters import Command, CommandObject
from aiogram.types import Message

from bot import replies
from bot.answers.ask import Ask
from bot.answers.colours import Colours
from bot.answers.photos import Captioning
from bot.answers.settings_menu import SettingsMenu
from bot.answers.tags import Tags
from bot.sample_options import parse_sample
from bot.stats import Stats
from bot.storage.inbox import Inbox
from handlers.filters import Where, from_admin
from model.serving.queue import JobProducer


def create_router() -> Router:
    router = Router(name=__name__)
    router.message.register(stats, Where(F.chat.type == ChatType.PRIVATE), Command("stats"), from_admin)
    router.message.register(start, Where(F.text), Command("start", ignore_case=True))
    router.message.register(about, Where(F.text), Command("help", ignore_case=True))
    router.message.register(settings, Where(F.text), Command("settings", ignore_case=True))
    router.message.register(language, Where(F.text), Command("language", ignore_case=True))
    router.message.register(sample, Command("sample", ignore_case=True))
    router.message.register(colours, Command("colours", ignore_case=True))
    router.message.register(tags, Command("tags", ignore_case=True))
    router.message.register(choose, Command("choose", ignore_case=True))
    return router


async def stats(message: Message, statistics: Stats, queue: JobProducer, inbox: Inbox) -> None:
    """For those who run the bot, in their private chats. To others it is an unknown command."""
    report = await statistics.report(queue.status, len(await inbox.dead()))
    await message.answer(replies.stats(report))


async def start(message: Message) -> None:
    await message.answer(replies.start())


async def about(message: Message, ask: Ask) -> None:
    await message.answer(replies.about(sheets=ask.model == "attention" and ask.settings.heatmap))


async def settings(_: object, ask: Ask, settings_menu: SettingsMenu) -> None:
    await settings_menu.command(ask)


async def language(_: object, ask: Ask, settings_menu: SettingsMenu) -> None:
    await settings_menu.command(ask, "language")


async def sample(_: object, ask: Ask, command: CommandObject, captioning: Captioning) -> None:
    await captioning.sample(ask, parse_sample(command.args))


async def colours(_: object, ask: Ask, colours: Colours) -> None:
    await colours.command(ask)


async def tags(_: object, ask: Ask, command: CommandObject, tags: Tags) -> None:
    await tags.command(ask, command.args or "")


async def choose(_: object, ask: Ask, command: CommandObject, tags: Tags) -> None:
    await tags.choose(ask, command.args or "")
