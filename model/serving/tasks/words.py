"""Look a word up in a model's vocabulary: its embedding, and the words nearest to it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from model.serving.tasks.base import Result, Task, Tools


@dataclass(frozen=True)
class WordsResult(Result):
    word: str
    embedding: tuple[float, ...]
    nearest: tuple[tuple[str, float], ...]  # with their cosine similarity, the nearest first


@dataclass(frozen=True)
class WordsTask(Task):
    NAME: ClassVar[str] = "words"
    LINE: ClassVar[str] = "photo"
    RESULT: ClassVar[type[Result]] = WordsResult

    word: str = ""
    model: str = "attention"
    count: int = 10  # of the nearest

    @property
    def needs_media(self) -> bool:
        return False

    async def work(self, media: bytes, tools: Tools) -> WordsResult:
        """Raises UnknownWord."""
        found = await tools.network(partial(tools.models.near_words, self.model, self.word, self.count), 1)
        return WordsResult(
            found.word,
            tuple(round(value, 6) for value in found.embedding.tolist()),
            tuple((word, round(similarity, 4)) for word, similarity in found.nearest),
        )
