"""Buttons, and what they carry: at most 64 bytes, and never a file id."""

from __future__ import annotations

from typing import Literal

from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup
from pydantic import Field

from bot import replies

MOST_MOMENTS = 10  # as many pictures as an album holds


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


def clip_buttons(key: str, count: int, most: int) -> InlineKeyboardMarkup:
    """Fewer and more moments, where there can be (`most`, or what an album holds), and the captions of all frames."""
    choice = []
    if count > 1:
        choice.append(_button(replies.fewer_button(), OtherMoments(key=key, count=count - 1)))
    if count < min(MOST_MOMENTS, most):
        choice.append(_button(replies.more_button(), OtherMoments(key=key, count=count + 1)))
    return _rows(choice, [_button(replies.captions_button(), AllCaptions(key=key))])


def _button(text: str, data: CallbackData) -> InlineKeyboardButton:
    return InlineKeyboardButton(text=text, callback_data=data.pack())


def _rows(*rows: list[InlineKeyboardButton]) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=[row for row in rows if row])
