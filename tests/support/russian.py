"""What workers find, with translations as the translator would make them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from model.serving.jobs import Job, Outcome
from model.serving.tasks.base import WireTranslation
from model.serving.tasks.clip import ClipResult
from model.serving.tasks.photo import PhotoResult, WireCaption
from tests.support.fake_queue import Decide

WORDS = {
    **{"cat": "кошка", "dog": "собака", "sits": "сидит", "sleeps": "спит", "small": "маленький", "animal": "зверь"},
    **{"on": "на", "with": "с", "sofa": "диване", "mat": "коврике", "<legs>": "<лапами>", "scene": "сцена"},
    **{"a": "", "the": ""},
}


def russian(english: str) -> str:
    """Word by word, without articles."""
    return " ".join(filter(None, (WORDS.get(word, word) for word in english.split())))


def translation(english: str, refused: Collection[str] = ()) -> WireTranslation | None:
    """Nothing of no words, and one that must not be shown of those `refused`."""
    if not english:
        return None
    words = tuple(russian(english).split())
    failed = ("lost colour: red",) if english in refused else ()
    return WireTranslation(" ".join(words), 0.7, failed, words, tuple((0,) for _ in words))


def _caption(caption: WireCaption, refused: Collection[str]) -> WireCaption:
    return dataclasses.replace(
        caption,
        translation=translation(caption.text, refused),
        translated_beginning=translation(caption.beginning, refused),
    )


def translated(result: Outcome, refused: Collection[str] = ()) -> Outcome:
    """The same with translations; those of the captions `refused` failed their checks."""
    if isinstance(result, ClipResult):
        frames = (dataclasses.replace(f, translation=translation(f.text, refused)) for f in result.frames)
        return dataclasses.replace(result, frames=tuple(frames))
    if not isinstance(result, PhotoResult):
        return result
    said = [WORDS.get(step.word.strip("<>"), "") for step in result.weighed]
    weighed = (dataclasses.replace(step, translated=word) for step, word in zip(result.weighed, said, strict=True))
    return dataclasses.replace(
        result,
        greedy=_caption(result.greedy, refused),
        samples=tuple(_caption(sample, refused) for sample in result.samples),
        best=None if result.best is None else _caption(result.best, refused),
        other=None if result.other is None else _caption(result.other, refused),
        weighed=tuple(weighed),
    )


def translating(decide: Decide, *refused: str) -> Decide:
    """As a worker that has a translator: it translates where a job wants that."""

    def outcome(job: Job, media: bytes) -> Outcome | Exception:
        found = decide(job, media)
        if isinstance(found, Exception) or getattr(job.task, "language", "en") == "en":
            return found
        return translated(found, refused)

    return outcome
