"""Log-probabilities and attention of a given caption, by teacher forcing (Williams and Zipser, 1989).

The caption goes through the same steps of the network as a search.

Shapes: B images with a caption each, T words of the longest, R regions, V vocabulary, L likeliest words.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.captions import END_OF_CAPTION, Step
from model.decoding.search import StepModel, word_log_probs
from model.errors import Unexplainable
from model.network.decoder import DecoderState
from model.network.vocabulary import END, PAD, START, UNKNOWN, Vocabulary


@dataclass(frozen=True)
class Weighed:
    """The network's figures for given captions. Undefined beyond a caption's end."""

    log_probs: Tensor  # (B, T + 1), of each word, then of <end>
    likeliest: Tensor  # (B, T + 1, L), log-probabilities, descending
    indices: Tensor  # (B, T + 1, L), of these words
    attention: Tensor | None  # (B, T + 1, R)


def tokens_of(text: str, vocabulary: Vocabulary, max_words: int) -> list[int]:
    """The words of a caption. Raises Unexplainable for one that has none, too many, or any that are not known."""
    tokens = vocabulary.encode(text)
    if not tokens:
        raise Unexplainable("a caption without words")
    if len(tokens) > max_words:
        raise Unexplainable(f"{len(tokens)} words; the model's captions have {max_words} at most")
    if unknown := tokens.count(UNKNOWN):  # people's words are not for the log
        raise Unexplainable(f"{unknown} of {len(tokens)} words are not in the model's vocabulary")
    return tokens


@torch.inference_mode()
def weigh(
    model: StepModel,
    state: DecoderState,
    captions: Sequence[Sequence[int]],
    likeliest: int,
    *,
    attention: bool = True,
) -> Weighed:
    """Run one caption of at least one word through the network for each image. state: the initial state, K = 1;
    attention: whether to keep what is looked at.
    """
    longest = max(map(len, captions))
    rows = [[*words, END, *[PAD] * (longest - len(words))] for words in captions]
    said = torch.tensor(rows, device=state.hidden.device)  # (B, T + 1)
    read = torch.full_like(said[:, :1], START)
    log_probs, top, looks = [], [], []
    for t in range(longest + 1):
        logits, state, looked = model.step(read, state)
        distribution = word_log_probs(logits, t)[:, 0]  # (B, V)
        read = said[:, t : t + 1]
        log_probs.append(distribution.gather(1, read)[:, 0])
        top.append(distribution.topk(min(likeliest, distribution.shape[-1]), dim=-1))
        if attention and looked is not None:
            looks.append(looked[:, 0])
    return Weighed(
        log_probs=torch.stack(log_probs, dim=1),
        likeliest=torch.stack([each.values for each in top], dim=1),
        indices=torch.stack([each.indices for each in top], dim=1),
        attention=torch.stack(looks, dim=1) if looks else None,
    )


def steps_of(weighed: Weighed, captions: Sequence[Sequence[int]], vocabulary: Vocabulary) -> list[tuple[Step, ...]]:
    """For each caption, the steps of its words and of its end."""

    def word(index: int) -> str:
        return END_OF_CAPTION if index == END else vocabulary.words[index]

    said = weighed.log_probs.exp().tolist()
    likeliest, indices = weighed.likeliest.exp().tolist(), weighed.indices.tolist()
    return [
        tuple(
            Step(
                word(token),
                said[row][t],
                tuple((word(i), p) for i, p in zip(indices[row][t], likeliest[row][t], strict=True) if p > 0),
            )
            for t, token in enumerate([*words, END])
        )
        for row, words in enumerate(captions)
    ]
