"""The menu of a chat's settings: what there is to choose, and what each press means."""

from __future__ import annotations

import dataclasses
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal

from aiogram.exceptions import TelegramBadRequest
from aiogram.filters.callback_data import CallbackData
from aiogram.types import InlineKeyboardMarkup, Message, User
from aiogram.utils.i18n import I18n
from aiogram.utils.i18n import gettext as _

from bot import replies
from bot.answers.ask import Ask
from bot.answers.history import forget_history
from bot.answers.keyboards import Button, OpenSettings, in_rows, keyboard, stands_under
from bot.answers.photos import Speaker
from bot.chat_settings import BY_NAME, SETTINGS, ChatSettings, Setting, written
from bot.i18n import locale_for
from bot.storage.chats import Storage, change_settings
from bot.telegram.access import may_decide
from bot.telegram.editing import Edits
from bot.telegram.pacing import is_private

ALL: Final = ""  # the page with all settings


class MenuPress(CallbackData, prefix="set"):
    """A press in the menu. It carries the value that is to be: pressed or processed twice, it means the same."""

    do: Literal["show", "set", "reset", "close"]
    name: str = ""
    value: str = ""


@dataclass(frozen=True)
class Step:
    """What a press came to."""

    page: str | None  # to be shown; None: the menu is closed
    settings: ChatSettings  # as they are now
    said: str | None = None


class SettingsMenu:
    """Shows the settings of chats and changes them."""

    def __init__(self, storage: Storage, i18n: I18n, operator: ChatSettings, voice: Speaker | None = None) -> None:
        """`operator`: what holds in chats that chose nothing."""
        self._storage = storage
        self._i18n = i18n
        self._operator = operator
        self._voice = voice
        self._edits = Edits()

    async def command(self, ask: Ask, page: str = ALL) -> None:
        """Reply with the menu, in a group to administrators only."""
        if await may_decide(ask.bot, ask.message):
            await self._open(ask, page)
        else:
            await ask.message.reply(replies.administrators_only())

    async def press(self, ask: Ask, pressed: OpenSettings | MenuPress) -> str | None:
        """Do what was pressed, by who may decide; what is said of it."""
        assert ask.press is not None
        if not await may_decide(ask.bot, ask.press):
            return replies.administrators_only()
        if not ask.can_edit:
            return replies.too_old_to_press()
        if isinstance(pressed, OpenSettings):
            await self._open(ask)
            return None
        if not stands_under(pressed, ask.message):  # nor is another message made a menu
            return replies.too_old_to_press()
        step = await self._change(ask.chat, ask.press.from_user, pressed)
        await self._show(ask.message, ask.press.from_user, step)
        return step.said

    async def _open(self, ask: Ask, page: str = ALL) -> None:
        text, buttons = self._page(page, ask.settings, await self._can_speak(), private=is_private(ask.chat))
        await ask.message.reply(text, reply_markup=buttons)

    async def _change(self, chat_id: int, user: User, press: MenuPress) -> Step:
        can_speak = await self._can_speak()
        step: Step
        remembered = False

        def change(before: ChatSettings) -> ChatSettings:
            nonlocal step, remembered
            remembered = before.history
            step = self._decide(press, before, can_speak, private=is_private(chat_id))
            return step.settings

        await change_settings(self._storage, chat_id, change)
        # After that, so that nothing more is kept; and again where an earlier try ended between the two.
        if not step.settings.history and (press.do == "reset" or press.name == "history"):
            await forget_history(self._storage, chat_id)
        if step.said is not None or press.do not in ("set", "reset"):
            return step
        with self._speaking_to(user, step.settings):
            if press.do == "reset":
                said = replies.settings_are_reset()
            else:
                now = step.settings.in_use(self._operator)
                said = replies.setting_line(BY_NAME[press.name], now, can_speak=can_speak)
            if remembered and not step.settings.history:
                said = f"{said.removesuffix('.')}. {replies.history_is_forgotten()}"
            return dataclasses.replace(step, said=said)

    async def _show(self, message: Message, user: User, step: Step) -> None:
        """Bring the menu in line with a step."""
        if step.page is None:
            return await _close(message)
        with self._speaking_to(user, step.settings):
            private = is_private(message.chat.id)
            text, buttons = self._page(step.page, step.settings, await self._can_speak(), private=private)
        await self._edits.edit(message, text, buttons)

    def _decide(self, press: MenuPress, settings: ChatSettings, can_speak: bool, *, private: bool) -> Step:
        match press.do:
            case "close":
                return Step(None, settings)
            case "reset":
                return Step(ALL, ChatSettings())
            case "show" if press.name == ALL or (press.name in BY_NAME and not BY_NAME[press.name].is_switch):
                return Step(press.name, settings)
            case "set" if press.name in BY_NAME and (private or not BY_NAME[press.name].personal):
                with suppress(KeyError):
                    return self._set(settings, BY_NAME[press.name], press.value, can_speak)
        return Step(ALL, settings, replies.unknown_choice())

    def _set(self, settings: ChatSettings, setting: Setting, text: str, can_speak: bool) -> Step:
        """Raises KeyError where there is no such choice."""
        value, now = setting.parse(text), settings.in_use(self._operator)
        if (setting.name == "voice" and value and not can_speak) or (
            setting.name == "heatmap" and now.model == "baseline"
        ):
            return Step(ALL, settings, replies.why_missing(setting))
        if getattr(now, setting.name) != value:
            settings = dataclasses.replace(settings, **{setting.name: value})
        return Step(ALL if setting.is_switch else setting.name, settings)

    def _page(
        self, page: str, settings: ChatSettings, can_speak: bool, *, private: bool
    ) -> tuple[str, InlineKeyboardMarkup]:
        settings = settings.in_use(self._operator)
        close: Button = (_("✖ Close"), MenuPress(do="close"))
        if page == ALL:
            offered = [setting for setting in SETTINGS if private or not setting.personal]
            rows = [[_setting_button(setting, settings, can_speak)] for setting in offered]
            rows.append([(_("↺ Reset all"), MenuPress(do="reset")), close])
            return replies.settings_text(settings, offered, can_speak=can_speak), keyboard(*rows)
        setting, current = BY_NAME[page], getattr(settings, page)
        buttons: list[Button] = [
            (
                replies.choice(setting, value, chosen=value == current),
                MenuPress(do="set", name=page, value=written(value)),
            )
            for value in setting.choices
        ]
        rows = in_rows(buttons, setting.columns)
        if setting.beside:
            rows.append([_setting_button(BY_NAME[setting.beside], settings, can_speak)])
        rows.append([(_("◀ All settings"), MenuPress(do="show")), close])
        return replies.setting_page(setting, settings, can_speak=can_speak), keyboard(*rows)

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


def _setting_button(setting: Setting, settings: ChatSettings, can_speak: bool) -> Button:
    label = replies.setting_line(setting, settings, can_speak=can_speak)
    if not setting.is_switch:
        return label, MenuPress(do="show", name=setting.name)
    return label, MenuPress(do="set", name=setting.name, value=written(not getattr(settings, setting.name)))
