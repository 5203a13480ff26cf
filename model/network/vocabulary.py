"""The tokeniser and the vocabulary. Free of torch."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, Self

PAD: Final = 0
START: Final = 1
END: Final = 2
UNKNOWN: Final = 3
SPECIAL: Final = ("<pad>", "<start>", "<end>", "<unk>")

_WORD: Final = re.compile(r"[^\W_]+(?:['-][^\W_]+)*")


def tokenize(caption: str) -> list[str]:
    """Lower-cased words, without punctuation; hyphens and apostrophes inside a word stay."""
    return _WORD.findall(caption.lower().replace("\N{RIGHT SINGLE QUOTATION MARK}", "'"))


class Vocabulary:
    """A two-way map of words and indices; indices 0–3 are <pad>, <start>, <end>, <unk>."""

    def __init__(self, words: Sequence[str]) -> None:
        """`words`: the ordinary words, in index order after the four special ones.

        Raises ValueError for a repeated word or one that is special.
        """
        self.words: tuple[str, ...] = (*SPECIAL, *words)
        self._index = {word: index for index, word in enumerate(self.words)}
        if len(self._index) != len(self.words):
            raise ValueError("a vocabulary's words must be distinct and not special")

    @classmethod
    def build(cls, captions: Iterable[str], *, min_count: int = 4) -> Self:
        """Words seen at least `min_count` times, the commonest first (ties by spelling)."""
        counts = Counter(word for caption in captions for word in tokenize(caption))
        kept = [word for word, count in counts.items() if count >= min_count]
        return cls(sorted(kept, key=lambda word: (-counts[word], word)))

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, caption: str) -> list[int]:
        """Indices of the caption's words, <unk> for unknown ones; no <start> or <end>."""
        return [self._index.get(word, UNKNOWN) for word in tokenize(caption)]

    def decode(self, indices: Iterable[int]) -> list[str]:
        """The words up to the first <end>; special tokens are left out."""
        words = []
        for index in indices:
            if index == END:
                break
            if index >= len(SPECIAL):
                words.append(self.words[index])
        return words

    def to_json(self) -> str:
        return json.dumps(self.words[len(SPECIAL) :], ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(json.loads(text))
