"""What is fitted for /find: scores of searches with the right photo and without it."""

from __future__ import annotations

import pytest
import torch

from model.training.fit_find import chats_of, searched, separation


def test_photos_are_shared_out_to_chats_of_one_size() -> None:
    chats = chats_of(10, 4)
    assert [len(chat) for chat in chats] == [4, 4]
    assert len({photo for chat in chats for photo in chat}) == 8
    assert chats == chats_of(10, 4)


def test_each_text_is_searched_for_with_and_without_its_photo() -> None:
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.8, 0.2, 0.3], [0.1, 0.2, 0.3]])
    present, absent, ranks = searched(scores, torch.tensor([0, 1, 2]), [2, 0])
    assert present.tolist() == pytest.approx([0.9, 0.3])
    assert absent.tolist() == pytest.approx([0.5, 0.1])
    assert ranks.tolist() == [0, 0]
    assert searched(scores, torch.tensor([0, 1, 2]), [0, 1])[2].tolist() == [0, 1]


def test_separation_is_the_share_of_pairs_in_order() -> None:
    assert separation(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1.0
    assert separation(torch.tensor([0.0, 3.0]), torch.tensor([1.0, 2.0])) == 0.5
