"""Attention that is told where to look: collages, boxes of people, and the loss."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from model.network.decoder import build_decoder
from model.network.vocabulary import START, Vocabulary
from model.training.data import DataError, Example, Features, Shown, load_images
from model.training.grounding import NOWHERE, Grounding, Looks, load_boxes
from model.training.losses import caption_loss
from model.training.scst import ScstConfig
from model.training.train import TrainConfig
from tests.conftest import tiny_config

WORDS = Vocabulary(["a", "dog", "runs", "man", "red", "ball", "one"])
CAPTIONS = [["a dog runs one ball", "a red dog"], ["a man runs", "red man red"], ["dog man"]]


@pytest.fixture
def grounding() -> Grounding:
    """Of three photos, on a grid of 2 x 4; in the third a man is on the left."""
    examples = [Example(str(i), Path(f"{i}.jpg"), tuple(captions)) for i, captions in enumerate(CAPTIONS)]
    encoded = [[WORDS.encode(caption) for caption in captions] for captions in CAPTIONS]
    grounding = Grounding(examples, encoded, WORDS, {"2.jpg": [(0.25, 0.5, 0.5, 1.0)], "x.jpg": []}, (2, 4), 2 / 3)
    grounding.pairs, grounding.pair_of = [(1, 0), (1, 2)], {0: 0, 1: 1, 2: 1}
    return grounding


@pytest.mark.parametrize("count", [1, 2, 7, 8])
def test_each_photo_has_one_fixed_partner(count: int) -> None:
    examples = [Example(str(i), Path(f"{i}.jpg"), ("a dog",)) for i in range(count)]
    first, again = (Grounding(examples, [[[4]]] * count, WORDS, {}, (2, 4), 0.5) for _ in range(2))
    assert first.pairs == again.pairs
    assert len(first.pairs) == -(-count // 2)
    assert sorted(first.pair_of) == list(range(count))
    assert all(row in first.pairs[pair] for row, pair in first.pair_of.items())
    assert count == 1 or all(left != right for left, right in first.pairs)


def test_the_first_photos_of_a_batch_are_shown_beside_their_partners(grounding: Grounding) -> None:
    features = torch.arange(3 * 8, dtype=torch.float16).view(3, 8, 1)
    asked: list[object] = []

    def cached(shown: Sequence[Shown]) -> Features:
        asked.extend(shown)
        return Features(100 + features[:2].numpy())

    assert torch.equal(grounding.collages(features, [0, 1, 2]), features)  # the encoder has seen collages itself
    grounding.prepare(cached)
    zero, one, two = grounding.examples
    assert asked == [(one, zero), (one, two)]
    assert grounding.shown([2, 0, 1]) == [(one, two), (one, zero), one]
    found = grounding.collages(features, [2, 0, 1])
    assert torch.equal(found, torch.stack([100 + features[1], 100 + features[0], features[2]]))
    grounding.share = 0.0
    assert torch.equal(grounding.collages(features, [2, 0, 1]), features)


def test_pairs_are_loaded_side_by_side(tmp_path: Path) -> None:
    for name, colour in (("l.png", "red"), ("r.png", "blue")):
        Image.new("RGB", (30, 20), colour).save(tmp_path / name)
    left, right = (Example(name, tmp_path / name, ("a wall",)) for name in ("l.png", "r.png"))
    [joined, alone] = load_images([(left, right), left], 16)
    assert joined[:, 8, 2].tolist() == [255, 0, 0]
    assert joined[:, 8, 13].tolist() == [0, 0, 255]
    assert alone[:, 8, 13].tolist() == [255, 0, 0]


def test_words_have_the_place_of_their_photo_or_of_people(grounding: Grounding) -> None:
    looks = grounding.looks([0, 1, 2])
    left, right, man = (place.view(2, 4)[0].tolist() for place in looks.places)
    assert (left, right, man) == ([1, 1, 0, 0], [0, 0, 1, 1], [1, 1, 0, 0])
    no = NOWHERE
    assert looks.words[0] == [[no, no, no, no, 1], [no, no, no]]  # what its neighbour says, too, tells nothing
    assert looks.words[1] == [[no, no, no], [no, no, 0]]  # nor does the first word that tells it from the neighbour
    assert looks.words[2] == [[no, 2]]


def test_the_loss_is_the_attention_outside_of_a_words_place() -> None:
    torch.manual_seed(3)
    decoder = build_decoder(tiny_config()).eval()
    features, captions = torch.randn(2, 9, 6), [[[4, 5, 6]], [[7], [8, 9]]]
    places = torch.stack([torch.arange(9) < 4, torch.arange(9) > 6]).float()
    looks = Looks(places, [[[NOWHERE, 1, 0]], [[NOWHERE], [NOWHERE, 1]]])
    plain, words, nothing = caption_loss(decoder, features, captions)
    found = caption_loss(decoder, features, captions, looks=looks, grounding=0.5)
    expected = []
    for image, caption, at in ((0, [4, 5, 6], {1: 1, 2: 0}), (1, [8, 9], {1: 1})):
        state = decoder.init_state(features[image][None])
        for t, word in enumerate([START, *caption[:-1]]):
            _, state, attention = decoder.step(torch.tensor([[word]]), state)
            assert attention is not None
            if t in at:
                expected.append(attention[0, 0] @ places[at[t]])
    costs = -torch.stack(expected).log()
    torch.testing.assert_close((found.mean - plain) * words, 0.5 * costs.sum())
    assert found.misplaced == pytest.approx(float(costs.detach().mean()))
    assert nothing == 0.0


def test_training_with_it_moves_attention_to_the_named_photo(grounding: Grounding) -> None:
    torch.manual_seed(4)
    decoder = build_decoder(tiny_config(vocabulary_size=len(WORDS)))
    features = torch.randn(3, 8, 6)
    optimizer = torch.optim.Adam(decoder.parameters(), 0.02)
    costs = []
    for _ in range(40):
        loss, _, misplaced = caption_loss(
            decoder, features, [grounding.captions[row] for row in (0, 1, 2)], looks=grounding.looks([0, 1, 2])
        )
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        costs.append(misplaced)
    assert costs[-1] < 0.2 < costs[0]


def test_mistakes_are_named(tmp_path: Path, grounding: Grounding) -> None:
    assert load_boxes(tmp_path) == {}
    (tmp_path / "person_boxes.json").write_text(json.dumps({"a.jpg": [[1, 2]]}))
    with pytest.raises(DataError, match=r"person_boxes\.json"):
        load_boxes(tmp_path)
    with pytest.raises(ValueError, match="no halves"):
        Grounding([], [], WORDS, {}, (2, 3), 0.5)
    with pytest.raises(ValueError, match="collages"):
        TrainConfig(encoder="e", out="o", collages=1.5)
    with pytest.raises(ValueError, match="no weight"):
        ScstConfig(encoder="e", out="o", start_from="d", grounding=1.0)
    assert grounding.place([(0.1, 0.1, 0.01, 0.01)]).tolist() == [1, 0, 0, 0, 0, 0, 0, 0]  # too small for any middle
