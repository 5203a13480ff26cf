"""A translator as inference runs it: the network of `model.network.translator` in fewer and larger operations.

* The pieces of all sentences are rows without padding, except where they look at one another.
* A hypothesis is a row. What the piece that it reads adds to the reader's gates is a row of a table, made once.
* tanh x = 1 - 2 σ(-2x): the gates of a step are one sigmoid, the factor is in the weights.
* A few rows on one thread: a second takes longer to wake up than the first to do it all. So much of their time goes
  into calls that there are as few operations as can be.
* On a CPU, weights are read in fp16 where that changes none of them (`PackedLinear`).

Shapes: B sentences, K hypotheses of each at most, N hypotheses that go on, S pieces of the longest sentence, L of all,
E width, H hidden, V target vocabulary.
"""

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.network.packed import PackedLinear, exact_in_fp16
from model.network.threads import one_thread
from model.network.translator import Translator, positions, weights_of
from model.network.vocabulary import PAD, START, UNKNOWN

Linear = Callable[[Tensor], Tensor]
FEW: Final = 16  # rows
_USUAL: Final = 64  # pieces; longer sentences are rare


@dataclass(frozen=True)
class Sources:
    """The sentences being translated, as the steps look at them."""

    keys: Tensor  # (B, H, S)
    looked: Tensor  # (B, S, H + E), values, and -2 times the pieces' embeddings
    padding: Tensor  # (B, 1, S): 0, or minus infinity


class FlatTranslator:
    """A translator's weights, arranged for inference in fp32. They are copied: the translator may change or go."""

    def __init__(self, translator: Translator) -> None:
        packed = translator.source.weight.device.type == "cpu" and PackedLinear.possible() and exact_in_fp16(translator)

        def linear(weight: Tensor, bias: Tensor | None = None) -> Linear:
            if packed:
                return PackedLinear(weight, bias)
            weight, bias = weight.detach().clone(), None if bias is None else bias.detach().clone()
            return lambda x: functional.linear(x, weight, bias)

        config = translator.config
        self._hidden, self._width = config.hidden, config.width
        with torch.no_grad():
            self._words = translator.source.weight * translator.scale
            self._positions = positions(self._words, _USUAL)
            self._layers = [
                _Layer(layer, linear)
                for layer in translator.encoder.layers
                if isinstance(layer, nn.TransformerEncoderLayer)
            ]
            self._norm = _norm(translator.encoder.norm)
            values = translator.values
            bias = torch.cat([torch.zeros_like(values.bias), values.bias])
            self._pairs = linear(torch.cat([translator.keys.weight, values.weight]), bias)
            self._initial = linear(translator.initial.weight, translator.initial.bias)
            inputs, recurrent, bias = _arranged(translator.reader)
            self._table = translator.target.weight * translator.scale @ inputs.T + bias  # (V, 4 H)
            self._reader = linear(recurrent)
            inputs, recurrent, bias = _arranged(translator.writer)
            self._writer = linear(torch.cat([inputs, recurrent], dim=1), bias)
            hidden, context, words = translator.output_hidden, translator.output_context, translator.output_words
            sides = torch.cat([hidden.weight, context.weight, -2.0 * words.weight], dim=1)
            self._sum = linear(sides, hidden.bias + words.weight.sum(dim=1))
            bias = translator.output_bias.clone()
            bias[[PAD, START, UNKNOWN]] = -torch.inf
            self._output = linear(translator.target.weight, bias)

    def threads(self, rows: int) -> contextlib.AbstractContextManager[None]:
        """Within it, what is done for few rows takes one thread. rows: pieces, or hypotheses."""
        return one_thread() if rows <= FEW and self._words.device.type == "cpu" else contextlib.nullcontext()

    def read(self, sentences: Sequence[Sequence[int]]) -> tuple[Sources, Tensor]:
        """The sentences' pieces; none is empty. Returns what steps look at, and their first state, (4, B, H)."""
        device = self._words.device
        lengths = np.array([len(each) for each in sentences])
        present = np.arange(longest := int(lengths.max())) < lengths[:, np.newaxis]  # (B, S)
        where = self._positions if longest <= len(self._positions) else positions(self._words, longest)
        places = present.ravel().nonzero()[0]  # (L,), of each piece in (B S)
        rows = np.maximum(present.cumsum() - 1, 0)  # (B S), of each place in (L)
        padding = torch.from_numpy(np.where(present, np.float32(0), -np.float32(np.inf))).unsqueeze(1).to(device)
        pieces, column, row, place = (
            torch.from_numpy(each).to(device)
            for each in (np.concatenate([np.array(each) for each in sentences]), places % longest, rows, places)
        )
        words = self._words.index_select(0, pieces)  # (L, E)
        x = words + where.index_select(0, column)
        for layer in self._layers:
            x = layer(x, padding, row, place)
        x = self._norm(x)
        shape = len(lengths), longest, -1
        mask = (padding == 0).transpose(1, 2)
        mean = (x.index_select(0, row).view(shape) * mask).sum(dim=1) / mask.sum(dim=1)
        whole = torch.cat([self._pairs(x), -2.0 * words], dim=1).index_select(0, row).view(shape)
        keys, looked = whole.tensor_split([self._hidden], dim=2)
        state = self._initial(mean).tanh().view(len(lengths), 4, self._hidden).transpose(0, 1).contiguous()
        return Sources(keys.transpose(1, 2), looked, padding), state

    def step(
        self, tokens: Tensor, state: Tensor, row: Tensor, place: Tensor, sources: Sources
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Each hypothesis reads a piece and predicts the next. tokens: (N,); state: (4, N, H).

        row: (B K) int64, of each hypothesis in (N); of what goes on no more, any. place: (N,), of each row in (B K).
        Returns logits (N, V), those of pieces that are never said minus infinity; state; attention (B K, S).
        """
        r, h, r_cell, h_cell = state.unbind()  # of reader and writer
        r, r_cell = _recurred(self._reader(r).add_(self._table.index_select(0, tokens)), r_cell)
        queries = r.index_select(0, row).view(len(sources.keys), -1, self._hidden)  # (B, K, H)
        scores = torch.baddbmm(sources.padding, queries, sources.keys, alpha=1.0 / math.sqrt(self._hidden))
        attention = scores.softmax(dim=-1)  # (B, K, S)
        looked = torch.bmm(attention, sources.looked).flatten(0, 1).index_select(0, place)  # (N, H + E)
        context, words = looked.split_with_sizes([self._hidden, self._width], dim=1)
        h, h_cell = _recurred(self._writer(torch.cat([r, context, h], dim=1)), h_cell)
        logits = self._output(self._sum(torch.cat([h, context, words.sigmoid()], dim=1)))
        return logits, torch.stack([r, h, r_cell, h_cell]), attention.flatten(0, 1)


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

    def __call__(self, x: Tensor, padding: Tensor, row: Tensor, place: Tensor) -> Tensor:
        """x: (L, E). padding: (B, 1, S). row: (B S), of each place in (L). place: (L,), of each row in (B S)."""
        one, other = self._norms
        inputs = self._inputs(one(x)).index_select(0, row)  # padding is some other piece, and nothing looks at it
        queries, keys, values = inputs.view(len(padding), -1, 3, self._heads, x.shape[1] // self._heads).permute(
            2, 0, 3, 1, 4
        )
        mixed = functional.scaled_dot_product_attention(queries, keys, values, attn_mask=padding.unsqueeze(1))
        x = x + self._mixed(mixed.transpose(1, 2).flatten(2).flatten(0, 1).index_select(0, place))
        return x + self._outer(self._inner(other(x)).relu_())


def _recurred(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden and cell of an LSTM, (N, H), by the weighted sums before its gates, (N, 4 H), as `_arranged` has them."""
    into, forget, content, out = gates.sigmoid_().chunk(4, dim=1)
    cell = torch.addcmul(into, into, content, value=-2.0).addcmul_(forget, cell)
    return cell.tanh().mul_(out), cell


def _arranged(lstm: nn.LSTM) -> tuple[Tensor, Tensor, Tensor]:
    """Input weights, recurrent weights and bias; those of the content, which is a tanh, times -2."""
    inputs, recurrent, *biases = weights_of(lstm)
    factor = torch.ones(4, 1, device=inputs.device)
    factor[2] = -2.0
    factor = factor.expand(-1, lstm.hidden_size).reshape(-1, 1)
    return inputs * factor, recurrent * factor, (biases[0] + biases[1]) * factor[:, 0]


def _norm(norm: nn.Module | None) -> Linear:
    assert isinstance(norm, nn.LayerNorm)
    weight, bias = norm.weight.detach().clone(), norm.bias.detach().clone()
    return lambda x: functional.layer_norm(x, norm.normalized_shape, weight, bias, norm.eps)
