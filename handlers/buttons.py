"""The buttons under answers and in the menu of settings: one row each."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from aiogram import Router
from aiogram.filters.callback_data import CallbackData
from aiogram.utils.callback_answer import CallbackAnswer

from bot.answers import keyboards as below
from bot.answers.album_heatmaps import AlbumSheets
from bot.answers.ask import Ask
from bot.answers.clips import Clips
from bot.answers.colours import Colours
from bot.answers.example import Example
from bot.answers.originals import Originals
from bot.answers.photo_buttons import Buttons
from bot.answers.picture_edits import PictureEdits
from bot.answers.settings_menu import MenuPress, SettingsMenu
from bot.answers.tags import Tags
from bot.errors import Forgotten, NoAlbum, NoClip, PictureError
from bot.telegram.acknowledge import WITH_TEXT

Press = Callable[..., Awaitable[None]]

# What a button carries, the part of the bot that it is for, and what that does.
WORK: Final[tuple[tuple[type[CallbackData], str, Press], ...]] = (
    (below.MoreCaptions, "buttons", Buttons.more),
    (below.Heatmap, "buttons", Buttons.heatmap),
    (below.WeighedWords, "buttons", Buttons.weighed_words),
    (below.CompareModels, "buttons", Buttons.compare),
    (below.InEnglish, "originals", Originals.show),
    (below.ShowColours, "colours", Colours.show),
    (below.ChooseColours, "colours", Colours.choose),
    (below.ShowTags, "tags", Tags.show),
    (below.EditAgain, "picture_edits", PictureEdits.again),
    (below.AlbumSheet, "album_sheets", AlbumSheets.draw),
    (below.AsClip, "clips", Clips.of_live_photo),
    (below.OtherMoments, "clips", Clips.other_moments),
    (below.AllCaptions, "clips", Clips.captions_of_frames),
)
# The same where it returns what is said at the top of the screen, if anything.
SAYING: Final[tuple[tuple[type[CallbackData], str, Callable[..., Awaitable[str | None]]], ...]] = (
    (below.ChooseHeatmap, "buttons", Buttons.choose_heatmap),
    (below.DeleteAnswer, "buttons", Buttons.delete),
    (below.DeleteAlbum, "buttons", Buttons.delete),
    (below.ShowExample, "example", Example.show),
    (below.OpenSettings, "settings_menu", SettingsMenu.press),
    (MenuPress, "settings_menu", SettingsMenu.press),
)
FORGOTTEN: Final[Mapping[type[CallbackData], type[PictureError]]] = {
    below.OtherMoments: NoClip,
    below.AllCaptions: NoClip,
    below.AsClip: NoClip,
    below.AlbumSheet: NoAlbum,
}


def create_router() -> Router:
    router = Router(name=__name__)
    for data, part, work in WORK:
        router.callback_query.register(_working(part, work), data.filter())
    for data, part, say in SAYING:
        router.callback_query.register(_saying(part, say), data.filter(), flags=WITH_TEXT)
    return router


def _check(ask: Ask, pressed: CallbackData) -> None:
    """Raises what is said of a key that is not known, for a button that the bot did not put under this message.

    Of a message that Telegram does not show any more nobody knows its buttons: then the notes decide.
    """
    if type(pressed) in below.UNDER and ask.can_edit and not below.stands_under(pressed, ask.message):
        raise FORGOTTEN.get(type(pressed), Forgotten)


def _working(part: str, work: Press) -> Press:
    async def press(_: object, ask: Ask, callback_data: CallbackData, **parts: Any) -> None:
        _check(ask, callback_data)
        await work(parts[part], ask, callback_data)

    return press


def _saying(part: str, say: Callable[..., Awaitable[str | None]]) -> Press:
    async def press(
        _: object, ask: Ask, callback_data: CallbackData, callback_answer: CallbackAnswer, **parts: Any
    ) -> None:
        _check(ask, callback_data)
        callback_answer.text = await say(parts[part], ask, callback_data)

    return press
