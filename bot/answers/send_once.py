"""An answer in several messages, of which none is sent again when the bot was killed between them."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from bot.storage.chats import Storage
from bot.storage.inbox import Accepted

SENT: Final = 86_400.0  # seconds for which it is known that a part of an answer is out

T = TypeVar("T")  # such as JSON can tell


class Parts:
    """The parts of the answer to one update, by name. Raises StorageError."""

    def __init__(self, storage: Storage, chat_id: int, accepted: Accepted, *, several: bool = True) -> None:
        """`several`: else nothing is noted, as the update is acknowledged once the only part is out."""
        self._storage = storage
        self._chat = chat_id
        self._note = f"parts:{accepted.id}"
        self._several = several
        self._out: dict[str, Any] | None = None

    async def once(self, name: str, send: Callable[[], Awaitable[T]]) -> T:
        """Send a part, unless it is out; what `send` returned then."""
        if self._out is None:
            noted = await self._storage.noted(self._chat, self._note) if self._several else None
            self._out = dict(json.loads(noted)) if noted else {}
        if name not in self._out:
            self._out[name] = await send()
            if self._several:
                await self._storage.note(self._chat, self._note, json.dumps(self._out), SENT)
        found: T = self._out[name]
        return found
