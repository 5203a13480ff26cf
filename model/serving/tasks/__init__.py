"""Kinds of work, one module each. A new one is registered here. No torch."""

from __future__ import annotations

from typing import Final

from model.serving.tasks.album import AlbumTask
from model.serving.tasks.base import Task
from model.serving.tasks.clip import ClipTask
from model.serving.tasks.colours import ColoursTask
from model.serving.tasks.edit import EditTask
from model.serving.tasks.features import FeaturesTask
from model.serving.tasks.find import FindTask
from model.serving.tasks.photo import PhotoTask
from model.serving.tasks.rank import RankTask
from model.serving.tasks.tags import TagsTask
from model.serving.tasks.vector import VectorTask
from model.serving.tasks.words import WordsTask

TASKS: Final[dict[str, type[Task]]] = {
    task.NAME: task
    for task in (
        *(PhotoTask, ClipTask, AlbumTask, ColoursTask, FeaturesTask, WordsTask, TagsTask, RankTask),
        *(EditTask, FindTask, VectorTask),
    )
}

# The queue has two lines for each kind of line: see `model.serving.queue`.
LINES: Final = tuple(
    line + lane for line in dict.fromkeys(task.LINE for task in TASKS.values()) for lane in ("", "-bulk")
)
# Of these, the lines that a worker without a network that edits takes from.
LINES_WITHOUT_EDITOR: Final = tuple(
    line for line in LINES if not any(task.NEEDS_EDITOR and line.startswith(task.LINE) for task in TASKS.values())
)
