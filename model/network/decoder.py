"""The caption decoders behind one interface: `init_state` once per image, then `step` word by word.

Shapes: B images, K sequences of each, R regions, C channels, H hidden, A attention, E embedding, V vocabulary.
"""

import abc
import math
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.config import DecoderConfig
from model.network.packed import Int8Linear, Linear, PackedLinear, PackedLSTM, exact_in_fp16


@dataclass(frozen=True)
class DecoderState:
    """The state of a decoder between two words.

    What is known of an image (`keys`, `values`) is held once and shared by its K sequences.
    """

    hidden: Tensor  # (B, K, H)
    cell: Tensor | None  # (B, K, H); a GRU has none
    keys: Tensor | None = None  # (B, 1, R, A), exponentials: see `AttentionDecoder`; of a transformer (B, L, N, R, D)
    values: Tensor | None = None  # (B, R, E); of a transformer (B, L, N, R, D)
    past: Tensor | None = None  # (B, K, L, 2, N, T, D), keys and values of the words read: see `TransformerDecoder`

    def repeat(self, count: int) -> Self:
        """The same state for `count` sequences an image; the state must have K = 1."""
        return replace(
            self,
            hidden=self.hidden.expand(-1, count, -1),  # (B, count, H)
            cell=None if self.cell is None else self.cell.expand(-1, count, -1),
            past=None if self.past is None else self.past.expand(-1, count, *self.past.shape[2:]),
        )

    def reorder(self, index: Tensor) -> Self:
        """Sequence k of image b continues sequence index[b, k] of the same image. index: (B, K') int64."""
        own = {name: getattr(self, name) for name in ("hidden", "cell", "past")}  # (B, K, …)
        return replace(self, **{name: _sequences(tensor, index) for name, tensor in own.items() if tensor is not None})

    def images(self, index: Tensor | slice) -> Self:
        """The state of a choice of the images, which may repeat. index: (B',) int64, or a slice."""
        held = {name: tensor[index] for name, tensor in vars(self).items() if tensor is not None}
        return replace(self, **held)


def _sequences(tensor: Tensor, index: Tensor) -> Tensor:
    """Of a tensor (B, K, …) what `DecoderState.reorder` leaves, (B, K', …)."""
    index = index.view(*index.shape, *[1] * (tensor.dim() - 2))
    return tensor.gather(1, index.expand(-1, -1, *tensor.shape[2:]))


class Decoder(nn.Module, abc.ABC):
    """A word-by-word language model of captions, given an image. The output layer is tied to the embedding.

    Its recurrent network is an LSTM, or a GRU (Cho et al., EMNLP 2014), as configured.
    """

    lstm: nn.LSTMCell | None
    gru: nn.GRUCell | None
    packed: dict[str, PackedLinear | Int8Linear]  # what `pack` made of layers, by what it computes

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        self.config = config
        self.packed = {}
        self.packed_lstm: PackedLSTM | None = None
        self.lstm = self.gru = None
        self.embedding = nn.Embedding(config.vocabulary_size, config.embedding)
        nn.init.normal_(self.embedding.weight, std=0.05)  # tied to the output: a larger start wastes an epoch
        self.output_bias = nn.Parameter(torch.zeros(config.vocabulary_size))
        self.dropout = nn.Dropout(config.dropout)

    @abc.abstractmethod
    def init_state(self, features: Tensor) -> DecoderState:
        """The state before the first word. features: (B, R, C) from the encoder. The state has K = 1."""

    @abc.abstractmethod
    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        """Read one word of each sequence, predict the next.

        tokens: (B, K) int64, the words just read (<start> at first).
        Returns logits (B, K, V), the new state, and attention (B, K, R), each row summing to 1, or None
        for a decoder that looks at no regions.
        """

    def recur(self, inputs: Tensor, hidden: Tensor, cell: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """One step of the recurrent network. inputs: (B, K, ·). Returns hidden and cell, (B, K, H); a GRU no cell."""
        shape = hidden.shape
        if self.gru is not None:
            return self.gru(inputs.flatten(0, 1), hidden.flatten(0, 1)).view(shape), None
        assert cell is not None
        if self.packed_lstm is not None:
            return self.packed_lstm(inputs, hidden, cell)
        assert self.lstm is not None
        hidden, cell = self.lstm(inputs.flatten(0, 1), (hidden.flatten(0, 1), cell.flatten(0, 1)))
        return hidden.view(shape), cell.view(shape)

    def predict(self, output: Tensor) -> Tensor:
        """Logits (…, V) of an output vector (…, E), by the tied embedding."""
        output = self.dropout(output.to(self.embedding.weight.dtype))
        if (words := self.packed.get("words")) is not None:
            return words(output)
        return functional.linear(output, self.embedding.weight, self.output_bias)

    def lower(self, dtype: torch.dtype) -> Self:
        """Do the recurrent arithmetic in `dtype`, in place; words and logits stay in fp32. For inference."""
        for name, module in self.named_children():
            if name not in ("embedding", "features_norm"):
                module.to(dtype)
        return self

    def pack(self, *, int8: bool = False) -> Self:
        """Make steps faster, in place, for inference on a CPU: see `PackedLinear`.

        int8: compute in integers, where that is possible; see `Int8Linear`. The layers that are packed are gone
        afterwards, and there are no gradients. Where fp16 would change a weight, or neither is possible, all stays.
        """
        if int8 and Int8Linear.possible():
            self._pack(Int8Linear)
        elif PackedLinear.possible() and exact_in_fp16(self):
            self._pack(PackedLinear)
        return self.requires_grad_(False)

    def _pack(self, layer: Linear) -> None:
        self.packed["words"] = layer(self.embedding.weight, self.output_bias)
        if (lstm := self.lstm) is not None:
            self.packed_lstm = PackedLSTM(layer, lstm.weight_ih, lstm.weight_hh, lstm.bias_ih, lstm.bias_hh)
            self.lstm = None

    @property
    def packing(self) -> str:
        """How its weights are kept: "packed in fp16", "in int8", or "" for PyTorch's layers."""
        layer = self.packed.get("words")
        return "" if layer is None else "in int8" if isinstance(layer, Int8Linear) else "packed in fp16"


def _recurrent(config: DecoderConfig, inputs: int) -> tuple[nn.LSTMCell | None, nn.GRUCell | None]:
    """The recurrent network that the configuration names, in its place; it reads `inputs` numbers at each step."""
    if config.rnn == "gru":
        return None, nn.GRUCell(inputs, config.hidden)
    return nn.LSTMCell(inputs, config.hidden), None


class BaselineDecoder(Decoder):
    """Show and Tell (Vinyals et al., CVPR 2015): the mean feature is the LSTM's first input, and its only look."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.features_norm = nn.LayerNorm(config.channels)
        self.image = nn.Linear(config.channels, config.embedding)
        self.lstm, self.gru = _recurrent(config, config.embedding)
        self.output_hidden = nn.Linear(config.hidden, config.embedding)

    def init_state(self, features: Tensor) -> DecoderState:
        mean = self.features_norm(features.mean(dim=1)).to(self.image.weight.dtype)  # (B, C)
        image = self.dropout(self.image(mean))  # (B, E)
        zeros = image.new_zeros(len(image), 1, self.config.hidden)
        return DecoderState(*self.recur(image.unsqueeze(1), zeros, zeros))  # x_{-1} = CNN(I)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        words = self.dropout(self.embedding(tokens)).to(state.hidden.dtype)  # (B, K, E)
        hidden, cell = self.recur(words, state.hidden, state.cell)
        return self.predict(self.output_hidden(self.dropout(hidden))), replace(state, hidden=hidden, cell=cell), None


class AttentionDecoder(Decoder):
    """Soft attention of Show, Attend and Tell (Xu et al., ICML 2015, section 3.1.2 and 4.2.1).

    Scores:   e_i = w · tanh(W_k a_i + W_q h),  α = softmax(e)                (additive, Bahdanau et al.)
    Context:  z = σ(W_β h) ⊙ Σ α_i W_v a_i                                   (gated by β)
    LSTM:     h, c = LSTM([E y, z], h, c)
    Output:   p(y') ∝ exp(Eᵀ (E y + W_h h + W_z z))                          (deep output, eq. 7, tied)

    W_v projects the regions before they are summed, which is the paper's context under a low-rank input
    matrix, and computed once an image instead of once a word. The looked-at regions of a word are those from
    which it is predicted: attention is computed from the previous hidden state.

    Since tanh(x + y) = 1 - 2 / (exp(2x) exp(2y) + 1), the exponentials of keys and query are taken apart, once an
    image and once a word, and what is left for each region is a product and a division: several times faster than
    a tanh for each. The 1 adds the same to the scores of all regions, which softmax ignores.
    """

    _CACHED = 2**20  # numbers
    _LARGEST = 40.0  # exp(±80) is still a normal number in fp32; a product that is not gives tanh = ±1, as it should

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.features_norm = nn.LayerNorm(config.channels)
        self.keys = nn.Linear(config.channels, config.attention)
        self.values = nn.Linear(config.channels, config.embedding)
        self.query = nn.Linear(config.hidden, config.attention, bias=False)
        self.score = nn.Linear(config.attention, 1, bias=False)
        self.gate = nn.Linear(config.hidden, config.embedding)
        self.init_hidden = nn.Linear(config.embedding, config.hidden)
        self.init_cell = nn.Linear(config.embedding, config.hidden) if config.rnn == "lstm" else None
        self.lstm, self.gru = _recurrent(config, 2 * config.embedding)
        self.output_hidden = nn.Linear(config.hidden, config.embedding)
        self.output_context = nn.Linear(config.embedding, config.embedding, bias=False)

    def init_state(self, features: Tensor) -> DecoderState:
        features = self.features_norm(features).to(self.init_hidden.weight.dtype)  # (B, R, C)
        if (regions := self.packed.get("regions")) is None:
            keys, values = self.keys(features), self.dropout(self.values(features))  # (B, R, A), (B, R, E)
        else:
            keys, values = regions(features).tensor_split([self.config.attention], dim=-1)
        mean = values.mean(dim=1)  # (B, E)
        return DecoderState(
            hidden=torch.tanh(self.init_hidden(mean)).unsqueeze(1),
            cell=None if self.init_cell is None else torch.tanh(self.init_cell(mean)).unsqueeze(1),
            keys=self._exponential(keys).unsqueeze(1),  # (B, 1, R, A)
            values=values,
        )

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        assert state.keys is not None
        assert state.values is not None
        if (look := self.packed.get("look")) is None:
            query, gate = self.query(state.hidden), self.gate(state.hidden)
        else:
            query, gate = look(state.hidden).tensor_split([self.config.attention], dim=-1)
        attention = self._scores(state.keys, self._exponential(query).unsqueeze(2)).float().softmax(dim=-1)
        context = attention.to(state.values.dtype) @ state.values  # (B, K, E)
        context = torch.sigmoid(gate) * context
        words = self.dropout(self.embedding(tokens)).to(state.hidden.dtype)  # (B, K, E)
        hidden, cell = self.recur(torch.cat([words, context], dim=-1), state.hidden, state.cell)
        if (sum_of := self.packed.get("output")) is None:
            output = words + self.output_hidden(self.dropout(hidden)) + self.output_context(context)
        else:
            output = words + sum_of(torch.cat([hidden, context], dim=-1))
        return self.predict(output), replace(state, hidden=hidden, cell=cell), attention

    def _scores(self, keys: Tensor, query: Tensor) -> Tensor:
        """Of the regions, up to a constant, (B, K, R). keys: (B, 1, R, A), query: (B, K, 1, A), exponentials."""
        weight = self.score.weight[0].to(keys.dtype)
        if not self.packed:
            return -2.0 * ((keys * query).add_(1.0).reciprocal_() @ weight)
        # A few images at a time: what they fill stays in the processor's cache, and none of it is asked for anew.
        images, sequences, regions = len(keys), query.shape[1], keys.shape[2]
        scores = keys.new_empty(images, sequences, regions)
        most = max(1, self._CACHED // (sequences * regions * keys.shape[-1]))
        products = keys.new_empty(min(most, images), sequences, regions, keys.shape[-1])
        for start in range(0, images, most):
            part = slice(start, min(start + most, images))
            product = products[: part.stop - start]
            torch.mul(keys[part], query[part], out=product)
            torch.matmul(product.add_(1.0).reciprocal_(), weight, out=scores[part])
        return scores.mul_(-2.0)

    def _pack(self, layer: Linear) -> None:
        super()._pack(layer)
        self.packed["regions"] = layer(
            torch.cat([self.keys.weight, self.values.weight]), torch.cat([self.keys.bias, self.values.bias])
        )
        query, gate = self.query.weight, self.gate.weight
        bias = torch.cat([self.gate.bias.new_zeros(len(query)), self.gate.bias])
        self.packed["look"] = layer(torch.cat([query, gate]), bias)
        sides = self.output_hidden.weight, self.output_context.weight
        self.packed["output"] = layer(torch.cat(sides, dim=1), self.output_hidden.bias)
        del self.keys, self.values, self.query, self.gate, self.output_hidden, self.output_context

    def _exponential(self, x: Tensor) -> Tensor:
        return torch.exp(2.0 * x.float().clamp(-self._LARGEST, self._LARGEST))


class TransformerDecoder(Decoder):
    """Layers that look back at the words read, then at the regions (Vaswani et al., NeurIPS 2017), norms first.

    Embedding and layers are E wide, with N heads of D = E / N each; the feed-forward layers are 4 H wide inside. Keys
    and values of the regions are computed once an image, those of the words once a word: the state keeps them. The
    attention that a step returns is that of the last layer to the regions, averaged over its heads.
    """

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__(config)
        self.features_norm = nn.LayerNorm(config.channels)
        self.regions = nn.Linear(config.channels, config.embedding)
        self.positions = nn.Embedding(config.max_words + 1, config.embedding)  # of <start> and each word
        nn.init.normal_(self.positions.weight, std=0.05)
        self.layers = nn.ModuleList([_TransformerLayer(config) for _ in range(config.layers)])
        self.norm = nn.LayerNorm(config.embedding)

    def init_state(self, features: Tensor) -> DecoderState:
        features = self.features_norm(features).to(self.regions.weight.dtype)  # (B, R, C)
        regions = self.dropout(self.regions(features))  # (B, R, E)
        pairs = [layer.of_regions(regions) for layer in self._layers()]
        keys, values = (torch.stack(each, dim=1) for each in zip(*pairs, strict=True))  # (B, L, N, R, D)
        past = keys.new_zeros(len(keys), 1, keys.shape[1], 2, keys.shape[2], 0, keys.shape[4])
        hidden = regions.new_zeros(len(keys), 1, regions.shape[-1])
        return DecoderState(hidden=hidden, cell=None, keys=keys, values=values, past=past)

    def step(self, tokens: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState, Tensor | None]:
        assert state.keys is not None
        assert state.values is not None
        assert state.past is not None
        words = self.embedding(tokens).to(self.positions.weight.dtype) + self.positions.weight[state.past.shape[-2]]
        hidden = self.dropout(words)  # (B, K, E)
        attention, past = hidden, []
        for i, layer in enumerate(self._layers()):
            hidden, read = layer.look_back(hidden, state.past[:, :, i])
            hidden, attention = layer.look_at(hidden, state.keys[:, i], state.values[:, i])
            past.append(read)
        state = replace(state, hidden=hidden, past=torch.stack(past, dim=2))
        return self.predict(self.norm(hidden)), state, attention

    def _layers(self) -> list["_TransformerLayer"]:
        return [layer for layer in self.layers if isinstance(layer, _TransformerLayer)]


class _TransformerLayer(nn.Module):
    """Shapes: N heads, D numbers in each."""

    def __init__(self, config: DecoderConfig) -> None:
        super().__init__()
        width, self.heads = config.embedding, config.heads
        self.own_norm, self.look_norm, self.forward_norm = (nn.LayerNorm(width) for _ in range(3))
        self.own, self.own_output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.look_output = nn.Linear(width, width), nn.Linear(width, width)
        self.pairs = nn.Linear(width, 2 * width)
        self.inner, self.outer = nn.Linear(width, 4 * config.hidden), nn.Linear(4 * config.hidden, width)
        self.dropout = nn.Dropout(config.dropout)

    def of_regions(self, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of regions (B, R, E), each (B, N, R, D)."""
        keys, values = self._heads(self.pairs(regions)).chunk(2, dim=-3)
        return keys, values

    def look_back(self, hidden: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """hidden: (B, K, E); past: (B, K, 2, N, T, D). Returns both, the second with this word, T + 1."""
        made: Tensor = self.own(self.own_norm(hidden))
        made = made.view(*hidden.shape[:2], 3, self.heads, 1, -1)  # (B, K, 3, N, 1, D)
        past = torch.cat([past.to(made.dtype), made[:, :, 1:]], dim=-2)
        weights = _closeness(made[:, :, 0], past[:, :, 0])  # (B, K, N, 1, T + 1)
        found = (weights.to(past.dtype) @ past[:, :, 1]).flatten(2)  # (B, K, E)
        return hidden + self.dropout(self.own_output(found)), past

    def look_at(self, hidden: Tensor, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """hidden: (B, K, E); keys, values: of the regions. Returns hidden, and attention (B, K, R)."""
        weights = _closeness(self._heads(self.query(self.look_norm(hidden))), keys)  # (B, N, K, R)
        found = (weights.to(values.dtype) @ values).transpose(1, 2).flatten(2)  # (B, K, E)
        hidden = hidden + self.dropout(self.look_output(found))
        inner = functional.gelu(self.inner(self.forward_norm(hidden)))
        return hidden + self.dropout(self.outer(self.dropout(inner))), weights.mean(dim=1)

    def _heads(self, x: Tensor) -> Tensor:
        """(B, S, M E) → (B, M N, S, D)."""
        parts = x.shape[-1] * self.heads // self.query.in_features  # M N
        return x.view(*x.shape[:2], parts, -1).transpose(1, 2)


def _closeness(queries: Tensor, keys: Tensor) -> Tensor:
    """Softmax of scaled products, in fp32. queries (…, S, D), keys (…, T, D) → (…, S, T)."""
    products: Tensor = queries @ keys.transpose(-1, -2)
    return (products.float() / math.sqrt(queries.shape[-1])).softmax(dim=-1)


def build_decoder(config: DecoderConfig) -> Decoder:
    """A freshly initialised decoder of the configured kind."""
    match config.kind:
        case "attention":
            return AttentionDecoder(config)
        case "baseline":
            return BaselineDecoder(config)
        case "transformer":
            return TransformerDecoder(config)
