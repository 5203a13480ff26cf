"""Show a photo as people with a colour vision deficiency see it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from model.drawing.labels import ENGLISH, Deficiency, Labels
from model.serving.tasks.base import Result, Task, Tools


@dataclass(frozen=True)
class ColoursResult(Result):
    sheet: bytes  # a JPEG file: the original beside the simulation


@dataclass(frozen=True)
class ColoursTask(Task):
    NAME: ClassVar[str] = "colours"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = ColoursResult

    kind: Deficiency = "protanopia"
    labels: Labels = ENGLISH  # what is written on the sheet

    async def work(self, media: bytes, tools: Tools) -> ColoursResult:
        """Raises AnimatedPicture for a picture that moves, and what `open_image` raises."""
        return await tools.pixels(partial(_draw, media, self))


def _draw(media: bytes, task: ColoursTask) -> ColoursResult:
    from model.drawing.colour_vision import draw_sheet
    from model.media.images import encode_jpeg, open_photo

    return ColoursResult(encode_jpeg(draw_sheet(open_photo(media), task.kind, task.labels)))
