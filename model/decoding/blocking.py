"""Words that may not come next: rules against repetition and against captions that break off."""

import itertools
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
from torch import Tensor

from model.network.vocabulary import END, PAD, SPECIAL, Vocabulary
from model.words import BAD_ENDINGS, DETERMINERS, FUNCTION_WORDS

PENALTY: Final = 1e4  # off a log-probability: never chosen while any other word is left


def ends_badly(words: Sequence[str]) -> bool:
    """Whether a caption breaks off: its last word is one that something must follow."""
    return bool(words) and words[-1] in BAD_ENDINGS


def repeats(words: Sequence[str]) -> bool:
    """Whether a caption says a word twice in a row, a trigram twice, or a bigram twice at once.

    "At once" is with at most one word between ("a bowl of a bowl"); a bigram that ends in a determiner counts only
    with none between ("in the water in the street" is good English), but "of a" counts ("of a bowl of a cup").
    """
    trigrams = list(zip(words, words[1:], words[2:], strict=False))
    return (
        any(a == b for a, b in itertools.pairwise(words))
        or len(set(trigrams)) < len(trigrams)
        or any(words[i : i + 2] == words[i + 2 : i + 4] for i in range(len(words) - 3))
        or any(
            words[i : i + 2] == words[i + 3 : i + 5] and (words[i] == "of" or words[i + 1] not in DETERMINERS)
            for i in range(len(words) - 4)
        )
    )


@dataclass(frozen=True)
class Blocking:
    """The rules above for a decoder's vocabulary of V words, as a search needs them, and one more.

    A content word is said once: a photo's "cat sitting on a cat" or "clock tower with a clock" is nearly always the
    network going in circles. It costs the rare caption that means both ("a man hands a man a ball"), and raised CIDEr
    on Flickr8k's validation split; `repeats` does not count it as a fault.
    """

    bad_endings: Tensor  # (V,) bool
    determiners: Tensor  # (V,) bool
    of_word: Tensor  # (V,) bool: "of" alone
    once: Tensor  # (V,) bool: content words

    @classmethod
    def of(cls, vocabulary: Vocabulary, device: torch.device | str = "cpu") -> Self:
        def mark(words: Collection[str]) -> Tensor:
            return torch.tensor([word in words for word in vocabulary.words], device=device)

        content = set(vocabulary.words) - FUNCTION_WORDS - set(SPECIAL)
        return cls(mark(BAD_ENDINGS), mark(DETERMINERS), mark({"of"}), mark(content))

    def apply(self, log_probs: Tensor, words: Tensor) -> Tensor:
        """PENALTY off the words that would break a rule, and off <end> after a bad ending.

        log_probs: (B, K, V), of the next word; words: (B, K, t), those before it, <pad> after an <end>.
        Nothing is made impossible: where all words are blocked, the likeliest of them is still found.
        """
        said = words.shape[-1]
        if not said:
            return log_probs
        last = words[..., -1:]  # (B, K, 1)
        blocked = [  # <pad> is never said: blocks nothing
            last,
            torch.where(self.bad_endings[last], END, PAD),
            torch.where(self.once[words], words, PAD),
        ]
        if said >= 3:
            pair = (words[..., :-2] == words[..., -2:-1]) & (words[..., 1:-1] == last)  # (B, K, t - 2)
            blocked.append(torch.where(pair, words[..., 2:], PAD))
            blocked.append(torch.where(words[..., -3:-2] == last, words[..., -2:-1], PAD))
        if said >= 4:
            before = words[..., -3:-2]
            again = (words[..., -4:-3] == last) & (~self.determiners[before] | self.of_word[last])
            blocked.append(torch.where(again, before, PAD))
        index = torch.cat(blocked, dim=-1)
        return log_probs.scatter_add(-1, index, log_probs.new_full((), -PENALTY).expand(index.shape))

    def cut(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Lengths without the bad endings of captions that the length cap broke off; at least one word is left.

        words: (B, K, T), lengths: (B, K).
        """
        if not words.shape[-1]:
            return lengths
        place = torch.arange(1, words.shape[-1] + 1, device=words.device)
        good = ~self.bad_endings[words] & (place <= lengths.unsqueeze(-1))  # (B, K, T)
        return torch.where(good, place, 0).amax(dim=-1).clamp(min=1).minimum(lengths)
