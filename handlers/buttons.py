"""The buttons under answers and in the menu of settings: one row each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiogram import Router
from aiogram.filters.callback_data import CallbackData
from aiogram.utils.callback_answer import CallbackAnswer

from bot.answers import keyboards as below
from bot.answers.album_heatmaps import AlbumSheets
from bot.answers.ask import Ask
from bot.answers.clips import Clips
from bot.answers.colours import Colours
from bot.answers.photo_buttons import Buttons
from bot.answers.settings_menu import MenuPress, SettingsMenu
from bot.answers.tags import Tags
from bot.telegram.acknowledge import WITH_TEXT

Press = Callable[..., Awaitable[None]]

# What a button carries, the part of the bot that it is for, and what that does.
WORK: Final[tuple[tuple[type[CallbackData], str, Press], ...]] = (
    (below.MoreCaptions, "buttons", Buttons.more),
    (below.Heatmap, "buttons", Buttons.heatmap),
    (below.WeighedWords, "buttons", Buttons.weighed_words),
    (below.CompareModels, "buttons", Buttons.compare),
    (below.ShowColours, "colours", Colours.show),
    (below.ChooseColours, "colours", Colours.choose),
    (below.ShowTags, "tags", Tags.show),
    (below.AlbumSheet, "album_sheets", AlbumSheets.draw),
    (below.OtherMoments, "clips", Clips.other_moments),
    (below.AllCaptions, "clips", Clips.captions_of_frames),
)
# The same where it returns what is said at the top of the screen, if anything.
SAYING: Final[tuple[tuple[type[CallbackData], str, Callable[..., Awaitable[str | None]]], ...]] = (
    (below.ChooseHeatmap, "buttons", Buttons.choose_heatmap),
    (below.DeleteAnswer, "buttons", Buttons.delete),
    (below.DeleteAlbum, "buttons", Buttons.delete),
    (below.OpenSettings, "settings_menu", SettingsMenu.press),
    (MenuPress, "settings_menu", SettingsMenu.press),
)


def create_router() -> Router:
    router = Router(name=__name__)
    for data, part, work in WORK:
        router.callback_query.register(_working(part, work), data.filter())
    for data, part, say in SAYING:
        router.callback_query.register(_saying(part, say), data.filter(), flags=WITH_TEXT)
    return router


def _working(part: str, work: Press) -> Press:
    async def press(_: object, ask: Ask, callback_data: CallbackData, **parts: Any) -> None:
        await work(parts[part], ask, callback_data)

    return press


def _saying(part: str, say: Callable[..., Awaitable[str | None]]) -> Press:
    async def press(
        _: object, ask: Ask, callback_data: CallbackData, callback_answer: CallbackAnswer, **parts: Any
    ) -> None:
        callback_answer.text = await say(parts[part], ask, callback_data)

    return press
