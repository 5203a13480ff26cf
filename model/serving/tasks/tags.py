"""Judge which tags of a list a photo has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from model.serving.tasks.base import Result, Tools
from model.serving.tasks.looking import LookingTask
from model.tagging.answers import Tag


@dataclass(frozen=True)
class TagsResult(Result):
    tags: tuple[Tag, ...]  # of the whole list, in its order


@dataclass(frozen=True)
class TagsTask(LookingTask):
    NAME: ClassVar[str] = "tags"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = TagsResult

    tags: tuple[str, ...] = ()  # English or Russian

    async def work(self, media: bytes, tools: Tools) -> TagsResult:
        """Raises what `looked` raises, and JobFailed where the weights judge no tags."""
        return TagsResult(
            tuple(await self.looked(media, tools, lambda models, features: models.tags(features, self.tags)))
        )
