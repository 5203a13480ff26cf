"""The translator's network and its subword units, small and untrained."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor

from model.decoding.pruned import Found, pruned_beam
from model.decoding.search import word_log_probs
from model.network.config import ConfigError
from model.network.flat_translator import FlatTranslator
from model.network.packed import PackedLinear
from model.network.subwords import Subwords
from model.network.threads import openmp
from model.network.translator import Translator, TranslatorConfig
from model.network.vocabulary import END, PAD, START, UNKNOWN

SENTENCES = ["собака бежит", "собаки бегут, и кошка спит", "хот-дог на столе", "собака на столе", "кошка бежит"]


@pytest.fixture
def translator() -> Translator:
    torch.manual_seed(1)
    return Translator(TranslatorConfig(20, 30, width=16, layers=2, heads=2, feed_forward=24, hidden=12)).eval()


@pytest.fixture
def subwords() -> Subwords:
    return Subwords.train(SENTENCES, 60)


SENTENCES_READ = [[5, 6, 7, 8], [9, 10], [11, 12, 13], [5]]
SOURCE = torch.tensor([[5, 6, 7, 8], [9, 10, PAD, PAD]])
TARGET = torch.tensor([[START, 12, 13, 14, 15], [START, 16, 17, 18, 19]])


def _whole_prefixes(translator: Translator, sentence: list[int], width: int, most: int) -> tuple[list[int], float]:
    """Beam search the slow way: one sentence, the network run on each whole hypothesis. Pieces and their score."""
    hypotheses: list[tuple[list[int], float]] = [([], 0.0)]
    for t in range(most):
        grown = [each for each in hypotheses if each[0][-1:] == [END]]
        for said, score in hypotheses:
            if said[-1:] != [END]:
                logits, _ = translator(torch.tensor([sentence]), torch.tensor([[START, *said]]))
                top = word_log_probs(logits[0, -1], t).topk(width)
                grown += [
                    ([*said, w], score + p) for w, p in zip(top.indices.tolist(), top.values.tolist(), strict=True)
                ]
        hypotheses = sorted(grown, key=lambda each: -each[1])[:width]
    said, score = max(hypotheses, key=lambda each: each[1] / len(each[0]))
    return [piece for piece in said if piece != END], score / len(said)


def _beam(model: Translator, sentences: list[list[int]], width: int, gap: float = float("inf")) -> list[Found]:
    return pruned_beam(FlatTranslator(model), sentences, width=width, length_power=1.0, max_words=7, gap=gap)


@torch.inference_mode()
@pytest.mark.parametrize("packed", [False, True])
def test_writing_piece_by_piece_is_teacher_forcing(
    translator: Translator, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if packed:
        translator.half().float()  # else packing would change its weights
    else:
        monkeypatch.setattr(PackedLinear, "possible", lambda: False)
    logits, attention = translator(SOURCE, TARGET)
    logits[..., [PAD, START, UNKNOWN]] = -torch.inf
    flat = FlatTranslator(translator)
    sources, state = flat.read([[5, 6, 7, 8], [9, 10]])
    place = torch.tensor([0, 2])  # of two hypotheses of each sentence, the second does not go on
    for t in range(TARGET.shape[1]):
        now, state, looked = flat.step(TARGET[:, t], state, torch.tensor([0, 0, 1, 0]), place, sources)
        torch.testing.assert_close(now, logits[:, t], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(looked[place], attention[:, t], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(attention.sum(dim=-1), torch.ones(2, 5))
    assert not attention[1, :, 2:].any()  # there is nothing to look at in padding


@torch.inference_mode()
def test_any_length_is_read(translator: Translator) -> None:
    long = [4 + place % 16 for place in range(100)]
    sources, _ = FlatTranslator(translator).read([long, long[:3]])
    alone, _ = FlatTranslator(translator).read([long])
    torch.testing.assert_close(sources.looked[:1], alone.looked, atol=1e-5, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_search_finds_what_running_whole_prefixes_finds(translator: Translator, width: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    translator.output_bias.normal_(generator=generator)
    translator.target.weight.normal_(generator=generator)  # far from uniform: <end> comes early and late
    found = _beam(translator, SENTENCES_READ, width)
    for sentence, each in zip(SENTENCES_READ, found, strict=True):
        expected, score = _whole_prefixes(translator, sentence, width, 7)
        assert each.tokens == expected
        assert len(each.log_probs) == len(each.attention) == len(expected)
        assert each.log_probs.sum() >= score * (len(expected) + 1) - 1e-3  # which has that of <end>, too


@torch.inference_mode()
def test_hopeless_hypotheses_are_not_read_on(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, step = list[int](), FlatTranslator.step

    def counted(self: FlatTranslator, tokens: Tensor, *rest: Any) -> tuple[Tensor, Tensor, Tensor]:
        rows.append(len(tokens))
        return step(self, tokens, *rest)

    monkeypatch.setattr(FlatTranslator, "step", counted)

    def found(gap: float) -> tuple[list[list[int]], list[int]]:
        rows.clear()
        return [each.tokens for each in _beam(translator, SENTENCES_READ, 3, gap)], list(rows)

    everything = found(float("inf"))
    assert max(everything[1]) > len(SENTENCES_READ)
    assert max(found(0.0)[1]) == len(SENTENCES_READ)
    assert found(99.0) == everything


@pytest.mark.parametrize("threads", [1, 2])
def test_few_rows_take_one_thread_and_leave_other_threads_theirs(
    translator: Translator, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, others = list[int](), list[int]()
    step = FlatTranslator.step

    def watched(self: FlatTranslator, *arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
        own.append(torch.get_num_threads())
        with ThreadPoolExecutor(1) as pool:  # a thread whose first operation comes just now
            others.append(pool.submit(torch.get_num_threads).result())
        return step(self, *arguments)

    monkeypatch.setattr(FlatTranslator, "step", watched)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            _beam(translator, SENTENCES_READ, 2)
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert set(own) == ({1} if openmp() else {threads})
    assert set(others) == {threads}


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
