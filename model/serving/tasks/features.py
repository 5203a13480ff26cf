"""Give the encoder's features of a photo to programs that build on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from model.serving.tasks.base import Result, Task, Tools
from model.serving.tasks.looking import encoder_square


@dataclass(frozen=True)
class FeaturesResult(Result):
    shape: tuple[int, ...]  # (channels,) or (rows, columns, channels)
    values: bytes  # float32, little-endian, in C order


@dataclass(frozen=True)
class FeaturesTask(Task):
    """All decoders look at the same features."""

    NAME: ClassVar[str] = "features"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = FeaturesResult

    pooled: bool = True  # their mean over the grid

    async def work(self, media: bytes, tools: Tools) -> FeaturesResult:
        """Raises AnimatedPicture for a picture that moves, and what `open_image` raises."""
        square = await tools.pixels(partial(encoder_square, media, tools.models.image_size))
        [grid] = await tools.network(partial(tools.models.encode, [square]), 1)
        features = grid.mean(axis=(0, 1)) if self.pooled else grid
        return FeaturesResult(features.shape, features.astype("<f4").tobytes())
