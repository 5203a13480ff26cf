"""Subword units of caption words: byte pair encoding (Sennrich et al., ACL 2016). Free of torch.

A piece that begins a word starts with "▁"; a comma is a piece of its own. Indices 0–3 are those of
`model.network.vocabulary`: <pad>, <start>, <end>, <unk>.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final, Self

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from model.network.vocabulary import SPECIAL

_BEGINS: Final = "▁"
WORDS: Final = 4096  # whose pieces are kept


class Subwords:
    """A two-way map of words and pieces."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._pieces_of = lru_cache(WORDS)(self._encode_word)
        self.pieces: tuple[str, ...] = tuple(sorted((vocabulary := tokenizer.get_vocab()), key=vocabulary.__getitem__))

    @classmethod
    def train(cls, sentences: Iterable[str], size: int) -> Self:
        """`size` pieces at most, the commonest pairs merged first."""
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))  # noqa: S106
        split = pre_tokenizers.Split(",", "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), split])
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), show_progress=False)
        tokenizer.train_from_iterator(sentences, trainer)
        return cls(tokenizer)

    def __len__(self) -> int:
        return len(self.pieces)

    def encode(self, sentences: Sequence[str], *, dropout: float = 0.0) -> list[list[int]]:
        """The pieces of each sentence, words apart by a space.

        dropout: the share of merges that are left out at random (Provilkov et al., ACL 2020), for training.
        """
        if not dropout:  # words are split by themselves, and most come often
            return [[piece for word in sentence.split() for piece in self._pieces_of(word)] for sentence in sentences]
        self._tokenizer.model.dropout = dropout
        try:
            encodings = self._tokenizer.encode_batch_fast(sentences, add_special_tokens=False)
        finally:
            self._tokenizer.model.dropout = None
        return [encoding.ids for encoding in encodings]

    def _encode_word(self, word: str) -> list[int]:
        ids: list[int] = self._tokenizer.encode(word, add_special_tokens=False).ids
        return ids

    def decode(self, indices: Sequence[int]) -> list[str]:
        """The words of a sentence; a comma belongs to the word before it."""
        return "".join(self.pieces[index] for index in indices).replace(_BEGINS, " ").split()

    def word_numbers(self, indices: Sequence[int]) -> list[int]:
        """For each piece of a sentence, the place of its word among those of `decode`, from 0."""
        number, apart, numbers = -1, True, []
        for index in indices:
            for letter in self.pieces[index]:
                number += apart and letter != _BEGINS
                apart = letter == _BEGINS
            numbers.append(max(0, number))
        return numbers

    def to_json(self) -> str:
        return self._tokenizer.to_str()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raises ValueError."""
        try:
            return cls(Tokenizer.from_str(text))
        except Exception as error:  # that is all the library says
            raise ValueError(f"not a file of subword units: {error}") from error
