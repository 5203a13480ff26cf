"""The translator's network and its subword units, small and untrained."""

import pytest
import torch
from torch import Tensor

from model.decoding.search import BeamSearch, Stepwise, decode
from model.network.config import ConfigError
from model.network.subwords import Subwords
from model.network.translator import Translator, TranslatorConfig
from model.network.vocabulary import PAD, START, UNKNOWN

SENTENCES = ["собака бежит", "собаки бегут, и кошка спит", "хот-дог на столе", "собака на столе", "кошка бежит"]


@pytest.fixture
def translator() -> Translator:
    torch.manual_seed(1)
    return Translator(TranslatorConfig(20, 30, width=16, layers=2, heads=2, feed_forward=24, hidden=12)).eval()


@pytest.fixture
def subwords() -> Subwords:
    return Subwords.train(SENTENCES, 60)


SOURCE = torch.tensor([[5, 6, 7, 8], [9, 10, PAD, PAD]])
TARGET = torch.tensor([[START, 12, 13, 14, 15], [START, 16, 17, 18, 19]])


@torch.inference_mode()
def test_writing_piece_by_piece_is_teacher_forcing(translator: Translator) -> None:
    logits, attention = translator(SOURCE, TARGET)
    state = translator.init_state(SOURCE)
    for t in range(TARGET.shape[1]):
        now, state, looked = translator.step(TARGET[:, t : t + 1], state)  # type: ignore[assignment]
        assert looked is not None
        torch.testing.assert_close(now[:, 0], logits[:, t], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(looked[:, 0], attention[:, t], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 5))
    assert not attention[1, :, 2:].any()  # there is nothing to look at in padding


@torch.inference_mode()
@pytest.mark.parametrize("search", [Stepwise(), BeamSearch(3)])
def test_a_sentence_is_translated_alike_alone_and_beside_a_longer_one(
    translator: Translator, search: Stepwise | BeamSearch
) -> None:
    def pieces(source: Tensor) -> Tensor:
        [decoded] = decode(translator, translator.init_state(source), search, max_words=7)
        return decoded.tokens[-1]

    assert torch.equal(pieces(SOURCE)[:, :7], pieces(SOURCE[1:, :2]))


def test_sizes_must_fit() -> None:
    with pytest.raises(ConfigError):
        TranslatorConfig(10, 10, width=18, heads=4)


def test_pieces_make_the_sentence_and_know_their_words(subwords: Subwords) -> None:
    for sentence, pieces in zip(SENTENCES, subwords.encode(SENTENCES), strict=True):
        assert subwords.decode(pieces) == sentence.split()
        numbers = subwords.word_numbers(pieces)
        assert numbers == sorted(numbers)
        assert numbers[-1] == len(sentence.split()) - 1
    [pieces] = subwords.encode(["бегут, и"])
    comma, alone = subwords.pieces.index(","), subwords.pieces.index("▁")
    assert subwords.word_numbers(pieces)[pieces.index(comma)] == 0
    assert (subwords.decode([alone, comma, alone]), subwords.word_numbers([alone, comma, alone])) == ([","], [0, 0, 0])


def test_left_out_merges_change_the_pieces_and_not_the_sentence(subwords: Subwords) -> None:
    drawn = [subwords.encode(SENTENCES, dropout=0.5) for _ in range(10)]
    assert len({str(pieces) for pieces in drawn}) > 1
    words = [sentence.split() for sentence in SENTENCES]
    assert all([subwords.decode(each) for each in pieces] == words for pieces in drawn)
    assert subwords.encode(SENTENCES) == subwords.encode(SENTENCES)


def test_subwords_are_kept_as_json(subwords: Subwords) -> None:
    subwords.encode(SENTENCES, dropout=0.5)
    again = Subwords.from_json(subwords.to_json())
    assert again.pieces == subwords.pieces
    assert again.encode(SENTENCES) == subwords.encode(SENTENCES)
    assert UNKNOWN in again.encode(["wii"])[0]
    with pytest.raises(ValueError, match="subword"):
        Subwords.from_json("{}")
