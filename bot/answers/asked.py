"""What an update asks for. It is decided here, once, when the update is accepted."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from aiogram import Bot
from aiogram.filters import Command
from aiogram.types import Message, Update

from bot import replies
from bot.answers.keyboards import (
    AlbumSheet,
    AllCaptions,
    AsClip,
    ChooseColours,
    CompareModels,
    EditAgain,
    Heatmap,
    MoreCaptions,
    OtherMoments,
    ShowColours,
    ShowTags,
    WeighedWords,
)
from bot.answers.notes import answerable, thread_of
from bot.answers.subjects import replied_medium
from bot.logs import whereabouts
from bot.storage.inbox import Asked, Place
from bot.telegram.media import Medium, SentClip, medium_of
from bot.telegram.updates import asker, is_addressed
from model.serving.jobs import Kind

log = logging.getLogger(__name__)

CAPTION: Final = Command("caption", ignore_case=True)
PICTURE_COMMANDS: Final = Command(  # never about a clip
    *(row.name for row in replies.COMMANDS if row.works and row.name != "caption" and not row.of_editor),
    ignore_case=True,
)
EDIT: Final = Command(*(row.name for row in replies.COMMANDS if row.of_editor), ignore_case=True)
BUTTONS: Final[Mapping[str, Kind]] = {  # whose presses give work; all others give none
    **{button.__prefix__: "photo" for button in (MoreCaptions, Heatmap, WeighedWords, CompareModels, AlbumSheet)},
    **{button.__prefix__: "photo" for button in (ShowColours, ChooseColours, ShowTags)},
    EditAgain.__prefix__: "edit",
    **{button.__prefix__: "clip" for button in (AsClip, OtherMoments, AllCaptions)},
}


async def asked_for(bot: Bot, update: Update | None) -> Asked | None:
    """None where nobody asks, or it is not understood: that must not keep it from being recorded."""
    if update is None:
        return None
    try:
        if (message := update.message) is not None:
            work: Kind | None = "edit" if await EDIT(message, bot) else await work_of(bot, message)
            return Asked(work, place_of(message, asker(message)))
        if (press := update.callback_query) is not None and press.message is not None:
            pressed = BUTTONS.get((press.data or "").partition(":")[0])
            return Asked(pressed, place_of(answerable(bot, press.message, None), press.from_user.id))
    except Exception as error:
        log.error("what an update asks for cannot be told:\n%s", whereabouts(error))
    return None


def place_of(message: Message, user: int) -> Place:
    return Place(message.chat.id, thread_of(message), user)


async def work_of(bot: Bot, message: Message) -> Kind | None:
    """What a message gives workers to do, where there are no edits."""
    shown = medium_of(message)
    if await PICTURE_COMMANDS(message, bot):
        return "photo"
    if await CAPTION(message, bot):
        return _line(shown or replied_medium(bot, message)) or "photo"  # of the chat's last picture
    if shown is None and message.text and not message.text.startswith("/"):
        shown = replied_medium(bot, message)
    # In a group one item's caption speaks for the whole album.
    meant = message.media_group_id is not None or is_addressed(message, await bot.me())
    return _line(shown) if meant else None


def _line(medium: Medium | None) -> Kind | None:
    return None if medium is None else "clip" if isinstance(medium, SentClip) else "photo"
