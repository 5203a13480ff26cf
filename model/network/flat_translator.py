"""A translator as inference runs it: the network of `model.network.translator` in fewer and larger operations.

* The pieces of all sentences are rows without padding, except where they look at one another.
* A hypothesis is a row. What the piece that it reads adds to the reader's gates is a row of a table, made once.
* tanh x = 2 σ(2x) - 1: the gates of a step are one sigmoid, the doubling is in the weights. PyTorch's tanh takes several
  times as long as its sigmoid on some processors.
* On a CPU, weights are read in fp16 where that changes none of them (`PackedLinear`).

Shapes: B sentences, K hypotheses of each at most, N hypotheses that go on, S pieces of the longest sentence, L of all,
E width, H hidden, V target vocabulary.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.packed import PackedLinear, exact_in_fp16
from model.network.translator import Translator, positions, weights_of

Linear = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Sources:
    """The sentences being translated, as the steps look at them."""

    keys: Tensor  # (B, H, S)
    looked: Tensor  # (B, S, H + E), values, and twice the pieces' embeddings
    padding: Tensor  # (B, 1, S): 0, or minus infinity


class FlatTranslator:
    """A translator's weights, arranged for inference in fp32. They are copied: the translator may change or go."""

    def __init__(self, translator: Translator) -> None:
        packed = translator.source.weight.device.type == "cpu" and PackedLinear.possible() and exact_in_fp16(translator)

        def linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
            bias = weight.new_zeros(len(weight)) if bias is None else bias
            if packed:
                return PackedLinear(weight, bias)
            weight, bias = weight.detach().clone(), bias.detach().clone()
            return lambda x: functional.linear(x, weight, bias)

        config = translator.config
        self._hidden, self._width = config.hidden, config.width
        with torch.no_grad():
            self._words = translator.source.weight * translator.scale
            self._layers = [
                _Layer(layer, linear) for layer in translator.encoder.layers if isinstance(layer, nn.TransformerEncoderLayer)
            ]
            self._norm = _norm(translator.encoder.norm)
            values = translator.values
            bias = torch.cat([torch.zeros_like(values.bias), values.bias])
            self._pairs = linear(torch.cat([translator.keys.weight, values.weight]), bias)
            self._initial = linear(translator.initial.weight, translator.initial.bias)
            inputs, recurrent, bias = _doubled(translator.reader)
            self._table = translator.target.weight * translator.scale @ inputs.T + bias  # (V, 4 H)
            self._reader = linear(recurrent)
            inputs, recurrent, bias = _doubled(translator.writer)
            self._writer = linear(torch.cat([inputs, recurrent], dim=1), bias)
            hidden, context, words = translator.output_hidden, translator.output_context, translator.output_words
            sides = torch.cat([hidden.weight, context.weight, 2.0 * words.weight], dim=1)
            self._sum = linear(sides, hidden.bias - words.weight.sum(dim=1))
            self._output = linear(translator.target.weight, translator.output_bias)

    def read(self, sentences: Sequence[Sequence[int]]) -> tuple[Sources, Tensor, Tensor]:
        """The sentences' pieces; none is empty. Returns what steps look at; hidden and cell at first, (B, 2 H)."""
        device = self._words.device
        lengths = torch.tensor([len(each) for each in sentences])
        present = torch.arange(int(lengths.max())) < lengths.unsqueeze(1)  # (B, S)
        place = present.flatten().nonzero().squeeze(1).to(device)  # (L,), of each piece in (B S)
        padding = torch.zeros(present.shape).masked_fill_(~present, -torch.inf).unsqueeze(1).to(device)
        words = self._words[torch.tensor([piece for each in sentences for piece in each], device=device)]  # (L, E)
        x = words + positions(words, present.shape[1])[place % present.shape[1]]
        for layer in self._layers:
            x = layer(x, padding, place)
        x = self._norm(x)
        parts = _padded(torch.cat([self._pairs(x), 2.0 * words, x], dim=1), padding, place)
        keys, looked, states = parts.split_with_sizes(
            [self._hidden, self._hidden + self._width, self._width], dim=2
        )
        mean = states.sum(dim=1) / lengths.unsqueeze(1).to(device)
        hidden, cell = self._initial(mean).tanh().chunk(2, dim=1)
        keys = keys.transpose(1, 2) / math.sqrt(self._hidden)
        return Sources(keys.contiguous(), looked.contiguous(), padding), hidden, cell

    def step(
        self, tokens: Tensor, hidden: Tensor, cell: Tensor, place: Tensor, count: int, sources: Sources
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Each hypothesis reads a piece and predicts the next. tokens: (N,); hidden, cell: (N, 2 H).

        place: (N,) int64, of each hypothesis in (B K). count: K. Returns logits (N, V), hidden, cell, attention (N, S).
        """
        (r, h), (r_cell, h_cell) = hidden.chunk(2, dim=1), cell.chunk(2, dim=1)
        r, r_cell = _recurred(self._table[tokens].add_(self._reader(r)), r_cell)
        grid = r.new_zeros(len(sources.keys) * count, self._hidden).index_copy_(0, place, r)
        scores = torch.baddbmm(sources.padding, grid.view(-1, count, self._hidden), sources.keys)  # (B, K, S)
        attention = scores.softmax(dim=-1)
        looked = (attention @ sources.looked).flatten(0, 1)[place]  # (N, H + E)
        context, words = looked.split_with_sizes([self._hidden, self._width], dim=1)
        h, h_cell = _recurred(self._writer(torch.cat([r, context, h], dim=1)), h_cell)
        logits = self._output(self._sum(torch.cat([h, context, words.sigmoid()], dim=1)))
        state = torch.cat([r, h], dim=1), torch.cat([r_cell, h_cell], dim=1)
        return logits, *state, attention.flatten(0, 1)[place]


class _Layer:
    """A transformer layer, norms first."""

    def __init__(self, layer: nn.TransformerEncoderLayer, linear: Callable[[Tensor, Tensor], Linear]) -> None:
        own = layer.self_attn
        assert own.in_proj_weight is not None
        self._heads = own.num_heads
        self._norms = _norm(layer.norm1), _norm(layer.norm2)
        self._inputs = linear(own.in_proj_weight, own.in_proj_bias)
        self._mixed = linear(own.out_proj.weight, own.out_proj.bias)
        self._inner = linear(layer.linear1.weight, layer.linear1.bias)
        self._outer = linear(layer.linear2.weight, layer.linear2.bias)

    def __call__(self, x: Tensor, padding: Tensor, place: Tensor) -> Tensor:
        """x: (L, E)."""
        one, other = self._norms
        inputs = _padded(self._inputs(one(x)), padding, place)  # (B, S, 3 E)
        queries, keys, values = inputs.unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, heads, S, ·)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=padding.unsqueeze(1))
        x = x + self._mixed(mixed.transpose(1, 2).flatten(2).flatten(0, 1)[place])
        return x + self._outer(self._inner(other(x)).relu_())


def _padded(rows: Tensor, padding: Tensor, place: Tensor) -> Tensor:
    """Rows (L, ·) in their places, (B, S, ·), zeros elsewhere."""
    sentences, _, longest = padding.shape
    grid = rows.new_zeros(sentences * longest, rows.shape[1])
    return grid.index_copy_(0, place, rows).view(sentences, longest, -1)


def _recurred(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden and cell of an LSTM, (N, H), by the weighted sums before its gates, (N, 4 H), as `_doubled` has them."""
    into, forget, content, out = gates.sigmoid_().chunk(4, dim=1)
    cell = (forget * cell).addcmul_(into, content, value=2.0).sub_(into)
    return (2.0 * cell).sigmoid_().mul_(2.0).sub_(1.0).mul_(out), cell


def _doubled(lstm: nn.LSTM) -> tuple[Tensor, Tensor, Tensor]:
    """Input weights, recurrent weights and bias; those of the content, which is a tanh, twice."""
    inputs, recurrent, *biases = weights_of(lstm)
    factor = torch.ones(4, 1, device=inputs.device)
    factor[2] = 2.0
    factor = factor.expand(-1, lstm.hidden_size).reshape(-1, 1)
    return inputs * factor, recurrent * factor, (biases[0] + biases[1]) * factor[:, 0]


def _norm(norm: nn.Module | None) -> Linear:
    assert isinstance(norm, nn.LayerNorm)
    weight, bias = norm.weight.detach().clone(), norm.bias.detach().clone()
    return lambda x: functional.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
