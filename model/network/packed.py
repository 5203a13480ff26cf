"""Layers for inference on a CPU whose weights are laid out once, as the libraries below PyTorch read them.

Linear layers read theirs in half the time in fp16, the products and sums in fp32; in int8 they compute in a third of
that.
"""

import functools
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import torch
from torch import Tensor, nn

from model.network.device import multiplies_int8

_LEAST: Final = 1e-12  # so that zeros can be scaled


class PackedLinear:
    """A linear layer for inference on a CPU: FBGEMM reads its weights in fp16 and computes in fp32.

    A step of a decoder has few rows: reading the weights is what takes its time. Weights files hold fp16, so that
    nothing is lost. Quick on any x86 with AVX2; no BF16 is needed.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """weight: (outputs, inputs), bias: (outputs,), as those of `nn.Linear`; they are copied."""
        bias = None if bias is None else bias.detach().float().contiguous()
        self._packed: Any = torch.ops.quantized.linear_prepack_fp16(weight.detach().float().contiguous(), bias)

    def __call__(self, x: Tensor) -> Tensor:
        """x: (…, inputs) float32 → (…, outputs) float32."""
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(x.contiguous(), self._packed)
        return out

    @staticmethod
    @functools.cache
    def possible() -> bool:
        """Whether this PyTorch and this processor can do it."""
        try:
            layer = PackedLinear(torch.eye(8), torch.zeros(8))
            return torch.equal(layer(torch.ones(1, 8)), torch.ones(1, 8))
        except (AttributeError, RuntimeError):  # no FBGEMM, or a processor without AVX2
            return False


class Int8Linear:
    """A linear layer for inference on a CPU: oneDNN multiplies integers of 8 bits and sums them in 32.

    Each output's weights have a scale, and so has each row of the inputs, by its largest number: no row changes
    another.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        """weight: (outputs, inputs), bias: (outputs,), as those of `nn.Linear`; they are copied."""
        weight = weight.detach().float()
        self._bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().float().clone()
        self._scales = weight.abs().amax(dim=1).clamp(min=_LEAST) / 127
        rounded = (weight / self._scales[:, None]).round().to(torch.int8)
        self._weight: Tensor = torch.ops.onednn.qlinear_prepack(rounded, None)
        self._zeros = torch.zeros(len(weight), dtype=torch.int32)

    def __call__(self, x: Tensor) -> Tensor:
        """x: (…, inputs) float32 → (…, outputs) float32."""
        rows = x.reshape(-1, x.shape[-1])
        largest = rows.abs().amax(dim=-1, keepdim=True).clamp(min=_LEAST)
        # In 0 … 255, 128 for 0: oneDNN is slow with inputs that have a sign.
        inputs = (rows * (127 / largest)).add_(128).round_().to(torch.uint8)
        products: Tensor = torch.ops.onednn.qlinear_pointwise(
            *(inputs, 1 / 127, 128, self._weight, self._scales, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),  # what comes out, and nothing after it
        )
        return torch.addcmul(self._bias, products, largest).view(*x.shape[:-1], len(self._bias))

    @staticmethod
    @functools.cache
    def possible() -> bool:
        """Whether this PyTorch can do it, and this processor does it fast and exactly."""
        if not multiplies_int8():
            return False
        try:  # what uses no VNNI all the same would sum the largest wrongly
            layer = Int8Linear(torch.ones(16, 64), torch.ones(16))
            return torch.allclose(layer(torch.ones(2, 64)), torch.full((2, 16), 65.0))
        except (AttributeError, RuntimeError):
            return False


Linear: TypeAlias = type[PackedLinear] | type[Int8Linear]


class PackedLSTM:
    """One step of an LSTM layer, as `nn.LSTMCell`, its two matrices packed as one."""

    def __init__(self, layer: Linear, inputs: Tensor, hidden: Tensor, *biases: Tensor) -> None:
        """inputs: (4 H, inputs), hidden: (4 H, H), biases: (4 H,), in PyTorch's order of the gates."""
        self._gates = layer(torch.cat([inputs, hidden], dim=1), torch.stack(biases).sum(dim=0))

    def __call__(self, inputs: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        """inputs: (…, inputs); hidden, cell: (…, H). Returns the next hidden and cell."""
        into, forget, content, out = self._gates(torch.cat([inputs, hidden], dim=-1)).chunk(4, dim=-1)
        cell = (forget.sigmoid() * cell).addcmul_(into.sigmoid(), content.tanh())
        return out.sigmoid() * cell.tanh(), cell


class PackedConvolution(nn.Module):
    """A convolution, and a ReLU after it if it has one, with its weights in oneDNN's order.

    Given weights in PyTorch's order, oneDNN arranges them anew in each run. It may want another order for one image
    than for several, in bf16 at least: then both are kept, for the wrong one costs more than PyTorch's.
    """

    def __init__(self, convolution: nn.Conv2d, shape: Sequence[int], *, relu: bool = False) -> None:
        """convolution: with zero padding and a bias. shape: (channels, rows, columns) of what it will see; others work
        as well. Raises RuntimeError or AttributeError where it is not `possible`.
        """
        super().__init__()
        assert convolution.bias is not None
        self._options = (
            list(map(int, convolution.padding)),
            list(convolution.stride),
            list(convolution.dilation),
            convolution.groups,
        )
        self._activation = "relu" if relu else "none"
        self.bias = nn.Parameter(convolution.bias.detach(), requires_grad=False)
        one, several = (
            torch.ops.mkldnn._reorder_convolution_weight(convolution.weight.detach(), *self._options, [images, *shape])
            for images in (1, 2)
        )
        orders = [torch.ops.mkldnn._get_mkldnn_serialized_md(weight) for weight in (one, several)]
        self._weights: tuple[Tensor, Tensor] = (one, one if torch.equal(*orders) else several)

    def forward(self, x: Tensor) -> Tensor:
        """x: (B, inputs, rows, columns), in the weights' dtype → (B, outputs, …)."""
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(
            x, self._weights[len(x) > 1], self.bias, *self._options, self._activation, [], ""
        )
        return out

    @staticmethod
    @functools.cache
    @torch.inference_mode()
    def possible(dtype: torch.dtype) -> bool:
        """Whether this PyTorch and this processor can do it with weights of this dtype."""
        try:
            with torch.random.fork_rng(devices=[]):
                layer = nn.Conv2d(32, 32, 3).to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
            x = torch.ones(1, 32, 8, 8, dtype=dtype).contiguous(memory_format=torch.channels_last)
            ours, expected = PackedConvolution(layer, x.shape[1:], relu=True)(x), layer(x).relu()
            return torch.allclose(ours, expected, atol=0.02)
        except (AttributeError, RuntimeError):  # the operators are PyTorch's own, for its compiler
            return False


def exact_in_fp16(module: nn.Module) -> bool:
    """Whether packing would change no weight of it."""
    return all(torch.equal(each, each.half().float()) for each in module.parameters())
