"""An answer in several messages, of which none is sent again when the bot was killed between them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from bot.storage.chats import Storage
from bot.storage.inbox import Accepted
from bot.storage.notes import PARTS, once_sent

T = TypeVar("T")  # such as JSON can tell


class Parts:
    """The parts of the answer to one update, by name. Raises StorageError."""

    def __init__(self, storage: Storage, chat_id: int, accepted: Accepted, *, several: bool = True) -> None:
        """`several`: else nothing is noted, as the update is acknowledged once the only part is out."""
        self._storage = storage
        self._chat = chat_id
        self._update = accepted.id
        self._several = several
        self._out: dict[str, Any] | None = None

    async def once(self, name: str, send: Callable[[], Awaitable[T]]) -> T:
        """Send a part, unless it is out; what `send` returned then."""
        if self._out is None:
            noted = await PARTS.find(self._storage, self._chat, self._update, dict) if self._several else None
            self._out = noted or {}
        if name not in self._out:
            self._out[name] = await send()
            if self._several:
                with once_sent():
                    await PARTS.keep(self._storage, self._chat, self._update, self._out)
        found: T = self._out[name]
        return found
