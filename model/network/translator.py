"""The translator of captions: a transformer reads English, an LSTM with attention writes another language.

Encoder:  s_1 … s_S = Transformer(E x + positions)                     (Vaswani et al., NeurIPS 2017; norm first)
Reader:   r = LSTM(E y, r)                                             (what has been written)
Scores:   α = softmax(rᵀ W_k s_i / √H)
Context:  z = Σ α_i W_v s_i,  l = tanh(Σ α_i E x_i)                    (l: the looked-at words themselves)
Writer:   h = LSTM([r, z], h)
Output:   p(y') ∝ exp(Eᵀ (W_h h + W_z z + W_l l))                      (tied)

The recurrent layers read all of a training sentence at once, because attention depends on the reader alone (as in
GNMT, Wu et al., 2016). The output sees the looked-at words without their context (the lexical model of Nguyen and
Chiang, NAACL 2018): it translates rare words better, and attention that must find the word itself tells which it is.

This is the network as it is trained; `model.network.flat_translator` is how it translates.

Shapes: B sentences, S source pieces, T target pieces, E width, H hidden, V target vocabulary.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.config import Config, ConfigError
from model.network.vocabulary import PAD


@dataclass(frozen=True)
class TranslatorConfig(Config):
    source_size: int  # pieces of the source language
    target_size: int
    width: int = 256
    layers: int = 3
    heads: int = 4
    feed_forward: int = 768
    hidden: int = 256
    dropout: float = 0.3

    def __post_init__(self) -> None:
        sizes = (self.source_size, self.target_size, self.width, self.layers, self.heads, self.feed_forward)
        if min(*sizes, self.hidden) < 1 or self.width % (2 * self.heads):
            raise ConfigError("sizes must be positive, the width an even multiple of the heads")
        if not 0.0 <= self.dropout < 1.0:
            raise ConfigError(f"dropout must be in [0, 1), not {self.dropout}")


class Translator(nn.Module):
    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        width, hidden = config.width, config.hidden
        self.source = nn.Embedding(config.source_size, width, padding_idx=PAD)
        self.target = nn.Embedding(config.target_size, width, padding_idx=PAD)
        for embedding in (self.source, self.target):
            nn.init.normal_(embedding.weight, std=0.05)  # the target's is tied to the output, so it starts small
        self.scale = math.sqrt(width)  # of words that are read
        layer = nn.TransformerEncoderLayer(
            width, config.heads, config.feed_forward, config.dropout, batch_first=True, norm_first=True
        )
        norm = nn.LayerNorm(width)
        self.encoder = nn.TransformerEncoder(layer, config.layers, norm, enable_nested_tensor=False)
        self.keys = nn.Linear(width, hidden, bias=False)
        self.values = nn.Linear(width, hidden)
        self.initial = nn.Linear(width, 4 * hidden)
        self.reader = nn.LSTM(width, hidden, batch_first=True)
        self.writer = nn.LSTM(2 * hidden, hidden, batch_first=True)
        self.output_hidden = nn.Linear(hidden, width)
        self.output_context = nn.Linear(hidden, width, bias=False)
        self.output_words = nn.Linear(width, width, bias=False)
        self.output_bias = nn.Parameter(torch.zeros(config.target_size))
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing. Returns logits (B, T, V), attention (B, T, S).

        source: (B, S) int64, padded at the end, no sentence empty; target: (B, T), <start> and the pieces.
        """
        padding = source == PAD
        words = self.source(source) * self.scale  # (B, S, E)
        embedded = words + positions(words, source.shape[1]).to(words.dtype)
        states = self.encoder(self.dropout(embedded), src_key_padding_mask=padding)
        present = ~padding.unsqueeze(-1)
        mean = (states * present).sum(dim=1) / present.sum(dim=1)
        initial = self.initial(mean).tanh().unsqueeze(0).chunk(4, dim=-1)  # hidden of reader and writer, cell of both
        r, h, r_cell, h_cell = (each.contiguous() for each in initial)
        read, _ = self.reader(self.dropout(self.target(target) * self.scale), (r, r_cell))
        scores = self.dropout(read) @ self.keys(states).transpose(1, 2) / math.sqrt(self.config.hidden)  # (B, T, S)
        attention = scores.float().masked_fill(padding.unsqueeze(1), -torch.inf).softmax(dim=-1)
        values = self.values(states)
        looked = attention.to(values.dtype)
        context = looked @ values  # (B, T, H)
        said = torch.tanh(looked.to(words.dtype) @ words)
        written, _ = self.writer(self.dropout(torch.cat([read, context], dim=-1)), (h, h_cell))
        output = self.output_hidden(self.dropout(written)) + self.output_context(context) + self.output_words(said)
        return functional.linear(self.dropout(output), self.target.weight, self.output_bias), attention


def weights_of(lstm: nn.LSTM) -> list[Tensor]:
    """Those of the inputs, of the hidden, and both biases."""
    return [weight for weight in lstm.all_weights[0] if isinstance(weight, Tensor)]


def positions(words: Tensor, length: int) -> Tensor:
    """Sines and cosines of `length` positions, (S, E). words: (…, E)."""
    width = words.shape[-1]
    rates = torch.exp(torch.arange(0, width, 2, device=words.device) * (-math.log(10_000.0) / width))
    angles = torch.arange(length, device=words.device).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
