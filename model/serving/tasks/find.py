"""Find photos by words, among vectors that were made of them before."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from model.found import Found, Kept
from model.serving.tasks.base import Result, Task, Tools


@dataclass(frozen=True)
class FindResult(Result):
    found: Found


@dataclass(frozen=True)
class FindTask(Task):
    """The vectors travel where other tasks have their media."""

    NAME: ClassVar[str] = "find"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = FindResult

    text: str = ""  # English or Russian
    kept: tuple[Kept, ...] = ()  # what vectors there are, in their order

    async def work(self, media: bytes, tools: Tools) -> FindResult:
        """Raises JobFailed where the weights find nothing."""
        return FindResult(await tools.network(partial(tools.models.find, self.text, self.kept, media), 1))
