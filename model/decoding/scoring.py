"""Log-probabilities of many given texts for each of many images; texts that begin alike share their first steps.

Shapes: B images, N texts, V vocabulary.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from model.decoding.search import StepModel, word_log_probs
from model.network.decoder import DecoderState
from model.network.vocabulary import END, START

MOST_SEQUENCES: Final = 4096  # side by side: what a step of the network holds in memory (0.2 GB)


@torch.inference_mode()
def text_log_probs(model: StepModel, state: DecoderState, texts: Sequence[Sequence[int]], *, end: bool) -> Tensor:
    """log p(text | image) for each text and image, (B, N) float32, natural logarithms.

    state: the decoder's initial states of B images, K = 1. texts: indices of at least one word each, none unknown.
    end: whether the caption must end after the text (the text is a caption), or may go on (it begins one).
    """
    images = state.hidden.shape[0]
    most = max(1, MOST_SEQUENCES // images)
    order = sorted(range(len(texts)), key=lambda row: list(texts[row]))  # those that begin alike are neighbours
    found = torch.empty(images, len(texts), device=state.hidden.device)
    for start in range(0, len(texts), most):
        rows = order[start : start + most]
        found[:, rows] = _log_probs(model, state, [(*texts[row], *((END,) if end else ())) for row in rows])
    return found


def _log_probs(model: StepModel, state: DecoderState, texts: Sequence[tuple[int, ...]]) -> Tensor:
    """A step for each distinct beginning. A beginning's log-probability is its parent's and its last word's."""
    device = state.hidden.device
    found = torch.empty(state.hidden.shape[0], len(texts), device=device)
    read = torch.full_like(found[:, :1], START, dtype=torch.long)
    parents: dict[tuple[int, ...], int] = {(): 0}  # beginning → its column
    total = torch.zeros_like(found[:, :1])  # (B, K)
    for t in range(max(map(len, texts))):
        logits, state, _ = model.step(read, state)
        distribution = word_log_probs(logits, t)  # (B, K, V)
        beginnings = list(dict.fromkeys(text[: t + 1] for text in texts if len(text) > t))
        origin = torch.tensor([parents[beginning[:-1]] for beginning in beginnings], device=device)
        word = torch.tensor([beginning[-1] for beginning in beginnings], device=device)
        total = total[:, origin] + distribution[:, origin, word]
        column = {beginning: place for place, beginning in enumerate(beginnings)}
        for row, text in enumerate(texts):
            if len(text) == t + 1:
                found[:, row] = total[:, column[text]]
        going = list(dict.fromkeys(text[: t + 1] for text in texts if len(text) > t + 1))
        if not going:
            break
        kept = torch.tensor([column[beginning] for beginning in going], device=device)
        state = state.reorder(origin[kept].expand(len(found), -1))
        read, total = word[kept].expand(len(found), -1), total[:, kept]
        parents = {beginning: place for place, beginning in enumerate(going)}
    return found
