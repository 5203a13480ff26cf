"""What buttons carry."""

from __future__ import annotations

import importlib
import pkgutil
from collections import Counter
from typing import Any, Literal, get_args, get_origin

import pytest
from aiogram.filters.callback_data import CallbackData
from pydantic.fields import FieldInfo

import bot
from bot.answers.notes import new_key
from bot.answers.settings_menu import MenuPress

PERSON = 2**52 - 1  # "at most 52 significant bits", https://core.telegram.org/bots/api#user


def kinds() -> list[type[CallbackData]]:
    """All that buttons of the bot can carry."""
    for module in pkgutil.iter_modules(bot.__path__):
        importlib.import_module(f"bot.{module.name}")
    return [kind for kind in CallbackData.__subclasses__() if kind.__module__.startswith("bot.")]


def longest(name: str, field: FieldInfo) -> Any:
    """A value of this field that takes as many bytes as any."""
    chosen = [get_args(each) for each in (field.annotation, *get_args(field.annotation)) if get_origin(each) is Literal]
    if chosen:
        return max(chosen[0], key=len)
    if field.annotation is bool:
        return False
    return new_key() if name == "key" else PERSON if name == "user" else 10  # numbers of captions, or of moments


def test_no_two_buttons_are_taken_for_each_other() -> None:
    found = Counter(kind.__prefix__ for kind in kinds())
    assert len(found) >= 14
    assert [prefix for prefix, count in found.items() if count > 1] == []


@pytest.mark.parametrize("kind", [each for each in kinds() if each is not MenuPress], ids=lambda kind: kind.__name__)
def test_what_a_button_carries_fits_and_is_understood(kind: type[CallbackData]) -> None:
    data = kind(**{name: longest(name, field) for name, field in kind.model_fields.items()})
    packed = data.pack()
    assert len(packed.encode()) <= 64
    assert kind.unpack(packed) == data
