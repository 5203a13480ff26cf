"""Handlers of commands, registered by the rows of `COMMANDS`; `python -m handlers` prints the table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from aiogram import F, Router
from aiogram.enums import ChatType
from aiogram.filters import Command
from aiogram.utils.i18n import gettext as translated

from bot.i18n import DEFAULT, create_i18n
from bot.replies.profile import COMMANDS, CommandRow
from handlers.filters import Where, edits_offered, from_admin

BY_NAME: Final = {row.name: row for row in COMMANDS}


def register(router: Router, name: str, handler: Callable[..., Any]) -> None:
    """Answer the command of this row by `handler`. Raises KeyError where the table has no such row."""
    row = BY_NAME[name]
    filters: list[Any] = [] if row.under_media else [Where(F.text)]
    if row.for_admins:
        filters = [Where(F.chat.type == ChatType.PRIVATE), *filters, from_admin]
    if row.of_editor:
        filters.append(edits_offered)
    router.message.register(handler, *filters, Command(name, ignore_case=True))


def registered(routers: Iterable[Router]) -> Iterator[tuple[str, str]]:
    """The commands that have a handler, and its name, in the order in which they are asked."""
    for router in (nested for whole in routers for nested in whole.chain_tail):
        for handler in router.message.handlers:
            for each in handler.filters or ():
                if isinstance(each.callback, Command):
                    name = f"{handler.callback.__module__}.{handler.callback.__qualname__}"
                    yield from ((str(command), name) for command in each.callback.commands)


def scopes(row: CommandRow) -> str:
    """In whose menus a command is."""
    if not row.in_menu:
        return "no menu"
    if row.for_admins:
        return "administrators of the bot"
    where = "private chats, groups" if row.in_groups else "private chats"
    return f"{where} (with EDIT_MODEL)" if row.of_editor else where


def lines(routers: Iterable[Router]) -> Iterator[str]:
    """The table, with a tab between the columns: command, scopes, handler, and the description in each language."""
    i18n = create_i18n()
    languages = sorted(i18n.available_locales, key=lambda language: (language != DEFAULT, language))
    handlers = dict(registered(routers))
    yield "\t".join(["command", "menus", "handler", *languages])
    for row in COMMANDS:
        described = []
        for language in languages:
            with i18n.context(), i18n.use_locale(language):
                described.append(translated(row.description))
        yield "\t".join([f"/{row.name}", scopes(row), handlers.get(row.name, "none"), *described])
