"""Show a photo as people with a colour vision deficiency see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal, TypeAlias

from model.serving.tasks.base import Result, Task, Tools

Deficiency: TypeAlias = Literal["protanopia", "deuteranopia", "tritanopia"]


@dataclass(frozen=True)
class ColoursResult(Result):
    sheet: bytes  # a JPEG file: the original beside the simulation


@dataclass(frozen=True)
class ColoursTask(Task):
    NAME: ClassVar[str] = "colours"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = ColoursResult

    kind: Deficiency = "protanopia"

    async def work(self, media: bytes, tools: Tools) -> ColoursResult:
        return await tools.pixels(partial(_draw, media, self.kind))


def _draw(media: bytes, kind: Deficiency) -> ColoursResult:
    from model.drawing.colour_vision import draw_sheet
    from model.media.images import encode_jpeg, open_image

    return ColoursResult(encode_jpeg(draw_sheet(open_image(media), kind)))
