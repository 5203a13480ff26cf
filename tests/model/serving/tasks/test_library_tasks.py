"""What programs ask of a worker beside captions: a photo's features, and the words of a model."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.errors import AnimatedPicture, UnknownWord
from model.media.images import open_image
from model.serving.jobs import decode_outcome, encode_outcome
from model.serving.tasks.features import FeaturesTask
from model.serving.tasks.words import WordsResult, WordsTask
from model.serving.worker.network import Captioners


class Direct:
    """`Tools` that do all at once."""

    def __init__(self, captioners: Captioners) -> None:
        self.models = captioners

    async def pixels(self, work: Callable[[], Any]) -> Any:
        return work()

    async def network(self, work: Callable[[], Any], size: int) -> Any:
        return work()


async def done(captioners: Captioners, task: Any, media: bytes = b"") -> Any:
    """Its result, over the wire."""
    return decode_outcome(*encode_outcome(await task.work(media, Direct(captioners))))


async def test_features_are_those_that_the_decoders_see(captioners: Captioners, photo_files: list[Path]) -> None:
    media = photo_files[1].read_bytes()
    seen = captioners.encoder.encode(captioners.encoder.squares([open_image(media)]))
    grid = await done(captioners, FeaturesTask(pooled=False), media)
    rows, columns, channels = grid.shape
    assert (1, rows * columns, channels) == seen.shape
    np.testing.assert_array_equal(np.frombuffer(grid.values, "<f4"), seen.numpy().ravel())
    pooled = await done(captioners, FeaturesTask(), media)
    assert pooled.shape == (channels,)
    np.testing.assert_allclose(np.frombuffer(pooled.values, "<f4"), captioners.encoder.pooled(seen)[0], rtol=1e-5)
    moving = io.BytesIO()
    Image.new("L", (8, 8)).save(moving, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 255)])
    with pytest.raises(AnimatedPicture):
        await done(captioners, FeaturesTask(), moving.getvalue())


@pytest.mark.parametrize("model", ["attention", "baseline"])
async def test_words_of_a_kind_are_near_each_other(captioners: Captioners, model: str) -> None:
    found = await done(captioners, WordsTask("Cat", model, 20))
    assert isinstance(found, WordsResult)
    words, similarities = zip(*found.nearest, strict=True)
    assert (found.word, len(words)) == ("cat", 20)
    assert {"kitten", "cats"} & set(words)
    assert not {"cat", "<pad>", "<start>", "<end>", "<unk>"} & set(words)
    assert list(similarities) == sorted(similarities, reverse=True)
    first = await done(captioners, WordsTask(words[0], model, 0))
    assert first.nearest == ()
    cosine = np.dot(found.embedding, first.embedding)
    cosine /= np.linalg.norm(found.embedding) * np.linalg.norm(first.embedding)
    assert cosine == pytest.approx(similarities[0], abs=1e-3)


@pytest.mark.parametrize("word", ["", "!?", "two words", "qwertzuiop", "<unk>"])
async def test_a_word_that_is_none_is_not_known(captioners: Captioners, word: str) -> None:
    with pytest.raises(UnknownWord):
        await done(captioners, WordsTask(word))
