"""Commands that are answered at once, and those about a picture but /caption."""

from __future__ import annotations

from functools import partial

from aiogram import Bot, Router
from aiogram.filters import CommandObject
from aiogram.types import Message

from bot import replies
from bot.answers.ask import Ask
from bot.answers.colours import Colours
from bot.answers.example import Example
from bot.answers.find import Finding
from bot.answers.inline import HISTORY
from bot.answers.photos import Captioning
from bot.answers.picture_edits import PictureEdits
from bot.answers.settings_menu import SettingsMenu
from bot.answers.tags import Tags
from bot.config import Settings
from bot.sample_options import parse_sample
from bot.stats import Stats
from bot.storage.inbox import Inbox
from bot.telegram.health_endpoint import ask_webhook
from handlers.command_table import register
from model.serving.queue import JobProducer


def create_router() -> Router:
    router = Router(name=__name__)
    for name, handler in (
        ("stats", stats),
        ("start", start),
        ("help", about),
        ("settings", open_settings),
        ("language", language),
        ("sample", sample),
        ("colours", colours),
        ("tags", tags),
        ("choose", choose),
        ("edit", edit),
        ("find", find),
    ):
        register(router, name, handler)
    return router


async def stats(
    message: Message, bot: Bot, settings: Settings, statistics: Stats, queue: JobProducer, inbox: Inbox
) -> None:
    """For those who run the bot, in their private chats. To others it is an unknown command."""
    webhook = partial(ask_webhook, bot, settings.webhook_url) if settings.webhook_url is not None else None
    report = await statistics.report(queue.status, len(await inbox.dead()), webhook)
    await message.answer(replies.stats(report))


async def start(_: object, ask: Ask, command: CommandObject, example: Example, settings_menu: SettingsMenu) -> None:
    """Telegram sends words after it where a link or a button led here."""
    if command.args == HISTORY:
        await settings_menu.command(ask)
    else:
        await example.greet(ask)


async def about(message: Message, ask: Ask, picture_edits: PictureEdits) -> None:
    sheets = ask.model == "attention" and ask.settings.heatmap
    await message.answer(replies.about(sheets=sheets, edits=picture_edits.offered, language=ask.language))


async def open_settings(_: object, ask: Ask, settings_menu: SettingsMenu) -> None:
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


async def edit(_: object, ask: Ask, command: CommandObject, picture_edits: PictureEdits) -> None:
    await picture_edits.command(ask, command.args or "")


async def find(_: object, ask: Ask, command: CommandObject, finding: Finding) -> None:
    await finding.command(ask, command.args or "")
