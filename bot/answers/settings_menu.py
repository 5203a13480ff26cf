"""The menu of a chat's settings: what there is to choose, and what each press means."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from aiogram.exceptions import TelegramBadRequest
from aiogram.filters.callback_data import CallbackData
from aiogram.types import CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message, User
from aiogram.utils.i18n import I18n

from bot import replies
from bot.chat_settings import STRATEGIES, ChatSettings
from bot.config import MODELS
from bot.i18n import locale_for
from bot.storage.chats import Storage
from bot.telegram.editing import Edits

CHOICES: Final[Mapping[str, tuple[Any, ...]]] = {
    "model": MODELS,
    "samples": (0, 1, 2, 3, 5, 8, 10),
    "strategy": STRATEGIES,
    "temperature": (0.3, 0.6, 0.8, 1.0, 1.2, 1.5),
    "language": (*replies.LANGUAGE_NAMES, ""),
}
SWITCHES: Final = frozenset(("beam", "heatmap", "voice", "short_first"))
ALL: Final = ""  # the page with all settings
COLUMNS: Final = {"samples": 4, "temperature": 3}


class MenuPress(CallbackData, prefix="set"):
    """A press in the menu. It carries the value that is to be: pressed or processed twice, it means the same."""

    do: Literal["show", "set", "reset", "close"]
    name: str = ""
    value: str = ""


class Speaker(Protocol):
    """What reads captions aloud."""

    async def available(self) -> bool: ...


@dataclass(frozen=True)
class Step:
    """What a press came to."""

    page: str | None  # to be shown; None: the menu is closed
    settings: ChatSettings  # as they are now
    said: str | None = None


class SettingsMenu:
    """Shows the settings of chats and changes them."""

    def __init__(self, storage: Storage, i18n: I18n, model: str, voice: Speaker | None = None) -> None:
        """`model`: of chats that chose none."""
        self._storage = storage
        self._i18n = i18n
        self._model = model
        self._voice = voice
        self._edits = Edits()
        self._turn = asyncio.Lock()  # one change after the other, so that two at a time are both kept

    async def open(self, message: Message, settings: ChatSettings, page: str = ALL) -> None:
        """Reply with the menu."""
        text, buttons = self._page(page, settings, await self._can_speak())
        await message.reply(text, reply_markup=buttons)

    async def press(self, chat_id: int, user: User, press: MenuPress) -> Step:
        """Do what was pressed."""
        can_speak = await self._can_speak()
        async with self._turn:
            before = await self._storage.settings(chat_id)
            step = self._decide(press, before, can_speak)
            if step.settings != before:
                await self._storage.keep_settings(chat_id, step.settings)
        if step.said is not None or press.do not in ("set", "reset"):
            return step
        with self._speaking_to(user, step.settings):
            if press.do == "reset":
                return dataclasses.replace(step, said=replies.settings_are_reset())
            line = replies.setting_line(press.name, self._in_use(step.settings), can_speak=can_speak)
            return dataclasses.replace(step, said=line)

    async def show(self, query: CallbackQuery, step: Step) -> None:
        """Bring the menu in line with a step."""
        message = query.message
        if not isinstance(message, Message):
            return
        if step.page is None:
            return await _close(message)
        with self._speaking_to(query.from_user, step.settings):
            text, buttons = self._page(step.page, step.settings, await self._can_speak())
        await self._edits.edit(message, text, buttons)

    def _decide(self, press: MenuPress, settings: ChatSettings, can_speak: bool) -> Step:
        match press.do:
            case "close":
                return Step(None, settings)
            case "reset":
                return Step(ALL, ChatSettings())
            case "show" if press.name in (ALL, *CHOICES):
                return Step(press.name, settings)
            case "set" if press.name in SWITCHES and press.value in ("0", "1"):
                on = press.value == "1"
                if press.name == "voice" and on and not can_speak:
                    return Step(ALL, settings, replies.no_voice())
                if press.name == "heatmap" and self._in_use(settings).model == "baseline":
                    return Step(ALL, settings, replies.no_heatmap())
                return Step(ALL, dataclasses.replace(settings, **{press.name: on}))  # type: ignore[arg-type]
            case "set" if press.name in CHOICES:
                chosen = {str(value): value for value in CHOICES[press.name]}
                if press.value in chosen:
                    return Step(press.name, self._set(settings, press.name, chosen[press.value]))
        return Step(ALL, settings, replies.unknown_choice())

    def _set(self, settings: ChatSettings, name: str, value: Any) -> ChatSettings:
        if getattr(self._in_use(settings), name) == value:
            return settings
        return dataclasses.replace(settings, **{name: value})

    def _page(self, page: str, settings: ChatSettings, can_speak: bool) -> tuple[str, InlineKeyboardMarkup]:
        settings = self._in_use(settings)
        if page == ALL:
            rows = [[_setting_button(name, settings, can_speak)] for name in replies.SETTINGS]
            last = [_button(replies.reset_button(), "reset"), _button(replies.close_button(), "close")]
            return replies.settings_text(settings, can_speak=can_speak), _keyboard([*rows, last])
        current = getattr(settings, page)
        buttons = [
            _button(replies.setting_label(page, value, chosen=value == current), "set", page, str(value))
            for value in CHOICES[page]
        ]
        columns = COLUMNS.get(page, 1)
        rows = [buttons[start : start + columns] for start in range(0, len(buttons), columns)]
        last = [_button(replies.all_settings_button(), "show"), _button(replies.close_button(), "close")]
        return replies.setting_page(page, settings, can_speak=can_speak), _keyboard([*rows, last])

    def _in_use(self, settings: ChatSettings) -> ChatSettings:
        return dataclasses.replace(settings, model=settings.model or self._model)  # type: ignore[arg-type]

    def _speaking_to(self, user: User, settings: ChatSettings) -> Any:
        """The language may be what was changed."""
        return self._i18n.use_locale(locale_for(settings, user.language_code, self._i18n))

    async def _can_speak(self) -> bool:
        return self._voice is not None and await self._voice.available()


async def _close(message: Message) -> None:
    try:
        await message.delete()
    except TelegramBadRequest:  # after 48 h; or it is gone already
        try:
            await message.edit_reply_markup()
        except TelegramBadRequest:
            return


def _setting_button(name: str, settings: ChatSettings, can_speak: bool) -> InlineKeyboardButton:
    label = replies.setting_line(name, settings, can_speak=can_speak)
    if name not in SWITCHES:
        return _button(label, "show", name)
    return _button(label, "set", name, "0" if getattr(settings, name) else "1")


def _button(
    text: str, do: Literal["show", "set", "reset", "close"], name: str = "", value: str = ""
) -> InlineKeyboardButton:
    return InlineKeyboardButton(text=text, callback_data=MenuPress(do=do, name=name, value=value).pack())


def _keyboard(rows: list[list[InlineKeyboardButton]]) -> InlineKeyboardMarkup:
    return InlineKeyboardMarkup(inline_keyboard=rows)
