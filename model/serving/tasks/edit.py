"""Edit a photo by words, where the operator has given workers a model for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, ClassVar

from model.edits import SECONDS, STRENGTH
from model.errors import EditsUnavailable
from model.serving.tasks.base import Result, Task, Tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL import Image

    from model.serving.tasks.base import PhotoEditor


@dataclass(frozen=True)
class EditResult(Result):
    picture: bytes  # a JPEG file
    strength: int  # percent
    seed: int


@dataclass(frozen=True)
class EditTask(Task):
    NAME: ClassVar[str] = "edit"
    LINE: ClassVar[str] = "edit"
    SECONDS: ClassVar[float] = 2 * SECONDS + 120.0  # it may wait for one of the other lane; each gives up in time
    ONE_AT_A_TIME: ClassVar[bool] = True
    NEEDS_EDITOR: ClassVar[bool] = True
    RESULT: ClassVar[type[Result]] = EditResult

    text: str = ""
    strength: int = STRENGTH  # percent
    seed: int = 0

    async def work(self, media: bytes, tools: Tools) -> EditResult:
        """Raises EditsUnavailable, AnimatedPicture, what `open_image` raises, and what `Editor.edit` raises."""
        if (editor := tools.editor) is None:
            raise EditsUnavailable("this worker has no EDIT_MODEL")
        photo = await tools.pixels(partial(_open, media))
        edited = await tools.edit(partial(_edit, editor, photo, self))
        return EditResult(edited, self.strength, self.seed)


def _open(media: bytes) -> Image.Image:
    from model.media.images import open_photo

    return open_photo(media)


def _edit(editor: PhotoEditor, photo: Image.Image, task: EditTask, step: Callable[[float], None]) -> bytes:
    from model.media.images import encode_jpeg

    return encode_jpeg(editor.edit(photo, task.text, task.strength / 100, task.seed, step))
