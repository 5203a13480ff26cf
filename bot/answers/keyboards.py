"""Buttons, and what they carry: at most 64 bytes, and never a file id."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Literal, get_args

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, Message
from pydantic import Field

from bot import replies
from model.drawing.labels import Deficiency

MOST_MOMENTS = 10  # as many pictures as an album holds
MOST_NUMBERS = 99  # Telegram takes up to 100 buttons under a message
IN_A_ROW = 5


class OpenSettings(CallbackData, prefix="s"):
    """Show the settings of the chat."""


class Cancel(CallbackData, prefix="x"):
    """Stop what is in work for `user` in this chat."""

    user: int


class OtherMoments(CallbackData, prefix="m"):
    """Choose another number of moments of the clip noted under `key`."""

    key: str
    count: int = Field(ge=1, le=MOST_MOMENTS)  # whatever a client sends


class AllCaptions(CallbackData, prefix="t"):
    """The captions of all frames of the clip noted under `key`, as a text file."""

    key: str


def cancel_button(user: int) -> InlineKeyboardMarkup:
    return _rows([_button(replies.cancel_button(), Cancel(user=user))])


class Forget(CallbackData, prefix="forget"):
    """Delete what is kept of the chat, or only of one person in it; "ask" comes before "yes"."""

    do: Literal["ask", "yes", "no"]
    user: int | None = None


def forget_buttons(user: int | None) -> InlineKeyboardMarkup:
    return _rows(
        [_button(replies.forget_button(), Forget(do="ask", user=user))],
        [_button(replies.forget_no_button(), Forget(do="no", user=user))],
    )


def forget_sure_buttons(user: int | None) -> InlineKeyboardMarkup:
    return _rows(
        [_button(replies.forget_no_button(), Forget(do="no", user=user))],
        [_button(replies.forget_yes_button(), Forget(do="yes", user=user))],
    )


class MoreCaptions(CallbackData, prefix="am"):
    """Add other captions to the answer noted under `key`."""

    key: str


class ChooseHeatmap(CallbackData, prefix="an"):
    """Show the numbers of the captions of an answer, or (not `choosing`) its buttons again."""

    key: str
    choosing: bool


class Heatmap(CallbackData, prefix="ah"):
    """The sheet of the caption with this number."""

    key: str
    number: int


class WeighedWords(CallbackData, prefix="aw"):
    """The chart of the words that were weighed for the main caption."""

    key: str


class ShowColours(CallbackData, prefix="av"):
    """The photo of an answer as people with a colour vision deficiency see it."""

    key: str


class ChooseColours(CallbackData, prefix="ak"):
    """Under a sheet of `ShowColours` or /colours: the same photo with this deficiency."""

    key: str
    kind: Deficiency


class CompareModels(CallbackData, prefix="ac"):
    """The main captions of both models."""

    key: str


class DeleteAnswer(CallbackData, prefix="ad"):
    """Delete an answer; `user`: who asked for it."""

    key: str
    user: int


class AlbumSheet(CallbackData, prefix="as"):
    """Draw what the captions of the album noted under `key` looked at; `user`: whose it is."""

    key: str
    user: int


class DeleteAlbum(CallbackData, prefix="az"):
    """As `DeleteAnswer`, under answers to albums of an earlier version."""

    key: str
    user: int


def clip_buttons(key: str, user: int, count: int, most: int) -> InlineKeyboardMarkup:
    """Under the answer to a clip: fewer and more moments, where there can be (`most`, or what an album holds), and the
    captions of all frames.
    """
    choice = []
    if count > 1:
        choice.append(_button(replies.fewer_button(), OtherMoments(key=key, count=count - 1)))
    if count < min(MOST_MOMENTS, most):
        choice.append(_button(replies.more_button(), OtherMoments(key=key, count=count + 1)))
    return _rows(choice, [_button(replies.captions_button(), AllCaptions(key=key))], _last_row(key, user))


def answer_buttons(key: str, user: int, *, heatmaps: bool) -> InlineKeyboardMarkup:
    """Under an answer to a photo. `heatmaps`: there are captions to choose from, of a model that has heatmaps."""
    more = [_button(replies.more_captions_button(), MoreCaptions(key=key))]
    if heatmaps:
        more.append(_button(replies.heatmap_button(), ChooseHeatmap(key=key, choosing=True)))
    return _rows(
        more,
        [
            _button(replies.weighed_words_button(), WeighedWords(key=key)),
            _button(replies.colours_button(), ShowColours(key=key)),
        ],
        [_button(replies.compare_button(), CompareModels(key=key))],
        _last_row(key, user),
    )


def colours_buttons(key: str, shown: Deficiency, user: int | None) -> InlineKeyboardMarkup:
    """Under a sheet of colours. `user`: who may delete it; None: it is deleted with the answer that it belongs to."""
    kinds: tuple[Deficiency, ...] = get_args(Deficiency)
    rows = [[_button(replies.deficiency(k, chosen=k == shown), ChooseColours(key=key, kind=k))] for k in kinds]
    delete = [_button(replies.delete_button(), DeleteAnswer(key=key, user=user))] if user is not None else []
    return _rows(*rows, delete)


def has_button(message: Message, data: CallbackData) -> bool:
    """Whether a button that carries this stands under the message."""
    rows = message.reply_markup.inline_keyboard if message.reply_markup is not None else ()
    return any(button.callback_data == data.pack() for row in rows for button in row)


def _last_row(key: str, user: int) -> list[InlineKeyboardButton]:
    return [
        _button(replies.settings_button(), OpenSettings()),
        _button(replies.delete_button(), DeleteAnswer(key=key, user=user)),
    ]


def number_buttons(key: str, numbers: Sequence[int]) -> InlineKeyboardMarkup:
    """The captions of one message of an answer, by number, and the way back."""
    buttons = [_button(str(number), Heatmap(key=key, number=number)) for number in numbers[-MOST_NUMBERS:]]
    rows = [buttons[start : start + IN_A_ROW] for start in range(0, len(buttons), IN_A_ROW)]
    return _rows(*rows, [_button(replies.back_button(), ChooseHeatmap(key=key, choosing=False))])


def key_below(message: Message) -> tuple[Literal["clip", "answer", "album"], str] | None:
    """Of what this message of the bot is the answer, by its buttons, and under which key that is noted."""
    kinds: dict[str, tuple[Literal["clip", "answer", "album"], Any]] = {
        AllCaptions.__prefix__: ("clip", AllCaptions),
        MoreCaptions.__prefix__: ("answer", MoreCaptions),
        ChooseHeatmap.__prefix__: ("answer", ChooseHeatmap),
        ChooseColours.__prefix__: ("answer", ChooseColours),
        DeleteAnswer.__prefix__: ("album", DeleteAnswer),  # the last row: an album has no other
        DeleteAlbum.__prefix__: ("album", DeleteAlbum),
    }
    for row in message.reply_markup.inline_keyboard if message.reply_markup is not None else ():
        for button in row:
            kind, data = kinds.get((button.callback_data or "").partition(":")[0], (None, None))
            if kind is not None and data is not None:
                with suppress(ValueError, TypeError):  # of another version
                    return kind, data.unpack(button.callback_data or "").key
    return None


def album_buttons(key: str, user: int, *, sheet: bool) -> InlineKeyboardMarkup:
    """`key`: under which the album is noted. `sheet`: there is one to be drawn."""
    drawing = [_button(replies.album_sheet_button(), AlbumSheet(key=key, user=user))] if sheet else []
    return _rows(drawing, _last_row(key, user))


def _button(text: str, data: CallbackData) -> InlineKeyboardButton:
    return InlineKeyboardButton(text=text, callback_data=data.pack())


def _rows(*rows: list[InlineKeyboardButton]) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[row for row in rows if row])
