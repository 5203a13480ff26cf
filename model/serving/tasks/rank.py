"""Rank descriptions of a photo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from model.serving.tasks.base import Result, Tools
from model.serving.tasks.looking import LookingTask
from model.tagging.answers import Ranking


@dataclass(frozen=True)
class RankResult(Result):
    ranking: Ranking


@dataclass(frozen=True)
class RankTask(LookingTask):
    NAME: ClassVar[str] = "rank"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = RankResult

    texts: tuple[str, ...] = ()  # English or Russian

    async def work(self, media: bytes, tools: Tools) -> RankResult:
        """Raises what `looked` raises, and JobFailed where the weights rank nothing."""
        return RankResult(await self.looked(media, tools, lambda models, features: models.rank(features, self.texts)))
