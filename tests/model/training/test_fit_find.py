"""What is fitted for /find: which photos fit a text, and what the best photo of a search is worth."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from model.training.data import Example
from model.training.fit_find import Searches, chats_of, content, f_score, fits, fitted, ranks_in


def test_photos_are_shared_out_to_chats_of_one_size() -> None:
    chats = chats_of(10, 4)
    assert [len(chat) for chat in chats] == [4, 4]
    assert len({photo for chat in chats for photo in chat}) == 8
    assert chats == chats_of(10, 4)
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.8, 0.2, 0.3], [0.1, 0.2, 0.3]])
    assert ranks_in(scores, torch.tensor([0, 1, 2]), [0, 1]).tolist() == [0, 1]
    assert ranks_in(scores, torch.tensor([0, 1, 2]), [2, 0]).tolist() == [0, 0]


def test_a_photo_fits_where_its_captions_say_most_of_a_text() -> None:
    assert content("Two dogs are walking on the grass") == content("a dog walks on grass")
    examples = [Example("a", Path(), ("a dog on grass", "a puppy runs")), Example("b", Path(), ("a red car",))]
    texts = ["a dog runs on sand", "red cars", "on the", "a dog and a cat"]
    assert fits(texts, examples).tolist() == [[True, False], [False, True], [False, False], [False, False]]


def test_a_search_has_the_best_photos_of_a_chat() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.8, 0.2, 0.3]])
    right = torch.tensor([[True, False, False], [False, True, True]])
    found = Searches.of(scores, right, [(0, [2, 0]), (1, [0, 1])])
    assert found.scores.tolist() == [pytest.approx([0.9, 0.5]), pytest.approx([0.8, 0.2])]
    assert found.right.tolist() == [[True, False], [False, True]]


def test_what_fits_is_told_from_what_does_not() -> None:
    torch.manual_seed(0)
    right = torch.rand(2000, 5) < 0.4
    searches = Searches(torch.randn(2000, 5) + 3 * right, right)
    fit = fitted(searches)
    score, good = searches.first
    assert float((fit(score) - good.float()).mean()) == pytest.approx(0.0, abs=0.01)  # calibrated
    assert 0 < fit.floor <= fit.least < 0.5  # recall counts more
    shown = fit(score) >= fit.least
    assert f_score(shown, good, 2.0) > 0.9


def test_f_score_is_0_where_nothing_right_is_shown() -> None:
    half = torch.tensor([True, False])
    assert f_score(half, ~half, 2.0) == 0.0
    assert f_score(half, half, 2.0) == 1.0
