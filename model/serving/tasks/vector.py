"""Make the vector of a photo, by which words find it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from model.found import Vector
from model.serving.tasks.base import Result, Tools
from model.serving.tasks.looking import LookingTask


@dataclass(frozen=True)
class VectorResult(Result):
    vector: Vector


@dataclass(frozen=True)
class VectorTask(LookingTask):
    NAME: ClassVar[str] = "vector"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = VectorResult

    async def work(self, media: bytes, tools: Tools) -> VectorResult:
        """Raises what `looked` raises, and JobFailed where the weights find nothing."""
        return VectorResult(await self.looked(media, tools, lambda models, features: models.vector(features)))
