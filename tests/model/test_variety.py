"""More captions, none like another."""

import pytest
import torch
from torch import Tensor

from model.captioner import Captioner
from model.decoding.sampling import Sampling
from model.variety import normalised, varied_captions

LADDER = Sampling(ladder=True)


@pytest.mark.slow
def test_captions_differ_from_each_other_and_from_those_known(captioner: Captioner, features: Tensor) -> None:
    """Also where plain sampling mostly repeats itself, and request after request."""
    known: list[set[str]] = [set() for _ in features]
    for press in range(4):
        answers = varied_captions(
            captioner, features, count=5, exclude=known, sampling=LADDER, seed=[press] * len(features)
        )
        for answer, before in zip(answers, known, strict=True):
            texts = [sample.text for sample in answer.samples]
            assert len(set(texts)) == len(texts) == 5
            assert not before & set(texts)
            before |= set(texts)
    plain = captioner.caption_features(features, samples=20, sampling=LADDER)
    assert all(len({sample.text for sample in answer.samples}) < 20 for answer in plain)


def test_texts_are_compared_by_their_words_alone(captioner: Captioner, features: Tensor) -> None:
    assert normalised("A cat,  sitting!") == normalised("a cat sitting")
    [first] = varied_captions(captioner, features[:1], count=3, exclude=[()], seed=[1])
    shouted = [f"{sample.text.upper()}!" for sample in first.samples]
    [second] = varied_captions(captioner, features[:1], count=3, exclude=[shouted], seed=[1])
    assert not {s.text for s in first.samples} & {s.text for s in second.samples}


def test_where_nothing_repeats_they_are_the_plain_samples(captioner: Captioner, features: Tensor) -> None:
    hot = Sampling(temperature=1.5, top_k=0)
    for beam in (None, 3):
        plain = captioner.caption_features(features, samples=3, sampling=hot, beam=beam, seed=4)
        varied = varied_captions(
            captioner,
            features,
            count=3,
            exclude=[()] * len(features),
            sampling=hot,
            beam=beam,
            seed=[4] * len(features),
        )
        for expected, found in zip(plain, varied, strict=True):
            assert [s.text for s in found.samples] == [s.text for s in expected.samples]
            assert found.main.text == expected.main.text


def test_an_images_captions_depend_on_its_own_seed_and_exclusions(captioner: Captioner, features: Tensor) -> None:
    seeds = list(range(len(features)))
    exclude = [[s.text for s in answer.samples] for answer in captioner.caption_features(features, sampling=LADDER)]
    exclude[1::2] = [[] for _ in exclude[1::2]]
    together = varied_captions(captioner, features, count=4, exclude=exclude, sampling=LADDER, seed=seeds)
    for row in (2, 5):
        [alone] = varied_captions(
            captioner, features[row : row + 1], count=4, exclude=exclude[row : row + 1], sampling=LADDER, seed=[row]
        )
        assert [s.text for s in alone.samples] == [s.text for s in together[row].samples]


def test_there_may_be_no_more(tiny: Captioner) -> None:
    features = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(1))
    likeliest = Sampling(top_k=1)
    [first, _] = varied_captions(tiny, features, count=3, exclude=[(), ()], sampling=likeliest, seed=[0, 0])
    assert [s.text for s in first.samples] == [first.greedy.text]
    known = [[first.greedy.text], []]
    [none, one] = varied_captions(tiny, features, count=3, exclude=known, sampling=likeliest, seed=[0, 0])
    assert (len(none.samples), len(one.samples)) == (0, 1)
    assert varied_captions(tiny, features[:0], count=3, exclude=[], seed=[]) == []


@pytest.mark.slow
def test_heat_finds_what_cold_sampling_does_not(captioner: Captioner, features: Tensor) -> None:
    cold = Sampling(temperature=0.1)
    plain = captioner.caption_features(features, samples=12, sampling=cold)
    varied = varied_captions(
        captioner, features, count=12, exclude=[()] * len(features), sampling=cold, seed=[0] * len(features)
    )
    for few, many in zip(plain, varied, strict=True):
        assert len(many.samples) > len({sample.text for sample in few.samples})
