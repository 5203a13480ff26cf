"""A caption from before, said to the network again."""

import numpy as np
import pytest
import torch
from torch import Tensor

from model.captioner import Captioner
from model.captions import END_OF_CAPTION, Caption
from model.decoding.sampling import Sampling
from model.errors import Unexplainable


def assert_same(found: Caption, decoded: Caption) -> None:
    assert found.words == decoded.words
    np.testing.assert_allclose(found.log_probs, decoded.log_probs, atol=1e-3)
    if decoded.attention is None:
        assert found.attention is None
    else:
        assert found.attention is not None
        np.testing.assert_allclose(found.attention, decoded.attention, atol=1e-4)


@pytest.mark.parametrize("model", ["captioner", "baseline"])
@pytest.mark.slow
def test_an_explained_caption_is_the_one_that_was_decoded(
    model: str, features: Tensor, request: pytest.FixtureRequest
) -> None:
    """Greedy, of a beam, sampled: words, probabilities and sheet."""
    captioner: Captioner = request.getfixturevalue(model)
    answers = captioner.caption_features(features, samples=2, beam=3, sampling=Sampling(temperature=1.2))
    several = [(answer.greedy, answer.main, *answer.samples) for answer in answers]
    for captions in zip(*several, strict=True):
        explained = captioner.explain(features, [caption.text for caption in captions])
        for found, decoded in zip(explained, captions, strict=True):
            assert_same(found, decoded)


@pytest.mark.slow
def test_each_step_tells_what_was_weighed(captioner: Captioner, features: Tensor) -> None:
    [answer] = captioner.caption_features(features[:1], samples=0)
    [explained] = captioner.explain(features[:1], [answer.greedy.text])
    assert [step.word for step in explained.steps] == [*explained.words, END_OF_CAPTION]
    for step, log_prob in zip(explained.steps, explained.log_probs, strict=False):
        assert step.probability == pytest.approx(np.exp(log_prob), rel=1e-5)
    for step in explained.steps:
        words, probabilities = zip(*step.likeliest, strict=True)
        assert len(set(words)) == 5
        assert list(probabilities) == sorted(probabilities, reverse=True)
        assert sum(probabilities) <= 1.0 + 1e-5
        if step.word in words:
            assert step.probability == pytest.approx(probabilities[words.index(step.word)])
        else:
            assert step.probability <= probabilities[-1]
    assert END_OF_CAPTION not in dict(explained.steps[0].likeliest)  # no caption is empty
    assert explained.steps[-1].likeliest[0][0] == END_OF_CAPTION  # greedy: it ended because that was likeliest


def test_captions_explained_together_are_those_explained_alone(tiny: Captioner) -> None:
    features = torch.randn(3, 9, 6, generator=torch.Generator().manual_seed(1))
    texts = ["a dog", "two red cat runs on the grass", "Ball!"]
    together = tiny.explain(features, texts)
    for row, text in enumerate(texts):
        [alone] = tiny.explain(features[row : row + 1], [text])
        assert_same(together[row], alone)
        assert len(alone.steps) == len(alone.words) + 1
    assert together[2].text == "ball"
    assert tiny.explain(features[:0], []) == []


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "without words"), ("?!", "without words"), ("a Zebra runs", "1 of 3 words"), ("a dog " * 4, "8 words")],
)
def test_what_the_model_cannot_have_said_is_refused(tiny: Captioner, text: str, why: str) -> None:
    with pytest.raises(Unexplainable, match=why):
        tiny.explain(torch.zeros(1, 9, 6), [text])


def test_each_image_needs_a_text(tiny: Captioner) -> None:
    for texts in ([], ["a dog", "a cat"]):
        with pytest.raises(ValueError, match=f"{len(texts)} texts for 1 images"):
            tiny.explain(torch.zeros(1, 9, 6), texts)


@pytest.mark.slow
def test_of_two_decoders_the_one_that_said_it_explains(
    captioner: Captioner, baseline: Captioner, features: Tensor
) -> None:
    both = Captioner(captioner.encoder, baseline.decoder, baseline.vocabulary, captioner.dtype, sampler=captioner)
    answers = both.caption_features(features, samples=1, sampling=Sampling(top_k=1))
    drawn = both.explain(features, [answer.samples[0].text for answer in answers])
    found = both.explain(features, [answer.greedy.text for answer in answers])
    different = [row for row, answer in enumerate(answers) if answer.samples[0].words != answer.greedy.words]
    assert len(different) >= 3
    assert all(drawn[row].attention is not None for row in different)  # only the sampler has attention here
    assert all(found[row].attention is None for row in different)
