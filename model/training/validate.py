"""Validation of a decoder during training. Needs neither Java nor files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from model.decoding.search import Stepwise, decode
from model.network.decoder import Decoder
from model.network.vocabulary import Vocabulary, tokenize
from model.training.data import Example, encode_captions
from model.training.losses import caption_loss
from model.training.scores import CiderD


@dataclass(frozen=True)
class Validation:
    loss: float  # cross-entropy per word, without label smoothing
    cider: float  # CIDEr-D × 100 of the greedy captions
    words: float  # in a greedy caption, on average


@torch.inference_mode()
def validate(
    decoder: Decoder,
    vocabulary: Vocabulary,
    examples: Sequence[Example],
    features: Iterable[Tensor],
    precision: torch.autocast,
) -> Validation:
    """Validate on examples whose features come in batches, (B, R, C) each, in their order.

    CIDEr-D is pycocoevalcap's, with document frequencies from these examples, but with the vocabulary's tokeniser.
    """
    decoder.eval()
    captions = encode_captions(examples, vocabulary, decoder.config.max_words)
    references = [[tokenize(caption) for caption in example.captions] for example in examples]
    metric = CiderD(references)
    start, loss, targets, cider, said = 0, 0.0, 0, 0.0, 0
    for batch in features:
        rows = range(start, start + len(batch))
        with precision:
            mean, words = caption_loss(decoder, batch, [captions[row] for row in rows])
            [decoded] = decode(decoder, decoder.init_state(batch), Stepwise(), max_words=decoder.config.max_words)
        loss, targets = loss + float(mean) * words, targets + words
        for row, tokens in zip(rows, decoded.tokens[:, 0].tolist(), strict=True):
            caption = vocabulary.decode(tokens)
            cider += metric.score([caption], references[row])[0]
            said += len(caption)
        start = rows.stop
    return Validation(loss / targets, 100 * cider / start, said / start)
