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

It has the interface that `model.decoding.search` decodes with. Shapes: B sentences, K sequences of each, S source
pieces, T target pieces, E width, H hidden, V target vocabulary.
"""

import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.config import Config, ConfigError
from model.network.decoder import DecoderState
from model.network.packed import PackedLinear, PackedLSTM, exact_in_fp16
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


@dataclass(frozen=True)
class TranslatorState(DecoderState):
    """`hidden` and `cell` are those of reader and writer side by side, (B, K, 2 H); `values` are (B, S, H)."""

    words: Tensor | None = None  # (B, S, E), embeddings of the source pieces
    padding: Tensor | None = None  # (B, 1, S) bool


class Translator(nn.Module):
    def __init__(self, config: TranslatorConfig) -> None:
        super().__init__()
        self.config = config
        self.packed: tuple[PackedLSTM, PackedLSTM, PackedLinear, PackedLinear] | None = None  # see `pack`
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

    def init_state(self, source: Tensor) -> TranslatorState:
        """The state before the first piece. source: (B, S) int64, padded at the end; no sentence is empty."""
        padding = source == PAD
        words = self.source(source) * self.scale  # (B, S, E)
        embedded = words + positions(words, source.shape[1]).to(words.dtype)
        states = self.encoder(self.dropout(embedded), src_key_padding_mask=padding)
        present = ~padding.unsqueeze(-1)
        mean = (states * present).sum(dim=1) / present.sum(dim=1)
        hidden, cell = self.initial(mean).tanh().unsqueeze(1).chunk(2, dim=-1)
        return TranslatorState(
            hidden,
            cell,
            keys=self.keys(states),
            values=self.values(states),
            words=words,
            padding=padding.unsqueeze(1),
        )

    def forward(self, source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Teacher forcing. target: (B, T), <start> and the pieces. Returns logits (B, T, V), attention (B, T, S)."""
        state = self.init_state(source)
        embedded = self.dropout(self.target(target) * self.scale)
        logits, _, attention = self._write(embedded, state)
        return logits, attention

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        """As `model.network.decoder.Decoder.step`; the regions are source pieces. state: from `init_state`."""
        assert isinstance(state, TranslatorState)
        return self._write(self.target(tokens) * self.scale, state, apart=True)

    def pack(self) -> Self:
        """Have `step` read half the bytes of its weights, as `model.network.decoder.Decoder.pack`. The layers stay."""
        if PackedLinear.possible() and exact_in_fp16(self):
            sides = self.output_hidden.weight, self.output_context.weight, self.output_words.weight
            self.packed = (
                PackedLSTM(*weights_of(self.reader)),
                PackedLSTM(*weights_of(self.writer)),
                PackedLinear(torch.cat(sides, dim=1), self.output_hidden.bias),
                PackedLinear(self.target.weight, self.output_bias),
            )
        return self

    def _write(
        self, words: Tensor, state: TranslatorState, *, apart: bool = False
    ) -> tuple[Tensor, TranslatorState, Tensor]:
        """words: (B, N, E), which follow one another from K = 1, or with `apart` are one word of each of K = N."""
        assert state.cell is not None
        assert state.keys is not None
        assert state.values is not None
        assert state.words is not None
        assert state.padding is not None
        (r, h), (r_cell, h_cell) = state.hidden.chunk(2, dim=-1), state.cell.chunk(2, dim=-1)
        reader, writer = (self.reader, self.writer) if self.packed is None or not apart else self.packed[:2]
        read, r, r_cell = _recur(reader, words, r, r_cell, apart)
        scores = self.dropout(read) @ state.keys.transpose(1, 2) / math.sqrt(self.config.hidden)  # (B, N, S)
        attention = scores.float().masked_fill(state.padding, -torch.inf).softmax(dim=-1)
        looked = attention.to(state.values.dtype)
        context = looked @ state.values  # (B, N, H)
        said = torch.tanh(looked.to(state.words.dtype) @ state.words)
        written, h, h_cell = _recur(writer, self.dropout(torch.cat([read, context], dim=-1)), h, h_cell, apart)
        if apart and self.packed is not None:
            _, _, sum_of, words_of = self.packed
            logits = words_of(sum_of(torch.cat([written, context, said], dim=-1)))
        else:
            output = self.output_hidden(self.dropout(written)) + self.output_context(context) + self.output_words(said)
            logits = functional.linear(self.dropout(output), self.target.weight, self.output_bias)
        state = replace(state, hidden=torch.cat([r, h], dim=-1), cell=torch.cat([r_cell, h_cell], dim=-1))
        return logits, state, attention


def _recur(
    lstm: nn.LSTM | PackedLSTM, inputs: Tensor, hidden: Tensor, cell: Tensor, apart: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Outputs (B, N, H), hidden and cell. inputs: (B, N, ·); hidden, cell: (B, K, H), K = N with `apart`, else 1."""
    if isinstance(lstm, PackedLSTM):
        hidden, cell = lstm(inputs, hidden, cell)
        return hidden, hidden, cell
    if apart:  # the layer itself sorts its weights anew in each call, which costs more than one step
        state = (hidden.flatten(0, 1), cell.flatten(0, 1))
        last, last_cell = torch.lstm_cell(inputs.flatten(0, 1), state, *weights_of(lstm))
        return last.view_as(hidden), last.view_as(hidden), last_cell.view_as(cell)
    starts = (hidden.transpose(0, 1).contiguous(), cell.transpose(0, 1).contiguous())
    outputs, (last, last_cell) = lstm(inputs, starts)
    return outputs, last.transpose(0, 1), last_cell.transpose(0, 1)


def weights_of(lstm: nn.LSTM) -> list[Tensor]:
    return [weight for weight in lstm.all_weights[0] if isinstance(weight, Tensor)]


def positions(words: Tensor, length: int) -> Tensor:
    """Sines and cosines of `length` positions, (S, E). words: (…, E)."""
    width = words.shape[-1]
    rates = torch.exp(torch.arange(0, width, 2, device=words.device) * (-math.log(10_000.0) / width))
    angles = torch.arange(length, device=words.device).unsqueeze(1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
