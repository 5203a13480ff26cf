"""Greedy, sampled and beam search over a scripted network whose best captions are known, and over real decoders."""

import itertools
import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from model.captioner import Captioner
from model.decoding.blocking import Blocking
from model.decoding.sampling import Sampling
from model.decoding.search import BeamSearch, Decoded, StepModel, Stepwise, candidates, decode, uniform_numbers
from model.network.decoder import DecoderState
from model.network.vocabulary import END, PAD, START, UNKNOWN

A, B, C = 4, 5, 6
aten = torch.ops.aten


@dataclass
class Scripted:
    """A network over 7 tokens given by a table: probabilities of the next word after each history's last word.

    The state's hidden vector holds nothing; the last token decides.
    """

    table: dict[int, dict[int, float]]

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        logits = torch.full((*tokens.shape, 7), -30.0)
        for b, k in itertools.product(*map(range, tokens.shape)):
            for word, probability in self.table.get(int(tokens[b, k]), {END: 1.0}).items():
                logits[b, k, word] = math.log(probability)
        attention = torch.nn.functional.one_hot(tokens, 7).float()  # "looks at" the word just read
        return logits, state, attention


def start(images: int = 1) -> DecoderState:
    zeros = torch.zeros(images, 1, 1)
    return DecoderState(zeros, zeros)


@pytest.mark.slow
def test_greedy_takes_the_likeliest_word_until_the_end() -> None:
    model = Scripted({START: {A: 0.6, B: 0.4}, A: {C: 0.7, END: 0.3}, C: {END: 0.9, A: 0.1}})
    result = decode(model, start(2), Stepwise(), max_words=9)[0]
    assert result.tokens.tolist() == [[[A, C]], [[A, C]]]
    assert result.lengths.tolist() == [[2], [2]]
    torch.testing.assert_close(result.log_probs[0, 0].exp(), torch.tensor([0.6, 0.7]))
    assert result.attention is not None
    assert result.attention[0, 0].argmax(dim=-1).tolist() == [START, A]  # where it looked to say A, then C


def test_unknown_and_special_words_are_never_said_even_when_likeliest() -> None:
    model = Scripted({START: {UNKNOWN: 0.7, END: 0.1, PAD: 0.1, A: 0.1}, A: {UNKNOWN: 0.9, START: 0.05, B: 0.05}})
    sampled = decode(model, start(), Stepwise(samples=20), max_words=5)[0]
    assert {A, B} == set(sampled.tokens.flatten().tolist())
    assert decode(model, start(), BeamSearch(), max_words=5)[0].tokens[0, 0, :2].tolist() == [A, B]


def test_a_network_that_never_ends_is_cut() -> None:
    model = Scripted({START: {A: 1.0}, A: {A: 1.0}})
    assert decode(model, start(), Stepwise(samples=2), max_words=5)[0].lengths.tolist() == [[5, 5, 5]]
    assert decode(model, start(), BeamSearch(), max_words=5)[0].lengths.tolist() == [[5]]


def test_samples_follow_the_distribution() -> None:
    model = Scripted({START: {A: 0.5, B: 0.3, C: 0.2}})
    sampling = Sampling(temperature=1.0, top_p=1.0)
    result = decode(model, start(), Stepwise(samples=4000, sampling=sampling), max_words=3)[0]
    shares = [(result.tokens[0, 1:, 0] == word).float().mean().item() for word in (A, B, C)]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.03)


def test_filters_restrict_and_sharpen() -> None:
    log_probs = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.5, 0.3, 0.2]).log()

    def kept(position: int = 0, **settings: float) -> list[int]:
        sampling = Sampling(**{"temperature": 1.0, "top_p": 1.0, **settings})  # type: ignore[arg-type]
        probabilities, indices = candidates(log_probs, sampling, position)
        return sorted(indices[probabilities > 0].tolist())

    assert kept() == [A, B, C]
    assert kept(top_k=2) == [A, B]
    assert kept(top_p=0.5) == [A]
    assert kept(top_p=0.6) == [A, B]
    assert kept(top_p=0.01) == [A]  # never nothing
    assert kept(ladder=True, position=2) == [A, B, C]
    assert kept(ladder=True, position=3) == [A, B]
    assert kept(ladder=True, position=6) == [A]
    cold, indices = candidates(log_probs, Sampling(temperature=0.5, top_p=1.0), 0)
    assert indices.tolist() == list(range(7))
    torch.testing.assert_close(cold[A] / cold[B], torch.tensor((0.5 / 0.3) ** 2))


def test_ladder_is_4_then_2_then_1() -> None:
    ladder = Sampling(ladder=True)
    assert [ladder.limit(position) for position in range(8)] == [4, 4, 4, 2, 2, 2, 1, 1]


@pytest.mark.parametrize("bad", [{"temperature": 0}, {"temperature": 9}, {"top_k": -1}, {"top_p": 0}, {"top_p": 1.5}])
def test_sampling_settings_out_of_range_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        Sampling(**bad)  # type: ignore[arg-type]


def test_random_numbers_depend_on_seed_and_sample_alone() -> None:
    both = uniform_numbers([7, 9], samples=3, steps=4)
    assert torch.equal(uniform_numbers([9], samples=2, steps=4), both[1:, :2])
    assert not torch.equal(both[0], both[1])
    assert not torch.equal(both[0, 0], both[0, 1])


def test_beam_finds_a_caption_that_greedy_misses() -> None:
    """A is likelier at first, but only B leads to a likely whole."""
    model = Scripted({START: {A: 0.55, B: 0.45}, A: {END: 0.4, C: 0.6}, B: {END: 0.95, C: 0.05}, C: {END: 0.5, A: 0.5}})
    assert decode(model, start(), Stepwise(), max_words=4)[0].tokens[0, 0, 0] == A
    best = decode(model, start(3), BeamSearch(width=3, length_power=0.0), max_words=4)[0]
    assert best.tokens[:, 0, 0].tolist() == [B, B, B]
    assert best.lengths.tolist() == [[1], [1], [1]]
    torch.testing.assert_close(best.log_probs[0, 0, 0].exp(), torch.tensor(0.45))


def exhaustive(captioner: Captioner, features: Tensor, max_words: int) -> list[int]:
    """The caption of greatest probability per (words + 1) ** 0.7, by trying them all."""
    words = range(END + 1, captioner.decoder.config.vocabulary_size)

    def explore(state: DecoderState, token: int, prefix: list[int], total: float) -> tuple[float, list[int]]:
        logits, state, _ = captioner.decoder.step(torch.tensor([[token]]), state)
        logits[..., [PAD, START, UNKNOWN]] = -torch.inf
        if not prefix:
            logits[..., END] = -torch.inf
        log_probs = logits[0, 0].log_softmax(-1).tolist()
        results = [((total + log_probs[END]) / (len(prefix) + 1) ** 0.7, prefix)] if prefix else []
        for word in words:
            if word == UNKNOWN:
                continue
            score = total + log_probs[word]
            if len(prefix) + 1 == max_words:
                results.append((score / max_words**0.7, [*prefix, word]))
            else:
                results.append(explore(state, word, [*prefix, word], score))
        return max(results)

    return explore(captioner.decoder.init_state(features), START, [], 0.0)[1]


@torch.inference_mode()
def test_a_beam_as_wide_as_everything_is_exhaustive(tiny: Captioner) -> None:
    features = torch.randn(2, 9, 6, generator=torch.Generator().manual_seed(1))
    state = tiny.decoder.init_state(features)
    best = decode(tiny.decoder, state, BeamSearch(width=1200), max_words=3)[0]
    for image in range(2):
        length = int(best.lengths[image, 0])
        assert best.tokens[image, 0, :length].tolist() == exhaustive(tiny, features[image : image + 1], 3)


@torch.inference_mode()
def test_each_beam_keeps_its_own_state(tiny: Captioner) -> None:
    """The reported log-probabilities are those of the words when the network is fed just them."""
    features = torch.randn(3, 9, 6, generator=torch.Generator().manual_seed(2))
    best = decode(tiny.decoder, tiny.decoder.init_state(features), BeamSearch(width=4), max_words=6)[0]
    for image in range(3):
        state, token = tiny.decoder.init_state(features[image : image + 1]), START
        for position in range(int(best.lengths[image, 0])):
            logits, state, attention = tiny.decoder.step(torch.tensor([[token]]), state)
            logits[..., [PAD, START, UNKNOWN, *([END] if position == 0 else [])]] = -torch.inf
            token = int(best.tokens[image, 0, position])
            expected = logits.log_softmax(-1)[0, 0, token]
            torch.testing.assert_close(best.log_probs[image, 0, position], expected, atol=1e-5, rtol=1e-5)
            if attention is not None:
                assert best.attention is not None
                torch.testing.assert_close(best.attention[image, 0, position], attention[0, 0], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_captions_do_not_depend_on_batch_mates(tiny: Captioner) -> None:
    features = torch.randn(8, 9, 6, generator=torch.Generator().manual_seed(3))
    seeds = [11 * i for i in range(8)]
    together = tiny.caption_features(features, samples=4, seed=seeds, beam=3)
    for i in range(8):
        [alone] = tiny.caption_features(features[i : i + 1], samples=4, seed=seeds[i], beam=3)
        assert alone.greedy.words == together[i].greedy.words
        assert [s.words for s in alone.samples] == [s.words for s in together[i].samples]
        assert alone.best is not None
        assert together[i].best is not None
        assert alone.best.words == together[i].best.words  # type: ignore[union-attr]


def test_a_wide_nucleus_is_found_by_sorting_all() -> None:
    """Where the likeliest few hold too little mass, every word that belongs to the nucleus is kept."""
    flat = torch.full((2, 1000), 1 / 1000).log()
    flat[1, 7] = 9.0  # one row of the batch is sharp, the other is not
    probabilities, indices = candidates(flat.log_softmax(-1), Sampling(temperature=1.0, top_k=0, top_p=0.5), 0)
    kept = (probabilities > 0).sum(dim=-1).tolist()
    assert 499 <= kept[0] <= 501
    assert indices[1, 0] == 7


def test_captions_that_end_early_leave_the_rest_undisturbed() -> None:
    """Sequences are dropped from the batch as they end; each caption stands in its own place all the same."""
    model = Scripted({START: {A: 0.5, B: 0.5}, A: {A: 0.9, END: 0.1}, B: {END: 1.0}})
    sampling = Sampling(temperature=1.0, top_p=1.0)
    result = decode(model, start(3), Stepwise(samples=7, sampling=sampling, seeds=[1, 2, 3]), max_words=12)[0]
    assert result.attention is not None
    ends = set()
    for image in range(3):
        for k in range(8):
            length = int(result.lengths[image, k])
            caption = result.tokens[image, k].tolist()
            assert caption[:length] == ([B] if caption[0] == B else [A] * length)
            assert set(caption[length:]) <= {PAD}
            assert result.log_probs[image, k, length:].eq(0).all()
            looked = result.attention[image, k].argmax(dim=-1).tolist()[:length]
            assert looked == [START, *caption[: length - 1]]
            ends.add(length)
    assert len(ends) > 4


def blocking_over(bad_endings: set[int]) -> Blocking:
    """Rules for the scripted network's seven tokens."""
    none = torch.zeros(7, dtype=torch.bool)
    ends = torch.tensor([token in bad_endings for token in range(7)])
    return Blocking(ends, determiners=none, of_word=none, once=none)


LOOP = {START: {A: 1.0}, A: {B: 0.9, END: 0.1}, B: {A: 0.8, C: 0.2}, C: {B: 0.6, END: 0.4}}


def test_blocking_breaks_loops_and_leaves_log_probabilities_alone() -> None:
    model = Scripted(LOOP)
    free = decode(model, start(2), Stepwise(), max_words=6)[0]
    assert free.tokens[0, 0].tolist() == [A, B, A, B, A, B]
    held = decode(model, start(2), Stepwise(), max_words=6, blocking=blocking_over(set()))[0]
    assert held.tokens[0, 0].tolist() == [A, B, A]  # B is out; <end> is all that is left
    torch.testing.assert_close(held.log_probs[0, 0].exp(), torch.tensor([1.0, 0.9, 0.8]))
    for width in (1, 3):
        best = decode(model, start(2), BeamSearch(width=width), max_words=6, blocking=blocking_over(set()))[0]
        length = int(best.lengths[0, 0])
        words = best.tokens[0, 0, :length].tolist()
        probabilities = [LOOP[before][word] for before, word in itertools.pairwise([START, *words])]
        torch.testing.assert_close(best.log_probs[0, 0, :length].exp(), torch.tensor(probabilities))


def test_no_caption_ends_after_a_bad_ending() -> None:
    model = Scripted({START: {A: 1.0}, A: {END: 0.9, B: 0.1}, B: {END: 1.0}})
    blocking = blocking_over({A})
    assert decode(model, start(), Stepwise(samples=3), max_words=6, blocking=blocking)[0].tokens.tolist() == [
        [[A, B]] * 4
    ]
    assert decode(model, start(), BeamSearch(), max_words=6, blocking=blocking)[0].tokens.tolist() == [[[A, B]]]


def test_at_the_length_cap_a_caption_is_cut_back() -> None:
    model = Scripted({START: {B: 1.0}, B: {A: 1.0}, A: {C: 1.0}, C: {END: 1.0}})
    for result in (
        decode(model, start(), Stepwise(samples=1), max_words=2, blocking=blocking_over({A}))[0],
        decode(model, start(), BeamSearch(), max_words=2, blocking=blocking_over({A}))[0],
    ):
        assert result.tokens[0, 0].tolist() == [B]
        assert result.lengths[0, 0] == 1
        assert result.log_probs.shape == result.tokens.shape
        assert result.attention is not None
        assert result.attention.shape[:3] == result.tokens.shape


def test_samples_alone_are_those_beside_the_greedy_caption() -> None:
    model = Scripted({START: {A: 0.5, B: 0.5}, A: {A: 0.7, B: 0.2, END: 0.1}, B: {END: 0.5, A: 0.5}})
    both = decode(model, start(3), Stepwise(samples=4, seeds=[1, 2, 3]), max_words=9)[0]
    alone = decode(model, start(3), Stepwise(samples=4, seeds=[1, 2, 3], greedy=False), max_words=9)[0]
    assert alone.lengths.tolist() == both.lengths[:, 1:].tolist()
    longest = alone.tokens.shape[-1]
    assert alone.tokens.tolist() == both.tokens[:, 1:, :longest].tolist()


def test_images_whose_beam_is_over_leave_the_others_undisturbed() -> None:
    """Captions of different lengths, found together and one by one."""

    class PerImage(Scripted):
        """Image i ends after i + 1 words; its number is in the state."""

        def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
            left = state.hidden - 1
            logits = torch.full((*tokens.shape, 7), -30.0)
            over = left.squeeze(-1) < 0
            logits[..., END] = torch.where(over, 0.0, -5.0)
            logits[..., A] = torch.where(over, -5.0, torch.where(tokens == A, -1.0, 0.0))
            logits[..., B] = torch.where(over, -5.0, torch.where(tokens == A, 0.0, -1.0))
            looked = torch.nn.functional.one_hot(tokens, 7).float()
            return logits, DecoderState(left, state.cell), looked

    numbers = torch.tensor([3.0, 1.0, 5.0, 2.0]).view(-1, 1, 1)
    best = decode(PerImage({}), DecoderState(numbers, torch.zeros(4, 1, 1)), BeamSearch(width=3), max_words=8)[0]
    assert best.lengths.flatten().tolist() == [3, 1, 5, 2]
    assert best.tokens[2, 0].tolist() == [A, B, A, B, A]
    assert best.tokens[1, 0].tolist() == [A, PAD, PAD, PAD, PAD]
    assert best.attention is not None
    assert best.attention[0, 0].argmax(dim=-1)[:3].tolist() == [START, A, B]
    assert best.log_probs[1, 0, 1:].eq(0).all()


class Shapes:
    """A decoder that keeps the shapes of the words that its steps read."""

    def __init__(self, decoder: StepModel) -> None:
        self.decoder = decoder
        self.seen: list[tuple[int, ...]] = []

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        self.seen.append(tuple(tokens.shape))
        return self.decoder.step(tokens, state)


def test_hypotheses_that_are_over_leave_the_batch() -> None:
    """Of three, one ends after each step."""
    ends = {B: {A: 0.99, END: 0.01}, C: {B: 0.99, END: 0.01}}
    words = Scripted({START: {A: 0.4, B: 0.35, C: 0.25}, A: {END: 0.99, A: 0.01}, **ends})
    found = {}
    for fixed, rows in ((False, [1, 3, 2, 2]), (True, [1, 3, 3, 3])):  # never one: it would be rounded otherwise
        model = Shapes(words)
        [found[fixed]] = decode(model, start(), BeamSearch(3, hypotheses=3), max_words=9, fixed=fixed)
        assert [shape[1] for shape in model.seen] == rows
    assert sorted(found[True].tokens[0].tolist()) == [[A, PAD, PAD], [B, A, PAD], [C, B, A]]
    assert torch.equal(found[False].tokens, found[True].tokens)
    torch.testing.assert_close(found[False].log_probs, found[True].log_probs)


def assert_alike(one: Decoded, other: Decoded) -> None:
    """The same words; the figures but for the rounding of matrices of other sizes."""
    assert torch.equal(one.tokens, other.tokens)
    assert torch.equal(one.lengths, other.lengths)
    torch.testing.assert_close(one.log_probs, other.log_probs, atol=1e-4, rtol=1e-4)
    assert (one.attention is None) == (other.attention is None)
    if one.attention is not None and other.attention is not None:
        torch.testing.assert_close(one.attention, other.attention, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("images", [1, 3, 8])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(1.5, top_k=0, top_p=0.8), Sampling(ladder=True)])
def test_steps_of_one_shape_find_the_same_captions(tiny: Captioner, images: int, sampling: Sampling) -> None:
    features = torch.randn(images, 9, 6, generator=torch.Generator().manual_seed(4))
    searches = Stepwise(4, sampling, list(range(images))), BeamSearch(3), BeamSearch(2, length_power=0.0)
    found = {}
    seen = {}
    for fixed in (False, True):
        model = Shapes(tiny.decoder)
        state = tiny.decoder.init_state(features)
        found[fixed] = decode(model, state, *searches, max_words=7, blocking=tiny._blocking, fixed=fixed)
        seen[fixed] = model.seen
    for shrinking, fixed_ in zip(found[False], found[True], strict=True):
        assert_alike(shrinking, fixed_)
    assert set(seen[True]) == {(images, 1), (images, 10)}
    assert len(seen[True]) == len(seen[False])
    if images == 8:
        assert len({tuple(row) for row in found[True][0].lengths.tolist()}) > 1  # they end at different steps


class Waits(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations for which the program waits for a device: a value is read, or places of a mask are."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        masks = args[1] if func in (aten.index.Tensor, aten.index_put_.default) else ()
        read = (aten.is_nonzero.default, aten.item.default, aten._local_scalar_dense.default, aten.nonzero.default)
        self.count += func in read or any(mask is not None and mask.dtype == torch.bool for mask in masks)
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
@pytest.mark.parametrize("fixed", [True, False])
def test_steps_of_one_shape_wait_for_the_device_once(tiny: Captioner, fixed: bool) -> None:
    state = tiny.decoder.init_state(torch.randn(8, 9, 6, generator=torch.Generator().manual_seed(4)))
    counts = []

    class Counted(Shapes):
        def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
            counts.append(waits.count)
            return super().step(tokens, state)

    searches = Stepwise(4, Sampling(1.5, top_k=0, top_p=0.8)), BeamSearch(3)
    with Waits() as waits:
        decode(Counted(tiny.decoder), state, *searches, max_words=7, blocking=tiny._blocking, fixed=fixed)
    most = max(after - before for before, after in itertools.pairwise(counts))
    assert most == 1 if fixed else most > 3


@torch.inference_mode()
@pytest.mark.parametrize("model", ["attention", "baseline"])
@pytest.mark.parametrize("images", [1, 3, 8])
def test_steps_of_one_shape_find_the_same_captions_of_photos(
    request: pytest.FixtureRequest, features: Tensor, model: str, images: int
) -> None:
    captioner: Captioner = request.getfixturevalue("captioner" if model == "attention" else "baseline")
    several = torch.cat([features, features.flip(1)])[:images]
    searches = Stepwise(5, None, list(range(images))), BeamSearch(5)
    shrinking, fixed = (
        decode(
            captioner.decoder,
            captioner.decoder.init_state(several),
            *searches,
            max_words=20,
            blocking=captioner._blocking,
            fixed=fixed,
        )
        for fixed in (False, True)
    )
    for one, other in zip(shrinking, fixed, strict=True):
        assert_alike(one, other)
