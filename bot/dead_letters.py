"""`start.py dead`: what the bot could not do, shown, tried again or deleted, also while the bot runs."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Final

from bot.config import Settings
from bot.errors import ConfigurationError
from bot.storage.inbox import DeadLetter, Inbox
from bot.storage.opening import open_memory
from bot.storage.redaction import MEDIA

HEAD: Final = ("ID", "GIVEN UP", "TRIES", "CHAT", "WHAT", "REASON")


async def dead(settings: Settings, action: str, ids: Collection[int] | None, *, as_json: bool = False) -> int:
    """One of "list", "retry" and "drop", for some letters or (None) for all; an exit status: 1 if one is not there.

    Raises ConfigurationError, StorageError or RedisRefused.
    """
    bot_id = int(settings.require_token().partition(":")[0])  # letters belong to a bot
    if settings.redis_url is None and not settings.data_dir.is_dir():
        raise ConfigurationError(f"DATA_DIR: there is no folder {settings.data_dir}: no bot has run here")
    async with open_memory(settings, bot_id) as (inbox, _):
        if action == "list":
            print_letters([letter for letter in await inbox.dead() if ids is None or letter.id in ids], as_json)
            return 0
        return await _change(inbox, action, ids)


async def _change(inbox: Inbox, action: str, ids: Collection[int] | None) -> int:
    change, said = {"retry": (inbox.retry, "to be tried again"), "drop": (inbox.drop, "deleted")}[action]
    done = await change(ids)
    print(f"{done} {said}")
    return 0 if ids is None or done == len(set(ids)) else 1


def print_letters(letters: Sequence[DeadLetter], as_json: bool) -> None:
    """A table, or one JSON object a line."""
    if as_json:
        for letter in letters:
            fields = {"id": letter.id, "died": _time(letter), "attempts": letter.attempts, "reason": letter.reason}
            print(json.dumps({**fields, "update": letter.body}, ensure_ascii=False))
        return
    rows = [HEAD, *map(_row, letters)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(letter: DeadLetter) -> tuple[str, ...]:
    message = letter.body.get("message", {})
    what = next((name for name in MEDIA if name in message), "")
    words = str(message.get("text") or message.get("caption") or "").strip(".")
    chat = str(message.get("chat", {}).get("id", ""))
    reason = " ".join(letter.reason.split())
    return (str(letter.id), _time(letter), str(letter.attempts), chat, words or what, reason)


def _time(letter: DeadLetter) -> str:
    return datetime.fromtimestamp(letter.died, UTC).isoformat(sep=" ", timespec="seconds")
