"""Buttons, and what they carry: at most 64 bytes, and never a file id."""

from __future__ import annotations

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from pydantic import Field

from bot import replies

MOST_MOMENTS = 10  # as many pictures as an album holds


class Cancel(CallbackData, prefix="x"):
    """Stop the work on an update; `user`: whose it is."""

    update: int
    user: int


class OtherMoments(CallbackData, prefix="m"):
    """Choose another number of moments of the clip noted under `key`."""

    key: str
    count: int = Field(ge=1, le=MOST_MOMENTS)  # whatever a client sends


class AllCaptions(CallbackData, prefix="t"):
    """The captions of all frames of the clip noted under `key`, as a text file."""

    key: str


class AlbumSheet(CallbackData, prefix="as"):
    """Draw what the captions of the album noted under `key` looked at; `user`: whose it is."""

    key: str
    user: int


class DeleteAlbum(CallbackData, prefix="ad"):
    """Delete the answer to an album; `user`: whose it is."""

    user: int


def cancel_button(update_id: int, user: int) -> InlineKeyboardMarkup:
    return _rows([_button(replies.cancel_button(), Cancel(update=update_id, user=user))])


def clip_buttons(key: str, count: int, most: int) -> InlineKeyboardMarkup:
    """Fewer and more moments, where there can be (`most`, or what an album holds), and the captions of all frames."""
    choice = []
    if count > 1:
        choice.append(_button(replies.fewer_button(), OtherMoments(key=key, count=count - 1)))
    if count < min(MOST_MOMENTS, most):
        choice.append(_button(replies.more_button(), OtherMoments(key=key, count=count + 1)))
    return _rows(choice, [_button(replies.captions_button(), AllCaptions(key=key))])


def album_buttons(key: str, user: int, *, sheet: bool) -> InlineKeyboardMarkup:
    """`sheet`: there is one to be drawn, of what was noted under `key`."""
    drawing = [_button(replies.album_sheet_button(), AlbumSheet(key=key, user=user))] if sheet else []
    return _rows([*drawing, _button(replies.delete_button(), DeleteAlbum(user=user))])


def _button(text: str, data: CallbackData) -> InlineKeyboardButton:
    return InlineKeyboardButton(text=text, callback_data=data.pack())


def _rows(*rows: list[InlineKeyboardButton]) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[row for row in rows if row])
