"""Scores of texts, tags and rankings: their arithmetic on a tiny network, and what the shipped one says of photos."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.captioner import Captioner
from model.decoding.explain import weigh
from model.decoding.scoring import text_log_probs
from model.network.checkpoint import ENCODER_FILE, CheckpointError, fingerprint
from model.tagging.answers import Choice, Ranking, Tag
from model.tagging.lists import names, parse_descriptions
from model.tagging.tagger import TAGS_FILE, Fit, Head, Tagger
from tests.conftest import WEIGHTS
from tests.support.fitted import refuses_what_is_not_its_own

TEXTS = ["a dog runs", "a cat", "the dog on the grass", "a", "a dog", "two red cat"]
FIT = Fit(slope=1.0, rarity=0.1, intercept=0.5, threshold=0.5, sharpness=2.0, none=0.3, common=0.2, lift=0.7)


@pytest.fixture
def grid() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(3, 9, 6)


def tagger_of(bank: Tensor) -> Tagger:
    """Of one classifier, which holds where the first channel is positive on average."""
    weight = torch.zeros(1, 6)
    weight[0, 0] = 5.0
    return Tagger(Head(("dog",), weight, torch.zeros(1), torch.tensor([0.5])), bank, FIT)


@pytest.mark.parametrize("end", [True, False])
def test_texts_have_the_log_probabilities_that_the_network_gives_word_by_word(
    tiny: Captioner, grid: Tensor, end: bool
) -> None:
    tokens = [tiny.vocabulary.encode(text) for text in TEXTS]
    found = text_log_probs(tiny.decoder, tiny.decoder.init_state(grid), tokens, end=end)
    for column, words in enumerate(tokens):
        weighed = weigh(tiny.decoder, tiny.decoder.init_state(grid), [words] * len(grid), 1).log_probs
        torch.testing.assert_close(found[:, column], weighed[:, : len(words) + end].sum(dim=1), atol=1e-4, rtol=1e-4)


def test_many_texts_are_scored_in_parts(tiny: Captioner, grid: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [tiny.vocabulary.encode(text) for text in TEXTS]
    state = tiny.decoder.init_state(grid)
    whole = text_log_probs(tiny.decoder, state, tokens, end=True)
    monkeypatch.setattr("model.decoding.scoring.MOST_SEQUENCES", 7)
    torch.testing.assert_close(text_log_probs(tiny.decoder, state, tokens, end=True), whole, atol=1e-4, rtol=1e-4)


def test_a_description_counts_by_how_much_likelier_the_photo_makes_it(tiny: Captioner, grid: Tensor) -> None:
    tagger, texts = tagger_of(grid[1:]), ["a dog runs", "the cat"]
    ranking = tagger.rank(tiny.decoder, tiny.vocabulary, grid[0], [*texts, "a xylophone"])
    tokens = [tiny.vocabulary.encode(text) for text in texts]
    each = text_log_probs(tiny.decoder, tiny.decoder.init_state(grid), tokens, end=True)
    marginal = each[1:].exp().mean(dim=0).log()
    dog = torch.sigmoid(5.0 * grid[:, :, 0].mean(dim=1))
    lift = torch.stack([(dog[0] / dog[1:].mean()).log(), torch.tensor(0.0)])  # no tag is a cat
    logits = FIT.sharpness * (each[0] - marginal) + FIT.common * marginal + FIT.lift * lift
    *shares, none = torch.cat([logits, torch.tensor([FIT.none])]).softmax(dim=0).tolist()
    assert ranking.none == pytest.approx(none, abs=1e-4)
    assert {choice.text: choice.probability for choice in ranking.choices[:2]} == pytest.approx(
        dict(zip(texts, shares, strict=True)), abs=1e-4
    )
    assert ranking.choices[2] == Choice("a xylophone", None, ("xylophone",))
    nothing = tagger.rank(tiny.decoder, tiny.vocabulary, grid[0], ["a xylophone", "a dodo"])
    assert nothing.best is None
    assert [choice.probability for choice in nothing.choices] == [None, None]


def test_none_fits_where_that_is_likelier_than_each() -> None:
    choices = (Choice("a dog", 0.4), Choice("a cat", 0.15))
    assert Ranking(choices, 0.45).best is None
    assert Ranking(choices, 0.35).best == choices[0]


def test_tags_are_judged_by_their_classifier_or_by_pmi_or_not_at_all(tiny: Captioner, grid: Tensor) -> None:
    photo = grid[0].clone()
    photo[:, 0] = 0.4
    found = tagger_of(grid[1:]).tags(
        tiny.decoder, tiny.vocabulary, photo, ["a dog", "dogs", "puppies", "a red ball", "собака", "дирижабль"]
    )
    for tag in (found[0], found[4]):
        assert tag.probability == pytest.approx(1 / (1 + math.exp(-2.0)))
        assert tag.holds
    assert found[1] == Tag("dogs", None, False, ("dogs",))  # a word of the dictionary, but not of this network
    assert found[3].probability is not None
    assert 0 < found[3].probability < 1
    assert found[5] == Tag("дирижабль", None, False, ("дирижабль",))


def test_it_comes_back_from_its_file_for_its_own_encoder_alone(tmp_path: Path, tiny: Captioner, grid: Tensor) -> None:
    path, tagger = tmp_path / TAGS_FILE, tagger_of(grid[1:].half())
    tagger.save(path, "encoder")
    again = Tagger.load(path, "encoder")
    assert again.fit == FIT
    asked = (tiny.decoder, tiny.vocabulary, grid[0], ["dog", "a red ball"])
    for one, other in zip(again.tags(*asked), tagger.tags(*asked), strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-3)
    refuses_what_is_not_its_own(Tagger.load, path)
    with pytest.raises(ValueError, match="do not fit"):
        Tagger(Head(("a", "b"), torch.zeros(1, 6), torch.zeros(1), torch.zeros(1)), grid, FIT)
    with pytest.raises(CheckpointError, match=TAGS_FILE):
        tiny.tags(grid[0], ["dog"])


def test_the_shipped_network_names_what_is_in_photos(
    captioner: Captioner, features: Tensor, photo_files: list[Path]
) -> None:
    assert captioner.tagger is not None
    assert set(captioner.tagger.head.tags) == set(names("default"))
    assert Tagger.load(WEIGHTS / TAGS_FILE, fingerprint(WEIGHTS / ENCODER_FILE)).fit == captioner.tagger.fit
    photo = {file.stem: row for file, row in zip(photo_files, features, strict=True)}
    for name, there, not_there in (
        ("cat", "cat", "pizza"),
        ("coffee", "table", "horse"),
        ("temple", "building", "dog"),
    ):
        yes, no, unknown = captioner.tags(photo[name], [there, not_there, "a minibar"])
        assert (yes.holds, no.holds) == (True, False)
        assert unknown.unknown == ("minibar",)


@pytest.mark.parametrize(
    ("name", "texts", "best"),
    [
        ("cat", "a dog | a cat", "a cat"),  # README's example
        ("cat", "dog | cat | horse", "cat"),
        ("cat", "a dog on grass | a cat on a sofa | an empty street", "a cat on a sofa"),
        ("cat", "a dog running on a beach | a close up of a cat", "a close up of a cat"),
        ("cat", "собака | кошка", "кошка"),
        ("coffee", "a cup of coffee | a bicycle", "a cup of coffee"),
        ("coffee", "two dogs play in the snow | a cup of coffee on a table", "a cup of coffee on a table"),
        ("temple", "a building | a dog", "a building"),
        ("flower", "a dog | a flower", "a flower"),
        ("cat", "a dog | a horse", None),
        ("cat", "two men play football | a train at a station", None),
        ("coffee", "a dog | a cat", None),
        ("temple", "a dog | a cat", None),
        ("temple", "a man riding a wave | a cup of coffee", None),
        ("flower", "a dog | a man riding a wave on a surfboard", None),
        ("rocket", "a dog | a cat | a pizza", None),
    ],
)
def test_the_shipped_network_chooses_a_right_description_however_short_or_none(
    captioner: Captioner, features: Tensor, photo_files: list[Path], name: str, texts: str, best: str | None
) -> None:
    row = [file.stem for file in photo_files].index(name)
    ranking = captioner.rank(features[row], parse_descriptions(texts).items)
    assert (ranking.best and ranking.best.text) == best
