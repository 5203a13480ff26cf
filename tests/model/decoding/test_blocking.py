"""What captions may not do: the rules as words, and as a search keeps them."""

import pytest
import torch

from model.captioner import Captioner
from model.decoding.blocking import PENALTY, Blocking, ends_badly, repeats
from model.network.vocabulary import END, PAD, Vocabulary


@pytest.mark.parametrize(
    ("caption", "repeated"),
    [
        ("a dog dog runs", True),
        ("a man in a hat and a man in a coat", True),  # "a man in"
        ("a bowl of a bowl", True),
        ("a man and a man", True),
        ("dogs run dogs run", True),
        ("in the in the water", True),
        ("a girl spins in the waves in the sun", False),
        ("a bowl of a cup of a tea", True),
        ("the back of the head of a dog", False),
        ("a view of the top of the hill", True),
        ("a man in a hat with a large hat", False),
        ("a dog", False),
        ("", False),
    ],
)
def test_what_counts_as_a_repeat(caption: str, repeated: bool) -> None:
    assert repeats(caption.split()) is repeated


def test_what_counts_as_a_bad_ending() -> None:
    assert all(
        ends_badly(caption.split()) for caption in ("a man in a", "a dog is", "a boy and", "a cat on the top of")
    )
    assert not any(ends_badly(caption.split()) for caption in ("a man stands by", "the dog jumps up", "follow her", ""))


WORDS = ["a", "bowl", "of", "food", "in", "hat", "two"]
VOCABULARY = Vocabulary(WORDS)


def blocked_after(caption: str) -> set[str]:
    """The words that may not follow."""
    words = torch.tensor([[VOCABULARY.encode(caption)]], dtype=torch.long)
    before = torch.zeros(1, 1, len(VOCABULARY))
    before[..., PAD] = -torch.inf
    after = Blocking.of(VOCABULARY).apply(before, words)[0, 0]
    return {VOCABULARY.words[i] for i in range(1, len(VOCABULARY)) if after[i] < 0}


def test_each_rule_blocks_the_word_that_would_break_it_and_no_other() -> None:
    assert blocked_after("") == set()
    assert blocked_after("food") == {"food"}
    assert blocked_after("a") == {"a", "<end>"}
    assert blocked_after("two of a") == {"a", "<end>"}
    assert blocked_after("of two of") == {"of", "<end>", "two"}  # "of two of two"
    assert blocked_after("two of a two") == {"two", "of"}  # "two of a two of": a bigram twice at once
    assert blocked_after("a two of in a two") == {"two", "of"}  # "a two of": a trigram twice
    assert blocked_after("in a two in") == {"in", "<end>"}  # "in a" again is good English
    assert blocked_after("of a two of") == {"of", "<end>", "a"}  # "of a two of a": no good English
    assert blocked_after("a bowl of a hat in") == {"in", "<end>", "bowl", "hat"}  # content words, once each


def test_the_likeliest_word_is_still_found_where_all_are_blocked() -> None:
    scores = torch.tensor([-torch.inf, -torch.inf, -3.0, -torch.inf, -1.0])  # but <end> and one word
    blocking = Blocking.of(Vocabulary(["a"]))
    after = blocking.apply(scores.view(1, 1, -1), torch.tensor([[[4]]]))[0, 0]
    assert int(after.argmax()) == 4
    assert after[END] == pytest.approx(-3.0 - PENALTY)


def test_bad_endings_at_the_length_cap_are_cut_back_to_a_good_one() -> None:
    encoded = [VOCABULARY.encode(caption) for caption in ("food in a bowl", "food in a hat of", "a of in", "food bowl")]
    words = torch.tensor([[row + [PAD] * (5 - len(row)) for row in encoded]])
    lengths = torch.tensor([[len(row) for row in encoded]])
    assert Blocking.of(VOCABULARY).cut(words, lengths).tolist() == [[4, 4, 1, 2]]


@torch.inference_mode()
def test_no_caption_of_a_decoder_breaks_a_rule_unless_rules_are_off(tiny: Captioner) -> None:
    """Its ten words leave a random network little else, so that it does without."""
    features = torch.randn(60, 9, 6, generator=torch.Generator().manual_seed(5))

    def faulty(blocking: bool) -> tuple[int, int]:
        found = [
            caption.words
            for several in tiny.caption_features(features, samples=6, beam=3, blocking=blocking)
            for caption in (several.greedy, *several.samples, several.best)
            if caption is not None
        ]
        assert all(found)
        return sum(map(repeats, found)), sum(map(ends_badly, found))

    assert min(faulty(blocking=False)) > 0
    assert faulty(blocking=True) == (0, 0)
